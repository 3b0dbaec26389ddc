//! What is shown of accounts when the upstream of one of them fails.

use featherwire::proto::v1::{
    WatchConcurrencyRequest, account_service_client::AccountServiceClient,
};
use serde_json::json;

use super::{account, fixed, gateway, upstream};
use crate::support::{
    Door, Reply, Scripted,
    scripted::{answer_for, refused},
};

#[tokio::test]
async fn a_refused_account_is_shown_beside_one_without_a_feed() {
    let refusing = Scripted::always(refused(401, "", "Invalid API key")).await;
    let own = upstream(answer_for(Door::RestUnary)).await;
    let accounts = [
        account("main", refusing.address),
        fixed("own", own.address, 3),
    ];
    let gateway = gateway(accounts).await;
    let (status, units) = gateway.get_json("/v1/concurrency").await;
    assert_eq!(status, 200, "{units}");
    assert_eq!(units["accounts"][1]["gateway"]["capacity"], 3);
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let watch = client.watch_concurrency(WatchConcurrencyRequest::default());
    let mut watch = watch.await.unwrap().into_inner();
    for _ in 0..2 {
        let units = watch.message().await.unwrap().unwrap();
        assert_eq!(units.accounts.len(), 2);
    }
}

#[tokio::test]
async fn no_account_that_answers_is_an_error() {
    let refusing = Scripted::always(refused(401, "", "Invalid API key")).await;
    let names = ["one", "two"].map(|name| account(name, refusing.address));
    let gateway = gateway(names).await;
    let (status, answer) = gateway.get_json("/v1/concurrency").await;
    assert_eq!(
        (status, &answer["error"]["code"]),
        (503, &json!("featherless_api_key_rejected"))
    );
}

#[tokio::test]
async fn a_watch_ends_when_the_feed_of_one_of_several_accounts_breaks() {
    let snapshot = json!({"limit": 8, "used_cost": 0, "request_count": 0, "requests": []});
    let breaking = upstream(Reply::EventsThenCut(vec![snapshot.to_string()])).await;
    let own = upstream(answer_for(Door::RestUnary)).await;
    let accounts = [
        account("breaking", breaking.address),
        fixed("own", own.address, 3),
    ];
    let gateway = gateway(accounts).await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let watch = client.watch_concurrency(WatchConcurrencyRequest::default());
    let mut watch = watch.await.unwrap().into_inner();
    let end = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    end.unwrap_err();
}
