//! What the spans of a call and its attempts tell.

use std::time::Duration;

use featherwire::{config::Given, telemetry::traces::Protocol};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::json;

use super::{CALLERS_SPAN, TRACE_ID, has, of_call, parent, traced};
use crate::support::{
    Collector, Door, Emulator, Gateway, MODEL, Reply, Scripted,
    collector::{events, hex, value},
    models::{FALLBACK, FIRST, SECOND},
    prompt,
    scripted::{answer_for, no_capacity, refused, whole},
};
#[tokio::test]
async fn the_spans_of_a_call_continue_its_callers_trace_and_have_no_text() {
    let secret = "the prompt of nobody else";
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        for door in Door::ALL {
            let collector = Collector::start().await;
            let emulator = Emulator::start().await;
            let gateway = Gateway::with(emulator.address, |config| {
                traced(config, &collector);
                config.tracing.otlp_protocol = Given::Value(protocol);
                config.tracing.otlp_headers = Some("x-token=a%20b".into());
                config.api_keys = vec!["gw_live_very_secret".into()];
            })
            .await;
            let headers = [
                ("traceparent", &*parent("01")),
                ("tracestate", "a=1"),
                ("baggage", "user=baggage-of-a-caller"),
                ("authorization", "Bearer gw_live_very_secret"),
                ("x-request-id", "my-id"),
            ];
            let request = prompt(MODEL, secret);
            let answer = gateway.ask_with(door, &request, &headers).await.ok();
            let spans = collector.wait_for(2).await;
            let (call, attempts) = of_call(&spans);
            let [attempt] = attempts[..] else {
                panic!("{door:?}: one attempt")
            };

            assert_eq!(hex(&call.trace_id), TRACE_ID);
            assert_eq!(hex(&call.parent_span_id), CALLERS_SPAN);
            assert_eq!((&*call.trace_state, call.flags & 0x301), ("a=1", 0x301));
            let (name, status) = match door {
                Door::RestUnary | Door::RestStream => {
                    let expected = [
                        ("http.request.method", "POST"),
                        ("http.route", "/v1/chat/completions"),
                        ("url.path", "/v1/chat/completions"),
                    ];
                    has(call, &expected);
                    ("POST /v1/chat/completions", "http.response.status_code")
                }
                _ => {
                    let method = match door.is_stream() {
                        true => "StreamChatCompletion",
                        false => "CreateChatCompletion",
                    };
                    let is_connect = matches!(door, Door::ConnectUnary | Door::ConnectStream);
                    let system = if is_connect { "connect_rpc" } else { "grpc" };
                    let expected = [
                        ("rpc.system", system),
                        ("rpc.service", "featherwire.v1.ChatService"),
                        ("rpc.method", method),
                    ];
                    has(call, &expected);
                    let name = match door.is_stream() {
                        true => "featherwire.v1.ChatService/StreamChatCompletion",
                        false => "featherwire.v1.ChatService/CreateChatCompletion",
                    };
                    (name, "rpc.grpc.status_code")
                }
            };
            assert_eq!(call.name, name);
            // Connect names a code only for an error.
            let code = value(&call.attributes, status).unwrap_or_else(|| "0".to_owned());
            assert!(code == "200" || code == "0", "{code}");
            assert!(value(&call.attributes, "rpc.connect_rpc.error_code").is_none());
            let expected = [
                ("featherwire.request_id", "my-id"),
                ("featherwire.end", "finished"),
                ("featherwire.attempts", "1"),
                ("featherwire.model", MODEL),
            ];
            has(call, &expected);
            assert!(value(&call.attributes, "error.type").is_none());
            assert_eq!(events(call, "units_granted").len(), 1);
            let first_tokens = usize::from(door.is_stream());
            assert_eq!(events(call, "first_token").len(), first_tokens);

            assert_eq!(attempt.name, format!("chat {MODEL}"));
            let port = emulator.address.port().to_string();
            let expected = [
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.provider.name", "featherless"),
                ("gen_ai.request.model", MODEL),
                ("gen_ai.response.model", MODEL),
                ("gen_ai.request.stream", &door.is_stream().to_string()),
                ("server.address", "127.0.0.1"),
                ("server.port", &port),
            ];
            has(attempt, &expected);
            for name in ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"] {
                let tokens = value(&attempt.attributes, name).unwrap();
                assert!(tokens.parse::<u32>().unwrap() > 0, "{name}: {tokens}");
            }
            let first_chunk = "gen_ai.response.time_to_first_chunk";
            let has_first_chunk = value(&attempt.attributes, first_chunk).is_some();
            assert_eq!(has_first_chunk, door.is_stream());

            let taken = collector.taken();
            assert_eq!(taken.headers[0]["x-token"], "a b");
            let resource = taken.requests[0].resource_spans[0]
                .resource
                .clone()
                .unwrap();
            let service = value(&resource.attributes, "service.name");
            assert_eq!(service.as_deref(), Some("featherwire"));
            let bytes = taken.bytes();
            let texts = [
                secret,
                &answer.content,
                "gw_live_very",
                "baggage-of",
                "upstream-secret",
            ];
            for text in texts {
                let has_text = bytes.windows(text.len()).any(|it| it == text.as_bytes());
                assert!(!has_text, "{door:?}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn each_attempt_has_a_span_and_the_call_says_why_there_are_several() {
    for door in Door::ALL {
        let collector = Collector::start().await;
        let replies = [no_capacity(), no_capacity(), answer_for(door)];
        let upstream = Scripted::first(replies).await;
        let gateway = Gateway::with(upstream.address, |config| {
            traced(config, &collector);
            config.upstream.retries = 1;
            config.upstream.retry_wait = Duration::from_millis(1);
        })
        .await;
        let request = prompt(FIRST, "hi");
        gateway
            .ask_with(door, &request, &[(FALLBACK, SECOND)])
            .await
            .ok();
        let spans = collector.wait_for(4).await;
        let (call, attempts) = of_call(&spans);
        assert!(call.parent_span_id.is_empty(), "a trace of its own");
        let names: Vec<_> = attempts.iter().map(|attempt| &*attempt.name).collect();
        let (first, second) = (format!("chat {FIRST}"), format!("chat {SECOND}"));
        assert_eq!(names, [&*first, &first, &second], "{door:?}");
        for failed in &attempts[..2] {
            has(failed, &[("error.type", "no_capacity")]);
            let status = failed.status.as_ref().unwrap();
            assert_eq!(status.code, StatusCode::Error as i32);
            assert!(value(&failed.attributes, "gen_ai.response.model").is_none());
        }
        assert!(value(&attempts[2].attributes, "error.type").is_none());
        let [retry] = events(call, "retry")[..] else {
            panic!("{door:?}: one retry")
        };
        let code = value(&retry.attributes, "error.type");
        assert_eq!(code.as_deref(), Some("no_capacity"));
        let [fallback] = events(call, "fallback")[..] else {
            panic!("{door:?}: one fallback")
        };
        for (name, text) in [
            ("featherwire.fallback.from", FIRST),
            ("featherwire.fallback.to", SECOND),
            ("error.type", "no_capacity"),
        ] {
            let found = value(&fallback.attributes, name);
            assert_eq!(found.as_deref(), Some(text), "{name}");
        }
        has(
            call,
            &[
                ("featherwire.attempts", "3"),
                ("featherwire.fallbacks", "1"),
            ],
        );
        assert!(
            upstream
                .requests()
                .iter()
                .all(|it| it.header("traceparent").is_none())
        );
    }
}

#[tokio::test]
async fn a_failed_call_and_a_refusal_for_want_of_units_are_told() {
    let collector = Collector::start().await;
    let message = "Per-user concurrency limit exceeded. This user has 8 active units; this \
                   request requires 1 units (limit: 8, over by 1).";
    let replies = [
        refused(429, "concurrency_limit_exceeded", message),
        Reply::Json(200, whole("hi")),
        refused(500, "", "inside"),
    ];
    let upstream = Scripted::first(replies).await;
    upstream.set_catalogue(json!({"data": []}));
    let gateway = Gateway::with(upstream.address, |config| {
        traced(config, &collector);
        config.units.units = Some(8);
    })
    .await;
    let path = "/v1/chat/completions";
    let (status, _) = gateway.post_json(path, prompt(MODEL, "hi")).await;
    assert_eq!(status, 200);
    let spans = collector.wait_for(3).await;
    let (call, attempts) = of_call(&spans);
    assert_eq!(attempts.len(), 2);
    assert_eq!(events(call, "upstream_refusal").len(), 1);
    assert_eq!(events(call, "units_granted").len(), 2);

    let (status, _) = gateway.post_json(path, prompt(MODEL, "hi")).await;
    assert_eq!(status, 502);
    let spans = collector.wait_for(5).await;
    let (call, _) = of_call(&spans[3..]);
    has(
        call,
        &[
            ("error.type", "upstream_error"),
            ("http.response.status_code", "502"),
            ("featherwire.end", "failed"),
        ],
    );
    assert_eq!(call.status.as_ref().unwrap().code, StatusCode::Error as i32);

    // What is wrong with the request is no fault of the gateway. Its path is no name.
    let (status, _) = gateway.post_json("/v1/unknown?key=secret", "{}").await;
    assert_eq!(status, 404);
    let spans = collector.wait_for(6).await;
    let (call, attempts) = of_call(&spans[5..]);
    assert!(attempts.is_empty());
    assert_eq!(call.name, "POST");
    has(
        call,
        &[("url.path", "/v1/unknown"), ("error.type", "unknown_path")],
    );
    assert_eq!(call.status.as_ref().unwrap().code, StatusCode::Unset as i32);
}
