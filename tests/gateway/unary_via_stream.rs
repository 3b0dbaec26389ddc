//! A unary call that is streamed upstream gets the same answer as one that is not streamed.

use featherwire::error::Kind;
use serde_json::{Value, json};

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt,
    scripted::{event, finish},
};

const VIA_STREAM: &str = "x-featherwire-unary-via-stream";

async fn post(gateway: &Gateway, request: &Value, via_stream: &str) -> Value {
    let response = gateway
        .post_request("/v1/chat/completions", request)
        .header(VIA_STREAM, via_stream)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    // Different for each answer.
    answer["id"] = Value::Null;
    answer["created"] = Value::Null;
    answer
}

#[tokio::test]
async fn an_accumulated_stream_equals_the_unary_answer_of_the_same_upstream() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let tools = json!([
        {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}}, "required": ["city"]}}},
        {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object",
        "properties": {"zone": {"type": "string"}}, "required": ["zone"]}}}
    ]);
    for change in [
        json!({}),
        json!({"n": 3, "temperature": 1}),
        json!({"max_tokens": 3}),
        json!({"logprobs": true, "top_logprobs": 2}),
        json!({"tools": tools, "tool_choice": "required"}),
        json!({"tools": tools, "messages": [{"role": "user",
            "content": "Use get_weather and get_time."}]}),
        json!({"chat_template_kwargs": {"enable_thinking": true}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"model": "emulator/think"}),
        json!({"messages": [{"role": "user",
            "content": "repeat after me: 漢字 👩‍👩‍👧‍👦 \u{10ffff}"}]}),
    ] {
        let mut request = prompt(MODEL, "Say hello in 5 words");
        request
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let unary = post(&gateway, &request, "false").await;
        let sum = post(&gateway, &request, "true").await;
        let calls = |answer: &Value| -> Vec<Value> {
            let calls = answer["choices"][0]["message"]["tool_calls"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            calls
                .into_iter()
                .map(|call| call["function"].clone())
                .collect()
        };
        assert_eq!(calls(&unary), calls(&sum), "{change}");
        assert_eq!(without_call_ids(unary), without_call_ids(sum), "{change}");
    }
    emulator.wait_until_idle().await;
}

/// The ids of tool calls differ for each answer too.
fn without_call_ids(mut answer: Value) -> Value {
    for choice in answer["choices"].as_array_mut().unwrap() {
        for call in choice["message"]["tool_calls"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            assert!(call["id"].is_string());
            call["id"] = Value::Null;
        }
    }
    answer
}

#[tokio::test]
async fn unary_via_stream_is_off_by_default_and_a_call_may_set_it() {
    let emulator = Emulator::start().await;
    let (off, on) = (
        Gateway::to(emulator.address).await,
        Gateway::with(emulator.address, |config| config.unary_via_stream = true).await,
    );
    // The error is that of a cut stream only if the gateway requested a stream.
    let request = prompt("emulator/eof-after-5", "hi");
    for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
        off.ask(door, &request)
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
        on.ask(door, &request)
            .await
            .failed(Kind::Upstream, "upstream_stream_cut");
        off.ask_with(door, &request, &[(VIA_STREAM, "true")])
            .await
            .failed(Kind::Upstream, "upstream_stream_cut");
        on.ask_with(door, &request, &[(VIA_STREAM, "false")])
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
        off.ask_with(door, &request, &[(VIA_STREAM, "yes")])
            .await
            .failed(Kind::Invalid, "invalid_value");
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn unusual_chunks_neither_merge_calls_nor_move_text() {
    let piece = |id: &str, name: &str, arguments: &str| {
        json!({"index": 0, "id": id,
        "type": "function", "function": {"name": name, "arguments": arguments}})
    };
    // Half a surrogate pair cannot be written with `json!`.
    let half = |half: &str| event(&json!({"content": "half"}), None).replace("half", half);
    let events = vec![
        event(&json!({"role": "assistant", "content": ""}), None),
        event(&json!({"content": "Hi "}), None),
        half("\\ud83d"),
        half("\\ude00 there"),
        event(&json!({"content": ["odd"]}), None),
        event(
            &json!({"tool_calls": [piece("a", "f", "{\"x\":"), piece("b", "g", "{")]}),
            None,
        ),
        event(&json!({"tool_calls": [piece("a", "f", "1}")]}), None),
        event(&json!({"tool_calls": [piece("b", "g", "}")]}), None),
        finish(),
        event(&json!({}), Some("")),
        "[DONE]".to_owned(),
    ];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
        let answer = gateway
            .ask_with(door, &prompt(MODEL, "hi"), &[(VIA_STREAM, "true")])
            .await
            .ok();
        assert_eq!(answer.content, "Hi 😀 there", "{door:?}");
        let calls: Vec<_> = answer
            .tool_calls
            .iter()
            .map(|(name, arguments)| (&**name, &**arguments))
            .collect();
        assert_eq!(calls, [("f", "{\"x\":1}"), ("g", "{}")], "{door:?}");
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"), "{door:?}");
    }
    upstream.wait_until_idle().await;
}
