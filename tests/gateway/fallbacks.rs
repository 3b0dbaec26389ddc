//! Another model answers when the one asked for can't; and a model that fails again and again is
//! left alone.

use std::time::Duration;

use featherwire::{config::Fallback, error::Kind};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Door, Gateway, Reply, Scripted,
    door::message,
    gateway::http,
    prompt,
    scripted::{Then, chunk, event, finish, whole},
};

const FIRST: &str = "org/first";
const SECOND: &str = "org/second";
const THIRD: &str = "org/third";

fn refused(status: u16, code: &str, message: &str) -> Reply {
    Reply::Json(
        status,
        json!({"error": {"message": message, "type": "x", "param": null, "code": code}}),
    )
}

fn no_capacity() -> Reply {
    refused(503, "", "No valid Executor")
}

fn good(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(vec![chunk("b"), finish()])
    } else {
        Reply::Json(200, whole("b"))
    }
}

/// The models that upstream was asked for, one after the other.
fn asked(upstream: &Scripted) -> Vec<String> {
    let model =
        |seen: &crate::support::scripted::Seen| seen.json()["model"].as_str().unwrap().to_owned();
    upstream
        .seen()
        .iter()
        .filter(|seen| !seen.body.is_empty())
        .map(model)
        .collect()
}

const FALLBACK: &str = "x-featherwire-fallback";

/// A gateway whose first model is left after a moment where its silence is the fault, and which
/// waits for all else.
async fn patient_but_for_silence(upstream: &Scripted, code: &str) -> Gateway {
    Gateway::with(upstream.address, |config| {
        if code == "first_token_timeout" {
            config.models.fallback_first_token_timeout = Duration::from_millis(300);
        }
    })
    .await
}

#[tokio::test]
async fn another_model_cures_what_it_can_at_every_door_and_the_answer_says_who_and_why() {
    let page = || {
        Reply::Raw(
            "504 Gateway Timeout\r\ncontent-type: text/html".to_owned(),
            b"<html>".to_vec(),
        )
    };
    let raw = |status: &str| {
        Reply::Raw(
            format!("{status} x\r\ncontent-type: text/html"),
            b"<html>".to_vec(),
        )
    };
    let cases = [
        (no_capacity(), "no_capacity"),
        (
            refused(400, "", "The model is not ready for inference"),
            "model_not_ready",
        ),
        (
            refused(403, "model_gated_needs_oauth", "This is a gated model"),
            "model_gated",
        ),
        (
            refused(403, "model_not_on_plan", "not on your plan"),
            "model_not_on_plan",
        ),
        (refused(500, "", "inside"), "upstream_error"),
        (page(), "upstream_timeout"),
        (raw("429"), "upstream_rate_limited"),
        (Reply::HangUp, "upstream_closed"),
        (Reply::Silence, "first_token_timeout"),
    ];
    for door in Door::ALL {
        for (failure, code) in &cases {
            let upstream = Scripted::first([failure.clone(), good(door)]).await;
            let gateway = patient_but_for_silence(&upstream, code).await;
            let answer = gateway
                .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
                .await
                .ok();
            assert_eq!(answer.content, "b");
            assert_eq!(answer.served_by.as_deref(), Some(SECOND), "{door:?} {code}");
            assert_eq!(answer.tried, Some(format!("{FIRST}={code}")), "{door:?}");
            assert_eq!(asked(&upstream), [FIRST, SECOND]);
            assert!(
                upstream
                    .seen()
                    .iter()
                    .all(|seen| seen.header(FALLBACK).is_none()),
                "it is ours alone"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_with_its_first_event_has_not_begun() {
    let error = json!({"error": "no data in 30000ms"}).to_string();
    for door in Door::STREAMS {
        let upstream = Scripted::first([Reply::Events(vec![error.clone()]), good(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await
            .ok();
        assert_eq!(
            answer.tried,
            Some(format!("{FIRST}=upstream_stream_failed"))
        );
        // One that has begun stays with its model, to its bitter end.
        let begun = Reply::Events(vec![chunk("a"), error.clone()]);
        let upstream = Scripted::first([begun, good(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await;
        assert_eq!(answer.content, "a");
        answer.failed(Kind::Upstream, "upstream_stream_failed");
        assert_eq!(asked(&upstream), [FIRST]);
    }
}

#[tokio::test]
async fn a_stream_of_which_only_the_speaker_has_come_has_not_begun() {
    let role = || vec![event(&json!({"role": "assistant", "content": ""}), None)];
    for door in Door::STREAMS {
        for (reply, code) in [
            (Reply::EventsThenSilence(role()), "first_token_timeout"),
            (
                Reply::Events([role(), vec![json!({"error": "no data"}).to_string()]].concat()),
                "upstream_stream_failed",
            ),
        ] {
            let upstream = Scripted::first([reply, good(door)]).await;
            let gateway = patient_but_for_silence(&upstream, code).await;
            let answer = gateway
                .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
                .await
                .ok();
            assert_eq!(
                (answer.content.as_str(), answer.tried),
                ("b", Some(format!("{FIRST}={code}")))
            );
        }
        let whole = [role(), vec![chunk("b"), finish()]].concat();
        let upstream = Scripted::always(Reply::Events(whole)).await;
        let answer = Gateway::to(upstream.address)
            .await
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .ok();
        assert_eq!(
            (answer.role.as_str(), answer.pieces),
            ("assistant", 3),
            "nothing of it is lost"
        );
    }
}

#[tokio::test]
async fn pieces_without_anything_in_them_do_not_begin_an_answer_and_unknown_members_do() {
    let empty = || vec![event(&json!({"content": ""}), None); 20];
    let failed = || json!({"error": "no data"}).to_string();
    let unknown = event(&json!({"content": "", "thinking": "hm"}), None);
    for door in Door::STREAMS {
        let first = Reply::Events([empty(), vec![failed()]].concat());
        let upstream = Scripted::first([first, good(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await
            .ok();
        assert_eq!(
            (answer.content.as_str(), answer.pieces),
            ("b", 2),
            "nothing of the first"
        );
        let first = Reply::Events([empty(), vec![unknown.clone(), failed()]].concat());
        let upstream = Scripted::first([first, good(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await;
        assert_eq!(
            answer.pieces, 21,
            "what may be the answer is passed on, with all that came before"
        );
        answer.failed(Kind::Upstream, "upstream_stream_failed");
    }
}

#[tokio::test]
async fn a_text_of_which_nothing_has_come_has_not_begun() {
    let piece = |text: &str, reason: Option<&str>| {
        json!({"id": "c", "object": "text_completion", "created": 1, "model": SECOND,
            "choices": [{"index": 0, "text": text, "finish_reason": reason, "logprobs": null}]})
        .to_string()
    };
    let failed = json!({"error": "no data"}).to_string();
    let good = Reply::Events(vec![piece("b", Some("stop")), "[DONE]".to_owned()]);
    let upstream = Scripted::first([Reply::Events(vec![piece("", None), failed]), good]).await;
    let gateway = Gateway::to(upstream.address).await;
    let post = http()
        .post(gateway.url("/v1/completions"))
        .header("content-type", "application/json");
    let body = json!({"model": FIRST, "prompt": "x", "stream": true}).to_string();
    let response = post
        .header(FALLBACK, SECOND)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.headers()["x-featherwire-tried"],
        format!("{FIRST}=upstream_stream_failed")
    );
    let text = response.text().await.unwrap();
    assert!(
        text.contains(r#""text":"b""#) && text.ends_with("[DONE]\n\n"),
        "{text}"
    );
}

#[tokio::test]
async fn no_other_model_is_a_way_around_a_refusal_that_calls_itself_a_success() {
    let refusals = [
        (
            json!({"message": "no", "type": "invalid_request_error", "code": "content_policy_violation"}),
            "content_policy_violation",
        ),
        (
            json!({"message": "no", "type": "server_error", "code": "content_filter"}),
            "content_filter",
        ),
        (
            json!({"message": "temperature", "type": "invalid_request_error", "code": null}),
            "upstream_refused",
        ),
    ];
    for (error, code) in refusals {
        let body = json!({"error": error});
        for door in [
            Door::RestUnary,
            Door::GrpcUnary,
            Door::RestStream,
            Door::GrpcStream,
        ] {
            let reply = if door.is_stream() {
                Reply::Events(vec![body.to_string()])
            } else {
                Reply::Json(200, body.clone())
            };
            let upstream = Scripted::always(reply).await;
            let gateway = Gateway::to(upstream.address).await;
            gateway
                .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
                .await
                .failed(Kind::Invalid, code);
            assert_eq!(asked(&upstream), [FIRST], "{code}");
        }
    }
}

#[tokio::test]
async fn no_other_model_is_a_way_around_a_refusal() {
    let cases = [
        (
            refused(400, "content_policy_violation", "not allowed"),
            Kind::Invalid,
            "content_policy_violation",
        ),
        (
            refused(400, "no_capacity", "a name is no cure"),
            Kind::Invalid,
            "no_capacity",
        ),
        (
            refused(400, "", "bad request"),
            Kind::Invalid,
            "upstream_refused",
        ),
        (
            refused(401, "unauthorized", "sign in"),
            Kind::Misconfigured,
            "featherless_api_key_rejected",
        ),
        (
            refused(403, "", "no API access enabled"),
            Kind::Forbidden,
            "plan_without_api_access",
        ),
        (
            refused(404, "model_not_found", "Model not found"),
            Kind::NotFound,
            "model_not_found",
        ),
    ];
    for (reply, kind, code) in cases {
        for door in [Door::RestUnary, Door::GrpcStream] {
            let upstream = Scripted::always(reply.clone()).await;
            let gateway = Gateway::to(upstream.address).await;
            gateway
                .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
                .await
                .failed(kind, code);
            assert_eq!(asked(&upstream), [FIRST], "{code}");
        }
    }
}

#[tokio::test]
async fn a_context_too_long_is_cured_by_any_model_that_is_not_known_to_be_as_short() {
    let model = |id: &str, context: i32| json!({"id": id, "context_length": context});
    let catalogue = json!({"data": [model(FIRST, 8192), model(SECOND, 4096), model(THIRD, 32768)]});
    let too_long = refused(
        400,
        "context_length_exceeded",
        "maximum context length is 8192",
    );
    let upstream = Scripted::first([
        too_long.clone(),
        Reply::Json(200, catalogue.clone()),
        Reply::Json(200, whole("b")),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let list = format!("{SECOND}, {THIRD}");
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, &list)])
        .await
        .ok();
    assert_eq!(answer.served_by.as_deref(), Some(THIRD));
    assert_eq!(asked(&upstream), [FIRST, THIRD]);

    // One that the catalogue doesn't know was named on purpose.
    let upstream = Scripted::first([
        too_long.clone(),
        Reply::Json(200, catalogue.clone()),
        Reply::Json(200, whole("b")),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let list = format!("{SECOND},org/unknown,{THIRD}");
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, &list)])
        .await
        .ok();
    assert_eq!(answer.served_by.as_deref(), Some("org/unknown"));
    assert_eq!(asked(&upstream), [FIRST, "org/unknown"]);

    // Nothing is known of the model that refused either.
    let none = Reply::Json(200, json!({"data": []}));
    let upstream = Scripted::first([too_long.clone(), none, Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::to(upstream.address).await;
    gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
        .await
        .ok();
    assert_eq!(asked(&upstream), [FIRST, SECOND]);

    let upstream = Scripted::first([
        too_long,
        Reply::Json(200, catalogue),
        Reply::Json(200, whole("b")),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
        .await;
    answer.failed(Kind::Invalid, "context_length_exceeded");
    assert_eq!(asked(&upstream), [FIRST]);
}

#[tokio::test]
async fn when_all_fail_the_error_is_that_of_the_model_asked_for_and_names_the_others() {
    let cold = refused(400, "", "not ready for inference");
    let upstream = Scripted::first([no_capacity(), cold.clone(), refused(400, "", "bad")]).await;
    let gateway = Gateway::to(upstream.address).await;
    let list = format!("{SECOND},{THIRD}");
    let answer = gateway
        .ask_with(Door::GrpcUnary, &prompt(FIRST, "hi"), &[(FALLBACK, &list)])
        .await;
    let failure = answer.failed(Kind::Unavailable, "no_capacity");
    assert!(failure.message.contains(FIRST), "{failure:?}");
    assert!(
        failure
            .message
            .contains("org/second (model_not_ready), org/third (upstream_refused)"),
        "{failure:?}"
    );
    assert_eq!(asked(&upstream), [FIRST, SECOND, THIRD]);
}

#[tokio::test]
async fn a_models_own_fallbacks_count_unless_the_call_says_otherwise() {
    let ask = async |header: Option<&str>| {
        let upstream = Scripted::first([no_capacity(), Reply::Json(200, whole("b"))]).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.models.fallbacks = vec![Fallback {
                model: FIRST.to_owned(),
                others: vec![SECOND.to_owned()],
            }];
        })
        .await;
        let headers: Vec<_> = header.iter().map(|value| (FALLBACK, *value)).collect();
        let answer = gateway
            .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &headers)
            .await;
        (answer.served_by, asked(&upstream))
    };
    assert_eq!(ask(None).await.0.as_deref(), Some(SECOND));
    assert_eq!(ask(Some(THIRD)).await.0.as_deref(), Some(THIRD));
    assert_eq!(ask(Some("none")).await, (None, vec![FIRST.to_owned()]));
    let bad = ["", "a,,b", ",", &["m"; 9].join(",")];
    for value in bad {
        let upstream = Scripted::always(no_capacity()).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, value)])
            .await;
        let failure = answer.failed(Kind::Invalid, "invalid_value");
        assert_eq!(failure.param.as_deref(), Some(FALLBACK), "{value:?}");
        assert_eq!(asked(&upstream).len(), 0);
    }
}

#[tokio::test]
async fn vectors_of_another_model_are_no_answer() {
    let upstream = Scripted::always(no_capacity()).await;
    let gateway = Gateway::to(upstream.address).await;
    let post = http()
        .post(gateway.url("/v1/embeddings"))
        .header("content-type", "application/json");
    let body = json!({"model": FIRST, "input": "x"}).to_string();
    let response = post
        .header(FALLBACK, SECOND)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(asked(&upstream), [FIRST]);
}

#[tokio::test]
async fn a_model_that_fails_again_and_again_is_left_alone_and_probed() {
    let upstream = Scripted::always(no_capacity()).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 3;
        config.models.circuit_wait = Duration::from_secs(3600);
    })
    .await;
    for door in [Door::RestUnary, Door::GrpcStream, Door::WebUnary] {
        gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
    }
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "circuit_open");
        assert!(
            (3590..=3600).contains(&failure.retry_after_seconds.unwrap()),
            "{failure:?}"
        );
        assert!(
            failure.message.contains(FIRST) && failure.message.contains("no_capacity"),
            "{failure:?}"
        );
    }
    assert_eq!(asked(&upstream).len(), 3, "an open circuit asks nothing");
    upstream.replies(Reply::Json(200, whole("b")));
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
        .await
        .ok();
    assert_eq!(answer.tried.as_deref(), Some("org/first=circuit_open"));
    assert_eq!(asked(&upstream)[3..], [SECOND]);

    let upstream = Scripted::first([no_capacity(), Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = Duration::from_millis(1);
    })
    .await;
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    // Until its time has passed, which is soon.
    while gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .failure
        .is_some()
    {}
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_fallback_that_does_not_exist_is_passed_over() {
    let missing = refused(404, "model_not_found", "Model not found");
    let upstream = Scripted::first([no_capacity(), missing, Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::to(upstream.address).await;
    let list = format!("{SECOND},{THIRD}");
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, &list)])
        .await
        .ok();
    assert_eq!(
        answer.tried.as_deref(),
        Some("org/first=no_capacity, org/second=model_not_found")
    );
    assert_eq!(asked(&upstream), [FIRST, SECOND, THIRD]);
}

/// A gateway whose circuits open after five failures, for long.
async fn strict(upstream: &Scripted) -> Gateway {
    Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 5;
        config.models.circuit_wait = Duration::from_secs(3600);
    })
    .await
}

#[tokio::test]
async fn whatever_breaks_a_model_opens_its_circuit_in_the_middle_of_a_stream_too() {
    let cut = Reply::EventsThenCut(vec![chunk("a")]);
    let half = Reply::Wire(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
            .to_vec(),
        Then::Close,
    );
    let page = Reply::Raw(
        "520 x\r\ncontent-type: text/html".to_owned(),
        b"<html>".to_vec(),
    );
    let via_stream = [("x-featherwire-unary-via-stream", "true")];
    for (door, headers, reply, code) in [
        (
            Door::RestStream,
            &[][..],
            cut.clone(),
            "upstream_stream_cut",
        ),
        (Door::GrpcStream, &[], cut.clone(), "upstream_stream_cut"),
        (
            Door::WebStream,
            &[],
            Reply::EventsThenCut(vec![]),
            "upstream_stream_cut",
        ),
        (Door::GrpcUnary, &via_stream, cut, "upstream_stream_cut"),
        (Door::RestUnary, &[], half, "upstream_answer_cut"),
        (
            Door::RestUnary,
            &[],
            Reply::Json(200, json!({"id": "x"})),
            "upstream_bad_answer",
        ),
        (Door::WebUnary, &[], page, "upstream_error"),
        (Door::RestStream, &[], Reply::HangUp, "upstream_closed"),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = strict(&upstream).await;
        for _ in 0..5 {
            gateway
                .ask_with(door, &prompt(FIRST, "hi"), headers)
                .await
                .failed(Kind::Upstream, code);
        }
        let answer = gateway.ask_with(door, &prompt(FIRST, "hi"), headers).await;
        answer.failed(Kind::Unavailable, "circuit_open");
        assert_eq!(asked(&upstream).len(), 5, "{door:?} {code}");
    }
}

#[tokio::test]
async fn what_says_nothing_of_a_model_opens_no_circuit_and_what_says_that_it_works_closes_the_count()
 {
    let cut = || Reply::EventsThenCut(vec![chunk("a")]);
    // A refusal is the word of a model that works: what failed before it doesn't add up with what
    // fails after.
    let bad = refused(400, "", "bad request");
    let replies = (0..4)
        .map(|_| cut())
        .chain([bad])
        .chain((0..4).map(|_| cut()))
        .chain([good(Door::RestStream)]);
    let upstream = Scripted::first(replies).await;
    let gateway = strict(&upstream).await;
    for _ in 0..9 {
        assert!(
            gateway
                .ask(Door::RestStream, &prompt(FIRST, "hi"))
                .await
                .failure
                .is_some()
        );
    }
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
    for reply in [
        refused(400, "", "The model is not ready for inference"),
        refused(401, "unauthorized", "sign in"),
        Reply::Raw("429 x".to_owned(), Vec::new()),
        Reply::Raw("302 x\r\nlocation: /".to_owned(), Vec::new()),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = strict(&upstream).await;
        for _ in 0..6 {
            let failure = gateway
                .ask(Door::GrpcStream, &prompt(FIRST, "hi"))
                .await
                .failure
                .unwrap();
            assert_ne!(failure.code, "circuit_open");
        }
    }
    // Nor does a caller who leaves.
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let gateway = strict(&upstream).await;
    for _ in 0..6 {
        let body = json!({"model": FIRST, "stream": true, "messages": [{"role": "user", "content": "hi"}]}).to_string();
        let post = http()
            .post(gateway.url("/v1/chat/completions"))
            .header("content-type", "application/json");
        let mut response = post.body(body).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        upstream.closed().await;
    }
    upstream.replies(good(Door::RestStream));
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_probe_is_one_try() {
    for door in [Door::RestUnary, Door::GrpcStream] {
        let upstream = Scripted::always(no_capacity()).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.models.circuit_failures = 1;
            config.models.circuit_wait = Duration::from_millis(1);
            config.upstream.retries = 3;
            config.upstream.retry_wait = Duration::from_millis(1);
        })
        .await;
        gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
        assert_eq!(asked(&upstream).len(), 4);
        // Until its time has passed, which is soon.
        while gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failure
            .unwrap()
            .code
            == "circuit_open"
        {}
        assert_eq!(asked(&upstream).len(), 5, "{door:?}");
    }
}

#[tokio::test]
async fn a_model_whose_probe_begins_to_answer_is_used_by_others_before_that_answer_ends() {
    let upstream = Scripted::first([
        no_capacity(),
        Reply::EventsThenSilence(vec![chunk("a")]),
        good(Door::RestStream),
    ])
    .await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = Duration::from_millis(1);
    })
    .await;
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    let body =
        json!({"model": FIRST, "stream": true, "messages": [{"role": "user", "content": "hi"}]})
            .to_string();
    let mut probe = loop {
        let post = http()
            .post(gateway.url("/v1/chat/completions"))
            .header("content-type", "application/json");
        let response = post.body(body.clone()).send().await.unwrap();
        if response.status() == 200 {
            break response;
        }
    };
    assert!(probe.chunk().await.unwrap().is_some());
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
    drop(probe);
}

#[tokio::test]
async fn a_probe_that_waits_for_units_again_keeps_nobody_from_the_model() {
    let full = refused(429, "concurrency_limit_exceeded", "full");
    let upstream = Scripted::first([no_capacity(), full, Reply::Json(200, whole("b"))]).await;
    upstream.knows(json!({"data": [{"id": FIRST, "concurrency_cost": 1}]}));
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = Duration::from_millis(1);
        config.units.units = Some(1);
    })
    .await;
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    let probe = async {
        loop {
            let answer = gateway.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
            if answer
                .failure
                .as_ref()
                .is_none_or(|failure| failure.code != "circuit_open")
            {
                break answer;
            }
        }
    };
    let other = async {
        upstream.asked_times(2).await;
        gateway.queues(1).await;
        gateway.ask(Door::GrpcUnary, &prompt(FIRST, "hi")).await
    };
    let (probe, other) = tokio::join!(probe, other);
    probe.ok();
    other.ok();
}

/// A paused clock passes as soon as nobody has anything to do, so that what took how long is exact.
#[tokio::test(start_paused = true)]
async fn with_another_model_behind_it_the_first_token_is_waited_for_less_long() {
    let ask = async |fallback: &str, first_token: Duration, door: Door, reply: Reply| {
        let upstream = Scripted::always(reply).await;
        upstream.breaks(Some((FIRST, Reply::Silence)));
        let gateway = Gateway::with(upstream.address, |config| {
            config.upstream.first_token_timeout = first_token;
            config.upstream.idle_timeout = Duration::from_secs(10);
        })
        .await;
        let began = Instant::now();
        let headers = [(FALLBACK, fallback)];
        let request = message(&prompt(FIRST, "hi"));
        let mut request = tonic::Request::new(request);
        headers.iter().for_each(|(name, value)| {
            _ = request.metadata_mut().insert(*name, value.parse().unwrap())
        });
        let mut client = gateway.grpc().await;
        let tried = if door.is_stream() {
            let response = client.stream_chat_completion(request).await;
            response.map(|response| response.metadata().get("x-featherwire-tried").cloned())
        } else {
            client
                .create_chat_completion(request)
                .await
                .map(|r| r.metadata().get("x-featherwire-tried").cloned())
        };
        let tried = tried.map(|tried| tried.map(|tried| tried.to_str().unwrap().to_owned()));
        (
            began.elapsed().as_secs(),
            tried.map_err(|status| status.message().to_owned()),
        )
    };
    let minutes = Duration::from_secs(300);
    let cured = Ok(Some(format!("{FIRST}=first_token_timeout")));
    for door in [Door::GrpcStream, Door::GrpcUnary] {
        assert_eq!(
            ask(SECOND, minutes, door, good(door)).await,
            (90, cured.clone()),
            "{door:?}"
        );
        // As long as the feed's clock, and yet an answer's.
        let ten = Duration::from_secs(10);
        assert_eq!(
            ask(SECOND, ten, door, good(door)).await,
            (10, cured.clone()),
            "an explicit shorter one counts"
        );
        let (took, told) = ask(SECOND, minutes, door, Reply::Silence).await;
        assert_eq!(took, 90 + 300, "the last one has the full time");
        let told = told.unwrap_err();
        assert!(
            told.contains("90 s (--fallback-first-token-timeout)"),
            "{told}"
        );
        assert!(told.contains("org/second (first_token_timeout)"), "{told}");
        let (took, told) = ask("none", minutes, door, Reply::Silence).await;
        assert_eq!(took, 300);
        assert!(told.unwrap_err().contains("300 s (--first-token-timeout)"));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_up_to_a_callers_deadline_counts_against_a_model_if_it_is_long() {
    for (deadline_ms, opens) in [("25000", true), ("5000", false)] {
        let upstream = Scripted::always(Reply::Silence).await;
        let gateway = strict(&upstream).await;
        for _ in 0..5 {
            let answer = gateway
                .ask_with(
                    Door::GrpcStream,
                    &prompt(FIRST, "hi"),
                    &[("x-request-timeout-ms", deadline_ms)],
                )
                .await;
            answer.failed(Kind::Timeout, "deadline_exceeded");
        }
        upstream.replies(good(Door::GrpcStream));
        let answer = gateway.ask(Door::GrpcStream, &prompt(FIRST, "hi")).await;
        assert_eq!(
            answer
                .failure
                .is_some_and(|failure| failure.code == "circuit_open"),
            opens,
            "{deadline_ms}"
        );
    }
}

#[tokio::test]
async fn a_call_that_names_fallbacks_still_keeps_its_deadline() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.first_token_timeout = Duration::from_millis(100);
    })
    .await;
    let headers = [
        (FALLBACK, "a/b,a/c,a/d,a/e,a/f,a/g"),
        ("x-request-timeout-ms", "350"),
    ];
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &headers)
        .await;
    answer.failed(Kind::Timeout, "deadline_exceeded");
    upstream.rests().await;
    assert!(asked(&upstream).len() < 7);
}

#[tokio::test]
async fn text_completions_fall_back_too() {
    let answer = json!({"id": "c", "object": "text_completion", "created": 1, "model": SECOND,
        "choices": [{"index": 0, "text": "b", "finish_reason": "stop", "logprobs": null}]});
    let upstream = Scripted::first([no_capacity(), Reply::Json(200, answer)]).await;
    let gateway = Gateway::to(upstream.address).await;
    let post = http()
        .post(gateway.url("/v1/completions"))
        .header("content-type", "application/json");
    let body = json!({"model": FIRST, "prompt": "x"}).to_string();
    let response = post
        .header(FALLBACK, SECOND)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-featherwire-model"], SECOND);
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["model"], SECOND);
}
