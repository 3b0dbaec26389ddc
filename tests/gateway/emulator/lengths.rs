//! `min_tokens`, and `json_object` with a schema in the prompt.

use serde_json::{Value, json};

use super::support::{Peer, ask, finish, streamed_text, text, with};

#[tokio::test]
async fn an_answer_has_min_tokens_unless_a_limit_ends_it() {
    let peer = Peer::start().await;
    let tokens = async |more: Value| {
        let answer = peer.chat(&with(ask("count to 3"), more)).await;
        let finish = answer["choices"][0]["finish_reason"]
            .as_str()
            .unwrap()
            .to_owned();
        (
            answer["usage"]["completion_tokens"].as_u64().unwrap(),
            finish,
        )
    };
    let ended = |tokens, finish: &str| (tokens, finish.to_owned());
    assert_eq!(tokens(json!({})).await, ended(5, "stop"));
    assert_eq!(tokens(json!({"min_tokens": 4})).await, ended(5, "stop"));
    assert_eq!(tokens(json!({"min_tokens": 40})).await, ended(40, "stop"));
    assert_eq!(
        tokens(json!({"min_tokens": 40, "max_tokens": 40})).await,
        ended(40, "stop")
    );
    assert_eq!(
        tokens(json!({"min_tokens": 40, "max_tokens": 10})).await,
        ended(10, "length")
    );
    // A stop string counts only after `min_tokens`.
    assert_eq!(tokens(json!({"stop": ", 2"})).await, ended(1, "stop"));
    let late = tokens(json!({"stop": ", 2", "min_tokens": 6})).await;
    assert!(late.0 >= 6 && late.1 == "stop", "{late:?}");
    // Reasoning counts towards `min_tokens`.
    let thinking = json!({"min_tokens": 20, "chat_template_kwargs": {"thinking": true}});
    let thought = peer.chat(&with(ask("count to 3"), thinking)).await;
    assert_eq!(text(&thought), "1, 2, 3");

    let request = with(ask("count to 3"), json!({"min_tokens": 40}));
    let events = peer.events(&request).await;
    assert_eq!(
        (streamed_text(&events, 0).as_str(), finish(&events)),
        (text(&peer.chat(&request).await), vec!["stop"])
    );
    let completion =
        json!({"model": "Qwen/Qwen2.5-72B-Instruct", "prompt": "count to 3", "min_tokens": 12});
    let completion = peer.post("/v1/completions", &completion).await.json();
    assert_eq!(completion["usage"]["completion_tokens"], 12);
    // JSON is padded with spaces, and stays valid.
    let format = json!({"response_format": {"type": "json_object"}, "min_tokens": 300});
    let object = peer.chat(&with(ask("x"), format)).await;
    assert!(object["usage"]["completion_tokens"].as_u64().unwrap() >= 300);
    assert!(
        serde_json::from_str::<Value>(text(&object))
            .unwrap()
            .is_object()
    );
}

#[tokio::test]
async fn a_json_object_fits_the_schema_in_the_prompt() {
    let peer = Peer::start().await;
    let schema = json!({
        "type": "object", "required": ["title", "year", "tags"], "additionalProperties": false,
        "properties": {
            "title": {"type": "string", "maxLength": 20}, "year": {"type": "integer",
            "minimum": 1900},
            "tags": {"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}},
        },
    });
    let pretty = serde_json::to_string_pretty(&schema).unwrap();
    let answer = async |messages: Value| {
        let format = json!({"messages": messages, "response_format": {"type": "json_object"}});
        let answer = peer.chat(&with(ask("x"), format)).await;
        serde_json::from_str::<Value>(text(&answer)).unwrap()
    };
    let user = |content: &str| json!({"role": "user", "content": content});
    let system = json!({"role": "system",
        "content": format!("Answer in JSON by this schema:\n```json\n{pretty}\n```")});
    let wrapped = json!({"name": "film", "schema": schema}).to_string();
    for messages in [
        json!([system, user("A film, please")]),
        json!([user(&format!(
            "Describe a film {{ as JSON }} like this: {schema} Thank you {{"
        ))]),
        json!([user(&format!("Use this: {wrapped}"))]),
        json!([system, user("The data: {\"title\": 5}")]),
    ] {
        let object = answer(messages.clone()).await;
        assert!(
            jsonschema::is_valid(&schema, &object),
            "{messages}: {object}"
        );
    }
    for plain in ["No schema here", "{ { {", "{\"title\": \"x\"}", ""] {
        let object = answer(json!([user(plain)])).await;
        assert!(object["answer"].is_string(), "{plain}: {object}");
    }
    // A prompt that consists only of braces takes little time, because parsing starts only at the
    // first ones.
    assert!(answer(json!([user(&"{".repeat(10_000))])).await.is_object());
}
