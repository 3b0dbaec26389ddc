//! Valid requests and their answers: format, determinism, limits, tools, response formats.

use featherwire::emulator::EmulatorConfig;
use serde_json::{Value, json};

use super::support::{
    EMBEDDING_MODEL, MODEL, Peer, VISION_MODEL, ask, finish, streamed_text, text, with,
};

#[tokio::test]
async fn a_unary_answer_has_the_format_of_openai() {
    let peer = Peer::start().await;
    let reply = peer
        .post("/v1/chat/completions", &ask("Say hello in 5 words"))
        .await;
    assert_eq!(reply.headers["request-id"].len(), 36);
    assert!(
        reply.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/json")
    );
    let answer = reply.json();
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], MODEL);
    assert!(answer["created"].as_i64().unwrap() > 1_700_000_000);
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["refusal"], Value::Null);
    assert_eq!(choice["finish_reason"], "stop");
    assert!(choice.as_object().unwrap().contains_key("logprobs"));
    assert_eq!(text(&answer).split(' ').count(), 5);
    let usage = &answer["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(
        count("total_tokens"),
        count("prompt_tokens") + count("completion_tokens")
    );
}

#[tokio::test]
async fn a_stream_has_the_same_content_as_the_unary_answer() {
    let peer = Peer::start().await;
    let request = with(
        ask("What is Rust?"),
        json!({"n": 3, "seed": 7, "stream_options": {"include_usage": true}}),
    );
    let whole = peer.chat(&request).await;
    let events = peer.events(&request).await;

    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk"
                && event["id"] == events[0]["id"])
    );
    for index in 0..3 {
        assert_eq!(
            streamed_text(&events, index),
            whole["choices"][index as usize]["message"]["content"]
        );
    }
    assert_eq!(finish(&events), ["stop"; 3]);
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"], whole["usage"]);
    // The choices are interleaved: the second one starts before the first one ends.
    let order: Vec<u64> = events
        .iter()
        .filter_map(|event| event["choices"][0]["index"].as_u64())
        .collect();
    assert_eq!(order[..7], [0, 1, 2, 0, 1, 2, 0]);
}

#[tokio::test]
async fn a_usage_chunk_comes_only_if_asked_for() {
    let events = Peer::start().await.events(&ask("Hi")).await;
    assert!(
        events
            .iter()
            .all(|event| event.get("usage").is_none() && event["choices"][0].is_object())
    );
}

#[tokio::test]
async fn the_same_request_gets_the_same_text_and_a_seed_varies_it() {
    let peer = Peer::start().await;
    let say = async |more: Value| {
        text(&peer.chat(&with(ask("Why is the sky blue?"), more)).await).to_owned()
    };
    assert_eq!(say(json!({"seed": 1})).await, say(json!({"seed": 1})).await);
    let mut texts = Vec::new();
    for seed in 0..8 {
        texts.push(say(json!({ "seed": seed })).await);
    }
    assert!(texts.iter().any(|text| *text != texts[0]));
    let greedy = say(json!({"seed": 1, "temperature": 0})).await;
    assert_eq!(greedy, say(json!({"seed": 2, "temperature": 0})).await);
}

#[tokio::test]
async fn a_repeated_text_comes_back_exactly() {
    let peer = Peer::start().await;
    let text_to_repeat = "Grüße — 👩‍🚀 日本語\n\n  \"quoted\" \\ end ";
    let request = ask(&format!("Repeat after me: {text_to_repeat}"));
    assert_eq!(text(&peer.chat(&request).await), text_to_repeat);
    assert_eq!(
        streamed_text(&peer.events(&request).await, 0),
        text_to_repeat
    );
}

#[tokio::test]
async fn a_limit_and_a_stop_string_end_the_text() {
    let peer = Peer::start().await;
    for name in ["max_tokens", "max_completion_tokens"] {
        let short = peer
            .chat(&with(ask("count to 30"), json!({ name: 4 })))
            .await;
        assert_eq!(short["choices"][0]["finish_reason"], "length");
        assert_eq!(short["usage"]["completion_tokens"], 4);
    }
    let stopped = peer
        .chat(&with(ask("count to 30"), json!({"stop": [", 7", "never"]})))
        .await;
    assert_eq!(text(&stopped), "1, 2, 3, 4, 5, 6");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    // A limit above the model's own limit is reduced, not refused.
    let clamped = peer
        .chat(&with(
            ask("count to 9000"),
            json!({"max_tokens": 1_000_000}),
        ))
        .await;
    assert_eq!(clamped["usage"]["completion_tokens"], 4096);
}

fn weather_and_time() -> Value {
    json!([
        {"type": "function", "function": {"name": "get_weather", "parameters": {
            "type": "object", "required": ["city", "days", "unit", "spots"], "properties": {
                "city": {"type": "string"}, "days": {"type": "integer", "maximum": 2},
                "unit": {"enum": ["c", "f"]},
                "spots": {"type": "array", "minItems": 2, "items": {
                    "type": "object", "required": ["at"], "properties": {"at": {"type": "number",
                    "minimum": 4.5}},
                }},
            },
        }}},
        {"type": "function", "function": {"name": "get_time", "description": "Reads the clock"}},
    ])
}

#[tokio::test]
async fn a_tool_is_called_with_arguments_its_schema_accepts() {
    let peer = Peer::start().await;
    let request = with(
        ask("What is the weather in Rome?"),
        json!({"tools": weather_and_time()}),
    );
    let answer = peer.chat(&request).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["function"]["name"], "get_weather");
    let arguments = calls[0]["function"]["arguments"].as_str().unwrap();
    let expected =
        json!({"city": "Rome", "days": 2, "unit": "c", "spots": [{"at": 4.5}, {"at": 4.5}]});
    assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), expected);

    let events = peer.events(&request).await;
    assert_eq!(finish(&events), ["tool_calls"]);
    let deltas: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["tool_calls"][0])
        .collect();
    assert_eq!(
        deltas[1]["function"],
        json!({"name": "get_weather", "arguments": ""})
    );
    assert!(deltas[1]["id"].as_str().unwrap().starts_with("call_"));
    let fragments: String = deltas
        .iter()
        .filter_map(|delta| delta["function"]["arguments"].as_str())
        .collect();
    assert_eq!(fragments, arguments);
}

#[tokio::test]
async fn tool_choice_and_parallel_calls_are_obeyed() {
    let peer = Peer::start().await;
    let called = async |more: Value| -> Vec<String> {
        let request = with(
            with(
                ask("weather and time, please"),
                json!({"tools": weather_and_time()}),
            ),
            more,
        );
        let answer = peer.chat(&request).await;
        let calls = answer["choices"][0]["message"]["tool_calls"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        calls
            .iter()
            .map(|call| call["function"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(called(json!({})).await, ["get_weather", "get_time"]);
    assert_eq!(
        called(json!({"parallel_tool_calls": false})).await,
        ["get_weather"]
    );
    assert_eq!(called(json!({"tool_choice": "none"})).await, [""; 0]);
    let named = json!({"tool_choice": {"type": "function", "function": {"name": "get_time"}}});
    assert_eq!(called(named).await, ["get_time"]);
    let unrelated =
        json!({"tool_choice": "required", "messages": [{"role": "user", "content": "x"}]});
    assert_eq!(called(unrelated).await, ["get_weather"]);
}

#[tokio::test]
async fn a_tool_result_is_used_in_the_answer() {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather",
        "arguments": "{}"}});
    let request = with(
        ask("weather?"),
        json!({"tools": weather_and_time(), "messages": [
            {"role": "user", "content": "weather?"},
            {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees"},
        ]}),
    );
    assert!(text(&Peer::start().await.chat(&request).await).contains("21 degrees"));
}

#[tokio::test]
async fn json_formats_answer_in_json() {
    let peer = Peer::start().await;
    let object = peer
        .chat(&with(
            ask("x"),
            json!({"response_format": {"type": "json_object"}}),
        ))
        .await;
    assert!(
        serde_json::from_str::<Value>(text(&object))
            .unwrap()
            .is_object()
    );
    let schema = json!({
        "type": "object", "required": ["id", "node"], "$defs": {"node": {
            "type": "object", "required": ["next"],
            "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
        }},
        "properties": {"id": {"type": "string", "format": "uuid"},
        "node": {"$ref": "#/$defs/node"}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}});
    let thing = peer
        .chat(&with(ask("x"), json!({ "response_format": format })))
        .await;
    let thing: Value = serde_json::from_str(text(&thing)).unwrap();
    assert_eq!(thing["id"].as_str().unwrap().len(), 36);
    assert!(thing["node"]["next"].is_object());
}

#[tokio::test]
async fn log_probabilities_cover_every_token() {
    let peer = Peer::start().await;
    let request = with(
        ask("repeat after me: größer 🦊"),
        json!({"logprobs": true, "top_logprobs": 3}),
    );
    let answer = peer.chat(&request).await;
    let entries = answer["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap()
        .clone();
    let bytes = entries
        .iter()
        .flat_map(|entry| entry["bytes"].as_array().unwrap());
    let bytes: Vec<u8> = bytes
        .map(|byte| u8::try_from(byte.as_u64().unwrap()).unwrap())
        .collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), text(&answer));
    assert!(
        entries
            .iter()
            .all(|entry| entry["top_logprobs"].as_array().unwrap().len() == 3)
    );

    let events = peer.events(&request).await;
    let streamed = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
    assert_eq!(streamed.flatten().cloned().collect::<Vec<_>>(), entries);
}

#[tokio::test]
async fn reasoning_comes_first_and_beside_the_content() {
    let peer = Peer::start().await;
    let request = with(
        ask("Hm?"),
        json!({"chat_template_kwargs": {"enable_thinking": true, "unknown": [1]}}),
    );
    let message = peer.chat(&request).await["choices"][0]["message"].clone();
    let events = peer.events(&request).await;
    let deltas: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["delta"])
        .collect();
    let reasoning: String = deltas
        .iter()
        .filter_map(|delta| delta["reasoning_content"].as_str())
        .collect();
    assert_eq!(message["reasoning_content"], reasoning);
    let last_thought = deltas
        .iter()
        .rposition(|delta| delta["reasoning_content"].is_string())
        .unwrap();
    let first_word = deltas
        .iter()
        .skip(1)
        .position(|delta| delta["content"].is_string())
        .unwrap()
        + 1;
    assert!(last_thought < first_word);
}

#[tokio::test]
async fn images_are_counted_and_mentioned() {
    let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let parts = json!([{"type": "text", "text": "What is this?"}, url("https://example.com/a.png"),
        url("data:image/png;base64,AA==")]);
    let request = json!({"model": VISION_MODEL, "messages": [{"role": "user", "content": parts}]});
    assert!(text(&Peer::start().await.chat(&request).await).contains("2 images"));
}

#[tokio::test]
async fn text_completions_echo_and_number_their_choices() {
    let peer = Peer::start().await;
    let request = json!({"model": MODEL, "prompt": ["count to 3", "count to 99"], "n": 2,
        "echo": true, "logprobs": 1});
    let answer = peer.post("/v1/completions", &request).await.json();
    assert_eq!(answer["object"], "text_completion");
    let choices = answer["choices"].as_array().unwrap();
    let indexes: Vec<u64> = choices
        .iter()
        .map(|choice| choice["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    assert_eq!(choices[1]["text"], "count to 31, 2, 3");
    assert_eq!(choices[2]["finish_reason"], "length");
    assert_eq!(choices[0]["logprobs"]["text_offset"][1], 5);

    let mut stream = peer.open_at("/v1/completions", &request).await;
    stream.rest().await;
    assert!(stream.is_done());
    let events = stream.events();
    let first = events
        .iter()
        .map(|event| &event["choices"][0])
        .filter(|choice| choice["index"] == 0);
    assert_eq!(
        first
            .filter_map(|choice| choice["text"].as_str())
            .collect::<String>(),
        "count to 31, 2, 3"
    );
    let tokens = peer
        .post(
            "/v1/completions",
            &json!({"model": MODEL, "prompt": [[1, 2, 3], [4]]}),
        )
        .await
        .json();
    assert_eq!(tokens["usage"]["prompt_tokens"], 4);
}

#[tokio::test]
async fn embeddings_are_unit_vectors_in_either_encoding() {
    let peer = Peer::start().await;
    let request = json!({"model": EMBEDDING_MODEL, "input": ["good morning", "good evening"]});
    let answer = peer.post("/v1/embeddings", &request).await.json();
    for (index, entry) in answer["data"].as_array().unwrap().iter().enumerate() {
        let vector: Vec<f64> = entry["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap())
            .collect();
        assert_eq!(
            (entry["index"].as_u64(), vector.len()),
            (Some(index as u64), 1024)
        );
        assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
    }
    let packed = json!({"model": EMBEDDING_MODEL, "input": "x", "encoding_format": "base64",
        "dimensions": 4});
    let packed = peer.post("/v1/embeddings", &packed).await.json();
    // 16 bytes: 22 digits and two of padding.
    let text = packed["data"][0]["embedding"].as_str().unwrap();
    assert_eq!((text.len(), text.ends_with("==")), (24, true));
}

#[tokio::test]
async fn tokenize_counts_what_usage_counts() {
    let peer = Peer::start().await;
    let text = "Tokens of a wonderful text, 12345 of them: 🦊";
    let tokens = peer
        .post("/v1/tokenize", &json!({"model": MODEL, "text": text}))
        .await
        .json();
    let answer = peer.chat(&ask(&format!("repeat after me: {text}"))).await;
    assert_eq!(
        tokens["tokens"].as_array().unwrap().len() as u64,
        answer["usage"]["completion_tokens"]
    );
}

#[tokio::test]
async fn a_stream_keeps_its_pace() {
    let peer = Peer::with(EmulatorConfig {
        tokens_per_second: 100.0,
        ..EmulatorConfig::default()
    })
    .await;
    let started = std::time::Instant::now();
    let events = peer.events(&ask("count to 10")).await;
    // 19 tokens and a finish. On a busy machine only the lower bound is certain.
    assert!(
        started.elapsed().as_millis() >= 200,
        "{} events in {:?}",
        events.len(),
        started.elapsed()
    );
}
