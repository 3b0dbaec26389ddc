//! Refusals by the upstream because the account has no free units.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use featherwire::error::Kind;
use serde_json::json;

use crate::{
    support::{
        Door, Gateway, Reply, Scripted, prompt,
        scripted::{answer_for, whole},
    },
    units::scheduling,
};

/// Featherless's refusal for an account whose eight units are all in use.
fn full(headers: &str) -> Reply {
    let message = "Per-user concurrency limit exceeded. This user has 8 active units; this \
                   request requires 1 units (limit: 8, over by 1).";
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null,
        "code": "concurrency_limit_exceeded"}});
    let head = format!("429 Too Many Requests\r\ncontent-type: application/json{headers}");
    Reply::Raw(head, body.to_string().into_bytes())
}

/// An account whose units the gateway schedules and knows only from refusals.
async fn refusing(replies: impl IntoIterator<Item = Reply>) -> (Scripted, Gateway) {
    let upstream = Scripted::first(replies).await;
    upstream.set_catalogue(json!({"data": []}));
    let gateway = Gateway::with(upstream.address, |config| config.units.units = Some(8)).await;
    (upstream, gateway)
}

#[tokio::test]
async fn an_unexpected_429_is_hidden_from_the_caller() {
    for door in [Door::RestUnary, Door::GrpcStream] {
        let (_upstream, gateway) = refusing([full(""), answer_for(door)]).await;
        let answer = gateway.ask(door, &prompt("org/first-8b", "hi")).await.ok();
        assert_eq!(answer.content, "b", "{door:?}");
    }
}

/// The number of attempts for a request that the upstream refuses each time.
const TRIES: usize = 6;

#[tokio::test(start_paused = true)]
async fn a_request_that_is_refused_repeatedly_fails_finally() {
    for door in Door::ALL {
        let (upstream, gateway) = refusing((0..TRIES).map(|_| full(""))).await;
        let started = tokio::time::Instant::now();
        let failure = gateway.ask(door, &prompt("org/first-8b", "hi")).await;
        let failure = failure.failed(Kind::Saturated, "concurrency_limit_exceeded");
        assert!(failure.message.contains("org/first-8b"), "{failure:?}");
        if door != Door::RestStream {
            assert!(
                failure
                    .retry_after_seconds
                    .is_some_and(|seconds| seconds > 0),
                "{door:?}"
            );
        }
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{door:?}: {:?}",
            started.elapsed()
        );
        assert_eq!(upstream.requests().len(), TRIES, "{door:?}");
        // When the upstream answers again, the next call is served.
        upstream.set_reply(answer_for(door));
        gateway.ask(door, &prompt("org/first-8b", "hi")).await.ok();
        let view = gateway.units("any").await;
        assert!(
            view["in_use"] == 0 && view["settling"] == 0,
            "{door:?}: {view}"
        );
        assert_eq!(view["refusals"], TRIES, "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_for_a_model_that_is_refused_repeatedly() {
    for door in Door::ALL {
        let (upstream, gateway) =
            refusing((0..TRIES).map(|_| full("")).chain([answer_for(door)])).await;
        let headers = [("x-featherwire-fallback", "org/second-8b")];
        let answer = gateway
            .ask_with(door, &prompt("org/first-8b", "hi"), &headers)
            .await
            .ok();
        assert_eq!(
            answer.served_by.as_deref(),
            Some("org/second-8b"),
            "{door:?}"
        );
        assert_eq!(
            answer.tried.as_deref(),
            Some("org/first-8b=concurrency_limit_exceeded"),
            "{door:?}"
        );
        assert_eq!(upstream.requests().len(), TRIES + 1, "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_retried_before_its_retry_after() {
    let retry_after = |seconds: u64| full(&format!("\r\nretry-after: {seconds}"));
    for door in [Door::RestUnary, Door::GrpcStream] {
        let (upstream, gateway) = refusing([retry_after(7), answer_for(door)]).await;
        let started = tokio::time::Instant::now();
        gateway.ask(door, &prompt("org/first-8b", "hi")).await.ok();
        assert!(
            started.elapsed() >= Duration::from_secs(7),
            "{door:?}: {:?}",
            started.elapsed()
        );
        assert_eq!(upstream.requests().len(), 2, "{door:?}");

        let (upstream, gateway) =
            refusing([retry_after(60), answer_for(door), retry_after(60)]).await;
        let headers = [("x-featherwire-fallback", "org/second-8b")];
        let started = tokio::time::Instant::now();
        let answer = gateway
            .ask_with(door, &prompt("org/first-8b", "hi"), &headers)
            .await
            .ok();
        assert_eq!(
            answer.served_by.as_deref(),
            Some("org/second-8b"),
            "{door:?}"
        );
        let failure = gateway.ask(door, &prompt("org/first-8b", "hi")).await;
        let failure = failure.failed(Kind::Saturated, "concurrency_limit_exceeded");
        assert_eq!(failure.retry_after_seconds, Some(60), "{door:?}");
        // The numbers of a refusal are used for two seconds.
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{door:?}: {:?}",
            started.elapsed()
        );
        assert_eq!(upstream.requests().len(), 3, "{door:?}");
    }
}

#[tokio::test]
async fn without_a_known_plan_a_refused_request_is_not_retried_before_its_retry_after() {
    use axum::{Router, http::StatusCode, response::IntoResponse, routing::post};

    let posts = Arc::<Mutex<Vec<std::time::Instant>>>::default();
    let seen = Arc::clone(&posts);
    let chat = async move || {
        let mut seen = seen.lock().unwrap();
        seen.push(std::time::Instant::now());
        if seen.len() > 1 {
            return (
                [("content-type", "application/json")],
                whole("b").to_string(),
            )
                .into_response();
        }
        let error =
            json!({"error": {"message": "full", "code": "concurrency_limit_exceeded"}}).to_string();
        let headers = [("content-type", "application/json"), ("retry-after", "2")];
        (StatusCode::TOO_MANY_REQUESTS, headers, error).into_response()
    };
    // It has neither a feed nor a plan.
    let router = Router::new().route("/v1/chat/completions", post(chat));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let gateway = scheduling(address).await;
    assert_eq!(
        gateway
            .ask(Door::RestUnary, &prompt("org/first-8b", "hi"))
            .await
            .ok()
            .content,
        "b"
    );
    let posts = posts.lock().unwrap();
    let [first, second] = posts[..] else {
        panic!("{posts:?}")
    };
    assert!(
        second - first >= Duration::from_secs(2),
        "{:?}",
        second - first
    );
}
