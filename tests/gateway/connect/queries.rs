//! `GET`, for methods without side effects.

use base64::{
    Engine,
    prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD},
};
use prost::Message;
use serde_json::Value;

use super::{CHAT, MODELS, told};
use crate::{
    http_compression::{gzip, zstd},
    support::{
        Emulator, Gateway,
        rest::{http, status_and_json},
    },
};

async fn get(gateway: &Gateway, path: &str, query: &str) -> (u16, Value) {
    let url = gateway.url(&format!("{path}?{query}"));
    status_and_json(http().get(url).send().await.unwrap()).await
}

#[tokio::test]
async fn the_message_is_in_the_query_in_any_codec_base64_or_compressed() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let json = r#"{"pageSize":1}"#;
    let proto = featherwire::proto::v1::ListModelsRequest {
        page_size: 1,
        ..Default::default()
    };
    let proto = proto.encode_to_vec();
    let plain: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
    let base64 = |data: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(data);
    let padded: String =
        form_urlencoded::byte_serialize(BASE64_URL_SAFE.encode(json).as_bytes()).collect();
    let queries = [
        format!("connect=v1&encoding=json&message={plain}"),
        format!("message={plain}&encoding=json&unknown=1"),
        format!(
            "connect=v1&base64=1&encoding=json&message={}",
            base64(json.as_bytes())
        ),
        format!("connect=v1&base64=1&encoding=json&message={padded}"),
        format!(
            "connect=v1&base64=1&compression=gzip&encoding=json&message={}",
            base64(&gzip(json.as_bytes()))
        ),
        format!(
            "connect=v1&base64=1&compression=zstd&encoding=json&message={}",
            base64(&zstd(json.as_bytes()))
        ),
    ];
    for query in queries {
        let (status, answer) = get(&gateway, MODELS, &query).await;
        assert_eq!(status, 200, "{query}: {answer}");
        assert_eq!(answer["models"].as_array().unwrap().len(), 1, "{query}");
    }
    let query = format!(
        "connect=v1&base64=1&encoding=proto&message={}",
        base64(&proto)
    );
    let url = gateway.url(&format!("{MODELS}?{query}"));
    let response = http().get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/proto");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let models =
        featherwire::proto::v1::ListModelsResponse::decode(response.bytes().await.unwrap());
    assert_eq!(models.unwrap().models.len(), 1);
    // An empty message is one too.
    let (status, _) = get(&gateway, MODELS, "encoding=json&message={}").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_method_with_side_effects_takes_only_posts() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let message = "connect=v1&encoding=json&message={}";
    for path in [
        CHAT,
        super::STREAM,
        super::WATCH,
        "/featherwire.v1.ModelService/Tokenize",
        "/featherwire.admin.v1.KeyService/CreateKey",
        // It has none, but it streams.
        "/featherwire.v1.AccountService/WatchConcurrency",
    ] {
        let url = gateway.url(&format!("{path}?{message}"));
        let response = http().get(url).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "POST", "{path}");
        let (status, error) = status_and_json(response).await;
        assert_eq!(status, 405);
        let (code, reason, text) = told(&error);
        assert_eq!((&*code, &*reason), ("unknown", "method_not_allowed"));
        assert!(text.contains("POST"), "{text}");
    }
    let put = http().put(gateway.url(MODELS)).send().await.unwrap();
    assert_eq!(
        (put.status().as_u16(), &put.headers()["allow"]),
        (405, &"GET, POST".parse().unwrap())
    );
}

#[tokio::test]
async fn a_bad_query_says_what_is_wrong() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for (query, status, code, reason) in [
        ("", 415, "unknown", "unsupported_media_type"),
        (
            "encoding=xml&message=",
            415,
            "unknown",
            "unsupported_media_type",
        ),
        ("encoding=json", 400, "invalid_argument", "invalid_value"),
        (
            "connect=v2&encoding=json&message={}",
            400,
            "invalid_argument",
            "invalid_value",
        ),
        (
            "encoding=json&base64=1&message=*",
            400,
            "invalid_argument",
            "invalid_value",
        ),
        (
            "encoding=json&message={",
            400,
            "invalid_argument",
            "invalid_json",
        ),
        (
            "encoding=json&message={\"pageSize\":[]}",
            400,
            "invalid_argument",
            "invalid_value",
        ),
        (
            "encoding=json&compression=br&base64=1&message=e30",
            501,
            "unimplemented",
            "unsupported_grpc_encoding",
        ),
        (
            "encoding=json&compression=gzip&base64=1&message=e30",
            400,
            "invalid_argument",
            "invalid_grpc_encoding",
        ),
    ] {
        let (http_status, error) = get(&gateway, MODELS, query).await;
        assert_eq!(http_status, status, "{query}: {error}");
        let (told_code, told_reason, _) = told(&error);
        assert_eq!((&*told_code, &*told_reason), (code, reason), "{query}");
    }
}
