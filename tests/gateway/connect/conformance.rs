//! The facts that Connect's public suite of conformance holds servers to, as far as this server has
//! the features: unary calls, streamed answers, `GET`, errors, timeouts, limits, compression, and
//! requests that no client sends. Streams of requests and trailers of methods are not among them.

use bytesize::ByteSize;
use prost::Message;
use serde_json::{Value, json};

use super::{CHAT, CHECK, MODELS, STREAM, told};
use crate::{
    http_compression::{gzip, zstd},
    support::{
        Gateway, MODEL, Reply, Scripted,
        connect::{CODES, envelope, envelopes},
        door::message,
        prompt,
        raw::{self, Answer},
        scripted::{chunk, finish, no_capacity, refused, whole},
    },
};

const JSON: &str = "application/json";
const PROTO: &str = "application/proto";
const STREAM_JSON: &str = "application/connect+json";
const STREAM_PROTO: &str = "application/connect+proto";

/// Sends a request of this HTTP method over HTTP/1.1 and over HTTP/2, and checks what is the same.
async fn send(
    gateway: &Gateway,
    (verb, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) -> [Answer; 2] {
    let headers = [&[("connect-protocol-version", "1")], headers].concat();
    let one = raw::request(gateway, verb, path, false, &headers, body.to_vec()).await;
    let two = raw::request(gateway, verb, path, true, &headers, body.to_vec()).await;
    assert_eq!(one.http_status, two.http_status, "{one:?} {two:?}");
    assert_eq!(one.head["content-type"], two.head["content-type"]);
    [one, two]
}

/// The error of an answer, which is a stream or not.
#[track_caller]
fn error(answer: &Answer) -> Value {
    match answer.head["content-type"].to_str().unwrap() {
        "application/json" => serde_json::from_slice(&answer.body).unwrap(),
        _ => {
            assert_eq!(answer.http_status, 200);
            let (messages, mut end) = envelopes(&answer.body);
            assert_eq!(messages.len(), 0, "{end}");
            end["error"].take()
        }
    }
}

#[tokio::test]
async fn a_request_that_no_client_sends_has_the_code_of_the_suite() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let proto = message(&prompt(MODEL, "hi")).encode_to_vec();
    let one = envelope(0, &proto);
    let two = one.repeat(2);
    let json = [envelope(0, b"{}"), envelope(0, b"{}")].concat();
    let marked = envelope(1, &proto);
    let packed = envelope(1, &zstd(&proto));
    let none = "connect-content-encoding";
    for (what, verb, path, media_type, coding, body, http_status, code) in [
        (
            "no message",
            "POST",
            STREAM,
            STREAM_PROTO,
            None,
            &b""[..],
            200,
            "unimplemented",
        ),
        (
            "no message",
            "POST",
            STREAM,
            STREAM_JSON,
            None,
            b"",
            200,
            "unimplemented",
        ),
        (
            "two messages",
            "POST",
            STREAM,
            STREAM_PROTO,
            None,
            &two,
            200,
            "unimplemented",
        ),
        (
            "two messages",
            "POST",
            STREAM,
            STREAM_JSON,
            None,
            &json,
            200,
            "unimplemented",
        ),
        (
            "a verb", "DELETE", CHAT, PROTO, None, &proto, 405, "unknown",
        ),
        (
            "a verb",
            "PUT",
            STREAM,
            STREAM_PROTO,
            None,
            &one,
            405,
            "unknown",
        ),
        (
            "GET with side effects",
            "GET",
            CHAT,
            PROTO,
            None,
            b"",
            405,
            "unknown",
        ),
        (
            "a service",
            "POST",
            "/a.v1.No/No",
            PROTO,
            None,
            &proto,
            404,
            "unimplemented",
        ),
        (
            "a method",
            "POST",
            "/grpc.health.v1.Health/No",
            PROTO,
            None,
            b"",
            404,
            "unimplemented",
        ),
        (
            "a codec",
            "POST",
            CHAT,
            "application/foo",
            None,
            &proto,
            415,
            "unknown",
        ),
        (
            "a codec",
            "POST",
            STREAM,
            "application/connect+foo",
            None,
            &one,
            415,
            "unknown",
        ),
        (
            "a media type",
            "POST",
            CHAT,
            "image/jpeg",
            None,
            b"12345678",
            415,
            "unknown",
        ),
        (
            "a unary body",
            "POST",
            STREAM,
            PROTO,
            None,
            &proto,
            415,
            "unknown",
        ),
        (
            "a stream",
            "POST",
            CHAT,
            STREAM_PROTO,
            None,
            &one,
            415,
            "unknown",
        ),
        (
            "a coding",
            "POST",
            CHAT,
            PROTO,
            Some(("content-encoding", "foo")),
            &proto,
            501,
            "unimplemented",
        ),
        (
            "a coding",
            "POST",
            STREAM,
            STREAM_PROTO,
            Some((none, "foo")),
            &packed,
            200,
            "unimplemented",
        ),
        (
            "a flag",
            "POST",
            STREAM,
            STREAM_PROTO,
            Some((none, "identity")),
            &marked,
            200,
            "internal",
        ),
        (
            "a flag",
            "POST",
            STREAM,
            STREAM_PROTO,
            None,
            &packed,
            200,
            "internal",
        ),
        (
            "a flag",
            "POST",
            STREAM,
            STREAM_JSON,
            None,
            &envelope(1, b"{}"),
            200,
            "internal",
        ),
        (
            "a flag of the end",
            "POST",
            STREAM,
            STREAM_JSON,
            None,
            &envelope(2, b"{}"),
            200,
            "internal",
        ),
        (
            "half a message",
            "POST",
            STREAM,
            STREAM_PROTO,
            None,
            &one[..9],
            200,
            "invalid_argument",
        ),
    ] {
        let of_coding = [("content-type", media_type)].into_iter().chain(coding);
        let headers: Vec<_> = of_coding.collect();
        for answer in send(&gateway, (verb, path), &headers, body).await {
            assert_eq!(answer.http_status, http_status, "{what}: {answer:?}");
            assert_eq!(
                told(&error(&answer)).0,
                code,
                "{what} {media_type}: {answer:?}"
            );
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn calls_succeed_in_both_codecs_and_an_empty_message_is_a_message() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = message(&prompt(MODEL, "hi"));
    let json = crate::support::connect::to_json("CreateChatCompletionRequest", &request);
    for (codec, body) in [
        ("proto", request.encode_to_vec()),
        ("json", json.to_string().into_bytes()),
    ] {
        upstream.set_reply(Reply::Json(200, whole("a")));
        let unary = format!("application/{codec}");
        let headers = [("content-type", &*unary), ("x-request-id", "conformance")];
        for answer in send(&gateway, ("POST", CHAT), &headers, &body).await {
            assert_eq!(answer.http_status, 200);
            assert_eq!(answer.head["content-type"], *unary);
            assert_eq!(answer.head["x-request-id"], "conformance");
        }
        upstream.set_reply(Reply::Events(vec![chunk("a"), chunk("b"), finish()]));
        let stream = format!("application/connect+{codec}");
        let headers = [("content-type", &*stream), ("x-request-id", "conformance")];
        for answer in send(&gateway, ("POST", STREAM), &headers, &envelope(0, &body)).await {
            assert_eq!(answer.head["content-type"], *stream);
            assert_eq!(answer.head["x-request-id"], "conformance");
            let (messages, end) = envelopes(&answer.body);
            assert_eq!((messages.len(), end), (3, json!({})));
        }
    }
    // In binary an empty message has no bytes.
    for answer in send(&gateway, ("POST", CHECK), &[("content-type", PROTO)], b"").await {
        assert_eq!((answer.http_status, &answer.body[..]), (200, &[8, 1][..]));
    }
    let empty = envelope(0, b"");
    let headers = [("content-type", STREAM_PROTO)];
    for answer in send(&gateway, ("POST", STREAM), &headers, &empty).await {
        let (code, reason, _) = told(&error(&answer));
        assert_eq!((&*code, &*reason), ("invalid_argument", "invalid_value"));
    }
    let get = format!("{MODELS}?connect=v1&encoding=proto&base64=1&message=");
    upstream.set_reply(Reply::Json(200, json!({"object": "list", "data": []})));
    for answer in send(&gateway, ("GET", &get), &[], b"").await {
        assert_eq!(
            (answer.http_status, &answer.head["content-type"]),
            (200, &PROTO.parse().unwrap())
        );
    }
}

#[tokio::test]
async fn an_error_of_a_method_is_told_by_both_kinds_of_calls() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| config.upstream.retries = 0).await;
    let text = "\ntest with whitespace\r\nand \u{263a} and \u{1f608}\n";
    let body = prompt(MODEL, "hi").to_string();
    for (reply, expected) in [
        (refused(400, "reason", text), "invalid_argument"),
        (refused(403, "reason", text), "permission_denied"),
        (
            refused(404, "model_not_found", "no such model"),
            "not_found",
        ),
        (no_capacity(), "unavailable"),
    ] {
        upstream.set_reply(reply);
        let mut codes = CODES.into_iter();
        let (_, of_code, _) = codes.find(|(code, ..)| *code == expected).unwrap();
        let id = ("x-request-id", "conformance");
        let unary = [("content-type", JSON), id];
        let unary = send(&gateway, ("POST", CHAT), &unary, body.as_bytes()).await;
        let stream = [("content-type", STREAM_JSON), id];
        let envelope = envelope(0, body.as_bytes());
        let stream = send(&gateway, ("POST", STREAM), &stream, &envelope).await;
        assert_eq!(unary[0].http_status, of_code);
        for answer in unary.iter().chain(&stream) {
            assert_eq!(answer.head["x-request-id"], "conformance");
            let (code, reason, message) = told(&error(answer));
            assert_eq!(code, expected);
            let is_quoted = message.contains("and \u{263a} and \u{1f608}");
            assert!(is_quoted || reason != "reason", "{message}");
        }
    }
    upstream.set_reply(Reply::Silence);
    let late = ("connect-timeout-ms", "50");
    let unary = [("content-type", JSON), late];
    for answer in send(&gateway, ("POST", CHAT), &unary, body.as_bytes()).await {
        assert_eq!(answer.http_status, 504);
        assert_eq!(told(&error(&answer)).0, "deadline_exceeded");
    }
    let stream = [("content-type", STREAM_JSON), late];
    for answer in send(
        &gateway,
        ("POST", STREAM),
        &stream,
        &envelope(0, body.as_bytes()),
    )
    .await
    {
        assert_eq!(told(&error(&answer)).0, "deadline_exceeded");
    }
}

#[tokio::test]
async fn a_message_may_be_as_large_as_the_limit_and_not_larger_in_any_coding() {
    const LIMIT: usize = 64 * 1024;
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::b(LIMIT as u64);
    })
    .await;
    let of_size = |bytes: usize| {
        let around = message(&prompt(MODEL, &"x".repeat(LIMIT))).encoded_len() - LIMIT;
        let body = message(&prompt(MODEL, &"x".repeat(bytes - around))).encode_to_vec();
        assert_eq!(body.len(), bytes);
        body
    };
    for (bytes, fits) in [(LIMIT, true), (LIMIT + 10, false)] {
        let body = of_size(bytes);
        for (coding, coded) in [
            ("identity", body.clone()),
            ("gzip", gzip(&body)),
            ("zstd", zstd(&body)),
        ] {
            upstream.set_reply(Reply::Json(200, whole("a")));
            let headers = [("content-type", PROTO), ("content-encoding", coding)];
            for answer in send(&gateway, ("POST", CHAT), &headers, &coded).await {
                let code = (!fits).then(|| told(&error(&answer)).0);
                let expected = (!fits).then_some("resource_exhausted");
                assert_eq!(code.as_deref(), expected, "{coding}");
            }
            upstream.set_reply(Reply::Events(vec![chunk("a"), finish()]));
            let headers = [
                ("content-type", STREAM_PROTO),
                ("connect-content-encoding", coding),
            ];
            let body = envelope(u8::from(coding != "identity"), &coded);
            for answer in send(&gateway, ("POST", STREAM), &headers, &body).await {
                let (messages, end) = envelopes(&answer.body);
                let code = end["error"]["code"].as_str();
                assert_eq!(messages.len(), if fits { 2 } else { 0 }, "{coding}: {end}");
                assert_eq!(code, (!fits).then_some("resource_exhausted"), "{coding}");
            }
        }
    }
    // A query is compressed too.
    let bomb = crate::support::raw::base64(&gzip(&vec![b' '; LIMIT + 10]));
    let bomb = bomb.replace('+', "-").replace('/', "_").replace('=', "");
    let get = format!("{MODELS}?encoding=json&compression=gzip&base64=1&message={bomb}");
    for answer in send(&gateway, ("GET", &get), &[], b"").await {
        assert_eq!(told(&error(&answer)).0, "resource_exhausted");
    }
    let cut = crate::support::raw::base64(&gzip(b"{}")[..15]);
    let cut = cut.replace('+', "-").replace('/', "_").replace('=', "");
    let get = format!("{MODELS}?encoding=json&compression=gzip&base64=1&message={cut}");
    for answer in send(&gateway, ("GET", &get), &[], b"").await {
        assert_eq!(told(&error(&answer)).0, "invalid_argument");
    }
}
