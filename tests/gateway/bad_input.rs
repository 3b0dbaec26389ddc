//! Unreadable requests: too large, of another media type, with an unknown path, or random bytes.
//! Each gets a clear error, and the server continues.

use bytesize::ByteSize;
use featherwire::{error::Kind, proto::v1::CreateChatCompletionRequest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Door, Emulator, Gateway, MODEL,
    door::{grpc_failure, message},
    prompt,
    rest::http,
};

pub async fn post(gateway: &Gateway, media_type: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
    let post = http()
        .post(gateway.url("/v1/chat/completions"))
        .header("content-type", media_type);
    let response = post.body(body.into()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(response.headers().contains_key("x-request-id"));
    (
        response.status().as_u16(),
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

#[tokio::test]
async fn an_error_about_a_text_encoding_names_the_encoding() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let text = prompt(MODEL, "hi").to_string();
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let wide: Vec<u8> = text
        .chars()
        .flat_map(|letter| u32::from(letter).to_le_bytes())
        .collect();
    for (body, name) in [
        (little.clone(), "UTF-16"),
        ([&b"\xff\xfe"[..], &little].concat(), "UTF-16"),
        (big, "UTF-16"),
        (wide, "UTF-32"),
        (
            text.replace("hi", "h\u{e9}")
                .chars()
                .map(|letter| letter as u8)
                .collect(),
            "not UTF-8",
        ),
    ] {
        let (status, error) = post(&gateway, "application/json", body).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (400, &json!("invalid_json")),
            "{name}"
        );
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.contains(name) && message.contains("send UTF-8"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_at_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    for door in Door::ALL {
        gateway
            .ask(door, &prompt(MODEL, &"xxx ".repeat(8 * 1024)))
            .await
            .ok();
        let failure = gateway
            .ask(door, &prompt(MODEL, &"x ".repeat(64 * 1024)))
            .await;
        let failure = failure.failed(Kind::TooLarge, "request_too_large");
        assert!(
            failure.message.contains("65536") && failure.message.contains("--max-request-bytes"),
            "{failure:?}"
        );
    }
    // The default limit allows an image that exceeds the default limits of tonic and axum.
    let gateway = Gateway::to(emulator.address).await;
    for door in [Door::RestUnary, Door::GrpcUnary] {
        let image = json!({"type": "image_url",
            "image_url": {"url": format!("data:image/png;base64,{}", "A".repeat(5_000_000))}});
        let request = json!({"model": "google/gemma-3-27b-it", "messages": [{"role": "user",
            "content": [image]}]});
        gateway.ask(door, &request).await.ok();
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn an_unknown_media_type_path_or_method_is_refused_in_the_callers_dialect() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/jsonp",
    ] {
        let (status, error) = post(&gateway, media_type, prompt(MODEL, "hi").to_string()).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (415, &json!("unsupported_media_type")),
            "{media_type}"
        );
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains("Content-Type: application/json")
        );
    }
    for media_type in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/vnd.api+json",
    ] {
        assert_eq!(
            post(&gateway, media_type, prompt(MODEL, "hi").to_string())
                .await
                .0,
            200,
            "{media_type}"
        );
    }
    let send = async |method: &str, path: &str, media_type: Option<&str>| {
        let mut request = http().request(method.parse().unwrap(), gateway.url(path));
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        request.send().await.unwrap()
    };
    for (method, path) in [
        ("POST", "/v1/chat"),
        ("GET", "/x"),
        ("GET", "/v2/nonsense"),
        ("POST", "/v1/nonsense/x/y"),
    ] {
        let response = send(method, path, None).await;
        assert_eq!(response.status(), 404, "{method} {path}");
        let error: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "unknown_path");
        assert!(
            error["error"]["message"]
                .as_str()
                .unwrap()
                .contains("POST /v1/chat/completions"),
            "{error}"
        );
    }
    for (method, path, allow) in [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET"),
        ("POST", "/v1/models/a/b", "GET"),
    ] {
        let response = send(method, path, None).await;
        assert_eq!(response.status(), 405, "{method} {path}");
        assert!(
            response.headers()["allow"]
                .to_str()
                .unwrap()
                .contains(allow)
        );
        let error: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(error["error"]["code"], "method_not_allowed");
    }
    let text_to_method = send(
        "POST",
        "/featherwire.v1.ChatService/CreateChatCompletion",
        Some("text/plain"),
    )
    .await;
    assert_eq!(text_to_method.status(), 415);
    let error: Value = serde_json::from_slice(&text_to_method.bytes().await.unwrap()).unwrap();
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("/v1/chat/completions"),
        "{error}"
    );
    for path in [
        "/featherwire.v1.ChatService/Nonsense",
        "/no.such.Service/Method",
        "/v1/nonsense",
    ] {
        for media_type in [
            "application/grpc",
            "application/grpc-web+proto",
            "application/grpc-web-text",
        ] {
            let response = send("POST", path, Some(media_type)).await;
            assert_eq!(response.status(), 200, "{path} {media_type}");
            assert!(
                response.headers()["content-type"]
                    .to_str()
                    .unwrap()
                    .starts_with("application/grpc")
            );
            let in_body = response.headers().get("grpc-status").is_none();
            let status = response
                .headers()
                .get("grpc-status")
                .map(|status| status.to_str().unwrap().to_owned());
            let body = response.text().await.unwrap();
            assert!(
                status.as_deref() == Some("12") || in_body && !body.is_empty(),
                "{path} {media_type}: {status:?} {body:?}"
            );
        }
    }
    gateway
        .ask(Door::GrpcUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn random_bytes_on_the_port_do_not_affect_other_callers() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let post = |length: &str, body: &str| {
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
                    application/json\r\ncontent-length";
        format!("{head}: {length}\r\n\r\n{body}").into_bytes()
    };
    let (bad_length, half) = (post("-1", ""), post("99", "{"));
    let noise: [&[u8]; 6] = [
        b"\x00\x01\x02\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        &bad_length,
        &half,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ];
    for bytes in noise {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        gateway
            .ask(Door::RestUnary, &prompt(MODEL, "hi"))
            .await
            .ok();
    }
    // Bytes that aren't a gRPC message, and a message with a length that is too large.
    for (path, body, reason) in [
        (
            "CreateChatCompletion",
            &b"\x00\x00\x00\x00\x03\xff\xff\xff"[..],
            "invalid_protobuf",
        ),
        (
            "StreamChatCompletion",
            b"\x00\x00\x00\x00\x09\x0a",
            "incomplete_body",
        ),
    ] {
        let post = http().post(gateway.url(&format!("/featherwire.v1.ChatService/{path}")));
        let response = post
            .header("content-type", "application/grpc-web")
            .body(body.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let (head, body) = (response.headers().clone(), response.bytes().await.unwrap());
        let failed = head.get("grpc-status").is_some_and(|status| status != "0");
        assert!(
            failed
                || !body.is_empty() && !body.windows(13).any(|window| window == b"grpc-status:0"),
            "{body:?}"
        );
        assert_eq!(head.get_all("content-type").iter().count(), 1, "{head:?}");
        if failed {
            let status = tonic::Status::from_header_map(&head).unwrap();
            assert_eq!(
                (status.code(), grpc_failure(&status).code.as_str()),
                (tonic::Code::InvalidArgument, reason)
            );
        }
    }
    gateway
        .ask(Door::GrpcStream, &prompt(MODEL, "hi"))
        .await
        .ok();
    let stop = gateway.stop().await;
    assert_eq!(stop, featherwire::server::Outcome::Drained);
}

#[tokio::test]
async fn a_bad_grpc_timeout_is_refused() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut request = tonic::Request::new(message(&prompt(MODEL, "hi")));
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let status = gateway
        .grpc()
        .await
        .create_chat_completion(request)
        .await
        .unwrap_err();
    assert_eq!(grpc_failure(&status).param.as_deref(), Some("grpc-timeout"));
    let empty = CreateChatCompletionRequest::default();
    let status = gateway
        .grpc()
        .await
        .stream_chat_completion(empty)
        .await
        .unwrap_err();
    assert_eq!(grpc_failure(&status).param.as_deref(), Some("model"));
}
