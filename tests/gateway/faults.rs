//! The most common faults of the emulator, through every door: the right error, and nothing left
//! afterwards. `emulator::gateway` calls every fault.

use std::time::Duration;

use featherwire::error::Kind;

use crate::support::{Door, Emulator, Gateway, MODEL, prompt};

/// The error for each model that fails on demand, if the fault comes before the first token.
const BEFORE: &[(&str, Kind, &str, &str)] = &[
    (
        "emulator/cold",
        Kind::NotReady,
        "model_not_ready",
        "try again later",
    ),
    (
        "emulator/gated",
        Kind::Forbidden,
        "model_gated",
        "accept its licence",
    ),
    (
        "emulator/no-plan-access",
        Kind::Forbidden,
        "plan_without_api_access",
        "change the plan",
    ),
    (
        "emulator/not-on-plan",
        Kind::Forbidden,
        "model_not_on_plan",
        "change the plan",
    ),
    (
        "emulator/401",
        Kind::Misconfigured,
        "featherless_api_key_rejected",
        "FEATHERLESS_API_KEY",
    ),
    (
        "emulator/429",
        Kind::Saturated,
        "concurrency_limit_exceeded",
        "try again when a request has ended",
    ),
    (
        "emulator/500",
        Kind::Upstream,
        "upstream_error",
        "Featherless failed",
    ),
    (
        "emulator/bare-error",
        Kind::Upstream,
        "upstream_error",
        "Featherless failed",
    ),
    (
        "emulator/503",
        Kind::Unavailable,
        "no_capacity",
        "use another model",
    ),
    (
        "emulator/524-html",
        Kind::Timeout,
        "upstream_timeout",
        "stream the answer",
    ),
    (
        "emulator/html-200",
        Kind::Upstream,
        "upstream_bad_answer",
        "FEATHERLESS_BASE_URL",
    ),
    (
        "emulator/redirect",
        Kind::Upstream,
        "upstream_redirect",
        "FEATHERLESS_BASE_URL",
    ),
    (
        "emulator/slow-headers",
        Kind::Timeout,
        "first_token_timeout",
        "smaller model",
    ),
    (
        "no-such/model",
        Kind::NotFound,
        "model_not_found",
        "case-sensitive",
    ),
    (
        "meta-llama/meta-llama-3.1-8b-instruct",
        Kind::NotFound,
        "model_not_found",
        "case-sensitive",
    ),
];

/// The error for faults after some tokens, only in streams.
const AFTER: &[(&str, Kind, &str)] = &[
    ("emulator/silent", Kind::Timeout, "first_token_timeout"),
    ("emulator/stall-after-5", Kind::Timeout, "stream_stalled"),
    (
        "emulator/cut-after-5",
        Kind::Upstream,
        "upstream_stream_cut",
    ),
    (
        "emulator/eof-after-5",
        Kind::Upstream,
        "upstream_stream_cut",
    ),
    (
        "emulator/error-in-stream",
        Kind::Upstream,
        "upstream_stream_failed",
    ),
    (
        "emulator/error-object-in-stream",
        Kind::Upstream,
        "upstream_stream_failed",
    ),
    (
        "emulator/429-in-stream",
        Kind::Saturated,
        "concurrency_limit_exceeded",
    ),
    (
        "emulator/broken-json",
        Kind::Upstream,
        "upstream_bad_answer",
    ),
];

/// Models with unusual but valid answers.
const FINE: &[&str] = &[
    "emulator/no-done",
    "emulator/giant-line",
    "emulator/crlf",
    "emulator/split",
    "emulator/burst",
    "emulator/think",
    "emulator/odd",
];

/// A gateway with a short timeout for faults with this code, if one ends them.
async fn waiting_for(emulator: &Emulator, code: &str) -> Gateway {
    let short = Duration::from_millis(500);
    Gateway::with(emulator.address, |config| match code {
        "first_token_timeout" => config.upstream.first_token_timeout = short,
        "stream_stalled" => config.upstream.idle_timeout = short,
        _ => {}
    })
    .await
}

#[tokio::test]
async fn a_fault_before_the_first_token_has_its_status_and_its_advice_at_every_door() {
    let emulator = Emulator::start().await;
    for door in Door::ALL {
        for (model, kind, code, advice) in BEFORE {
            let gateway = waiting_for(&emulator, code).await;
            let failure = gateway
                .ask(door, &prompt(model, "hi"))
                .await
                .failed(*kind, code);
            assert!(
                failure.message.contains(advice),
                "{door:?} {model}: {failure:?}"
            );
            assert!(
                !failure.message.contains('<'),
                "a web page is never passed on: {failure:?}"
            );
            if *kind == Kind::Forbidden && matches!(door, Door::RestUnary | Door::RestStream) {
                assert!(
                    failure.message.contains("See https://"),
                    "the error has a link to the next step: {failure:?}"
                );
            }
            if *kind == Kind::Saturated {
                assert_eq!(failure.retry_after_seconds, Some(2), "{door:?}");
            }
        }
        Gateway::to(emulator.address)
            .await
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .ok();
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn a_fault_after_some_tokens_never_looks_like_an_end() {
    let emulator = Emulator::start().await;
    for door in Door::STREAMS {
        for (model, kind, code) in AFTER {
            let gateway = waiting_for(&emulator, code).await;
            gateway
                .ask(door, &prompt(model, "hi"))
                .await
                .failed(*kind, code);
        }
        Gateway::to(emulator.address)
            .await
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .ok();
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn an_unusual_answer_is_accepted() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        for model in FINE {
            let answer = gateway
                .ask(door, &prompt(model, "Say hello in 5 words"))
                .await
                .ok();
            assert!(
                !answer.content.is_empty() || !answer.tool_calls.is_empty(),
                "{door:?} {model}"
            );
        }
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn units_are_released_when_the_caller_disconnects() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        let request = prompt("emulator/stall-after-5", "hi");
        let call = gateway.ask(door, &request);
        assert!(
            tokio::time::timeout(Duration::from_millis(100), call)
                .await
                .is_err(),
            "{door:?}: it stalls"
        );
        emulator.wait_until_idle().await;
    }
}
