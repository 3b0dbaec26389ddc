//! The same conversation through every door.

use serde_json::{Value, json};

use crate::support::{Door, Emulator, Gateway, MODEL, prompt};

#[tokio::test]
async fn every_door_gives_the_same_answer() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut request = prompt(MODEL, "Say hello in 5 words");
    request["max_tokens"] = json!(50);
    request["provider"] = json!("featherless");
    request["stream_options"] = json!({"include_usage": true});
    let mut contents = Vec::new();
    for door in Door::ALL {
        // Only a streamed request may have the option.
        let mut request = request.clone();
        if !door.is_stream() {
            request.as_object_mut().unwrap().remove("stream_options");
        }
        let answer = gateway.ask(door, &request).await.ok();
        assert_eq!(answer.role, "assistant", "{door:?}");
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"), "{door:?}");
        assert!(
            answer.upstream_request_id.is_some() && answer.request_id.is_some(),
            "{door:?}"
        );
        let usage = answer.usage.unwrap();
        let [prompt, completion] =
            [usage.prompt_tokens, usage.completion_tokens].map(Option::unwrap);
        assert!(prompt > 0 && completion > 0, "{door:?}");
        assert_eq!(usage.total_tokens, Some(prompt + completion), "{door:?}");
        assert_eq!(
            answer.pieces > 3,
            door.is_stream(),
            "{door:?}: {} pieces",
            answer.pieces
        );
        contents.push(answer.content);
    }
    assert!(
        contents[0].split_whitespace().count() == 5,
        "{}",
        contents[0]
    );
    assert!(
        contents.iter().all(|content| *content == contents[0]),
        "{contents:?}"
    );
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn the_request_of_the_older_gateway_is_answered_unchanged() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let body = concat!(
        r#"{"model":"meta-llama/Meta-Llama-3.1-8B-Instruct","provider":"featherless","#,
        r#""messages":[{"role":"user","content":"Say hello in 5 words"}],"max_tokens":50}"#,
    );
    let post = |body: String| {
        let post = gateway.post_request("/v1/chat/completions", body);
        post.bearer_auth("gw_live_1").send()
    };
    let answer: Value =
        serde_json::from_slice(&post(body.to_owned()).await.unwrap().bytes().await.unwrap())
            .unwrap();
    assert!(answer["id"].is_string());
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["created"].is_u64(), "a number, not a string");
    assert_eq!(answer["model"], MODEL);
    assert_eq!(answer["choices"][0]["message"]["role"], "assistant");
    assert!(answer["choices"][0]["message"]["content"].is_string());
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert!(answer["usage"][count].is_u64(), "{count}");
    }

    let streamed = body.replacen('{', r#"{"stream": true,"#, 1);
    let body = post(streamed).await.unwrap().text().await.unwrap();
    let events: Vec<_> = body
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = events[..events.len() - 1]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        chunks[0]["choices"][0]["finish_reason"],
        Value::Null,
        "present, and null until the end"
    );
    assert!(
        chunks[0]["choices"][0]
            .as_object()
            .unwrap()
            .contains_key("finish_reason")
    );
    let content: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(content, answer["choices"][0]["message"]["content"]);
}

#[tokio::test]
async fn text_of_every_script_is_unchanged_at_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let text = "naïve Ωμέγα 漢字 עברית 👩‍👩‍👧‍👦 \u{10ffff} \"quoted\" \\ \u{2028}";
    for door in Door::ALL {
        let answer = gateway
            .ask(door, &prompt(MODEL, &format!("repeat after me: {text}")))
            .await
            .ok();
        assert_eq!(answer.content, text, "{door:?}");
    }
}

#[tokio::test]
async fn a_tool_is_called_through_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut request = prompt(MODEL, "What is the weather in Paris? Use get_weather.");
    request["tools"] = json!([{"type": "function", "function": {
        "name": "get_weather", "description": "Current weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
        "required": ["city"]}
    }}]);
    for choice in [
        json!("auto"),
        json!("required"),
        json!({"type": "function", "function": {"name": "get_weather"}}),
    ] {
        request["tool_choice"] = choice;
        for door in Door::ALL {
            let answer = gateway.ask(door, &request).await.ok();
            assert_eq!(
                answer.finish_reason.as_deref(),
                Some("tool_calls"),
                "{door:?}"
            );
            let [(name, arguments)] = answer.tool_calls.as_slice() else {
                panic!("{door:?}: {answer:?}")
            };
            assert_eq!(name, "get_weather");
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert!(arguments["city"].is_string(), "{door:?}: {arguments}");
        }
    }
}

#[tokio::test]
async fn json_logprobs_and_reasoning_come_through_every_door() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        let mut request = prompt(MODEL, "Describe a person");
        request["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "person",
            "schema": {
            "type": "object", "properties": {"name": {"type": "string"},
            "age": {"type": "integer"}},
            "required": ["name", "age"]
        }}});
        let answer = gateway.ask(door, &request).await.ok();
        let person: Value = serde_json::from_str(&answer.content).unwrap();
        assert!(
            person["name"].is_string() && person["age"].is_i64(),
            "{door:?}: {person}"
        );

        let mut request = prompt(MODEL, "Say hello in 5 words");
        request["logprobs"] = json!(true);
        request["top_logprobs"] = json!(2);
        let answer = gateway.ask(door, &request).await.ok();
        assert!(answer.logprobs >= 5, "{door:?}: {}", answer.logprobs);

        let mut request = prompt(MODEL, "Say hello in 5 words");
        request["chat_template_kwargs"] = json!({"enable_thinking": true});
        let answer = gateway.ask(door, &request).await.ok();
        assert!(
            !answer.reasoning.is_empty() && !answer.content.is_empty(),
            "{door:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_may_be_sent_back_unchanged() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let _url = gateway.url("/v1/chat/completions");
    let ask = async |messages: &Value| -> Value {
        let function = json!({"name": "get_time", "parameters": {"type": "object"}});
        let tools = json!([{"type": "function", "function": function}]);
        let body = json!({"model": MODEL, "messages": messages, "tools": tools});
        let (status, answer) = gateway.post_json("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let mut messages = json!([{"role": "user", "content": "What time is it? Use get_time."}]);
    let answer = ask(&messages).await;
    let message = answer["choices"][0]["message"].clone();
    let id = message["tool_calls"][0]["id"].clone();
    assert!(id.is_string(), "{answer}");
    let list = messages.as_array_mut().unwrap();
    list.push(message);
    list.push(json!({"role": "tool", "tool_call_id": id, "content": "half past nine"}));
    let answer = ask(&messages).await;
    assert!(
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .contains("half past nine"),
        "{answer}"
    );
    // Many SDKs write this member into every message, but Featherless and the emulator refuse it.
    let answer = ask(&json!([
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello",
        "tool_calls": null},
        {"role": "user", "content": "Say hello in 5 words"}
    ]))
    .await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}
