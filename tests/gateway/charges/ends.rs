//! What a call is charged that ends before its answer is complete.

use std::time::Duration;

use featherwire::ledger::{Ending, TokenSource};
use serde_json::json;

use super::{Metered, all_budgets};
use crate::key_limits::with_secret;
use crate::support::{
    Door, MODEL, Reply, Scripted, advance,
    door::{VIA_STREAM, message},
    prompt,
    rest::with_json,
    scripted::{chunk, finish, refused},
};

const UNARY: [Door; 3] = [Door::RestUnary, Door::GrpcUnary, Door::WebUnary];

/// A deadline that passes while upstream is silent.
const SOON: (&str, &str) = ("x-request-timeout-ms", "300");

#[tokio::test]
async fn a_deadline_that_passes_before_the_answer_is_charged() {
    let upstream = Scripted::always(Reply::Silence).await;
    let key = Metered::new(&upstream, all_budgets(), |_| {}).await;
    let mut number = 0;
    for door in Door::ALL {
        let answer = key.ask(door, &prompt(MODEL, "hi"), &[SOON]).await;
        assert_eq!(answer.failure.unwrap().code, "deadline_exceeded");
        number += 1;
        let records = key.charged(number).await;
        let record = records.last().unwrap();
        assert_eq!(record.ending, Ending::Failed);
        assert_eq!(record.tokens.source, TokenSource::Counted);
        assert!(record.tokens.prompt > 0 && record.units > 0, "{record:?}");
        assert!(record.unit_ms > 100, "{door:?}: {record:?}");
    }
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_is_charged_for_the_time_of_its_units() {
    let upstream = Scripted::always(Reply::Silence).await;
    let key = Metered::new(&upstream, all_budgets(), |_| {}).await;
    for (number, door) in (1..).zip(UNARY) {
        let request = prompt(MODEL, "hi");
        let call = key.ask(door, &request, &[]);
        let leaves = async {
            upstream.wait_for_requests(number).await;
            advance(Duration::from_secs(7)).await;
        };
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            () = leaves => {}
        }
        let records = key.charged(number).await;
        let record = records.last().unwrap();
        assert_eq!(record.ending, Ending::Cancelled, "{door:?}");
        assert!(record.tokens.prompt > 0, "{record:?}");
        let held_ms = record.unit_ms / u64::from(record.units);
        assert!((7000..9000).contains(&held_ms), "{record:?}");
    }
}

#[tokio::test]
async fn the_chunks_of_an_answer_that_is_streamed_upstream_only_are_counted() {
    let chunks = vec![chunk("one"), chunk(" two"), chunk(" three")];
    let mut whole = chunks.clone();
    whole.push(finish());
    let upstream = Scripted::always(Reply::Events(whole)).await;
    let key = Metered::new(&upstream, all_budgets(), |_| {}).await;
    let mut number = 0;
    for (reply, ending) in [
        (None, Ending::Finished),
        (Some(Reply::EventsThenCut(chunks.clone())), Ending::Failed),
        (Some(Reply::EventsThenSilence(chunks)), Ending::Failed),
    ] {
        if let Some(reply) = reply {
            upstream.set_reply(reply);
        }
        for door in UNARY {
            let headers = [VIA_STREAM[0], ("x-request-timeout-ms", "2000")];
            key.ask(door, &prompt(MODEL, "hi"), &headers).await;
            number += 1;
            let records = key.charged(number).await;
            let record = records.last().unwrap();
            assert_eq!(record.ending, ending);
            assert!((3..=4).contains(&record.tokens.completion), "{record:?}");
            assert!(record.tokens.prompt > 0 && record.units > 0, "{record:?}");
        }
    }
}

#[tokio::test]
async fn a_caller_who_leaves_after_a_refusal_is_charged_nothing() {
    let busy = "503 Service Unavailable\r\nretry-after: 4\r\ncontent-type: application/json";
    let upstream = Scripted::always(Reply::Raw(busy.to_owned(), b"{}".to_vec())).await;
    upstream.set_catalogue(json!({"object": "list", "data": []}));
    let key = Metered::new(&upstream, all_budgets(), |serve| {
        serve.upstream.retries = 3;
    })
    .await;
    let request = prompt(MODEL, "hi");
    let call = with_json(
        key.gateway.post_request("/v1/chat/completions", ""),
        request.to_string(),
    );
    let rest = tokio::spawn(call.bearer_auth(&key.secret).send());
    upstream.wait_for_requests(1).await;
    key.until_units("the call waits", |view| view["queued"]["default"] == 1)
        .await;
    rest.abort();
    let mut client = key.gateway.grpc().await;
    let grpc = with_secret(message(&request), &key.secret);
    let grpc = tokio::spawn(async move { client.create_chat_completion(grpc).await });
    upstream.wait_for_requests(2).await;
    key.until_units("the call waits", |view| view["queued"]["default"] == 1)
        .await;
    grpc.abort();
    for record in key.charged(2).await {
        assert_eq!(record.ending, Ending::Cancelled);
        assert_eq!((record.attempts, record.units, record.unit_ms), (1, 0, 0));
        assert_eq!(record.tokens.source, TokenSource::None);
    }
}

#[tokio::test]
async fn a_call_that_a_drain_cuts_before_its_answer_is_charged() {
    let upstream = Scripted::always(Reply::Silence).await;
    let key = Metered::new(&upstream, all_budgets(), |serve| {
        serve.drain_timeout = Duration::ZERO;
    })
    .await;
    let request = prompt(MODEL, "hi");
    let call = key.ask(Door::RestUnary, &request, &[]);
    let drain = async {
        upstream.wait_for_requests(1).await;
        key.gateway.shut_down();
    };
    let (answer, ()) = tokio::join!(call, drain);
    assert_eq!(answer.failure.unwrap().code, "draining");
    let records = key.records(1).await;
    assert_eq!(records[0].ending, Ending::Failed);
    assert!(records[0].tokens.prompt > 0 && records[0].units > 0);
}

#[tokio::test]
async fn an_upstream_that_refuses_costs_nothing() {
    let upstream = Scripted::always(refused(500, "", "broken")).await;
    let key = Metered::new(&upstream, all_budgets(), |_| {}).await;
    for (number, door) in (1..).zip(Door::ALL) {
        key.ask(door, &prompt(MODEL, "hi"), &[]).await;
        let records = key.charged(number).await;
        let record = records.last().unwrap();
        assert_eq!((record.units, record.unit_ms), (0, 0));
        assert_eq!(record.tokens.source, TokenSource::None);
    }
}
