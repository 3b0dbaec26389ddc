//! Errors: their codes, their HTTP statuses and their details.

use serde_json::{Value, json};

use super::{CHAT, CHECK, MODELS, STREAM, error_of, post, told};
use crate::support::{
    Emulator, Gateway, MODEL, Reply, Scripted,
    connect::{envelope, envelopes, status},
    rest::{http, status_and_json},
    scripted::{no_capacity, refused},
};

const JSON: &str = "application/json";
const STREAMED: &str = "application/connect+json";

fn request() -> String {
    json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).to_string()
}

/// The error of a request through both kinds of calls: the HTTP status of the unary one.
async fn both(gateway: &Gateway, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let unary = post(gateway, false, (CHAT, JSON), headers, body.to_owned()).await;
    let body = envelope(0, body.as_bytes());
    let stream = post(gateway, true, (STREAM, STREAMED), headers, body).await;
    assert_eq!(
        (stream.http_status, &stream.head["content-type"]),
        (200, &STREAMED.parse().unwrap())
    );
    let (messages, end) = envelopes(&stream.body);
    assert!(messages.is_empty());
    let error: Value = serde_json::from_slice(&unary.body).unwrap();
    assert_eq!(told(&end["error"]), told(&error));
    // The entries of a map are in any order in `value`.
    let debug = |error: &Value| -> Vec<Value> {
        let details = error["details"].as_array().unwrap().iter();
        details.map(|detail| detail["debug"].clone()).collect()
    };
    assert_eq!(debug(&end["error"]), debug(&error));
    (unary.http_status, error)
}

#[tokio::test]
async fn an_error_has_the_same_code_and_details_in_a_body_and_at_the_end_of_a_stream() {
    let upstream = Scripted::always(no_capacity()).await;
    let gateway = Gateway::to(upstream.address).await;
    let (http_status, error) = both(&gateway, &[], &request()).await;
    assert_eq!(http_status, 503);
    let (code, reason, text) = told(&error);
    assert_eq!((&*code, &*reason), ("unavailable", "no_capacity"));
    assert!(!text.is_empty());
    let details = error["details"].as_array().unwrap();
    let info = details
        .iter()
        .find(|detail| detail["type"] == "google.rpc.ErrorInfo");
    assert_eq!(info.unwrap()["debug"]["domain"], "featherwire");
    assert!(!info.unwrap()["value"].as_str().unwrap().contains('='));

    upstream.set_reply(Reply::Raw(
        "429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 7".to_owned(),
        br#"{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}"#.to_vec(),
    ));
    let unary = post(&gateway, false, (CHAT, JSON), &[], request()).await;
    assert_eq!(
        (unary.http_status, &unary.head["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    let error: Value = serde_json::from_slice(&unary.body).unwrap();
    let retry = error["details"].as_array().unwrap().iter();
    let retry = retry
        .into_iter()
        .find(|detail| detail["type"] == "google.rpc.RetryInfo");
    assert_eq!(
        *retry.unwrap(),
        json!({"type": "google.rpc.RetryInfo", "value": "CgIIBw", "debug": {"retryDelay": "7s"}})
    );

    upstream.set_reply(refused(404, "model_not_found", "no such model"));
    let (http_status, error) = both(&gateway, &[], &request()).await;
    assert_eq!((http_status, &*told(&error).0), (404, "not_found"));
}

#[tokio::test]
async fn a_wrong_key_is_unauthenticated() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_right".into()];
    })
    .await;
    for headers in [&[][..], &[("authorization", "Bearer gw_wrong")]] {
        let (http_status, error) = both(&gateway, headers, &request()).await;
        assert_eq!(http_status, 401);
        let (code, reason, text) = told(&error);
        assert_eq!((&*code, &*reason), ("unauthenticated", "invalid_api_key"));
        assert!(!text.contains("gw_wrong"));
    }
    let refused = post(&gateway, false, (CHAT, JSON), &[], request()).await;
    assert_eq!(refused.head["www-authenticate"], "Bearer");
    let get = gateway.url(&format!("{MODELS}?encoding=json&message={{}}"));
    let get = http().get(get).send().await.unwrap();
    assert_eq!(get.status(), 401);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn bad_json_says_where_it_is_wrong_and_quotes_nothing() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (body, reason, starts) in [
        (
            "{\"model\": \"m\",\n  secret",
            "invalid_json",
            "The message is not JSON, at line 2 column 3",
        ),
        (
            "[]",
            "invalid_json",
            "The message: expected a JSON object, at line 1",
        ),
        (
            "{\"messages\": [{\"role\": \"user\"}, {\"content\": {\"secret\": 1}}]}",
            "invalid_value",
            "messages[1].content: expected a text, at line 1 column",
        ),
        (
            "{\"temperature\": \"secret\"}",
            "invalid_value",
            "temperature: expected a number, at line 1 column",
        ),
    ] {
        let (http_status, error) = both(&gateway, &[], body).await;
        assert_eq!(http_status, 400);
        let (code, told_reason, text) = told(&error);
        assert_eq!((&*code, &*told_reason), ("invalid_argument", reason));
        assert!(
            text.starts_with(starts) && !text.contains("secret"),
            "{text}"
        );
    }
    let (_, error) = both(&gateway, &[], "{\"temperature\": \"secret\"}").await;
    let field = crate::support::door::grpc_failure(&status(&error)).param;
    assert_eq!(field.as_deref(), Some("temperature"));
    assert!(upstream.requests().is_empty());
    // A member that the contract does not have is ignored, as the reference does it.
    upstream.set_reply(refused(404, "model_not_found", "no such model"));
    let unknown = request().replacen('{', r#"{"notYetKnown": [{}], "#, 1);
    both(&gateway, &[], &unknown).await;
    assert_eq!(upstream.models(), [MODEL; 2]);
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for (path, reason) in [
        ("/featherwire.v1.ChatService/Nothing", "unknown_method"),
        (
            "/featherwire.v1.Nothing/CreateChatCompletion",
            "unknown_service",
        ),
        ("/grpc.health.v1.Health/Nothing", "unknown_method"),
        ("/other.Service/Method", "unknown_service"),
    ] {
        for is_http2 in [false, true] {
            for codec in [JSON, "application/proto"] {
                let headers = [("connect-protocol-version", "1")];
                let answer = post(&gateway, is_http2, (path, codec), &headers, "{}").await;
                let (code, told_reason, _) = error_of(&answer, 404);
                assert_eq!((&*code, &*told_reason), ("unimplemented", reason), "{path}");
            }
            let body = envelope(0, b"{}");
            let answer = post(&gateway, is_http2, (path, STREAMED), &[], body).await;
            let (_, end) = envelopes(&answer.body);
            assert_eq!(told(&end["error"]).0, "unimplemented");
        }
    }
    // A method that takes a stream of messages is there in binary only.
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let answer = post(
        &gateway,
        true,
        (reflection, STREAMED),
        &[],
        envelope(0, b"{}"),
    )
    .await;
    let (_, end) = envelopes(&answer.body);
    let (code, reason, text) = told(&end["error"]);
    assert_eq!((&*code, &*reason), ("unimplemented", "not_grpc"));
    assert!(text.contains("application/connect+proto"), "{text}");
    let answer = post(&gateway, true, (reflection, JSON), &[], "{}").await;
    assert_eq!(error_of(&answer, 501).0, "unimplemented");
}

#[tokio::test]
async fn a_wrong_content_type_is_refused_with_the_right_ones() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for (path, media_type, accepted) in [
        (CHAT, "text/plain", "application/json, application/proto, "),
        (
            CHAT,
            "application/x-protobuf",
            "application/json, application/proto, ",
        ),
        (
            CHAT,
            "application/connect+json",
            "application/json, application/proto, ",
        ),
        (
            CHAT,
            "application/json; charset=utf-16",
            "application/json, application/proto, ",
        ),
        (
            STREAM,
            JSON,
            "application/connect+json, application/connect+proto, ",
        ),
        (CHECK, "image/jpeg", "application/json, application/proto, "),
    ] {
        let answer = post(&gateway, false, (path, media_type), &[], "{}").await;
        assert!(
            answer.head["accept-post"]
                .to_str()
                .unwrap()
                .starts_with(accepted)
        );
        let (code, reason, text) = error_of(&answer, 415);
        assert_eq!((&*code, &*reason), ("unknown", "unsupported_media_type"));
        assert!(text.contains(path), "{text}");
    }
    let without = http()
        .post(gateway.url(CHAT))
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(status_and_json(without).await.0, 415);
}

#[tokio::test]
async fn a_header_of_connect_with_a_bad_value_is_named() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for header in [
        ("connect-protocol-version", "2"),
        ("connect-timeout-ms", "soon"),
        ("connect-timeout-ms", "12345678901"),
        ("x-featherwire-priority", "first"),
    ] {
        let (http_status, error) = both(&gateway, &[header], &request()).await;
        let (code, reason, text) = told(&error);
        assert_eq!(
            (http_status, &*code, &*reason),
            (400, "invalid_argument", "invalid_value")
        );
        assert!(text.starts_with(header.0), "{text}");
    }
    assert!(upstream.requests().is_empty());
}
