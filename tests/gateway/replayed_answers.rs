//! Answers that callers send back in their next request.

use featherwire::{
    error::Kind,
    proto::v1::{ChatMessage, ContentPart, CreateChatCompletionRequest, Prediction},
};
use serde_json::{Value, json};

use crate::support::{
    Gateway, MODEL, Reply, Scripted,
    door::{grpc_failure, message},
    prompt,
    requests::extra,
    scripted::answer_with,
};

/// Messages of answers, and the JSON that reaches the upstream when they are sent back.
fn answers() -> Vec<(Value, Value)> {
    let call = |call: Value| json!({"role": "assistant", "content": "x", "tool_calls": [call]});
    let plain = json!({"role": "assistant", "content": "x"});
    let as_it_is = [
        call(
            json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1,
                "z": []}}}),
        ),
        call(json!({"id": 7, "type": "function", "function": {"name": "f", "arguments": "{}"}})),
        json!({"role": "assistant", "content": "x", "reasoning": {"summary": ["s"]}}),
        json!({"role": "assistant", "content": ["odd", 5, null]}),
        json!({"role": "assistant", "content": {"text": "x"}}),
        json!({"role": "assistant", "content": "x", "tool_calls": {"0": {}}}),
        json!({"role": "assistant", "content": [{"type": "text", "text": 1}]}),
        json!({"role": "model", "content": 5}),
    ];
    let mut answers: Vec<_> = as_it_is
        .into_iter()
        .map(|message| (message.clone(), message))
        .collect();
    let nothing = json!({"role": "assistant", "content": "x", "tool_calls": null, "refusal": null,
        "annotations": [],
        "audio": null, "function_call": null});
    answers.push((nothing, plain.clone()));
    answers.push((json!({"content": "x"}), plain.clone()));
    answers.push((json!({"role": null, "content": "x"}), plain));
    answers
}

#[tokio::test]
async fn an_answer_sent_back_reaches_the_upstream_unchanged_by_rest_and_by_grpc() {
    for (came, expected) in answers() {
        let upstream = Scripted::always(answer_with(&came)).await;
        let gateway = Gateway::to(upstream.address).await;

        let mut request = prompt(MODEL, "hi");
        let (status, answer) = gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await;
        assert_eq!(status, 200, "{came}: {answer}");
        let mut given_back = answer["choices"][0]["message"].clone();
        assert_eq!(given_back["refusal"], Value::Null);
        request["messages"]
            .as_array_mut()
            .unwrap()
            .push(given_back.take());
        let (status, answer) = gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await;
        assert_eq!(status, 200, "{came}: {answer}");

        let mut request = message(&prompt(MODEL, "hi"));
        let mut client = gateway.grpc().await;
        let mut answer = client
            .create_chat_completion(request.clone())
            .await
            .unwrap()
            .into_inner();
        request
            .messages
            .push(answer.choices.remove(0).message.unwrap());
        client
            .create_chat_completion(request)
            .await
            .unwrap_or_else(|status| panic!("{came}: {status}"));

        let bodies: Vec<Value> = upstream
            .requests()
            .iter()
            .map(crate::support::scripted::Seen::json)
            .collect();
        assert_eq!(bodies.len(), 4);
        for body in [&bodies[1], &bodies[3]] {
            assert_eq!(body["messages"][1], expected, "{came}");
        }
    }
}

#[tokio::test]
async fn an_answer_whose_role_is_not_a_string_has_the_role_assistant_and_can_be_sent_back() {
    for role in [json!(5), json!(["assistant"]), json!({"name": "assistant"})] {
        let upstream = Scripted::always(answer_with(&json!({"role": role, "content": "x"}))).await;
        let gateway = Gateway::to(upstream.address).await;
        let mut request = prompt(MODEL, "hi");
        let (_, answer) = gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await;
        assert_eq!(
            answer["choices"][0]["message"]["role"], "assistant",
            "{role}"
        );
        request["messages"]
            .as_array_mut()
            .unwrap()
            .push(answer["choices"][0]["message"].clone());
        assert_eq!(
            gateway
                .post_json("/v1/chat/completions", &request.to_string())
                .await
                .0,
            200,
            "{role}"
        );

        let mut request = message(&prompt(MODEL, "hi"));
        let mut client = gateway.grpc().await;
        let mut answer = client
            .create_chat_completion(request.clone())
            .await
            .unwrap()
            .into_inner();
        request
            .messages
            .push(answer.choices.remove(0).message.unwrap());
        client.create_chat_completion(request).await.unwrap();
        for seen in [1, 3] {
            assert_eq!(
                upstream.requests()[seen].json()["messages"][1]["role"],
                "assistant",
                "{role}"
            );
        }
    }
}

#[tokio::test]
async fn half_a_surrogate_pair_in_an_answer_can_be_sent_back() {
    let text = r#"{"id":"x","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":
        {"role":"assistant","content":"half \ud83d","x\ud800":1}}],"\udfff":2}"#;
    let head = "200 OK\r\ncontent-type: application/json".to_owned();
    let upstream = Scripted::always(Reply::Raw(head, text.as_bytes().to_vec())).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = message(&prompt(MODEL, "hi"));
    let mut answer = gateway
        .grpc()
        .await
        .create_chat_completion(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        answer.extra["\u{fffd}"], "2",
        "a name that protobuf cannot hold must not lose the answer"
    );
    request
        .messages
        .push(answer.choices.remove(0).message.unwrap());
    gateway
        .grpc()
        .await
        .create_chat_completion(request)
        .await
        .unwrap();
    let sent = String::from_utf8(upstream.requests().pop().unwrap().body).unwrap();
    assert!(
        sent.contains("\"content\":\"half \u{fffd}\"") && sent.contains("\"x\u{fffd}\":1"),
        "{sent}"
    );

    let given_back =
        r#"{"model":"m","messages":[{"role":"assistant","content":"half \ud83d","x\ud800":1}]}"#;
    let answer = gateway.post("/v1/chat/completions", given_back).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_content_that_is_absent_null_or_empty_reaches_upstream_as_that() {
    let upstream =
        Scripted::always(answer_with(&json!({"role": "assistant", "content": "x"}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let messages = json!([{"role": "assistant"}, {"role": "assistant", "content": null},
        {"role": "user", "content": null}, {"role": "assistant", "content": ""}, {"role": "user",
        "content": []}]);
    let request = json!({"model": MODEL, "messages": messages});
    assert_eq!(
        gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await
            .0,
        200
    );
    gateway
        .grpc()
        .await
        .create_chat_completion(message(&request))
        .await
        .unwrap();
    for seen in upstream.requests() {
        assert_eq!(seen.json()["messages"], messages);
    }
    // A field that a gRPC caller leaves unset is absent.
    let unset = CreateChatCompletionRequest {
        model: MODEL.to_owned(),
        messages: vec![ChatMessage {
            role: "assistant".to_owned(),
            ..ChatMessage::default()
        }],
        ..CreateChatCompletionRequest::default()
    };
    gateway
        .grpc()
        .await
        .create_chat_completion(unset)
        .await
        .unwrap();
    assert_eq!(
        upstream.requests().pop().unwrap().json()["messages"],
        json!([{"role": "assistant"}])
    );
}

#[tokio::test]
async fn content_is_a_text_or_parts_and_not_both() {
    let upstream =
        Scripted::always(answer_with(&json!({"role": "assistant", "content": "x"}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let part = ContentPart {
        r#type: Some("text".to_owned()),
        text: Some("a".to_owned()),
        ..ContentPart::default()
    };
    let with = |role: &str,
                content: Option<&str>,
                content_parts: &[ContentPart],
                prediction: Option<Prediction>| {
        let (role, content, content_parts) = (
            role.to_owned(),
            content.map(str::to_owned),
            content_parts.to_vec(),
        );
        CreateChatCompletionRequest {
            model: MODEL.to_owned(),
            messages: vec![ChatMessage {
                role,
                content,
                content_parts,
                ..ChatMessage::default()
            }],
            prediction,
            ..CreateChatCompletionRequest::default()
        }
    };
    let parts = [part.clone(), part];
    for (request, content) in [
        (with("user", Some("a"), &[], None), json!("a")),
        (with("user", Some(""), &[], None), json!("")),
        (
            with("user", None, &parts, None),
            json!([{"type": "text", "text": "a"}, {"type": "text", "text": "a"}]),
        ),
    ] {
        gateway
            .grpc()
            .await
            .create_chat_completion(request)
            .await
            .unwrap();
        assert_eq!(
            upstream.requests().pop().unwrap().json()["messages"][0]["content"],
            content
        );
    }
    let seen = upstream.requests().len();
    let both = Prediction {
        content: Some("a".to_owned()),
        content_parts: parts.to_vec(),
        ..Prediction::default()
    };
    for (request, path) in [
        (
            with("user", Some("a"), &parts, None),
            "messages[0].content_parts",
        ),
        (
            with("assistant", Some(""), &parts, None),
            "messages[0].content_parts",
        ),
        (
            with("user", Some("a"), &[], Some(both)),
            "prediction.content_parts",
        ),
    ] {
        let mut client = gateway.grpc().await;
        let refusals = [
            client
                .create_chat_completion(request.clone())
                .await
                .unwrap_err(),
            client.stream_chat_completion(request).await.unwrap_err(),
        ];
        for status in refusals {
            let failure = grpc_failure(&status);
            assert!(failure.kinds.contains(&Kind::Invalid), "{failure:?}");
            assert_eq!(failure.param.as_deref(), Some(path));
            assert!(
                failure.message.contains("the field `content` is set too"),
                "{failure:?}"
            );
        }
    }
    let mut request = with("user", None, &parts, None);
    request.messages[0].extra = extra(&[("content", "\"a\"")]);
    let failure = grpc_failure(
        &gateway
            .grpc()
            .await
            .create_chat_completion(request)
            .await
            .unwrap_err(),
    );
    assert_eq!(
        failure.param.as_deref(),
        Some("messages[0].extra[\"content\"]")
    );
    assert!(
        failure.message.contains("`content_parts` is set too"),
        "{failure:?}"
    );
    assert_eq!(
        upstream.requests().len(),
        seen,
        "no request was sent upstream"
    );
}

#[tokio::test]
async fn an_empty_list_of_parts_stays_one_also_in_an_answer() {
    let upstream =
        Scripted::always(answer_with(&json!({"role": "assistant", "content": []}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = prompt(MODEL, "hi");
    let (_, by_rest) = gateway
        .post_json("/v1/chat/completions", &request.to_string())
        .await;
    assert_eq!(by_rest["choices"][0]["message"]["content"], json!([]));
    let answer = gateway
        .grpc()
        .await
        .create_chat_completion(message(&request))
        .await
        .unwrap()
        .into_inner();
    let came = answer.choices[0].message.clone().unwrap();
    assert_eq!(
        (
            &came.content,
            came.content_parts.len(),
            came.extra["content"].as_str()
        ),
        (&None, 0, "[]")
    );
    request["messages"]
        .as_array_mut()
        .unwrap()
        .push(by_rest["choices"][0]["message"].clone());
    gateway
        .post_json("/v1/chat/completions", &request.to_string())
        .await;
    let mut request = message(&prompt(MODEL, "hi"));
    request.messages.push(came);
    gateway
        .grpc()
        .await
        .create_chat_completion(request)
        .await
        .unwrap();
    for seen in upstream.requests().split_off(2) {
        assert_eq!(seen.json()["messages"][1]["content"], json!([]));
    }
}

#[tokio::test]
async fn without_tools_no_choice_among_them_goes_upstream() {
    let upstream =
        Scripted::always(answer_with(&json!({"role": "assistant", "content": "x"}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let tool = json!({"type": "function", "function": {"name": "f"}});
    let object = json!({"type": "function", "function": {"name": "f"}});
    for (members, param) in [
        (
            json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": true}),
            None,
        ),
        (json!({"tools": null, "tool_choice": "none"}), None),
        (json!({"tool_choice": "auto"}), None),
        (json!({"functions": [], "function_call": "none"}), None),
        (
            json!({"tools": [], "tool_choice": "required"}),
            Some("tool_choice"),
        ),
        (
            json!({"tools": [], "tool_choice": object}),
            Some("tool_choice"),
        ),
        (
            json!({"functions": [], "function_call": {"name": "f"}}),
            Some("function_call"),
        ),
    ] {
        let mut request = prompt(MODEL, "hi");
        request
            .as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        let before = upstream.requests().len();
        let (status, error) = gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await;
        let by_grpc = gateway
            .grpc()
            .await
            .create_chat_completion(message(&request))
            .await;
        let Some(param) = param else {
            assert_eq!(status, 200, "{members}: {error}");
            by_grpc.unwrap();
            for seen in upstream.requests().split_off(before) {
                let sent = seen.json();
                let names: Vec<_> = sent
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(String::as_str)
                    .collect();
                assert_eq!(names, ["messages", "model", "stream"], "{members}");
            }
            continue;
        };
        assert_eq!(
            (status, &error["error"]["param"]),
            (400, &json!(param)),
            "{members}: {error}"
        );
        assert_eq!(
            grpc_failure(&by_grpc.unwrap_err()).param.as_deref(),
            Some(param),
            "{members}"
        );
        assert_eq!(upstream.requests().len(), before, "{members}");
    }
    let mut request = prompt(MODEL, "hi");
    request["tools"] = json!([tool]);
    request["tool_choice"] = json!("auto");
    request["parallel_tool_calls"] = json!(false);
    assert_eq!(
        gateway
            .post_json("/v1/chat/completions", &request.to_string())
            .await
            .0,
        200
    );
    let sent = upstream.requests().pop().unwrap().json();
    assert_eq!(
        (&sent["tool_choice"], &sent["parallel_tool_calls"]),
        (&json!("auto"), &json!(false))
    );
}
