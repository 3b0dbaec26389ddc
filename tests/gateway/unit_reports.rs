//! The account's units when the upstream reports them in an invalid form, late, or not at all, and
//! units that a call releases while it waits for a retry.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post},
};
use featherwire::{emulator::EmulatorConfig, error::Kind};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    support::{
        Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted, poll, prompt,
        rest::http,
        scripted::{chunk, finish, whole},
    },
    units::taken,
};

const FOUR_UNITS: &str = "Qwen/Qwen2.5-72B-Instruct";

async fn emulator() -> Emulator {
    let release_after = Duration::from_millis(50);
    let config = EmulatorConfig {
        tokens_per_second: 200.0,
        units: Some(4),
        release_after,
        ..Default::default()
    };
    Emulator::with(config).await
}

async fn switch(emulator: &Emulator, name: &str, value: &str) {
    let url = format!("http://{}/emulator/switches/{name}", emulator.address);
    let reply = http().put(url).body(value.to_owned()).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{name}={value}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_invalid_feed_few_requests_start_at_once_and_no_call_is_refused() {
    // First feeds whose messages are ignored, then feeds without messages or with some valid ones.
    let ignored = [
        "no-limit",
        "text-limit",
        "huge-limit",
        "zero-limit",
        "negative-limit",
        "no-used-cost",
        "null-used-cost",
    ];
    let ignored = ignored.into_iter().chain([
        "text-used-cost",
        "negative-used-cost",
        "only-pings",
        "ping",
        "empty-object",
    ]);
    let others = [
        "float-limit",
        "no-requests",
        "only-comments",
        "silent",
        "end",
        "cut",
        "503",
        "html",
        "error",
        "broken-json",
    ];
    let feeds = ignored
        .map(|feed| (feed, true))
        .chain(others.map(|feed| (feed, false)));
    join_all(feeds.map(|(feed, is_ignored)| async move {
        let emulator = emulator().await;
        switch(&emulator, "feed", feed).await;
        let gateway = Gateway::with(emulator.address, |config| config.units.units = None).await;
        gateway
            .wait_for_units(feed, |view| view["capacity"] == 4)
            .await;
        let calls = (0..20).map(|number| {
            let (gateway, model) = (&gateway, if number % 5 == 0 { FOUR_UNITS } else { MODEL });
            async move {
                gateway
                    .ask(
                        Door::ALL[number % 6],
                        &prompt(model, "Say hello in 5 words"),
                    )
                    .await
                    .ok()
            }
        });
        join_all(calls).await;
        let view = gateway.units("any").await;
        assert_eq!(
            (&view["capacity"], &view["refusals"]),
            (&json!(4), &json!(0)),
            "{feed}: {view}"
        );
        if is_ignored {
            gateway
                .wait_for_units(feed, |view| view["odd_messages"].as_u64() > Some(0))
                .await;
        } else {
            assert_eq!(gateway.units("any").await["odd_messages"], 0, "{feed}");
        }
    }))
    .await;
}

#[tokio::test]
async fn an_invalid_message_ends_no_wait_and_keeps_the_known_capacity() {
    let emulator = emulator().await;
    let gateway = Gateway::with(emulator.address, |config| config.units.units = None).await;
    gateway
        .wait_for_units("the plan is known", |view| view["capacity"] == 4)
        .await;
    let holder = gateway.open_stream("emulator/stall-after-5").await;
    assert_eq!(holder.status(), 200);
    for feed in ["zero-limit", "negative-limit", "no-limit", "text-limit"] {
        switch(&emulator, "feed", feed).await;
        let odd = gateway.units("any").await["odd_messages"].as_u64().unwrap();
        let large = prompt(FOUR_UNITS, "Say hello in 5 words");
        let has_two_more = |view: &Value| view["odd_messages"].as_u64().unwrap() >= odd + 2;
        tokio::select! {
            answer = gateway.ask(Door::GrpcUnary, &large) => panic!("{feed}: {:?}", answer.failure),
            () = gateway.wait_for_units(feed, has_two_more) => {}
        }
        assert_eq!(gateway.units("any").await["capacity"], 4, "{feed}");
    }
    drop(holder);
}

#[tokio::test]
async fn a_plan_that_does_not_state_its_units_is_not_an_unlimited_plan() {
    for plan in [
        "empty-object",
        "no-concurrency",
        "text-concurrency",
        "not-json",
    ] {
        let emulator = emulator().await;
        switch(&emulator, "plan", plan).await;
        switch(&emulator, "feed", "only-pings").await;
        let gateway = Gateway::with(emulator.address, |config| config.units.units = None).await;
        // The limit is unknown, so all calls are sent, and the gateway learns the limit from the
        // refusals.
        let call = || async {
            gateway
                .ask(Door::RestUnary, &prompt(MODEL, "Say hello in 20 words"))
                .await
                .ok()
        };
        join_all((0..20).map(|_| call())).await;
        let view = gateway.units("any").await;
        assert!(view["refusals"].as_u64() <= Some(20), "{plan}: {view}");
        assert_eq!(view["capacity"], 4, "{plan}: {view}");
        let before = view["refusals"].clone();
        join_all((0..20).map(|_| call())).await;
        let view = gateway.units("any").await;
        assert_eq!(view["refusals"], before, "{plan}: the limit is known");
    }
}

#[tokio::test]
async fn units_are_learned_even_if_the_plan_never_arrives() {
    let feeds = Arc::<AtomicUsize>::default();
    let feed = async move || {
        if feeds.fetch_add(1, Ordering::Relaxed) == 0 {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let snapshot = json!({"limit": 3, "used_cost": 0, "request_count": 0, "requests": []});
        let first = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(format!(
            "data: {snapshot}\n\n"
        ))]);
        let events = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        (
            [(CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(events),
        )
            .into_response()
    };
    let router = Router::new()
        .route("/account/concurrency/stream", get(feed))
        .route("/v1/plan", get(std::future::pending::<String>))
        .route(
            "/v1/models",
            get(async || {
                (
                    [(CONTENT_TYPE, "application/json")],
                    json!({"data": []}).to_string(),
                )
            }),
        )
        .route(
            "/v1/chat/completions",
            post(async || {
                (
                    [(CONTENT_TYPE, "application/json")],
                    whole("hello").to_string(),
                )
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let gateway = Gateway::with(address, |config| {
        config.units.units = None;
        config.upstream.first_token_timeout = PATIENCE * 4;
    })
    .await;
    assert_eq!(
        gateway
            .ask(Door::RestUnary, &prompt("org/first-8b", "hi"))
            .await
            .ok()
            .content,
        "hello"
    );
    poll::until("the feed is asked for again", async || {
        let get = http().get(gateway.url("/v1/concurrency/stream")).send();
        let event = get.await.unwrap().chunk().await.unwrap();
        let event = String::from_utf8(event.unwrap_or_default().to_vec()).unwrap();
        event.contains(r#""capacity":3"#)
    })
    .await;
}

fn good(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(vec![chunk("b"), finish()])
    } else {
        Reply::Json(200, whole("b"))
    }
}

fn busy(retry_after: u64) -> Reply {
    let error = json!({"error": {"message": "No valid Executor", "type": "x", "param": null,
        "code": null}});
    let head = format!("503 x\r\ncontent-type: application/json\r\nretry-after: {retry_after}");
    Reply::Raw(head, error.to_string().into_bytes())
}

/// A gateway with four units, in front of two models that each cost all four.
async fn retrying(replies: impl IntoIterator<Item = Reply>) -> (Scripted, Gateway) {
    let upstream = Scripted::first(replies).await;
    let model = |id: &str| json!({"id": id, "concurrency_cost": 4});
    upstream.set_catalogue(json!({"data": [model("org/busy"), model("org/other")]}));
    let gateway = Gateway::with(upstream.address, |config| {
        config.units.units = Some(4);
        config.upstream.retries = 3;
        config.models.circuit_failures = 5;
    })
    .await;
    (upstream, gateway)
}

#[tokio::test(start_paused = true)]
async fn units_are_not_held_while_a_call_waits_for_its_retry() {
    for door in [
        Door::RestUnary,
        Door::RestStream,
        Door::GrpcUnary,
        Door::GrpcStream,
    ] {
        let (upstream, gateway) = retrying([busy(5), good(door)]).await;
        let started = Instant::now();
        let (first, other) = tokio::join!(
            async {
                let answer = gateway.ask(door, &prompt("org/busy", "hi")).await.ok();
                (started.elapsed(), answer.waited_ms)
            },
            async {
                poll::until("upstream is asked", async || {
                    !upstream.requests().is_empty()
                })
                .await;
                let answer = gateway.ask(door, &prompt("org/other", "hi")).await.ok();
                (started.elapsed(), answer.waited_ms)
            }
        );
        assert!(
            other.0 < Duration::from_secs(1),
            "{door:?}: the units are free: {other:?}"
        );
        assert!(
            first.0 >= Duration::from_secs(5),
            "{door:?}: not before its Retry-After: {first:?}"
        );
        assert!(
            first.1 < Some(1000),
            "{door:?}: that was no wait for units: {first:?}"
        );
        assert_eq!(upstream.requests().len(), 3, "{door:?}");
        let units = gateway.units("any").await;
        assert!(
            units["in_use"] == 0 && units["settling"] == 0,
            "{door:?}: {units}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_retry_is_first_in_the_queue_and_keeps_its_deadline() {
    let door = Door::RestUnary;
    let (upstream, gateway) = retrying([busy(5), good(door)]).await;
    upstream.set_reply_for_model(Some(("org/other", Reply::Silence)));
    let headers = [("x-request-timeout-ms", "9000")];
    let started = Instant::now();
    let (busy_prompt, other_prompt) = (prompt("org/busy", "hi"), prompt("org/other", "hi"));
    let busy_call = gateway.ask_with(door, &busy_prompt, &headers);
    let others = async {
        poll::until("upstream is asked", async || {
            !upstream.requests().is_empty()
        })
        .await;
        // One call holds the units for seven seconds, and another call waits behind it.
        let holder = timeout(Duration::from_secs(7), gateway.ask(door, &other_prompt));
        let waiting = timeout(Duration::from_secs(20), gateway.ask(door, &other_prompt));
        tokio::join!(holder, waiting)
    };
    let (answer, _) = tokio::join!(busy_call, others);
    let answer = answer.ok();
    assert!(
        (7..9).contains(&started.elapsed().as_secs().min(8)),
        "{:?}",
        started.elapsed()
    );
    assert!(
        answer.waited_ms >= Some(1500),
        "it waited for units after its five seconds: {:?}",
        answer.waited_ms
    );

    // With less time, the call ends with its deadline.
    let (upstream, gateway) = retrying([busy(2)]).await;
    upstream.set_reply_for_model(Some(("org/other", Reply::Silence)));
    let started = Instant::now();
    let busy_call = async {
        let answer = gateway
            .ask_with(
                door,
                &prompt("org/busy", "hi"),
                &[("x-request-timeout-ms", "4000")],
            )
            .await;
        answer.failed(Kind::Timeout, "deadline_exceeded");
        assert_eq!(started.elapsed().as_secs(), 4);
    };
    let other = async {
        poll::until("upstream is asked", async || {
            !upstream.requests().is_empty()
        })
        .await;
        let _ = timeout(
            Duration::from_secs(20),
            gateway.ask(door, &prompt("org/other", "hi")),
        )
        .await;
    };
    tokio::join!(busy_call, other);
    sleep(Duration::from_secs(1)).await;
    let units = gateway.units("any").await;
    assert!(
        units["in_use"] == 0 && units["settling"] == 0 && units["queued"]["default"] == 0,
        "{units}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_queue_timeout_does_not_restart_for_a_fallback_after_a_refusal() {
    let (upstream, gateway, holder) =
        taken(|config| config.units.queue_timeout = Duration::from_secs(10)).await;
    let message =
        "This user has 1 active units; this request requires 1 units (limit: 1, over by 1)";
    let error = json!({"error": {"message": message, "type": "x", "param": null,
        "code": "concurrency_limit_exceeded"}});
    let head = "429 x\r\ncontent-type: application/json\r\nretry-after: 20".to_owned();
    upstream.set_reply(Reply::Raw(head, error.to_string().into_bytes()));
    let started = Instant::now();
    let headers = [("x-featherwire-fallback", "org/second-8b")];
    let request = prompt(MODEL, "hi");
    let (answer, ()) = tokio::join!(
        gateway.ask_with(Door::RestUnary, &request, &headers),
        async {
            sleep(Duration::from_secs(6)).await;
            drop(holder);
        }
    );
    let failure = answer.failed(Kind::Saturated, "concurrency_limit_exceeded");
    assert!(
        failure.message.contains("org/second-8b (queue_timeout)"),
        "{failure:?}"
    );
    assert_eq!(started.elapsed().as_secs(), 10, "of both together");
}
