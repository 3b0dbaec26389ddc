//! The messages of calls that succeed: bare in unary calls, in envelopes in streams.

use prost::Message;
use serde_json::json;

use super::{CHAT, CHECK, STREAM, WATCH, post};
use crate::support::{
    Gateway, MODEL, Reply, Scripted,
    connect::{descriptor, envelope, envelopes, from_json, to_json},
    door::message,
    prompt,
    raw::{self, Form},
    rest::http,
    scripted::{chunk, done, finish, whole},
};

#[tokio::test]
async fn a_unary_call_is_one_bare_message_each_way() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = message(&prompt(MODEL, "hi"));
    let encoded = request.encode_to_vec();
    let by_grpc = raw::call(&gateway, Form::Grpc, CHAT, &[], &raw::frame(0, &encoded)).await;
    let expected = &by_grpc.messages[0].1;
    for is_http2 in [false, true] {
        let headers = [("connect-protocol-version", "1"), ("x-request-id", "mine")];
        let of = (CHAT, "application/proto");
        let answer = post(&gateway, is_http2, of, &headers, encoded.clone()).await;
        assert_eq!(answer.http_status, 200);
        assert_eq!(answer.head["content-type"], "application/proto");
        assert_eq!(answer.head["content-length"], answer.body.len().to_string());
        assert_eq!(answer.head["x-request-id"], "mine");
        assert_eq!(answer.head["x-featherwire-waited-ms"], "0");
        assert!(
            !answer
                .head
                .keys()
                .any(|name| name.as_str().contains("grpc"))
        );
        assert_eq!(answer.body, *expected);

        let json = to_json("CreateChatCompletionRequest", &request).to_string();
        for media_type in ["application/json", "application/json; charset=utf-8"] {
            let answer = post(&gateway, is_http2, (CHAT, media_type), &[], json.clone()).await;
            assert_eq!(answer.http_status, 200);
            assert_eq!(answer.head["content-type"], "application/json");
            let text = String::from_utf8(answer.body.clone()).unwrap();
            assert!(text.contains(r#""finishReason":"stop""#), "{text}");
            // A number of 64 bits is a text.
            assert!(text.contains(r#""created":"1700000000""#), "{text}");
            let answer: featherwire::proto::v1::CreateChatCompletionResponse =
                from_json("CreateChatCompletionResponse", &answer.body);
            assert_eq!(answer.encode_to_vec(), *expected);
        }
    }
    assert!(
        upstream
            .requests()
            .iter()
            .all(|seen| seen.json()["messages"] == json!([{"role": "user", "content": "hi"}]))
    );
}

#[tokio::test]
async fn a_stream_is_messages_in_envelopes_and_the_envelope_of_its_end() {
    let events = vec![chunk("a"), chunk("b"), finish(), done()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = message(&prompt(MODEL, "hi"));
    let encoded = request.encode_to_vec();
    let by_grpc = raw::call(&gateway, Form::Grpc, STREAM, &[], &raw::frame(0, &encoded)).await;
    let expected: Vec<_> = by_grpc
        .messages
        .iter()
        .map(|(_, data)| data.clone())
        .collect();
    for is_http2 in [false, true] {
        let of = (STREAM, "application/connect+proto");
        let answer = post(&gateway, is_http2, of, &[], envelope(0, &encoded)).await;
        assert_eq!(answer.http_status, 200);
        assert_eq!(answer.head["content-type"], "application/connect+proto");
        assert_eq!(answer.head["x-accel-buffering"], "no");
        assert!(answer.body.ends_with(b"\x02\0\0\0\x02{}"));
        let (messages, end) = envelopes(&answer.body);
        assert_eq!((messages, end), (expected.clone(), json!({})));

        let json = to_json("CreateChatCompletionRequest", &request).to_string();
        let of = (STREAM, "application/connect+json");
        let answer = post(&gateway, is_http2, of, &[], envelope(0, json.as_bytes())).await;
        assert_eq!(answer.head["content-type"], "application/connect+json");
        let (messages, end) = envelopes(&answer.body);
        assert_eq!(end, json!({}));
        let messages = messages.iter().map(|json| {
            let message: featherwire::proto::v1::StreamChatCompletionResponse =
                from_json("StreamChatCompletionResponse", json);
            message.encode_to_vec()
        });
        assert_eq!(messages.collect::<Vec<_>>(), expected);
    }
    assert_eq!(
        descriptor("StreamChatCompletionResponse").name(),
        "StreamChatCompletionResponse"
    );
}

#[tokio::test]
async fn tools_read_the_contract_by_reflection_with_any_number_of_messages() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let list = envelope(0, b"\x3a\0");
    for messages in [1, 3] {
        let body = list.repeat(messages);
        let by_grpc = raw::call(&gateway, Form::Grpc, path, &[], &body).await;
        let expected: Vec<_> = by_grpc.messages.into_iter().map(|(_, data)| data).collect();
        assert_eq!(expected.len(), messages);
        let answer = post(
            &gateway,
            true,
            (path, "application/connect+proto"),
            &[],
            body,
        )
        .await;
        assert_eq!(envelopes(&answer.body), (expected, json!({})));
    }
}

#[tokio::test]
async fn the_bytes_of_a_health_check_are_those_of_the_specification() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_a".into()];
    })
    .await;
    for is_http2 in [false, true] {
        let of = |codec| (CHECK, codec);
        let answer = post(&gateway, is_http2, of("application/json"), &[], "{}").await;
        assert_eq!(
            (answer.http_status, &*answer.body),
            (200, &b"{\"status\":\"SERVING\"}"[..])
        );
        // An empty body is an empty message.
        let answer = post(&gateway, is_http2, of("application/proto"), &[], "").await;
        assert_eq!((answer.http_status, &*answer.body), (200, &b"\x08\x01"[..]));
        let answer = post(&gateway, is_http2, of("application/json"), &[], "").await;
        let (code, reason, _) = super::error_of(&answer, 400);
        assert_eq!((&*code, &*reason), ("invalid_argument", "invalid_json"));
    }
    // The first message of a stream comes at once, and the drain ends the stream.
    for (media_type, request, first) in [
        (
            "application/connect+proto",
            &b""[..],
            &b"\0\0\0\0\x02\x08\x01"[..],
        ),
        (
            "application/connect+json",
            b"{}",
            b"\0\0\0\0\x14{\"status\":\"SERVING\"}",
        ),
    ] {
        let mut response = http()
            .post(gateway.url(WATCH))
            .header("content-type", media_type)
            .body(envelope(0, request))
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-type"], media_type);
        assert_eq!(response.chunk().await.unwrap().unwrap(), first);
    }
    let watch = http()
        .post(gateway.url(WATCH))
        .header("content-type", "application/connect+json")
        .body(envelope(0, b"{}"));
    let watch = watch.send().await.unwrap();
    gateway.shut_down();
    let (messages, _) = envelopes(&watch.bytes().await.unwrap());
    assert_eq!(messages.last().unwrap(), b"{\"status\":\"NOT_SERVING\"}");
}
