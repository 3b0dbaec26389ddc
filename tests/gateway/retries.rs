//! The failures that are retried, the number of retries, and the failures that are not retried.

use std::time::Duration;

use featherwire::error::Kind;
use serde_json::json;

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt,
    scripted::{chunk, event, finish, whole},
};

async fn persistent(upstream: std::net::SocketAddr) -> Gateway {
    Gateway::with(upstream, |config| {
        config.upstream.retries = 3;
        config.upstream.retry_wait = Duration::from_millis(1);
    })
    .await
}

fn error(status: u16, message: &str) -> Reply {
    Reply::Json(
        status,
        json!({"error": {"message": message, "type": "t", "param": null, "code": null}}),
    )
}

/// An HTML error page.
fn page(status: u16) -> Reply {
    Reply::Raw(
        format!("{status} x\r\ncontent-type: text/html"),
        b"<html>".to_vec(),
    )
}

fn answer(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(vec![chunk("hi"), finish(), "[DONE]".to_owned()])
    } else {
        Reply::Json(200, whole("hi"))
    }
}

#[tokio::test]
async fn a_short_failure_before_the_answer_is_hidden_from_the_caller() {
    for door in Door::ALL {
        let none = || error(503, "No valid Executor");
        for (troubles, times) in [
            (vec![none()], 2),
            (vec![none(), none(), none()], 4),
            (vec![error(500, "boom")], 2),
            (vec![Reply::HangUp, Reply::HangUp], 3),
            (vec![error(502, "boom")], 2),
            (vec![page(502)], 2),
            (vec![page(520), page(523), page(525)], 4),
            (vec![error(529, "overloaded")], 2),
        ] {
            let upstream = Scripted::first(troubles.into_iter().chain([answer(door)])).await;
            let gateway = persistent(upstream.address).await;
            assert_eq!(
                gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
                "hi"
            );
            let seen = upstream.requests();
            assert_eq!(seen.len(), times, "{door:?}");
            assert!(
                seen.iter().all(|request| request.body == seen[0].body),
                "the same request each time"
            );
        }
    }
}

#[tokio::test]
async fn a_lasting_failure_is_returned_after_three_retries_and_an_internal_error_after_one() {
    for door in Door::ALL {
        for (reply, times, kind, code) in [
            (
                error(503, "No valid Executor"),
                4,
                Kind::Unavailable,
                "no_capacity",
            ),
            (Reply::HangUp, 4, Kind::Upstream, "upstream_closed"),
            (error(500, "boom"), 2, Kind::Upstream, "upstream_error"),
            (page(504), 1, Kind::Timeout, "upstream_timeout"),
            (page(524), 1, Kind::Timeout, "upstream_timeout"),
        ] {
            let upstream = Scripted::always(reply).await;
            let gateway = persistent(upstream.address).await;
            gateway
                .ask(door, &prompt(MODEL, "hi"))
                .await
                .failed(kind, code);
            assert_eq!(upstream.requests().len(), times, "{door:?} {code}");
        }
    }
}

/// Rate-limit 429s of every shape, without numbers of units.
fn rate_limits(retry_after: &str) -> Vec<Reply> {
    let limit = json!({"error": {"message": "Too many requests, limit: 60 per minute",
        "type": "rate_limit_error",
        "param": null, "code": "rate_limit_exceeded"}});
    let bodies = [
        ("application/json", limit.to_string()),
        (
            "application/json",
            json!({"statusCode": 429, "message": "ThrottlerException"}).to_string(),
        ),
        ("application/json", String::new()),
        (
            "text/html",
            "<html><h1>Too many requests</h1></html>".to_owned(),
        ),
        ("text/plain", "slow down".to_owned()),
    ];
    let reply = |(media_type, body): (&str, String)| {
        let head = format!("429 Slow\r\ncontent-type: {media_type}\r\nretry-after: {retry_after}");
        Reply::Raw(head, body.into_bytes())
    };
    bodies.into_iter().map(reply).collect()
}

/// A gateway that also schedules units, which a rate limit doesn't concern.
async fn persistent_with_units(upstream: &Scripted) -> Gateway {
    upstream.set_catalogue(json!({"data": []}));
    Gateway::with(upstream.address, |config| {
        config.upstream.retries = 3;
        config.upstream.retry_wait = Duration::from_millis(1);
        config.units.units = Some(8);
    })
    .await
}

#[tokio::test]
async fn a_rate_limit_is_retried_then_a_fallback_is_tried_and_then_the_error_is_returned() {
    for door in Door::ALL {
        for limit in 0..rate_limits("0").len() {
            let limits = |times: usize| (0..times).map(move |_| rate_limits("0").remove(limit));
            let upstream = Scripted::first(limits(3).chain([answer(door)])).await;
            let gateway = persistent_with_units(&upstream).await;
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(upstream.requests().len(), 4, "{door:?} {limit}");

            let upstream = Scripted::first(limits(4).chain([answer(door)]).chain(limits(4))).await;
            let gateway = persistent_with_units(&upstream).await;
            let headers = [("x-featherwire-fallback", "org/second-8b")];
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &headers)
                .await
                .ok();
            assert_eq!(
                answer.served_by.as_deref(),
                Some("org/second-8b"),
                "{door:?} {limit}"
            );
            let failure = gateway.ask(door, &prompt(MODEL, "hi")).await;
            failure.failed(Kind::Saturated, "upstream_rate_limited");
            assert_eq!(upstream.requests().len(), 9, "{door:?} {limit}");
            assert_eq!(
                gateway.units("any").await["refusals"],
                0,
                "{door:?} {limit}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_limits_retry_after_is_honoured_if_short_and_returned_if_long() {
    for door in Door::ALL {
        for limit in 0..rate_limits("0").len() {
            let limited = |retry_after| rate_limits(retry_after).remove(limit);
            let upstream = Scripted::first([
                limited("3"),
                answer(door),
                limited("60"),
                limited("60"),
                answer(door),
            ])
            .await;
            let gateway = persistent_with_units(&upstream).await;
            let started = tokio::time::Instant::now();
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert!(
                started.elapsed() >= Duration::from_secs(3),
                "{door:?} {limit}: {:?}",
                started.elapsed()
            );
            let started = tokio::time::Instant::now();
            let failure = gateway.ask(door, &prompt(MODEL, "hi")).await;
            let failure = failure.failed(Kind::Saturated, "upstream_rate_limited");
            assert_eq!(failure.retry_after_seconds, Some(60), "{door:?} {limit}");
            let headers = [("x-featherwire-fallback", "org/second-8b")];
            let answer = gateway
                .ask_with(door, &prompt(MODEL, "hi"), &headers)
                .await
                .ok();
            assert_eq!(
                answer.tried,
                Some(format!("{MODEL}=upstream_rate_limited")),
                "{door:?} {limit}"
            );
            assert!(
                started.elapsed() < Duration::from_secs(1),
                "{door:?} {limit}: {:?}",
                started.elapsed()
            );
            assert_eq!(upstream.requests().len(), 5, "{door:?} {limit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_milliseconds_is_kept_and_wins_over_one_in_seconds() {
    let busy = |waits: &str| {
        let head = format!("503 Busy\r\ncontent-type: application/json\r\n{waits}");
        Reply::Raw(
            head,
            br#"{"error":{"message":"No valid Executor"}}"#.to_vec(),
        )
    };
    for door in Door::ALL {
        for waits in [
            "retry-after-ms: 2500",
            "retry-after: 60\r\nretry-after-ms: 2500",
        ] {
            let upstream = Scripted::first([busy(waits), answer(door)]).await;
            let gateway = persistent(upstream.address).await;
            let started = tokio::time::Instant::now();
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert!(
                started.elapsed() >= Duration::from_millis(2500),
                "{door:?}: {:?}",
                started.elapsed()
            );
        }
        let upstream = Scripted::always(busy("retry-after: 1\r\nretry-after-ms: 60500")).await;
        let gateway = persistent(upstream.address).await;
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
        // HTTP has whole seconds, rounded up so that a retry is not too early. gRPC has fractions,
        // which the test ignores.
        assert!(
            matches!(failure.retry_after_seconds, Some(60 | 61)),
            "{door:?}: {:?}",
            failure.retry_after_seconds
        );
        assert_eq!(upstream.requests().len(), 1, "{door:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_before_its_start_is_retried() {
    let role = event(&json!({"role": "assistant", "content": ""}), None);
    for door in Door::STREAMS {
        for trouble in [
            Reply::Events(vec![]),
            Reply::EventsThenCut(vec![]),
            Reply::Events(vec![role.clone()]),
        ] {
            let upstream = Scripted::first([trouble.clone(), trouble, answer(door)]).await;
            let gateway = persistent(upstream.address).await;
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(
                (answer.content.as_str(), answer.pieces),
                ("hi", 2),
                "no part of the other attempts"
            );
            assert_eq!(upstream.requests().len(), 3, "{door:?}");
        }
        // The model has already worked on the request, and would do so again.
        let error = json!({"error": "no data in 30000ms"}).to_string();
        let upstream = Scripted::always(Reply::Events(vec![error])).await;
        let gateway = persistent(upstream.address).await;
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_stream_failed");
        assert_eq!(upstream.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_is_never_retried() {
    for (reply, kind, code) in [
        (error(400, "bad"), Kind::Invalid, "upstream_refused"),
        (
            error(400, "The model is not ready for inference"),
            Kind::NotReady,
            "model_not_ready",
        ),
        (
            error(401, "who"),
            Kind::Misconfigured,
            "featherless_api_key_rejected",
        ),
        (error(403, "no"), Kind::Forbidden, "forbidden"),
        (
            error(404, "Model not found"),
            Kind::NotFound,
            "model_not_found",
        ),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = persistent(upstream.address).await;
        gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .failed(kind, code);
        let chats = upstream
            .requests()
            .iter()
            .filter(|seen| seen.head.starts_with("POST"))
            .count();
        assert_eq!(chats, 1, "{code}");
    }
}

#[tokio::test]
async fn nothing_is_retried_after_the_answer_has_started() {
    for door in Door::STREAMS {
        let upstream =
            Scripted::first([Reply::EventsThenCut(vec![chunk("a")]), answer(door)]).await;
        let gateway = persistent(upstream.address).await;
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_stream_cut");
        assert_eq!(
            upstream.requests().len(),
            1,
            "{door:?}: two answers are never joined"
        );
    }
}

#[tokio::test]
async fn a_silent_upstream_is_not_retried_and_a_deadline_ends_the_wait() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.retries = 3;
        // Long enough to send a request on a busy machine.
        config.upstream.first_token_timeout = Duration::from_secs(2);
    })
    .await;
    gateway
        .ask(Door::RestStream, &prompt(MODEL, "hi"))
        .await
        .failed(Kind::Timeout, "first_token_timeout");
    upstream.wait_for_request().await;
    assert_eq!((upstream.requests().len(), upstream.connections()), (1, 1));

    let full =
        json!({"error": {"message": "full", "code": "concurrency_limit_exceeded"}}).to_string();
    let head = "429 Full\r\ncontent-type: application/json\r\nretry-after: 5".to_owned();
    let upstream = Scripted::always(Reply::Raw(head, full.into_bytes())).await;
    let gateway = persistent(upstream.address).await;
    let answer = gateway
        .ask_with(
            Door::RestUnary,
            &prompt(MODEL, "hi"),
            &[("x-request-timeout-ms", "4900")],
        )
        .await;
    let failure = answer.failed(Kind::Saturated, "concurrency_limit_exceeded");
    assert_eq!(
        failure.retry_after_seconds,
        Some(5),
        "at once, rather than a deadline that passes while waiting"
    );
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_while_waiting_for_a_retry_ends_the_call() {
    let upstream = Scripted::always(error(503, "No valid Executor")).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.retries = 3;
        config.upstream.retry_wait = Duration::from_millis(400);
    })
    .await;
    let request = prompt(MODEL, "hi");
    tokio::select! {
        _ = gateway.ask(Door::GrpcUnary, &request) => panic!("it waits for its retry"),
        () = upstream.wait_for_request() => {}
    }
    assert_eq!(gateway.stop().await, featherwire::server::Outcome::Drained);
    assert_eq!(upstream.requests().len(), 1);
}

#[tokio::test]
async fn the_emulators_short_failures_are_hidden_by_default() {
    let emulator = Emulator::start().await;
    let gateway = persistent(emulator.address).await;
    for door in Door::ALL {
        for model in ["emulator/503-then-ok", "emulator/500-then-ok"] {
            gateway.ask(door, &prompt(model, "hi")).await.ok();
        }
    }
    emulator.wait_until_idle().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    const CALLS: usize = 200;
    let upstream = Scripted::always(error(503, "No valid Executor")).await;
    let gateway = persistent(upstream.address).await;
    for _ in 0..CALLS {
        gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
    }
    // A fifth of the calls, and two a second for the ten seconds of the budget.
    let retries = upstream.requests().len() - CALLS;
    assert!(
        (CALLS / 5..=CALLS / 5 + 40).contains(&retries),
        "{retries} retries of {CALLS} calls"
    );
}
