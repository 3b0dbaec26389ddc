//! What callers get wrong: a clear error that says where, and a server that goes on.

use bytesize::ByteSize;
use featherwire::{error::Kind, proto::v1::CreateChatCompletionRequest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted,
    door::{grpc_failure, message},
    gateway::http,
    prompt,
};

async fn post(gateway: &Gateway, media_type: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
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
async fn a_bad_body_is_told_what_is_wrong_and_where() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let with = |change: Value| {
        let mut request = prompt(MODEL, "my secret prompt");
        request
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        request.to_string()
    };
    let message = |message: Value| with(json!({ "messages": [message] }));
    // What `Value` can't hold.
    let raw = |name: &str, text: &str| with(json!({name: "HERE"})).replace("\"HERE\"", text);
    // Body, parameter, and words of the message.
    let cases: Vec<(String, Option<&str>, &str)> = vec![
        (String::new(), None, "not valid JSON"),
        ("{\"model\": \"x\",".to_owned(), None, "line 1 column 14"),
        ("not json".to_owned(), None, "not valid JSON"),
        ("[]".to_owned(), None, "expected an object, found a list"),
        ("null".to_owned(), None, "expected an object, found null"),
        (
            format!("{} {{}}", with(json!({}))),
            None,
            "trailing characters",
        ),
        ("{}".to_owned(), Some("model"), "required"),
        (
            json!({"model": MODEL}).to_string(),
            Some("messages"),
            "at least one",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x"}]}).to_string(),
            Some("model"),
            "required",
        ),
        (with(json!({"model": ""})), Some("model"), "required"),
        (
            with(json!({"model": 5})),
            Some("model"),
            "expected a string, found an integer",
        ),
        (
            with(json!({"messages": []})),
            Some("messages"),
            "at least one",
        ),
        (
            with(json!({"messages": "hi"})),
            Some("messages"),
            "expected a list, found a string",
        ),
        (
            message(json!("hi")),
            Some("messages[0]"),
            "expected an object, found a string",
        ),
        (
            message(json!({"content": "hi"})),
            Some("messages[0].role"),
            "required",
        ),
        (
            message(json!({"role": "user", "content": 7})),
            Some("messages[0].content"),
            "a string, a list of parts, or null",
        ),
        (
            message(json!({"role": "user", "content": {"a": 1}})),
            Some("messages[0].content"),
            "found an object",
        ),
        (
            message(json!({"role": "user", "content": ["x"]})),
            Some("messages[0].content[0]"),
            "expected an object",
        ),
        (
            message(json!({"role": "user", "content": [{"type": "text", "text": 1}]})),
            Some("messages[0].content[0].text"),
            "expected a string",
        ),
        (
            message(json!({"role": "user", "tool_calls": {}})),
            Some("messages[0].tool_calls"),
            "expected a list",
        ),
        (
            message(json!({"role": 5, "content": "hi"})),
            Some("messages[0].role"),
            "expected a string, found an integer",
        ),
        (
            message(json!({"role": ["assistant"], "content": "hi"})),
            Some("messages[0].role"),
            "found a list",
        ),
        (
            with(json!({"temperature": "hot secret"})),
            Some("temperature"),
            "expected a number, found a string",
        ),
        (
            with(json!({"temperature": 2.1})),
            Some("temperature"),
            "2.1 is out of range: 0 to 2",
        ),
        (
            with(json!({"temperature": -0.1})),
            Some("temperature"),
            "out of range",
        ),
        (with(json!({"top_p": 0})), Some("top_p"), "above 0, up to 1"),
        (
            with(json!({"top_p": 1.5})),
            Some("top_p"),
            "above 0, up to 1",
        ),
        (
            with(json!({"frequency_penalty": 2.5})),
            Some("frequency_penalty"),
            "-2 to 2",
        ),
        (
            with(json!({"presence_penalty": -3})),
            Some("presence_penalty"),
            "-2 to 2",
        ),
        (with(json!({"min_p": 2})), Some("min_p"), "0 to 1"),
        (
            with(json!({"repetition_penalty": 0})),
            Some("repetition_penalty"),
            "above 0",
        ),
        (with(json!({"top_k": -2})), Some("top_k"), "at least -1"),
        (with(json!({"n": 0})), Some("n"), "1 to 128"),
        (
            with(json!({"top_logprobs": 21})),
            Some("top_logprobs"),
            "0 to 20",
        ),
        (
            with(json!({"max_tokens": 0})),
            Some("max_tokens"),
            "at least 1",
        ),
        (
            with(json!({"max_tokens": 1.5})),
            Some("max_tokens"),
            "expected an integer of at least 1, found a number with a fraction",
        ),
        (
            with(json!({"max_tokens": 99_999_999_999_u64})),
            Some("max_tokens"),
            "too large: expected an integer of at least 1",
        ),
        (
            with(json!({"max_tokens": 1e30})),
            Some("max_tokens"),
            "too large: expected an integer of at least 1",
        ),
        (
            with(json!({"max_tokens": -99_999_999_999_i64})),
            Some("max_tokens"),
            "too small",
        ),
        (
            with(json!({"max_tokens": "50"})),
            Some("max_tokens"),
            "expected an integer of at least 1, found a string",
        ),
        (
            with(json!({"n": 99_999_999_999_u64})),
            Some("n"),
            "too large: expected an integer from 1 to 128",
        ),
        (
            with(json!({"seed": u64::MAX})),
            Some("seed"),
            "too large: expected a 64-bit integer",
        ),
        (
            raw("seed", "123456789012345678901234567890"),
            Some("seed"),
            "too large: expected a 64-bit integer",
        ),
        (
            raw("seed", "1.5"),
            Some("seed"),
            "found a number with a fraction",
        ),
        (
            raw("stop_token_ids", "[1, 1.5]"),
            Some("stop_token_ids[1]"),
            "found a number with a fraction",
        ),
        (
            raw("temperature", "NaN"),
            Some("temperature"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("temperature", "-Infinity"),
            Some("temperature"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("max_tokens", "Infinity"),
            Some("max_tokens"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("response_format", "{\"x\": {\"y\": NaN}}"),
            Some("response_format.x"),
            "NaN and Infinity are not JSON",
        ),
        (
            raw("temperature", "1e400"),
            Some("temperature"),
            "too large",
        ),
        (raw("max_tokens", "1e400"), Some("max_tokens"), "too large"),
        (
            raw("logit_bias", "{\"5\": -1e999}"),
            Some("logit_bias.5"),
            "too large",
        ),
        (
            raw("user", "\"\\ud83d\""),
            Some("user"),
            "half of a surrogate pair",
        ),
        (
            raw(
                "messages",
                "[{\"role\": \"user\", \"content\": \"x \\udc00\"}]",
            ),
            Some("messages[0].content"),
            "both halves",
        ),
        (
            raw("metadata", "[1]"),
            Some("metadata"),
            "expected an object, found a list",
        ),
        (
            raw("tool_choice", "[1]"),
            Some("tool_choice"),
            "expected a string or an object, found a list",
        ),
        (
            with(json!({"stop": 5})),
            Some("stop"),
            "a string or a list of strings",
        ),
        (
            with(json!({"stop": ["a", 5]})),
            Some("stop[1]"),
            "expected a string",
        ),
        (
            with(json!({"tools": [{"type": "function", "function": {"name": 1}}]})),
            Some("tools[0].function.name"),
            "expected a string",
        ),
        (
            with(json!({"tool_choice": 1})),
            Some("tool_choice"),
            "a string or an object",
        ),
        (
            with(json!({"stream": "yes"})),
            Some("stream"),
            "true, false or null",
        ),
        (
            with(json!({"provider": "openai"})),
            Some("provider"),
            "\"featherless\"",
        ),
        (
            with(json!({"provider": 1})),
            Some("provider"),
            "expected a string",
        ),
    ];
    for (body, param, words) in cases {
        let (status, error) = post(&gateway, "application/json", body.clone()).await;
        let error = &error["error"];
        assert_eq!(
            (status, &error["type"]),
            (400, &json!("invalid_request_error")),
            "{body}: {error}"
        );
        assert_eq!(error["param"].as_str(), param, "{body}: {error}");
        let told = error["message"].as_str().unwrap();
        assert!(told.contains(words), "{body}: {told}");
        assert!(
            !told.contains("secret"),
            "what was sent is not sent back: {told}"
        );
        if param == Some("provider") && words.contains("featherless") {
            assert_eq!(error["code"], "unknown_provider");
        }
    }
    let (status, _) = post(
        &gateway,
        "application/json",
        with(json!({"provider": null, "stop": null})),
    )
    .await;
    assert_eq!(status, 200, "null is the same as absence");
    emulator.idle().await;
}

#[tokio::test]
async fn bytes_that_are_not_text_are_refused() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let (status, error) = post(
        &gateway,
        "application/json",
        b"{\"model\": \"\xff\"}".to_vec(),
    )
    .await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (400, &json!("invalid_json"))
    );
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("byte 11"),
        "{error}"
    );
    let deep = format!("{{\"messages\":{}", "[".repeat(100_000));
    assert_eq!(
        post(&gateway, "application/json", deep).await.0,
        400,
        "no stack is overflown"
    );
    let deep = format!(
        "{{\"unknown\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        post(&gateway, "application/json", deep).await.1["error"]["param"],
        "unknown"
    );
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
    let upstream = Scripted::always(Reply::Json(
        200,
        json!({"choices": [{"message": {"content": "x"}}]}),
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let body = format!(
        r#"{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "hi"}}], "max_tokens": 100.0, "top_k": 4e1,
            "n": 1.0, "seed": 5.0, "stop_token_ids": [1.0, 2e3], "logit_bias": [], "metadata": [], "response_format": []}}"#
    );
    // With the mark that some editors put before a text.
    let (status, error) = post(
        &gateway,
        "application/json",
        [b"\xef\xbb\xbf", body.as_bytes()].concat(),
    )
    .await;
    assert_eq!(status, 200, "{error}");
    let sent = String::from_utf8(upstream.only().body).unwrap();
    for member in [
        "\"max_tokens\":100,",
        "\"top_k\":40,",
        "\"n\":1,",
        "\"seed\":5,",
        "\"stop_token_ids\":[1,2000],",
    ] {
        assert!(sent.contains(member), "{member}: {sent}");
    }
    for name in ["logit_bias", "metadata", "response_format"] {
        assert!(!sent.contains(name), "{name}: {sent}");
    }
}

#[tokio::test]
async fn another_encoding_is_called_by_its_name() {
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
async fn ranges_hold_at_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        for (name, bad, good) in [
            ("temperature", json!(2.01), json!(2)),
            ("top_p", json!(1.01), json!(1)),
            ("frequency_penalty", json!(-2.01), json!(-2)),
            ("presence_penalty", json!(2.01), json!(2)),
            ("max_tokens", json!(0), json!(1)),
        ] {
            let mut request = prompt(MODEL, "hi");
            request[name] = bad;
            let failure = gateway
                .ask(door, &request)
                .await
                .failed(Kind::Invalid, "invalid_value");
            assert_eq!(failure.param.as_deref(), Some(name), "{door:?}");
            request[name] = good;
            gateway.ask(door, &request).await.ok();
        }
        let mut request = prompt(MODEL, "hi");
        request["provider"] = json!("other");
        gateway
            .ask(door, &request)
            .await
            .failed(Kind::Invalid, "unknown_provider");
        let empty = json!({"model": MODEL, "messages": []});
        assert_eq!(
            gateway
                .ask(door, &empty)
                .await
                .failed(Kind::Invalid, "invalid_value")
                .param
                .as_deref(),
            Some("messages")
        );
        let answer = gateway
            .ask_with(
                door,
                &prompt(MODEL, "hi"),
                &[("x-request-timeout-ms", "soon")],
            )
            .await;
        answer.failed(Kind::Invalid, "invalid_value");
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
    // The default lets an image through that tonic's and axum's own limits would not.
    let gateway = Gateway::to(emulator.address).await;
    for door in [Door::RestUnary, Door::GrpcUnary] {
        let image = json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", "A".repeat(5_000_000))}});
        let request = json!({"model": "google/gemma-3-27b-it", "messages": [{"role": "user", "content": [image]}]});
        gateway.ask(door, &request).await.ok();
    }
    emulator.idle().await;
}

#[tokio::test]
async fn a_media_type_path_or_method_that_is_not_ours_is_told_so_in_the_callers_dialect() {
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
    let json_to_grpc = send(
        "POST",
        "/featherwire.v1.ChatService/CreateChatCompletion",
        Some("application/json"),
    )
    .await;
    assert_eq!(json_to_grpc.status(), 415);
    let error: Value = serde_json::from_slice(&json_to_grpc.bytes().await.unwrap()).unwrap();
    assert!(
        error["error"]["message"]
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
async fn noise_on_the_port_harms_nobody() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let noise: [&[u8]; 6] = [
        b"\x00\x01\x02\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
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
    // A gRPC message that isn't one, and one that announces more than it holds.
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
