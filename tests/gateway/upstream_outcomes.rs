//! Replies of the upstream in every shape: refusals, outages, and answers that have failed.

use featherwire::error::Kind;
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted, prompt,
    scripted::{chunk, done, event, whole},
};

pub fn raw(status: u16, media_type: &str, body: &str) -> Reply {
    Reply::Raw(
        format!("{status} Scripted\r\ncontent-type: {media_type}"),
        body.as_bytes().to_vec(),
    )
}

#[tokio::test]
async fn an_upstream_refusal_of_any_shape_is_a_refusal_at_every_door() {
    let bodies = [
        ("application/json", r#"{"detail":"boo"}"#),
        (
            "application/json",
            r#"{"detail":[{"loc":["body","messages",0],"msg":"boo","type":"missing"}]}"#,
        ),
        (
            "application/json",
            r#"{"statusCode":400,"message":["boo","a"],"error":"Bad Request"}"#,
        ),
        ("application/json", r#"{"errors":["boo"]}"#),
        ("text/plain", "boo"),
        ("text/plain", ""),
        ("text/html", "<html><h1>boo</h1></html>"),
    ];
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (status, kind, code) in [
        (400, Kind::Invalid, "upstream_refused"),
        (402, Kind::Forbidden, "payment_required"),
        (403, Kind::Forbidden, "forbidden"),
        (405, Kind::Invalid, "upstream_refused"),
        (409, Kind::Invalid, "upstream_refused"),
        (410, Kind::Invalid, "upstream_refused"),
        (413, Kind::TooLarge, "request_too_large"),
        (415, Kind::Invalid, "upstream_refused"),
        (422, Kind::Invalid, "upstream_refused"),
        (451, Kind::Forbidden, "forbidden"),
    ] {
        for (media_type, body) in bodies {
            upstream.set_reply(raw(status, media_type, body));
            for door in Door::ALL {
                let failure = gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .failed(kind, code);
                let is_quoted = body.contains("boo") && media_type != "text/html";
                assert_eq!(
                    failure.message.contains("boo"),
                    is_quoted,
                    "{door:?} {status} {body}: {failure:?}"
                );
                assert!(!failure.message.contains('<'), "{failure:?}");
                let has_path = kind == Kind::Invalid && body.contains("loc");
                assert_eq!(
                    failure.param.as_deref(),
                    has_path.then_some("messages[0]"),
                    "{door:?} {status} {body}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_outage_is_not_reported_as_a_wrong_address() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (status, kind, code) in [
        (501, Kind::Upstream, "upstream_error"),
        (502, Kind::Upstream, "upstream_error"),
        (503, Kind::Unavailable, "no_capacity"),
        (504, Kind::Timeout, "upstream_timeout"),
        (520, Kind::Upstream, "upstream_error"),
        (522, Kind::Timeout, "upstream_timeout"),
        (525, Kind::Upstream, "upstream_error"),
        (529, Kind::Unavailable, "no_capacity"),
        (530, Kind::Upstream, "upstream_error"),
        (599, Kind::Timeout, "upstream_timeout"),
    ] {
        for (media_type, body) in [
            ("text/html", "<html><h1>Bad gateway</h1></html>"),
            (
                "application/json",
                r#"{"type":"error","error":{"type":"api_error","message":"boo"}}"#,
            ),
            ("text/plain", ""),
        ] {
            upstream.set_reply(raw(status, media_type, body));
            for door in [Door::RestUnary, Door::GrpcStream, Door::WebUnary] {
                let failure = gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .failed(kind, code);
                assert_eq!(
                    failure.message.contains("boo"),
                    body.contains("boo"),
                    "{status} {body}: {failure:?}"
                );
                assert!(
                    !failure.message.contains("FEATHERLESS_BASE_URL"),
                    "{failure:?}"
                );
                assert!(!failure.message.contains('<'), "{failure:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_with_a_failed_finish_reason_fails_after_its_content() {
    let failing = |reason: &str, in_choice: Value, beside: Value| {
        let mut event: Value =
            serde_json::from_str(&event(&json!({"content": "end"}), Some(reason))).unwrap();
        if !in_choice.is_null() {
            event["choices"][0]["error"] = in_choice;
        }
        if !beside.is_null() {
            event["error"] = beside;
        }
        event.to_string()
    };
    let boo = json!({"message": "boo", "code": 502});
    for (last, words) in [
        (failing("abort", json!(null), json!(null)), "abort"),
        (failing("error", json!(null), json!(null)), "error"),
        (failing("cancelled", json!({}), json!("")), "cancelled"),
        (failing("error", boo.clone(), json!(null)), "boo"),
        (failing("error", json!("boo"), json!(null)), "boo"),
        (failing("error", json!(null), boo.clone()), "boo"),
        (failing("stop", json!(null), json!("boo")), "boo"),
        (failing("", json!(null), boo), "boo"),
    ] {
        let upstream =
            Scripted::always(Reply::Events(vec![chunk("half "), last.clone(), done()])).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in gateway.ask_streamed().await {
            assert_eq!(
                answer.content,
                if door.is_stream() { "half end" } else { "" },
                "{door:?} {last}"
            );
            assert_eq!(
                answer.finish_reason, None,
                "{door:?} {last}: it never looks complete"
            );
            let failure = answer.failed(Kind::Upstream, "upstream_stream_failed");
            assert!(
                failure.message.contains(words),
                "{door:?} {last}: {failure:?}"
            );
        }
        upstream.wait_until_idle().await;
    }
}

#[tokio::test]
async fn a_unary_answer_with_a_failed_finish_reason_is_an_error() {
    for (reason, error, words) in [
        ("abort", json!(null), "abort"),
        ("error", json!({"message": "boo"}), "boo"),
        ("", json!("boo"), "boo"),
        ("ERROR_LIMIT", json!({}), "ERROR_LIMIT"),
    ] {
        let mut answer = whole("half");
        answer["choices"][0]["finish_reason"] = json!(reason);
        answer["choices"][0]["error"] = error;
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in gateway.ask_whole().await {
            let failure = answer.failed(Kind::Upstream, "upstream_stream_failed");
            assert!(
                failure.message.contains(words),
                "{door:?} {reason}: {failure:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_text_completion_fails_with_the_same_finish_reasons() {
    let text = |text: &str, reason: Value| {
        json!({"id": "x", "created": 1, "model": MODEL,
        "choices": [{"index": 0, "text": text, "finish_reason": reason}]})
    };
    let events = vec![
        text("half ", json!(null)).to_string(),
        text("end", json!("abort")).to_string(),
        done(),
    ];
    let request =
        |stream: bool| json!({"model": MODEL, "prompt": "hi", "stream": stream}).to_string();
    let upstream = Scripted::first([
        Reply::Json(200, text("half", json!("error"))),
        Reply::Events(events),
    ])
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let unary = gateway.post("/v1/completions", request(false)).await;
    assert_eq!(unary.status(), 502);
    let unary = unary.text().await.unwrap();
    assert!(unary.contains("upstream_stream_failed"), "{unary}");
    let stream = gateway.post("/v1/completions", request(true)).await;
    let stream = stream.text().await.unwrap();
    assert!(
        stream.contains("half ") && stream.contains("end"),
        "{stream}"
    );
    assert!(stream.contains("upstream_stream_failed"), "{stream}");
    assert!(
        !stream.contains("[DONE]") && !stream.contains(r#""finish_reason":"abort""#),
        "{stream}"
    );
}

#[tokio::test]
async fn an_engines_own_finish_reason_is_passed_on_unchanged() {
    for reason in [
        "eos",
        "eos_token",
        "end_turn",
        "stop_sequence",
        "max_tokens",
        "content_filter",
        "tool_calls",
        "unheard_of",
    ] {
        let mut answer = whole("all");
        answer["choices"][0]["finish_reason"] = json!(reason);
        let upstream = Scripted::always(Reply::Json(200, answer)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (door, answer) in gateway.ask_whole().await {
            assert_eq!(
                answer.ok().finish_reason.as_deref(),
                Some(reason),
                "{door:?}"
            );
        }
        upstream.set_reply(Reply::Events(vec![
            chunk("all"),
            event(&json!({}), Some(reason)),
            done(),
        ]));
        for (door, answer) in gateway.ask_streamed().await {
            assert_eq!(
                answer.ok().finish_reason.as_deref(),
                Some(reason),
                "{door:?}"
            );
        }
    }
}
