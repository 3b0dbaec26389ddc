//! Members whose value follows from other members (`type`), and members with a typed message:
//! voices, allowed tools, prices.

use featherwire::proto::v1::{
    AllowedTools, AudioOptions, ContentPart, CreateChatCompletionRequest, CustomVoice,
    FunctionDefinition, GetModelRequest, ImageUrl, NamedFunction, Tool, ToolChoice, ToolReference,
    audio_options::VoiceKind, create_chat_completion_request::ToolChoiceKind,
    model_service_client::ModelServiceClient,
};
use serde_json::{Value, json};

use crate::support::{Gateway, MODEL, Reply, Scripted, door::message, prompt, rest::http};

fn answer() -> Reply {
    let choice = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant",
        "content": "x"}});
    Reply::Json(
        200,
        json!({"id": "x", "created": 1, "model": MODEL, "choices": [choice]}),
    )
}

/// The request that the upstream receives. Asserts that it is the same by REST and by gRPC.
async fn sent(request: &Value) -> Value {
    let upstream = Scripted::always(answer()).await;
    let gateway = Gateway::to(upstream.address).await;
    let response = gateway.post("/v1/chat/completions", &request).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    gateway
        .grpc()
        .await
        .create_chat_completion(message(request))
        .await
        .unwrap();
    let [by_rest, by_grpc] = &upstream.requests()[..] else {
        panic!("two calls")
    };
    assert_eq!(by_rest.json(), by_grpc.json());
    by_rest.json()
}

#[tokio::test]
async fn a_type_that_follows_from_the_set_field_may_be_left_out() {
    let image = json!({"url": "https://example.org/a.png"});
    let with = |name: &str, value: &Value| {
        let mut request = prompt(MODEL, "hi");
        request["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
        request[name] = value.clone();
        request
    };
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    let call = |call: Value| json!([{"role": "assistant", "tool_calls": [call]}]);
    for (name, sent_members, expected) in [
        (
            "messages",
            part(json!({"text": "a"})),
            part(json!({"text": "a", "type": "text"})),
        ),
        (
            "messages",
            part(json!({"image_url": image})),
            part(json!({"image_url": image, "type": "image_url"})),
        ),
        (
            "messages",
            part(json!({"file": {"file_id": "f"}})),
            part(json!({"file": {"file_id": "f"}, "type": "file"})),
        ),
        (
            "messages",
            part(json!({"type": null, "refusal": "no"})),
            part(json!({"refusal": "no", "type": "refusal"})),
        ),
        (
            "messages",
            part(json!({"type": "odd", "text": "a"})),
            part(json!({"type": "odd", "text": "a"})),
        ),
        (
            "messages",
            part(json!({"type": "", "text": "a"})),
            part(json!({"type": "", "text": "a"})),
        ),
        (
            "messages",
            part(json!({"text": "a", "image_url": image})),
            part(json!({"text": "a", "image_url": image})),
        ),
        (
            "messages",
            part(json!({"video": {}})),
            part(json!({"video": {}})),
        ),
        (
            "messages",
            call(json!({"id": "1", "function": {"name": "f"}})),
            call(json!({"id": "1", "function": {"name": "f"}, "type": "function"})),
        ),
        // An answer given back: a type that is not a string is passed on.
        (
            "messages",
            call(json!({"id": "1", "type": 7, "function": {"name": "f"}})),
            call(json!({"id": "1", "type": 7, "function": {"name": "f"}})),
        ),
        (
            "tools",
            json!([{"function": {"name": "f"}}]),
            json!([{"function": {"name": "f"}, "type": "function"}]),
        ),
        (
            "tools",
            json!([{"custom": {"name": "c", "format": {"grammar": {"syntax": "lark"}}}}]),
            json!([{"custom": {"name": "c", "format": {"grammar": {"syntax": "lark"},
                "type": "grammar"}}, "type": "custom"}]),
        ),
        (
            "tool_choice",
            json!({"function": {"name": "f"}}),
            json!({"function": {"name": "f"}, "type": "function"}),
        ),
        (
            "tool_choice",
            json!({"allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"}}]}}),
            json!({"allowed_tools": {"mode": "auto", "tools": [{"function": {"name": "f"},
                "type": "function"}]},
                "type": "allowed_tools"}),
        ),
        (
            "response_format",
            json!({"json_schema": {"name": "s"}}),
            json!({"json_schema": {"name": "s"}, "type": "json_schema"}),
        ),
        (
            "prediction",
            json!({"content": "a"}),
            json!({"content": "a", "type": "content"}),
        ),
    ] {
        assert_eq!(
            sent(&with(name, &sent_members)).await[name],
            expected,
            "{sent_members}"
        );
    }
}

#[tokio::test]
async fn a_voice_is_a_name_or_an_object_and_allowed_tools_are_a_list() {
    let upstream = Scripted::always(answer()).await;
    let gateway = Gateway::to(upstream.address).await;
    let custom = CustomVoice {
        id: Some("voice_1".to_owned()),
        ..CustomVoice::default()
    };
    for (voice_kind, expected) in [
        (
            VoiceKind::Voice("alloy".to_owned()),
            json!({"voice": "alloy"}),
        ),
        (
            VoiceKind::VoiceObject(custom),
            json!({"voice": {"id": "voice_1"}}),
        ),
    ] {
        let mut request = message(&prompt(MODEL, "hi"));
        request.audio = Some(AudioOptions {
            voice_kind: Some(voice_kind),
            ..AudioOptions::default()
        });
        gateway
            .grpc()
            .await
            .create_chat_completion(request)
            .await
            .unwrap();
        assert_eq!(upstream.requests().pop().unwrap().json()["audio"], expected);
    }
    let named = NamedFunction {
        name: Some("f".to_owned()),
        ..NamedFunction::default()
    };
    let tools = vec![ToolReference {
        function: Some(named),
        ..ToolReference::default()
    }];
    let allowed = AllowedTools {
        mode: Some("required".to_owned()),
        tools,
        ..AllowedTools::default()
    };
    let choice = ToolChoice {
        allowed_tools: Some(allowed),
        ..ToolChoice::default()
    };
    let function = FunctionDefinition {
        name: Some("f".to_owned()),
        ..FunctionDefinition::default()
    };
    let image = ImageUrl {
        url: Some("data:,".to_owned()),
        ..ImageUrl::default()
    };
    let mut request = CreateChatCompletionRequest {
        tools: vec![Tool {
            function: Some(function),
            ..Tool::default()
        }],
        tool_choice_kind: Some(ToolChoiceKind::ToolChoiceObject(choice)),
        ..message(&prompt(MODEL, "hi"))
    };
    request.messages[0].content = None;
    request.messages[0].content_parts = vec![ContentPart {
        image_url: Some(Box::new(image)),
        ..ContentPart::default()
    }];
    gateway
        .grpc()
        .await
        .create_chat_completion(request)
        .await
        .unwrap();
    let sent = upstream.requests().pop().unwrap().json();
    assert_eq!(
        sent["messages"][0]["content"],
        json!([{"type": "image_url", "image_url": {"url": "data:,"}}])
    );
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(sent["tools"], tools);
    let expected =
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}});
    assert_eq!(sent["tool_choice"], expected);
}

#[tokio::test]
async fn prices_and_sizes_of_a_model_have_types_and_keep_their_digits() {
    let model = json!({"id": "a/b", "object": "model", "created": 1, "owned_by": "x",
        "pricing": {"prompt": "0.00000010", "completion": "0", "input": 0.1, "output": 1e-7,
        "audio": "1"},
        "parameter_size": 8_030_000_000_i64, "active_parameters": 3_000_000_000_i64,
        "shutdown_date": "2026-10-23"});
    let upstream = Scripted::always(Reply::Json(200, model.clone())).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let came = client
        .get_model(GetModelRequest {
            model: "a/b".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    let pricing = came.pricing.unwrap();
    assert_eq!(
        (pricing.prompt.as_deref(), pricing.input, pricing.image),
        (Some("0.00000010"), Some(0.1), None)
    );
    assert_eq!(pricing.extra["audio"], "\"1\"");
    assert_eq!(
        (came.parameter_size, came.active_parameters),
        (Some(8_030_000_000), Some(3_000_000_000))
    );
    assert_eq!(came.shutdown_date.as_deref(), Some("2026-10-23"));
    let body = http()
        .get(gateway.url("/v1/models/a/b"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), model);
    assert!(body.contains(r#""prompt":"0.00000010""#), "{body}");
}
