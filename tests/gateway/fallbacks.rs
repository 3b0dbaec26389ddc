//! Fallbacks: another model answers when the requested model fails.

use std::time::Duration;

use featherwire::{config::Fallback, error::Kind};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::{
    Door, Gateway, Reply, Scripted,
    door::message,
    models::{FALLBACK, FIRST, SECOND, THIRD},
    prompt,
    scripted::{answer_for, chunk, event, finish, no_capacity, refused, whole},
};

/// A gateway with a short first-token timeout if that is the fault, and the usual timeouts
/// otherwise.
async fn with_short_first_token_timeout(upstream: &Scripted, code: &str) -> Gateway {
    Gateway::with(upstream.address, |config| {
        if code == "first_token_timeout" {
            config.models.fallback_first_token_timeout = Duration::from_millis(300);
        }
    })
    .await
}

#[tokio::test]
async fn a_fallback_answers_at_every_door_and_the_headers_say_which_model_and_why() {
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
            let upstream = Scripted::first([failure.clone(), answer_for(door)]).await;
            let gateway = with_short_first_token_timeout(&upstream, code).await;
            let answer = gateway
                .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
                .await
                .ok();
            assert_eq!(answer.content, "b");
            assert_eq!(answer.served_by.as_deref(), Some(SECOND), "{door:?} {code}");
            assert_eq!(answer.tried, Some(format!("{FIRST}={code}")), "{door:?}");
            assert_eq!(upstream.models(), [FIRST, SECOND]);
            assert!(
                upstream
                    .requests()
                    .iter()
                    .all(|seen| seen.header(FALLBACK).is_none()),
                "the header is only for the gateway"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_fails_with_its_first_event_has_not_started() {
    let error = json!({"error": "no data in 30000ms"}).to_string();
    for door in Door::STREAMS {
        let upstream =
            Scripted::first([Reply::Events(vec![error.clone()]), answer_for(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await
            .ok();
        assert_eq!(
            answer.tried,
            Some(format!("{FIRST}=upstream_stream_failed"))
        );
        // An answer that has started stays with its model, even if it fails.
        let started = Reply::Events(vec![chunk("a"), error.clone()]);
        let upstream = Scripted::first([started, answer_for(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await;
        assert_eq!(answer.content, "a");
        answer.failed(Kind::Upstream, "upstream_stream_failed");
        assert_eq!(upstream.models(), [FIRST]);
    }
}

#[tokio::test]
async fn a_stream_with_only_a_role_has_not_started() {
    let role = || vec![event(&json!({"role": "assistant", "content": ""}), None)];
    for door in Door::STREAMS {
        for (reply, code) in [
            (Reply::EventsThenSilence(role()), "first_token_timeout"),
            (
                Reply::Events([role(), vec![json!({"error": "no data"}).to_string()]].concat()),
                "upstream_stream_failed",
            ),
        ] {
            let upstream = Scripted::first([reply, answer_for(door)]).await;
            let gateway = with_short_first_token_timeout(&upstream, code).await;
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
            "no part of the answer is lost"
        );
    }
}

#[tokio::test]
async fn empty_chunks_do_not_start_an_answer_but_unknown_members_do() {
    let empty = || vec![event(&json!({"content": ""}), None); 20];
    let failed = || json!({"error": "no data"}).to_string();
    let unknown = event(&json!({"content": "", "thinking": "hm"}), None);
    for door in Door::STREAMS {
        let first = Reply::Events([empty(), vec![failed()]].concat());
        let upstream = Scripted::first([first, answer_for(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await
            .ok();
        assert_eq!(
            (answer.content.as_str(), answer.pieces),
            ("b", 2),
            "no part of the first model's answer"
        );
        let first = Reply::Events([empty(), vec![unknown.clone(), failed()]].concat());
        let upstream = Scripted::first([first, answer_for(door)]).await;
        let gateway = Gateway::to(upstream.address).await;
        let answer = gateway
            .ask_with(door, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
            .await;
        assert_eq!(
            answer.pieces, 21,
            "a possible part of the answer is passed on, with all chunks before it"
        );
        answer.failed(Kind::Upstream, "upstream_stream_failed");
    }
}

#[tokio::test]
async fn a_text_without_content_has_not_started() {
    let piece = |text: &str, reason: Option<&str>| {
        json!({"id": "c", "object": "text_completion", "created": 1, "model": SECOND,
            "choices": [{"index": 0, "text": text, "finish_reason": reason, "logprobs": null}]})
        .to_string()
    };
    let failed = json!({"error": "no data"}).to_string();
    let good = Reply::Events(vec![piece("b", Some("stop")), "[DONE]".to_owned()]);
    let upstream = Scripted::first([Reply::Events(vec![piece("", None), failed]), good]).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = json!({"model": FIRST, "prompt": "x", "stream": true}).to_string();
    let response = gateway
        .post_request("/v1/completions", body)
        .header(FALLBACK, SECOND)
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
async fn a_refusal_with_a_success_status_gets_no_fallback() {
    let refusals = [
        (
            json!({"message": "no", "type": "invalid_request_error",
                "code": "content_policy_violation"}),
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
            assert_eq!(upstream.models(), [FIRST], "{code}");
        }
    }
}

#[tokio::test]
async fn a_refusal_gets_no_fallback() {
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
            assert_eq!(upstream.models(), [FIRST], "{code}");
        }
    }
}

#[tokio::test]
async fn a_too_long_context_falls_back_to_models_not_known_to_be_as_short() {
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
    assert_eq!(upstream.models(), [FIRST, THIRD]);

    // A caller may name a model that is not in the catalogue.
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
    assert_eq!(upstream.models(), [FIRST, "org/unknown"]);

    // The model that refused is unknown too.
    let none = Reply::Json(200, json!({"data": []}));
    let upstream = Scripted::first([too_long.clone(), none, Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::to(upstream.address).await;
    gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
        .await
        .ok();
    assert_eq!(upstream.models(), [FIRST, SECOND]);

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
    assert_eq!(upstream.models(), [FIRST]);
}

#[tokio::test]
async fn if_all_models_fail_the_error_is_that_of_the_requested_model_and_names_the_others() {
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
    assert_eq!(upstream.models(), [FIRST, SECOND, THIRD]);
}

#[tokio::test]
async fn the_fallbacks_configured_for_a_model_count_unless_the_call_names_others() {
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
        (answer.served_by, upstream.models())
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
        assert_eq!(upstream.models().len(), 0);
    }
}

#[tokio::test]
async fn embeddings_of_another_model_are_not_an_answer() {
    let upstream = Scripted::always(no_capacity()).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = json!({"model": FIRST, "input": "x"}).to_string();
    let response = gateway
        .post_request("/v1/embeddings", body)
        .header(FALLBACK, SECOND)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(upstream.models(), [FIRST]);
}

#[tokio::test]
async fn a_fallback_that_does_not_exist_is_skipped() {
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
    assert_eq!(upstream.models(), [FIRST, SECOND, THIRD]);
}

/// A paused clock advances as soon as every task waits, so each duration is exact.
#[tokio::test(start_paused = true)]
async fn with_a_fallback_the_first_token_timeout_is_shorter() {
    let ask = async |fallback: &str, first_token: Duration, door: Door, reply: Reply| {
        let upstream = Scripted::always(reply).await;
        upstream.set_reply_for_model(Some((FIRST, Reply::Silence)));
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
            ask(SECOND, minutes, door, answer_for(door)).await,
            (90, cured.clone()),
            "{door:?}"
        );
        // As long as the timeout of the feed, and still the timeout of an answer.
        let ten = Duration::from_secs(10);
        assert_eq!(
            ask(SECOND, ten, door, answer_for(door)).await,
            (10, cured.clone()),
            "an explicit shorter timeout counts"
        );
        let (took, result) = ask(SECOND, minutes, door, Reply::Silence).await;
        assert_eq!(took, 90 + 300, "the last model has the full timeout");
        let result = result.unwrap_err();
        assert!(
            result.contains("90 s (--fallback-first-token-timeout)"),
            "{result}"
        );
        assert!(
            result.contains("org/second (first_token_timeout)"),
            "{result}"
        );
        let (took, result) = ask("none", minutes, door, Reply::Silence).await;
        assert_eq!(took, 300);
        assert!(
            result
                .unwrap_err()
                .contains("300 s (--first-token-timeout)")
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
    upstream.wait_until_idle().await;
    assert!(upstream.models().len() < 7);
}

#[tokio::test]
async fn text_completions_fall_back_too() {
    let answer = json!({"id": "c", "object": "text_completion", "created": 1, "model": SECOND,
        "choices": [{"index": 0, "text": "b", "finish_reason": "stop", "logprobs": null}]});
    let upstream = Scripted::first([no_capacity(), Reply::Json(200, answer)]).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = json!({"model": FIRST, "prompt": "x"}).to_string();
    let response = gateway
        .post_request("/v1/completions", body)
        .header(FALLBACK, SECOND)
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-featherwire-model"], SECOND);
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["model"], SECOND);
}
