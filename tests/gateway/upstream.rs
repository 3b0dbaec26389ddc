//! The requests that the upstream receives.

use featherwire::{
    error::Kind,
    proto::v1::{CreateChatCompletionRequest, Tool},
};
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted,
    door::{grpc_failure, message},
    prompt,
    scripted::{chunk, finish},
};

pub fn answer() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"},
        "finish_reason": "stop"}]
    })
}

pub async fn peer(door: Door) -> Scripted {
    Scripted::always(if door.is_stream() {
        Reply::Events(vec![chunk("hi"), finish(), "[DONE]".to_owned()])
    } else {
        Reply::Json(200, answer())
    })
    .await
}

#[tokio::test]
async fn every_member_reaches_upstream_except_the_gateways_own() {
    let mut request = prompt(MODEL, "hi");
    let given = json!({
        "temperature": 0.1, "top_p": 1, "top_k": -1, "min_p": 1e-12, "frequency_penalty": -2,
        "presence_penalty": 0,
        "repetition_penalty": 1.05, "seed": 9_007_199_254_740_993_i64,
        "logit_bias": {"50256": -100}, "max_tokens": 5,
        "max_completion_tokens": 6, "min_tokens": 1, "stop": ["a", "b"], "stop_token_ids": [1, 2],
        "include_stop_str_in_output": true, "n": 1, "parallel_tool_calls": false, "logprobs": true,
        "top_logprobs": 3,
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "strict": true,
            "parameters":
                {"type": "object", "properties": {"zebra": {"type": "string"},
                "ant": {"type": "integer"}}}}},
            {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar":
                {"definition": "x", "syntax": "lark"}}}},
            {"type": "web_search", "filters": {"deep": [1, null]}}
        ],
        "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto",
        "tools": [{"type": "function"}]}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"b": 1,
        "a": 2}}},
        "modalities": ["text"], "audio": {"voice": {"id": "v"}, "format": "wav"},
        "prediction": {"type": "content", "content": [{"type": "text", "text": "t"}]},
        "verbosity": "low", "reasoning_effort": "xhigh",
        "chat_template_kwargs": {"enable_thinking": false, "x": null},
        "stream_options": {"include_usage": true}, "service_tier": "auto", "store": false,
        "metadata": {"k": "v"},
        "user": "u", "safety_identifier": "s", "prompt_cache_key": "p",
        "prompt_cache_retention": "24h",
        "prompt_cache_options": {"ttl": "30m", "mode": "explicit"},
        "web_search_options": {"search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Oslo"}}},
        "moderation": {"mode": "x"}, "functions": [{"name": "old"}],
        "function_call": {"name": "old"},
        "guided_json": {"z": 1, "a": [1e-12, 18_446_744_073_709_551_615_u64]}, "unheard_of": null
    });
    request
        .as_object_mut()
        .unwrap()
        .extend(given.as_object().unwrap().clone());
    request["messages"] = json!([
        {"role": "developer", "content": "be brief", "name": "boss"},
        {"role": "user", "content": [
            {"type": "text", "text": "look", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==",
            "detail": "low"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            {"type": "file", "file": {"filename": "f", "file_data": "AA==", "file_id": "i"}},
            {"type": "video_url", "video_url": {"url": "https://x.example/v.mp4", "fps": 2}}
        ]},
        {"role": "assistant", "content": null, "refusal": "no", "reasoning_content": "r",
        "reasoning": "q", "audio": {"id": "a"},
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f",
            "arguments": "{\"a\": 1}"}},
                {"id": "2", "type": "custom", "custom": {"name": "c", "input": "text"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "done",
        "cache_control": {"type": "ephemeral"}}
    ]);
    let mut expected = request.clone();
    request["provider"] = json!("featherless");
    request["messages"][0]["tool_calls"] = Value::Null;
    for door in Door::ALL {
        let upstream = peer(door).await;
        let gateway = Gateway::to(upstream.address).await;
        gateway.ask(door, &request).await.ok();
        expected["stream"] = json!(door.is_stream());
        let seen = upstream.only_request();
        assert_eq!(sorted(&seen.json()), sorted(&expected), "{door:?}");
    }
}

#[tokio::test]
async fn json_text_of_a_caller_reaches_upstream_unchanged() {
    let schema = concat!(
        r#"{"type":"object","properties":{"zebra":{"type":"string"},"#,
        r#""ant":{"enum":[1.0,1e-12,18446744073709551616,"\u00e9"]}},"required":["zebra","ant"]}"#,
    );
    let kwargs = r#"{ "z": 1, "a": {"y": null, "b": [ ] } }"#;
    let body = format!(
        r#"{{"model":"m","messages":[{{"role":"user","content":"hi","later":{kwargs}}}],"chat_template_kwargs":{kwargs},
        "guided_json":{schema},"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}],
        "response_format":{{"type":"json_schema","json_schema":{{"name":"n","schema":{schema}}}}}}}"#
    );
    let upstream = Scripted::always(Reply::Json(200, answer())).await;
    let gateway = Gateway::to(upstream.address).await;
    assert_eq!(
        gateway.post("/v1/chat/completions", body).await.status(),
        200
    );
    let sent = String::from_utf8(upstream.only_request().body).unwrap();
    assert_eq!(sent.matches(schema).count(), 3, "{sent}");
    assert_eq!(sent.matches(kwargs).count(), 2, "{sent}");
}

/// Converts numbers, because serde_json treats 1 and 1.0 as different numbers.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), sorted(value)))
            .collect(),
        Value::Number(number) if number.as_i64().is_none() && number.as_u64().is_none() => {
            match number.as_f64() {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "small whole numbers of the test"
                )]
                Some(double) if double.fract() == 0.0 && double.abs() < 1e6 => json!(double as i64),
                _ => value.clone(),
            }
        }
        _ => value.clone(),
    }
}

#[tokio::test]
async fn upstream_gets_the_gateways_key_and_name_and_no_header_of_the_caller() {
    for door in Door::ALL {
        let upstream = peer(door).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.api_keys = vec!["gw_live_secret".into()];
            config.upstream.app_title = "Our App".to_owned();
            config.upstream.app_url = Some("https://app.example".to_owned());
        })
        .await;
        let headers = [
            ("authorization", "Bearer gw_live_secret"),
            ("x-private", "caller"),
            ("x-request-id", "call-7"),
        ];
        let answer = gateway
            .ask_with(door, &prompt(MODEL, "hi"), &headers)
            .await
            .ok();
        assert_eq!(
            answer.upstream_request_id.as_deref(),
            Some("scripted-1"),
            "{door:?}"
        );
        assert_eq!(answer.request_id.as_deref(), Some("call-7"), "{door:?}");
        let seen = upstream.only_request();
        assert!(
            seen.head.starts_with("POST /v1/chat/completions HTTP/1.1"),
            "{}",
            seen.head
        );
        assert_eq!(seen.header("authorization"), Some("Bearer upstream-secret"));
        assert_eq!(seen.header("x-title"), Some("Our App"));
        assert_eq!(seen.header("referer"), Some("https://app.example"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
        assert!(
            !seen.head.contains("gw_live_secret") && !seen.head.contains("caller"),
            "{}",
            seen.head
        );
    }
}

#[tokio::test]
async fn members_that_a_caller_leaves_out_stay_out_except_types_that_follow() {
    let mut request = prompt(MODEL, "hi");
    request["tools"] = json!([{"function": {}}, {}]);
    request["response_format"] = json!({"json_schema": {}});
    request["tool_choice"] = json!({"function": {}, "allowed_tools": {}});
    request["prediction"] = json!({"content": "x"});
    request["messages"] =
        json!([{"role": "user", "content": [{}, {"image_url": {}, "input_audio": {}}]}]);
    let mut expected = request.clone();
    expected["stream"] = json!(false);
    // The type is added if one field is set, but not if none or two are set.
    expected["tools"][0]["type"] = json!("function");
    expected["response_format"]["type"] = json!("json_schema");
    expected["prediction"]["type"] = json!("content");
    let upstream = Scripted::always(Reply::Json(200, answer())).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::RestUnary, Door::GrpcUnary] {
        gateway.ask(door, &request).await.ok();
    }
    for seen in upstream.requests() {
        assert_eq!(seen.json(), expected);
    }
}

#[tokio::test]
async fn a_number_reaches_the_upstream_with_all_digits() {
    let upstream = Scripted::always(Reply::Json(200, answer())).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = prompt(MODEL, "hi");
    request["temperature"] = json!(1.914_607_051_577_289_7);
    gateway.ask(Door::RestUnary, &request).await.ok();
    assert!(
        String::from_utf8(upstream.only_request().body)
            .unwrap()
            .contains("1.9146070515772897")
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_key_is_not_sent() {
    let elsewhere = Scripted::always(Reply::Json(200, answer())).await;
    let location = format!("302 Found\r\nlocation: http://{}/steal", elsewhere.address);
    let upstream = Scripted::always(Reply::Raw(location, Vec::new())).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::ALL {
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_redirect");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn an_error_that_only_grpc_allows_is_refused_with_the_fields_path() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = gateway.grpc().await;
    let good = || message(&prompt(MODEL, "hi"));
    let extra = |name: &str, text: &str| {
        let mut request = good();
        request.extra.insert(name.to_owned(), text.to_owned());
        request
    };
    let schema = |text: &str| {
        let tool = json!({"type": "function", "function": {"name": "f"}});
        let mut tool: Tool =
            featherwire::json::decode_request(tool.to_string().as_bytes()).unwrap();
        tool.function.as_mut().unwrap().parameters = Some(text.to_owned());
        CreateChatCompletionRequest {
            tools: vec![tool],
            ..good()
        }
    };
    let cases = [
        (
            extra("stream", "true"),
            "extra[\"stream\"]",
            "call the Stream",
        ),
        (
            extra("guided", "{broken"),
            "extra[\"guided\"]",
            "not valid JSON",
        ),
        (
            schema("{'type': 'object'}"),
            "tools[0].function.parameters",
            "not valid JSON",
        ),
        (
            CreateChatCompletionRequest {
                temperature: Some(f64::NAN),
                ..good()
            },
            "temperature",
            "out of range",
        ),
        (
            CreateChatCompletionRequest {
                logit_bias: [("1".to_owned(), f64::NAN)].into(),
                ..good()
            },
            "logit_bias",
            "NaN",
        ),
    ];
    for (request, param, words) in cases {
        let status = client.create_chat_completion(request).await.unwrap_err();
        let failure = grpc_failure(&status);
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{failure:?}");
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(
            failure.param.as_deref().unwrap().starts_with(param),
            "{:?}: {failure:?}",
            failure.param
        );
    }
    assert!(upstream.requests().is_empty());
}
