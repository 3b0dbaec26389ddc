//! The members that a gRPC caller sends in `extra`.

use featherwire::{
    error::Kind,
    proto::v1::{ChatMessage, CreateChatCompletionRequest, Tool},
};
use serde_json::json;

use crate::support::{
    Gateway, MODEL, Scripted,
    door::{grpc_failure, message},
    prompt,
    requests::extra,
    scripted::answer_with,
};

#[tokio::test]
async fn a_field_in_extra_is_read_as_rests_json_would_be() {
    let upstream =
        Scripted::always(answer_with(&json!({"role": "assistant", "content": "x"}))).await;
    let gateway = Gateway::to(upstream.address).await;
    let with = |members: &[(&str, &str)]| {
        let mut request = message(&prompt(MODEL, "hi"));
        request.extra = extra(members);
        request
    };
    let send = async |request: CreateChatCompletionRequest| {
        let answer = gateway.grpc().await.create_chat_completion(request).await;
        answer
            .map(|_| upstream.requests().pop().unwrap().json())
            .map_err(|status| {
                let failure = grpc_failure(&status);
                assert!(failure.kinds.contains(&Kind::Invalid), "{failure:?}");
                (failure.param.unwrap(), failure.message)
            })
    };
    let refused = async |request| send(request).await.unwrap_err();

    let sent = send(with(&[
        ("max_tokens", "1e2"),
        ("provider", "\"featherless\""),
        ("tool_choice", "\"auto\""),
    ]))
    .await;
    let sent = sent.unwrap();
    assert_eq!(
        (
            &sent["max_tokens"],
            sent.get("provider"),
            sent.get("tool_choice")
        ),
        (&json!(100), None, None)
    );
    let mut request = with(&[]);
    request.messages[0] = ChatMessage {
        extra: extra(&[
            ("role", "\"assistant\""),
            ("content", "{\"odd\": 1}"),
            ("reasoning", "[5]"),
        ]),
        ..ChatMessage::default()
    };
    assert_eq!(
        send(request).await.unwrap()["messages"],
        json!([{"role": "assistant", "content": {"odd": 1}, "reasoning": [5]}])
    );

    // `extra` does not allow values that REST refuses.
    for (name, text, param) in [
        ("temperature", "\"hot\"", "temperature"),
        ("temperature", "3", "temperature"),
        ("max_tokens", "1.5", "max_tokens"),
        ("provider", "\"other\"", "provider"),
        ("tool_choice", "\"required\"", "tool_choice"),
        ("tools", "[{\"function\": 5}]", "tools[0].function"),
        ("model", "\"m\"", "extra[\"model\"]"),
        ("messages", "[]", "extra[\"messages\"]"),
        ("stream", "true", "extra[\"stream\"]"),
        ("a", "not JSON", "extra[\"a\"]"),
        ("a\"b", "", "extra[\"a\\\"b\"]"),
    ] {
        assert_eq!(
            refused(with(&[(name, text)])).await.0,
            param,
            "{name}: {text}"
        );
    }
    let mut request = with(&[]);
    request.messages[0].extra = extra(&[("content", "7")]);
    let (param, message) = refused(request).await;
    assert_eq!(param, "messages[0].extra[\"content\"]");
    assert!(message.contains("set only one"), "{message}");
    let mut request = with(&[]);
    request.messages[0] = ChatMessage {
        role: "user".to_owned(),
        ..ChatMessage::default()
    };
    request.messages[0].extra = extra(&[("content", "7")]);
    assert_eq!(
        refused(request).await.0,
        "messages[0].content",
        "the types of a caller's own message are checked"
    );
    let mut request = with(&[]);
    request.messages[0].role = String::new();
    request.messages[0].extra = extra(&[("role", "5")]);
    assert_eq!(refused(request).await.0, "messages[0].role");
    let mut request = with(&[]);
    request.tools = vec![Tool {
        extra: extra(&[("x", "{")]),
        ..Tool::default()
    }];
    assert_eq!(refused(request).await.0, "tools[0].extra[\"x\"]");
}
