//! The limits for the memory of one document and of all requests together. Too many small elements
//! are refused with the name of the list, at every door and in answers of the upstream. A request
//! that is refused or complete releases its bytes.

use bytesize::ByteSize;
use featherwire::{
    error::Kind,
    proto::v1::{
        ChatMessage, CreateChatCompletionRequest, CreateCompletionRequest, StringList, Tool,
        completion_service_client::CompletionServiceClient, create_completion_request::PromptKind,
    },
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    http_compression::zstd,
    support::{
        Door, Emulator, Gateway, MODEL, Reply, Scripted,
        door::grpc_failure,
        prompt,
        raw::{self, Form},
        rest,
        rest::http,
        scripted::{chunk, finish, whole},
    },
};

/// A list with `times` copies of `element`.
fn list(element: &str, times: usize) -> String {
    format!("[{}]", vec![element; times].join(","))
}

#[tokio::test]
async fn an_endless_list_is_refused_with_its_name_and_limit() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let user = |content: &str| format!(r#"{{"messages":[{{"role":"user","content":{content}}}]}}"#);
    let chat = "/v1/chat/completions";
    let nested = |message: &str| format!(r#"{{"messages":{}}}"#, list(message, 16_000));
    let extras: String = (0..1025)
        .map(|number| format!(r#","x{number}":{{}}"#))
        .collect();
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for (path, body, param, words) in [
        (
            chat,
            format!(r#"{{"messages":{}}}"#, list("{}", 100_000)),
            "messages",
            "at most 16384 messages",
        ),
        (
            chat,
            user(&list("{}", 8193)),
            "messages[0].content",
            "at most 8192 parts",
        ),
        (
            chat,
            format!(r#"{{"tools":{}}}"#, list("{}", 2049)),
            "tools",
            "at most 2048 tools",
        ),
        (
            chat,
            format!(r#"{{"functions":{}}}"#, list("{}", 2049)),
            "functions",
            "at most 2048 functions",
        ),
        (
            chat,
            format!(
                r#"{{"messages":[{{"role":"assistant","tool_calls":{}}}]}}"#,
                list("{}", 8193)
            ),
            // A message that may be an answer sent back.
            "messages[0]",
            "tool_calls: at most 8192 tool calls",
        ),
        (
            chat,
            format!(r#"{{"stop":{}}}"#, list("\"a\"", 1025)),
            "stop",
            "at most 1024 texts",
        ),
        (
            chat,
            format!(r#"{{"messages":[],"a":0{extras}}}"#),
            "request",
            "at most 1024 members without a field",
        ),
        (
            chat,
            format!(r#"{{"messages":[],"odd":{deep}}}"#),
            "odd",
            "at most 128 levels",
        ),
        (
            chat,
            format!(r#"{{"moderation":{deep}}}"#),
            "moderation",
            "at most 128 levels",
        ),
        (
            "/v1/completions",
            format!(r#"{{"prompt":{}}}"#, list("\"\"", 65_537)),
            "prompt",
            "at most 65536 texts",
        ),
        (
            "/v1/completions",
            format!(r#"{{"prompt":{}}}"#, list("[]", 65_537)),
            "prompt",
            "at most 65536 lists",
        ),
        (
            "/v1/embeddings",
            format!(r#"{{"input":{}}}"#, list("\"\"", 65_537)),
            "input",
            "at most 65536 texts",
        ),
        // Each list is within its limit, and all of them together are not.
        (
            chat,
            nested(r#"{"content":[{},{},{},{},{},{},{},{}]}"#),
            "messages",
            "bytes of memory",
        ),
        (
            chat,
            nested(r#"{"tool_calls":[{"custom":{}},{"custom":{}}]}"#),
            "messages",
            "bytes of memory",
        ),
        (chat, nested(r#"{"a":0}"#), "messages", "bytes of memory"),
    ] {
        let start = body.get(..80).unwrap_or(&body);
        let (status, error) = gateway.post_json(path, body.clone()).await;
        let error = &error["error"];
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("invalid_value")),
            "{start}: {error}"
        );
        assert!(
            error["param"].as_str().unwrap().starts_with(param),
            "{start}: {error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains(words) && message.contains("; send fewer"),
            "{start}: {message}"
        );
    }
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn an_endless_protobuf_list_is_refused_with_its_name_and_limit() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = gateway.grpc().await;
    let messages = CreateChatCompletionRequest {
        messages: vec![ChatMessage::default(); 16_385],
        ..CreateChatCompletionRequest::default()
    };
    let tools = CreateChatCompletionRequest {
        tools: vec![Tool::default(); 2049],
        ..CreateChatCompletionRequest::default()
    };
    for (request, param, words) in [
        (messages, "messages", "at most 16384 messages"),
        (tools, "tools", "at most 2048 tools"),
    ] {
        let unary = client
            .create_chat_completion(request.clone())
            .await
            .unwrap_err();
        let stream = client.stream_chat_completion(request).await.unwrap_err();
        for status in [unary, stream] {
            let failure = grpc_failure(&status);
            assert_eq!(
                (failure.code.as_str(), failure.param.as_deref()),
                ("invalid_value", Some(param))
            );
            assert!(
                failure.kinds.contains(&Kind::Invalid) && failure.message.contains(words),
                "{failure:?}"
            );
        }
    }
    let prompts = PromptKind::PromptStrings(StringList {
        values: vec![String::new(); 65_537],
    });
    let request = CreateCompletionRequest {
        prompt_kind: Some(prompts),
        ..CreateCompletionRequest::default()
    };
    let mut client = CompletionServiceClient::new(gateway.channel().await);
    let failure = grpc_failure(&client.create_completion(request).await.unwrap_err());
    assert_eq!(failure.param.as_deref(), Some("prompt_strings.values"));
    gateway
        .ask(Door::GrpcUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn an_endless_reply_of_upstream_is_not_an_answer() {
    let choices: Value = serde_json::from_str(&list("{}", 4097)).unwrap();
    let upstream = Scripted::always(Reply::Json(200, json!({ "choices": choices }))).await;
    let gateway = Gateway::to(upstream.address).await;
    let failure = gateway.ask(Door::RestUnary, &prompt(MODEL, "hi")).await;
    let failure = failure.failed(Kind::Upstream, "upstream_answer_too_large");
    assert!(
        failure.message.ends_with("at most 4096 choices"),
        "{failure:?}"
    );
    upstream.set_reply(Reply::Events(vec![
        json!({ "choices": choices }).to_string(),
    ]));
    for door in Door::STREAMS {
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_answer_too_large");
    }
    // Each chunk has a few bytes. The gateway accumulates them.
    let piece = format!(
        r#"{{"choices":[{{"delta":{{"annotations":{}}}}}]}}"#,
        list("{}", 16_384)
    );
    upstream.set_reply(Reply::Events(vec![piece; 80]));
    let headers = [("x-featherwire-unary-via-stream", "true")];
    let failure = gateway
        .ask_with(Door::RestUnary, &prompt(MODEL, "hi"), &headers)
        .await;
    failure.failed(Kind::Upstream, "upstream_answer_too_large");
    upstream.wait_until_closed().await;
    upstream.set_reply(Reply::Json(200, whole("ok")));
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_long_history_of_an_agent_is_within_the_limits() {
    let upstream = Scripted::always(Reply::Json(200, whole("ok"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let call = json!({"id": "call_a", "type": "function", "function": {"name": "weather",
        "arguments": "{}"}});
    let mut messages = Vec::new();
    for _ in 0..4000 {
        messages.push(json!({"role": "user", "content": "And now?"}));
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [call]}));
        messages.push(json!({"role": "tool", "tool_call_id": "call_a", "content": "rain"}));
    }
    let request = json!({ "model": MODEL, "messages": messages });
    for door in [Door::RestUnary, Door::GrpcUnary] {
        gateway.ask(door, &request).await.ok();
    }
    for seen in upstream.requests() {
        assert_eq!(seen.json()["messages"], request["messages"]);
    }
}

#[tokio::test]
async fn the_openapi_document_has_the_same_limits() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let document = http()
        .get(gateway.url("/openapi.json"))
        .send()
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let schemas = &document["components"]["schemas"];
    let chat = &schemas["CreateChatCompletionRequest"]["properties"];
    assert_eq!(chat["messages"]["maxItems"], 16_384);
    assert_eq!(chat["tools"]["maxItems"], 2048);
    assert_eq!(
        chat["logit_bias"]["oneOf"][0]["$ref"],
        "#/components/schemas/LogitBias"
    );
    assert_eq!(schemas["LogitBias"]["maxProperties"], 262_144);
    assert_eq!(schemas["StringList"]["maxItems"], 65_536);
    assert_eq!(
        schemas["ChatMessage"]["properties"]["content"]["oneOf"][1]["maxItems"],
        8192
    );
}

#[tokio::test]
async fn the_bytes_held_back_before_an_answer_are_bounded() {
    const MIB: usize = 1024 * 1024;
    let early = json!({"id": "x", "created": 1, "model": MODEL, "later": "x".repeat(MIB),
        "choices": [{"index": 0, "delta": {"role": "assistant"}}]});
    let events = |count: usize| {
        let mut events = vec![early.to_string(); count];
        events.extend([chunk("a"), finish(), "[DONE]".to_owned()]);
        Reply::Events(events)
    };
    let upstream = Scripted::always(events(15)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::GrpcStream, Door::RestStream] {
        upstream.set_reply(events(15));
        assert_eq!(
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
            "a"
        );
        upstream.set_reply(events(16));
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
        assert!(
            failure
                .message
                .contains("16777216 bytes before anything of the answer"),
            "{failure:?}"
        );
        upstream.wait_until_idle().await;
    }
}

#[tokio::test]
async fn all_requests_together_have_a_limit_at_every_door() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_inflight_request_bytes = Some(ByteSize::kib(600));
    })
    .await;
    let large = prompt(MODEL, &"x".repeat(400 * 1024));
    let mut asked = 0;
    for first in Door::ALL {
        let held = gateway.ask(first, &large);
        let others = async {
            asked += 1;
            upstream.wait_for_requests(asked).await;
            for door in Door::ALL {
                let failure = gateway.ask(door, &large).await;
                let failure = failure.failed(Kind::Unavailable, "too_many_request_bytes");
                assert_eq!(
                    failure.retry_after_seconds,
                    Some(1),
                    "{door:?} after {first:?}"
                );
            }
        };
        // The caller cancels the first call, which releases its bytes.
        tokio::select! {
            answer = held => panic!("{first:?}: {answer:?}"),
            () = others => {}
        }
        upstream.wait_until_closed().await;
    }
    upstream.set_reply(Reply::Json(200, whole("ok")));
    gateway.ask(Door::RestUnary, &large).await.ok();
}

#[tokio::test]
async fn a_single_request_may_have_the_largest_size() {
    let upstream = Scripted::always(Reply::Json(200, whole("ok"))).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_inflight_request_bytes = Some(ByteSize::kib(1));
        config.max_request_bytes = ByteSize::mib(1);
    })
    .await;
    let large = prompt(MODEL, &"x\n".repeat(500 * 1024));
    for door in [
        Door::RestUnary,
        Door::GrpcUnary,
        Door::WebUnary,
        Door::RestUnary,
    ] {
        let answer = gateway.ask(door, &large).await;
        if door == Door::RestUnary {
            // As JSON, each line end takes a byte more.
            answer.failed(Kind::TooLarge, "request_too_large");
        } else {
            answer.ok();
        }
    }
    let large = prompt(MODEL, &"x".repeat(900 * 1024));
    for door in [Door::RestUnary, Door::RestUnary] {
        gateway.ask(door, &large).await.ok();
    }
}

#[tokio::test]
async fn the_decoded_size_of_a_request_counts() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_inflight_request_bytes = Some(ByteSize::kib(64));
    })
    .await;
    let small = prompt(MODEL, "hi");
    let held = gateway.ask(Door::RestUnary, &small);
    let other = async {
        upstream.wait_for_request().await;
        let body = prompt(MODEL, &"x".repeat(1024 * 1024)).to_string();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, body.as_bytes()).unwrap();
        let post = rest::post(
            gateway.url("/v1/chat/completions"),
            encoder.finish().unwrap(),
        );
        let post = post.header("content-encoding", "gzip");
        post.send().await.unwrap().status().as_u16()
    };
    tokio::select! {
        answer = held => panic!("{answer:?}"),
        status = other => assert_eq!(status, 503),
    }
}

#[tokio::test]
async fn a_zstd_request_is_refused_before_it_fills_memory() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_inflight_request_bytes = Some(ByteSize::kib(64));
    })
    .await;
    let frame = |header: &[u8]| {
        // Each block is 128 KiB of spaces. The last one is missing: decoding would end with an
        // error of its own.
        let block = [&(128_u32 << 13 | 1 << 1).to_le_bytes()[..3], b" "].concat();
        [&[0x28, 0xb5, 0x2f, 0xfd], header, &block.repeat(60)].concat()
    };
    let announced = frame(&[0xa0, 0, 0, 0x80, 0]);
    let windowed = frame(&[0, 13 << 3]);
    let held = prompt(MODEL, "hi");
    let held = gateway.ask(Door::RestUnary, &held);
    let others = async {
        upstream.wait_for_request().await;
        for body in [announced, windowed] {
            let post = rest::post(gateway.url("/v1/chat/completions"), body.clone());
            let answer = post.header("content-encoding", "zstd").send();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status(), 503);
            let answer = answer.bytes().await.unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["error"]["code"], "too_many_request_bytes");
            for form in Form::ALL {
                let path = "/featherwire.v1.ChatService/CreateChatCompletion";
                let headers = [("grpc-encoding", "zstd")];
                let body = raw::frame(1, &body);
                let answer = raw::call(&gateway, form, path, &headers, &body).await;
                answer.failed(Code::Unavailable, "too_many_request_bytes");
            }
        }
    };
    tokio::select! {
        answer = held => panic!("{answer:?}"),
        () = others => {}
    }
    upstream.wait_until_closed().await;
    // Alone it fits.
    upstream.set_reply(Reply::Json(200, whole("ok")));
    let large = prompt(MODEL, &"x".repeat(1024 * 1024)).to_string();
    let post = rest::post(gateway.url("/v1/chat/completions"), zstd(large.as_bytes()));
    let answer = post.header("content-encoding", "zstd").send().await;
    assert_eq!(answer.unwrap().status(), 200);
}
