//! Errors of the upstream, as callers receive them.

use featherwire::error::Kind;
use serde_json::json;

use crate::{
    support::{
        Door, Gateway, MODEL, Reply, Scripted,
        door::{grpc_failure, message},
        prompt,
        rest::http,
        scripted::{Then, chunk, finish},
    },
    upstream::answer,
};

#[tokio::test]
async fn an_upstream_refusal_keeps_its_code_and_its_message() {
    let openai = |message: &str, code: &str| {
        json!({"error": {"message": message, "type": "t",
        "param": null, "code": code}})
    };
    let cases = [
        (
            400,
            openai("The model is not ready for inference", ""),
            Kind::NotReady,
            "model_not_ready",
        ),
        (
            400,
            openai("Error downloading image: cold storage", ""),
            Kind::Invalid,
            "upstream_refused",
        ),
        (
            400,
            openai("This model's maximum context length is 4096 tokens", ""),
            Kind::Invalid,
            "context_length_exceeded",
        ),
        (
            400,
            json!({"error": {"message": "bad", "param": 7, "code": 400}}),
            Kind::Invalid,
            "upstream_refused",
        ),
        (402, openai("pay", ""), Kind::Forbidden, "payment_required"),
        (
            403,
            openai("delegated credentials are refused", "x"),
            Kind::Forbidden,
            "forbidden",
        ),
        (
            403,
            openai("no", "model_gated_needs_oauth"),
            Kind::Forbidden,
            "model_gated",
        ),
        (
            403,
            json!({"statusCode": 403, "error": "Forbidden",
                "message": "The plan does not have API access enabled"}),
            Kind::Forbidden,
            "plan_without_api_access",
        ),
        (
            404,
            openai("Model not found", "model_not_found"),
            Kind::NotFound,
            "model_not_found",
        ),
        (
            404,
            json!({"statusCode": 404, "error": "Not Found", "message": "Route POST:/x not found"}),
            Kind::Upstream,
            "upstream_bad_answer",
        ),
        (
            409,
            openai("conflict", ""),
            Kind::Invalid,
            "upstream_refused",
        ),
        (
            500,
            json!({"error": "boom"}),
            Kind::Upstream,
            "upstream_error",
        ),
    ];
    for (status, body, kind, code) in cases {
        let upstream = Scripted::always(Reply::Json(status, body.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in [Door::RestUnary, Door::GrpcStream] {
            gateway
                .ask(door, &prompt(MODEL, "hi"))
                .await
                .failed(kind, code);
        }
    }
}

#[tokio::test]
async fn an_error_of_any_length_fits_into_the_header_limits_of_clients() {
    let long = "漢".repeat(6_000);
    let body = json!({"error": {"message": long, "param": long, "code": long}});
    let upstream = Scripted::always(Reply::Json(400, body)).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = gateway.grpc().await;
    let status = client
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let status = client
        .create_chat_completion(message(&prompt(&long, "hi")))
        .await
        .unwrap_err();
    assert_eq!(grpc_failure(&status).param.as_deref(), Some("model"));
    let mut request = message(&prompt(MODEL, "hi"));
    request
        .extra
        .insert("x".repeat(20_000), "{broken".to_owned());
    let status = client.create_chat_completion(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
}

#[tokio::test]
async fn without_an_upstream_key_every_door_says_how_to_set_it() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.featherless_api_key = None
    })
    .await;
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Misconfigured, "featherless_api_key_not_configured");
        assert!(
            failure
                .message
                .contains("Featherless API key not configured: set FEATHERLESS_API_KEY"),
            "{failure:?}"
        );
    }
    assert!(upstream.requests().is_empty());
    assert_eq!(
        http()
            .get(gateway.url("/readyz"))
            .send()
            .await
            .unwrap()
            .status(),
        503
    );
}

#[tokio::test]
async fn a_refused_upstream_connection_is_reported_as_unreachable() {
    let gone = Scripted::always(Reply::Silence).await.address;
    let gateway = Gateway::to(gone).await;
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_unreachable");
        assert!(
            !failure.message.contains(&gone.port().to_string()),
            "addresses stay in the log: {failure:?}"
        );
    }
}

#[tokio::test]
async fn an_upstream_request_id_of_any_length_fits_into_the_header_limits_of_clients() {
    let id = "r".repeat(100 * 1024);
    let body = crate::support::scripted::whole("b")
        .to_string()
        .into_bytes();
    let refusal = br#"{"error": {"message": "<html><h1>inside</h1></html>"}}"#.to_vec();
    for (status, body) in [("200 OK", body), ("400 Bad Request", refusal)] {
        let head = format!("{status}\r\ncontent-type: application/json\r\nrequest-id: {id}");
        let upstream = Scripted::always(Reply::Raw(head, body)).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            assert_eq!(answer.upstream_request_id, None);
            if status != "200 OK" {
                let failure = answer.failed(Kind::Invalid, "upstream_refused");
                assert!(
                    !failure.message.contains("<h1>"),
                    "a web page inside JSON is not passed on: {failure:?}"
                );
            } else {
                answer.ok();
            }
        }
    }
}

#[tokio::test]
async fn the_key_is_in_no_error_even_if_the_upstream_repeats_it() {
    let error = json!({"error": {"message": "Incorrect key upstream-secret, of upstream-secret"}});
    let mid_stream = vec![chunk("hi"), error.to_string()];
    for (reply, code) in [
        (Reply::Json(400, error.clone()), "upstream_refused"),
        (Reply::Json(200, error.clone()), "upstream_stream_failed"),
        (
            Reply::Events(vec![error.to_string()]),
            "upstream_stream_failed",
        ),
        (Reply::Events(mid_stream), "upstream_stream_failed"),
    ] {
        for door in Door::ALL {
            if matches!(reply, Reply::Events(_)) != door.is_stream() && code != "upstream_refused" {
                continue;
            }
            let upstream = Scripted::always(reply.clone()).await;
            let gateway = Gateway::to(upstream.address).await;
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            let failure = answer.failure.expect("an error");
            assert_eq!(failure.code, code, "{door:?}");
            assert!(
                failure.message.contains("Incorrect key …, of …"),
                "{door:?}: {}",
                failure.message
            );
        }
    }
}

#[tokio::test]
async fn an_upstream_request_id_that_is_invalid_in_metadata_is_left_out() {
    for id in ["größe-1", "漢字", "a\tb", "\u{e9}"] {
        for (status, body) in [
            ("200 OK", answer()),
            ("400 Bad Request", json!({"error": {"message": "no"}})),
        ] {
            let head = format!("{status}\r\ncontent-type: application/json\r\nrequest-id: {id}");
            let upstream = Scripted::always(Reply::Raw(head, body.to_string().into_bytes())).await;
            let gateway = Gateway::to(upstream.address).await;
            for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
                assert_eq!(
                    gateway
                        .ask(door, &prompt(MODEL, "hi"))
                        .await
                        .upstream_request_id,
                    None,
                    "{id} {door:?}"
                );
            }
        }
        let events = format!(
            "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
            chunk("a"),
            finish()
        );
        let head = format!("200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: {id}");
        let upstream = Scripted::always(Reply::Raw(head, events.into_bytes())).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            assert_eq!(
                gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .ok()
                    .upstream_request_id,
                None,
                "{id} {door:?}"
            );
        }
    }
}

#[tokio::test]
async fn any_code_of_upstream_becomes_a_valid_reason() {
    let long = "c".repeat(100);
    let codes = [
        "überlast",
        "größe zu klein",
        "Bad request",
        "a-b.c",
        "__",
        "429",
        "x",
        "漢字",
        "C",
        &long,
        "E_",
        "404x",
    ];
    for code in codes {
        let error = json!({"error": {"message": "no", "type": code, "param": null, "code": code}});
        for status in [400, 404, 429, 500] {
            let upstream = Scripted::always(Reply::Json(status, error.clone())).await;
            let gateway = Gateway::to(upstream.address).await;
            for door in [
                Door::RestUnary,
                Door::GrpcUnary,
                Door::GrpcStream,
                Door::WebUnary,
            ] {
                is_reason(
                    &gateway
                        .ask(door, &prompt(MODEL, "hi"))
                        .await
                        .failure
                        .unwrap()
                        .code,
                );
            }
        }
        let upstream = Scripted::always(Reply::Events(vec![chunk("a"), error.to_string()])).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            is_reason(
                &gateway
                    .ask(door, &prompt(MODEL, "hi"))
                    .await
                    .failure
                    .unwrap()
                    .code,
            );
        }
    }
}

/// Checks that a code in capitals is a valid reason for `google.rpc.ErrorInfo`:
/// `[A-Z][A-Z0-9_]+[A-Z0-9]`.
#[track_caller]
fn is_reason(code: &str) {
    let is_alphanumeric = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let letters = code
        .bytes()
        .all(|byte| byte == b'_' || is_alphanumeric(Some(byte)));
    let ends = code.starts_with(|first: char| first.is_ascii_lowercase())
        && is_alphanumeric(code.bytes().last());
    assert!(letters && ends && (3..=63).contains(&code.len()), "{code}");
}

#[tokio::test]
async fn an_endless_response_head_is_not_an_answer() {
    let endless = Then::Repeat(format!("x-more: {}\r\n", "x".repeat(10_000)).into_bytes());
    let upstream = Scripted::always(Reply::Wire(b"HTTP/1.1 200 OK\r\n".to_vec(), endless)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::ALL {
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
    }
    upstream.wait_until_closed().await;
}
