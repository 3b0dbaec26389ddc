//! Members that the upstream omits from an answer or sends as null. They never become an invented
//! zero, and the members that clients rely on are always present.

use std::time::{SystemTime, UNIX_EPOCH};

use featherwire::proto::v1::CreateChatCompletionResponse;
use serde_json::{Value, json};

use crate::support::{Gateway, MODEL, Reply, Scripted, door::message, prompt};

/// The same answer by REST and by gRPC.
async fn answers(answer: &Value) -> (Value, CreateChatCompletionResponse) {
    let upstream = Scripted::always(Reply::Json(200, answer.clone())).await;
    let gateway = Gateway::to(upstream.address).await;
    let response = gateway
        .post("/v1/chat/completions", &prompt(MODEL, "hi"))
        .await;
    let by_rest = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let by_grpc = gateway
        .grpc()
        .await
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await;
    (by_rest, by_grpc.unwrap().into_inner())
}

#[tokio::test]
async fn a_count_that_the_upstream_does_not_send_is_not_zero() {
    let choice = json!({"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"});
    for (sent, expected) in [
        (json!({"prompt_tokens": 3}), json!({"prompt_tokens": 3})),
        (
            json!({"completion_tokens": 3, "prompt_tokens": null}),
            json!({"completion_tokens": 3}),
        ),
        (json!({"total_tokens": 0}), json!({"total_tokens": 0})),
        (
            json!({"prompt_tokens": 3, "completion_tokens": 4}),
            json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}),
        ),
        (
            json!({"prompt_tokens": 2_147_483_647, "completion_tokens": 4}),
            json!({"prompt_tokens": 2_147_483_647, "completion_tokens": 4}),
        ),
    ] {
        let (by_rest, by_grpc) = answers(&json!({"choices": [choice], "usage": sent})).await;
        assert_eq!(by_rest["usage"], expected, "{sent}");
        let usage = by_grpc.usage.unwrap();
        for (name, count) in [
            ("prompt_tokens", usage.prompt_tokens),
            ("completion_tokens", usage.completion_tokens),
            ("total_tokens", usage.total_tokens),
        ] {
            assert_eq!(
                json!(count),
                expected.get(name).cloned().unwrap_or_default(),
                "{sent}: {name}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_probability_is_null_and_not_certainty() {
    let token = json!({"token": "a", "logprob": null, "bytes": null, "top_logprobs": [
        {"token": null, "logprob": null, "bytes": null}, {"token": "b", "logprob": 0,
        "bytes": [98]}]});
    let choice = json!({"index": 0, "message": {"content": "a"}, "finish_reason": "stop",
        "logprobs": {"content": [token], "refusal": null}});
    let (by_rest, by_grpc) = answers(&json!({"choices": [choice]})).await;
    assert_eq!(by_rest["choices"][0]["logprobs"]["content"][0], token);
    let token = by_grpc.choices[0].logprobs.as_ref().unwrap().content[0].clone();
    assert_eq!(
        (
            token.logprob,
            token.top_logprobs[0].logprob,
            token.top_logprobs[1].logprob
        ),
        (None, None, Some(0.0))
    );
}

#[tokio::test]
async fn a_choice_always_has_a_message_with_a_role() {
    for message in [
        json!({"content": "hi"}),
        json!({"role": null, "content": "hi"}),
        json!({"role": "", "content": "hi"}),
    ] {
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        let (by_rest, by_grpc) = answers(&json!({"choices": [choice]})).await;
        let expected = json!({"role": "assistant", "content": "hi", "refusal": null});
        assert_eq!(by_rest["choices"][0]["message"], expected, "{message}");
        assert_eq!(
            by_grpc.choices[0].message.as_ref().unwrap().role,
            "assistant",
            "{message}"
        );
    }
    for choice in [
        json!({"index": 0}),
        json!({"index": 0, "message": null}),
        json!({"message": []}),
    ] {
        let (by_rest, by_grpc) = answers(&json!({"choices": [choice]})).await;
        let message = json!({"role": "assistant", "content": null, "refusal": null});
        let expected =
            json!({"index": 0, "message": message, "finish_reason": null, "logprobs": null});
        assert_eq!(by_rest["choices"][0], expected, "{choice}");
        let message = by_grpc.choices[0].message.as_ref().unwrap();
        assert_eq!(
            (message.role.as_str(), &message.content, message.extra.len()),
            ("assistant", &None, 0),
            "{choice}"
        );
    }
}

#[tokio::test]
async fn every_choice_of_a_chunk_has_a_delta() {
    let chunk = |choice: Value| {
        json!({"id": "x", "created": 1, "model": "m", "choices": [choice]}).to_string()
    };
    let upstream = Scripted::always(Reply::Events(vec![
        chunk(json!({"index": 0, "delta": null})),
        chunk(json!({"index": 0, "delta": []})),
        chunk(json!({"index": 0, "finish_reason": "stop"})),
        "[DONE]".to_owned(),
    ]))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = prompt(MODEL, "hi");
    let mut chunks = gateway
        .grpc()
        .await
        .stream_chat_completion(message(&request))
        .await
        .unwrap()
        .into_inner();
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert!(chunk.choices[0].delta.is_some(), "{chunk:?}");
    }
    request["stream"] = json!(true);
    let body = gateway
        .post("/v1/chat/completions", &request)
        .await
        .text()
        .await
        .unwrap();
    assert_eq!(body.matches(r#""delta":{}"#).count(), 3, "{body}");
    assert_eq!(body.matches(r#""finish_reason":null"#).count(), 2, "{body}");
}

#[tokio::test]
async fn an_index_may_be_a_string_and_choices_are_not_mixed() {
    let choice = |index: Value, text: &str| {
        json!({"index": index, "message": {"content": text},
        "finish_reason": "stop"})
    };
    let choices = [
        choice(json!("1"), "b"),
        choice(json!("0"), "a"),
        choice(json!(2.0), "c"),
    ];
    let (by_rest, by_grpc) = answers(&json!({"choices": choices})).await;
    let indexes: Vec<_> = by_rest["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice["index"].clone())
        .collect();
    assert_eq!(indexes, [json!(1), json!(0), json!(2)]);
    assert_eq!(
        by_grpc
            .choices
            .iter()
            .map(|choice| choice.index)
            .collect::<Vec<_>>(),
        [1, 0, 2]
    );

    // If the two choices were treated as one, the second would never finish.
    let event = |index: &str, text: &str, reason: Option<&str>| {
        let choice = json!({"index": index, "delta": {"content": text}, "finish_reason": reason});
        json!({"id": "x", "created": 1, "model": "m", "choices": [choice]}).to_string()
    };
    let events = vec![
        event("0", "a", None),
        event("1", "b", Some("stop")),
        event("0", "c", Some("length")),
    ];
    let upstream =
        Scripted::always(Reply::Events([events, vec!["[DONE]".to_owned()]].concat())).await;
    let gateway = Gateway::with(upstream.address, |config| config.unary_via_stream = true).await;
    let answer = gateway
        .grpc()
        .await
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap()
        .into_inner();
    let reasons: Vec<_> = answer
        .choices
        .iter()
        .map(|choice| choice.finish_reason.as_deref().unwrap())
        .collect();
    assert_eq!(reasons, ["length", "stop"]);
}

#[tokio::test]
async fn the_upstreams_object_member_is_kept() {
    let choice = json!({"index": 0, "message": {"content": "a"}, "finish_reason": "stop"});
    for (sent, expected) in [
        (json!("chat.completion.v2"), "chat.completion.v2"),
        (json!(null), "chat.completion"),
        (json!("chat.completion"), "chat.completion"),
    ] {
        let (by_rest, by_grpc) = answers(&json!({"object": sent, "choices": [choice]})).await;
        assert_eq!(by_rest["object"], expected);
        assert_eq!(
            by_grpc.extra.contains_key("object"),
            expected == "chat.completion.v2"
        );
    }
    let (by_rest, _) = answers(&json!({"choices": [choice]})).await;
    assert_eq!(by_rest["object"], "chat.completion");
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .try_into()
        .unwrap()
}

#[tokio::test]
async fn a_unary_answer_without_an_id_gets_one() {
    let choice = json!({"index": 0, "message": {"content": "a"}, "finish_reason": "stop"});
    let began = now();
    for sent in [
        json!({}),
        json!({"id": null, "created": null, "model": null}),
        json!({"id": "", "created": 0}),
    ] {
        let mut answer = sent.clone();
        answer["choices"] = json!([choice]);
        let (by_rest, by_grpc) = answers(&answer).await;
        let by_grpc = (by_grpc.id, by_grpc.created, by_grpc.model);
        let by_rest = (
            by_rest["id"].as_str().unwrap(),
            by_rest["created"].as_i64().unwrap(),
            by_rest["model"].clone(),
        );
        for (id, created, model) in [
            (by_rest.0, by_rest.1, by_rest.2.as_str().unwrap()),
            (&by_grpc.0, by_grpc.1, &by_grpc.2),
        ] {
            assert!(id.starts_with("chatcmpl-") && id.len() > 20, "{sent}: {id}");
            assert!((began..=now()).contains(&created), "{sent}: {created}");
            assert_eq!(model, MODEL, "{sent}");
        }
        assert_ne!(by_rest.0, by_grpc.0, "two answers have two ids");
    }
    let sent = json!({"id": 7, "created": "long ago", "model": ["m"], "choices": [choice]});
    let (by_rest, _) = answers(&sent).await;
    for name in ["id", "created", "model"] {
        assert_eq!(by_rest[name], sent[name], "existing members stay unchanged");
    }
}

#[tokio::test]
async fn all_chunks_of_an_answer_have_the_same_id_even_if_accumulated() {
    let chunk = |names: Value, text: &str, reason: Option<&str>| {
        let mut chunk = names;
        chunk["choices"] = json!([{"delta": {"content": text}, "finish_reason": reason}]);
        chunk.to_string()
    };
    let named = json!({"id": "upstreams", "created": 5, "model": "upstreams/model"});
    for (first, id) in [(json!({}), "chatcmpl-"), (named, "upstreams")] {
        let events = vec![
            chunk(first, "a", None),
            chunk(json!({"id": null}), "b", None),
            chunk(json!({}), "", Some("stop")),
            "[DONE]".to_owned(),
        ];
        let upstream = Scripted::always(Reply::Events(events)).await;
        let gateway =
            Gateway::with(upstream.address, |config| config.unary_via_stream = true).await;
        let mut chunks = gateway
            .grpc()
            .await
            .stream_chat_completion(message(&prompt(MODEL, "hi")))
            .await
            .unwrap()
            .into_inner();
        let mut names = Vec::new();
        while let Some(chunk) = chunks.message().await.unwrap() {
            names.push((chunk.id, chunk.created, chunk.model));
        }
        assert_eq!(names.len(), 3);
        assert!(
            names
                .iter()
                .all(|name| *name == names[0] && name.0.starts_with(id)),
            "{names:?}"
        );
        let whole = gateway
            .grpc()
            .await
            .create_chat_completion(message(&prompt(MODEL, "hi")))
            .await
            .unwrap()
            .into_inner();
        assert!(
            whole.id.starts_with(id) && whole.created > 0 && whole.model == names[0].2,
            "{whole:?}"
        );
    }
}

#[tokio::test]
async fn a_missing_index_is_the_position_in_the_list() {
    let choice = |index: Value, text: &str| {
        let mut choice = json!({"message": {"content": text}, "finish_reason": "stop"});
        if index != json!("absent") {
            choice["index"] = index;
        }
        choice
    };
    let absent = || json!("absent");
    for (sent, expected) in [
        ([absent(), absent(), absent()], [0, 1, 2]),
        ([json!(null), json!(1), absent()], [0, 1, 2]),
        ([json!(2), absent(), json!(0)], [2, 1, 0]),
    ] {
        let choices: Vec<_> = sent
            .iter()
            .map(|index| choice(index.clone(), "a"))
            .collect();
        let (by_rest, by_grpc) = answers(&json!({"choices": choices})).await;
        assert_eq!(
            by_grpc
                .choices
                .iter()
                .map(|choice| choice.index)
                .collect::<Vec<_>>(),
            expected,
            "{sent:?}"
        );
        for (place, index) in expected.iter().enumerate() {
            assert_eq!(by_rest["choices"][place]["index"], *index, "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_whole_tool_call_of_a_function_has_its_type() {
    for sent in [
        json!({"id": "1", "function": {"name": "f"}}),
        json!({"id": "1", "type": null, "function": {"name": "f"}}),
    ] {
        let message = json!({"content": null, "tool_calls": [sent]});
        let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
        let (by_rest, _) = answers(&json!({"choices": [choice]})).await;
        assert_eq!(
            by_rest["choices"][0]["message"]["tool_calls"][0]["type"],
            "function"
        );
    }
}

#[tokio::test]
async fn choices_that_are_not_a_list_are_not_an_answer() {
    for choices in [json!("x"), json!([null]), json!(5), json!({}), json!([[]])] {
        let upstream =
            Scripted::always(Reply::Json(200, json!({"id": "x", "choices": choices}))).await;
        let gateway = Gateway::to(upstream.address).await;
        let response = gateway
            .post("/v1/chat/completions", &prompt(MODEL, "hi"))
            .await;
        assert_eq!(response.status(), 502, "{choices}");
        assert!(
            response
                .text()
                .await
                .unwrap()
                .contains("upstream_bad_answer"),
            "{choices}"
        );
    }
}
