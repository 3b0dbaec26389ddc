//! What a caller is told when a budget has too little left: which budget, why, and until when.

use std::time::Duration;

use sqlx::Connection;
use tonic::Code;
use tonic_types::StatusExt;

use super::{Metered, budgets};
use crate::{
    budgets::at_most,
    key_limits::{json_of, post, with_key, with_secret},
    keys::{serve, text},
    support::{
        Database, Door, MODEL, Reply, Scripted,
        door::message,
        poll, prompt,
        rest::{Events, http, with_json},
        scripted::{chunk, finish},
    },
};

fn streamed(tokens: u64) -> String {
    let mut request = at_most(tokens);
    request["stream"] = true.into();
    request.to_string()
}

#[tokio::test]
async fn what_only_running_calls_have_reserved_is_no_reason_to_wait_for_midnight() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let key = Metered::new(&upstream, budgets(&[("tokens", 250)]), |_| {}).await;
    let url = key.gateway.url("/v1/chat/completions");
    let stream = with_json(http().post(url), streamed(150)).bearer_auth(&key.secret);
    let mut running = Events::of(stream).await;
    running.next().await.unwrap();
    let reserved = key.budgets().await[0].1;

    let refused = key.ask(Door::RestUnary, &at_most(100), &[]).await;
    let failure = refused.failure.unwrap();
    assert_eq!(failure.code, "budget_exhausted");
    let why = format!("because running calls have reserved {reserved}");
    assert!(failure.message.contains(&why), "{}", failure.message);
    assert!(failure.message.ends_with("(gateway key \"app\")"));
    assert_eq!(failure.retry_after_seconds, Some(2));
    let mut client = key.gateway.grpc().await;
    let request = with_secret(message(&at_most(100)), &key.secret);
    let refused = client.create_chat_completion(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    let violation = &details.quota_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "tokens/day");
    assert!(violation.description.contains(&why), "{violation:?}");
    let delay = details.retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_secs(2)));
    assert_eq!(upstream.requests().len(), 1);

    // More than all of it: the end of other calls is of no use.
    let long = prompt(MODEL, &"word ".repeat(200));
    let refused = key.ask(Door::RestUnary, &long, &[]).await;
    let failure = refused.failure.unwrap();
    assert!(
        failure.message.contains("It renews at 20"),
        "{}",
        failure.message
    );
    assert!(failure.retry_after_seconds > Some(2));

    upstream.set_reply(Reply::Events(vec![chunk("b"), finish()]));
    drop(running);
    poll::until("there is room again", async || {
        let answer = key.ask(Door::RestStream, &at_most(20), &[]).await;
        answer.failure.is_none()
    })
    .await;
}

#[tokio::test]
async fn a_call_that_gets_no_lease_is_told_which_budget_and_when_it_renews() {
    let database = Database::sqlite();
    let budget = ["create", "--name", "app", "--budget", "tokens=600/day"];
    let key = database.keys_json(&budget).await;
    let secret = text(&key, "secret");
    let slow = [("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "2")];
    let ((_first, first), (_second, second)) =
        tokio::join!(serve(&database, &slow), serve(&database, &[]));
    let url = format!("{first}/v1/chat/completions");
    let stream = with_json(http().post(url), streamed(500)).bearer_auth(secret);
    let mut running = Events::of(stream).await;
    running.next().await.unwrap();

    let answer = post(&second, secret, at_most(100), &[]).await;
    let retry_after = answer.headers()["retry-after"].to_str().unwrap().to_owned();
    let (status, body) = json_of(answer).await;
    let error = &body["error"];
    assert_eq!((status, text(error, "code")), (429, "budget_exhausted"));
    let message = text(error, "message");
    for part in [
        "of 600 tokens left for this day",
        "at other gateways",
        "It renews at 20",
        "(gateway key \"app\")",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(retry_after, "2");
}

#[tokio::test]
async fn a_budget_that_is_not_known_is_named() {
    let ((_child, database), address, secret) =
        with_key(&["--budget", "tokens=5000/month"], &[]).await;
    let mut other = sqlx::SqliteConnection::connect(&database.url)
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let (status, body) = json_of(post(&address, &secret, at_most(30), &[]).await).await;
    let error = &body["error"];
    assert_eq!(
        (status, text(error, "code")),
        (503, "budget_unknown"),
        "{body}"
    );
    let message = text(error, "message");
    assert!(message.contains("5000 tokens for this month"), "{message}");
    assert!(message.contains("It renews at 20"), "{message}");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    poll::until("it is known again", async || {
        let answer = post(&address, &secret, at_most(30), &[]).await;
        answer.status() == 200
    })
    .await;
}
