//! The plans of several accounts, and an account whose plan no source tells.

use featherwire::proto::v1::{GetPlanRequest, account_service_client::AccountServiceClient};
use tonic::Code;

use super::{account, emulator, gateway, in_use, limited_to, upstream, wait_for_plans};
use crate::support::{
    Door, Reply, Scripted,
    door::grpc_failure,
    models::FIRST,
    prompt,
    scripted::{answer_for, chunk},
};

#[tokio::test]
async fn a_plan_is_that_of_the_account_that_is_named() {
    let (small, large) = (emulator(2, 1.0).await, emulator(16, 1.0).await);
    let gateway = gateway([
        account("small", small.address),
        account("large", large.address),
    ])
    .await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    for (name, units) in [("", 2), ("small", 2), ("large", 16)] {
        let request = GetPlanRequest {
            account: name.to_owned(),
        };
        let plan = client.get_plan(request).await.unwrap().into_inner();
        assert_eq!(plan.concurrency, Some(units), "{name}");
        let path = format!("/v1/plan?account={name}");
        let (status, plan) = gateway.get_json(&path).await;
        assert_eq!((status, &plan["concurrency"]), (200, &units.into()));
    }
    let (_, plan) = gateway.get_json("/v1/plan").await;
    assert_eq!(plan["concurrency"], 2);
    let unknown = GetPlanRequest {
        account: "third".to_owned(),
    };
    let status = client.get_plan(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let failure = grpc_failure(&status);
    assert!(failure.message.contains("small, large"), "{failure:?}");
    for query in ["account=third", "account=small&account=large"] {
        let (status, answer) = gateway.get_json(&format!("/v1/plan?{query}")).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &"account".into()),
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_account_whose_plan_no_source_tells_comes_after_one_with_room() {
    // Its feed and its plan are no such messages.
    let silent = Scripted::always(answer_for(Door::RestUnary)).await;
    let known = upstream(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let gateway = gateway([
        account("silent", silent.address),
        limited_to(&[FIRST], account("known", known.address)),
    ])
    .await;
    wait_for_plans(&gateway, &[("known", 8.0)]).await;
    // Only one account may be asked for this model, and the call waits until its sources have
    // answered.
    let only = prompt("own/model", "hi");
    gateway.ask(Door::RestUnary, &only).await.ok();
    let mut streams = Vec::new();
    for number in [1, 2] {
        streams.push(gateway.open_stream(FIRST).await);
        assert_eq!(known.models().len(), number);
    }
    assert_eq!(in_use(&gateway, ["known"]).await, [8.0]);
    // It is better than a wait.
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .ok();
    assert_eq!(silent.models(), ["own/model", FIRST]);
}
