//! Single surrogates, which JSON allows and protobuf does not: gRPC and gRPC-Web join them, and
//! REST passes them on unchanged.

use featherwire::proto::v1::{
    CreateCompletionRequest, completion_service_client::CompletionServiceClient,
    create_completion_request::PromptKind,
};
use serde_json::json;

use crate::support::{Door, Gateway, MODEL, Reply, Scripted, door::message, prompt};

/// An event of a stream with this member in its delta, as raw JSON.
fn event(delta: &str, reason: &str) -> String {
    format!(
        r#"{{"id":"x","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]}}"#
    )
}

fn stream(deltas: &[&str]) -> Reply {
    let last = deltas.len() - 1;
    let events = deltas.iter().enumerate();
    let events =
        events.map(|(place, delta)| event(delta, if place == last { "\"stop\"" } else { "null" }));
    Reply::Events(events.chain(["[DONE]".to_owned()]).collect())
}

#[tokio::test]
async fn surrogates_in_two_chunks_are_joined_by_grpc_and_unchanged_by_rest() {
    let pieces = [
        r#"{"role":"assistant","content":"a\ud83d"}"#,
        r#"{"content":"\ude00b","reasoning_content":"t\ud83e"}"#,
        r#"{"reasoning_content":"\udd8a","tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"\"\ud83d"}}]}"#,
        r#"{"tool_calls":[{"index":0,"function":{"arguments":"\ude00\""}}],"content":"c\ud83d"}"#,
        "{}",
    ];
    let upstream = Scripted::always(stream(&pieces)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::GrpcStream, Door::WebStream] {
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        assert_eq!(
            (&*answer.content, &*answer.reasoning),
            ("a😀bc\u{fffd}", "t🦊"),
            "{door:?}"
        );
        assert_eq!(
            answer.tool_calls,
            [("f".to_owned(), "\"😀\"".to_owned())],
            "{door:?}"
        );
        assert_eq!(answer.finish_reason.as_deref(), Some("stop"), "{door:?}");
    }
    let mut chunks = gateway
        .grpc()
        .await
        .stream_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap()
        .into_inner();
    while let Some(chunk) = chunks.message().await.unwrap() {
        let delta = chunk.choices[0].delta.as_ref().unwrap();
        let calls = delta
            .tool_calls
            .iter()
            .filter_map(|call| call.function.as_ref());
        assert!(
            delta.extra.is_empty() && calls.clone().all(|function| function.extra.is_empty()),
            "{delta:?}"
        );
    }
    let mut request = prompt(MODEL, "hi");
    request["stream"] = json!(true);
    let body = gateway
        .post("/v1/chat/completions", &request)
        .await
        .text()
        .await
        .unwrap();
    for text in [
        r#""content":"a\ud83d""#,
        r#""content":"\ude00b""#,
        r#""arguments":"\"\ud83d""#,
        r#""content":"c\ud83d""#,
    ] {
        assert!(body.contains(text), "{text}: {body}");
    }
    upstream.wait_until_idle().await;
}

#[tokio::test]
async fn a_surrogate_in_a_unary_answer_does_not_lose_the_text() {
    let text = r#"{"id":"x","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":
        {"role":"assistant","content":"half \ud83d","reasoning":"\ude00!"}}]}"#;
    let head = "200 OK\r\ncontent-type: application/json".to_owned();
    let upstream = Scripted::always(Reply::Raw(head, text.as_bytes().to_vec())).await;
    let gateway = Gateway::to(upstream.address).await;
    let answer = gateway
        .grpc()
        .await
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap()
        .into_inner();
    let message = answer.choices[0].message.clone().unwrap();
    assert_eq!(
        (message.content.as_deref(), message.reasoning.as_deref()),
        (Some("half \u{fffd}"), Some("\u{fffd}!"))
    );
    assert!(message.extra.is_empty(), "{message:?}");
    let body = gateway
        .post("/v1/chat/completions", &prompt(MODEL, "hi"))
        .await
        .text()
        .await
        .unwrap();
    assert!(body.contains(r#""content":"half \ud83d""#), "{body}");
}

#[tokio::test]
async fn surrogates_of_a_completion_are_joined_too() {
    let event = |text: &str, reason: &str| {
        format!(
            r#"{{"id":"x","created":1,"model":"m","choices":[{{"index":0,"text":"{text}","finish_reason":{reason}}}]}}"#
        )
    };
    let events = [
        event("a\\ud83d", "null"),
        event("\\ude00", "null"),
        event("\\ud83d", "\"stop\""),
        "[DONE]".to_owned(),
    ];
    let upstream = Scripted::always(Reply::Events(events.to_vec())).await;
    let gateway = Gateway::to(upstream.address).await;
    let prompt_kind = Some(PromptKind::Prompt("hi".to_owned()));
    let request = CreateCompletionRequest {
        model: MODEL.to_owned(),
        prompt_kind,
        ..Default::default()
    };
    let mut client = CompletionServiceClient::new(gateway.channel().await);
    let mut chunks = client
        .stream_completion(request)
        .await
        .unwrap()
        .into_inner();
    let mut texts = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        assert!(chunk.choices[0].extra.is_empty(), "{chunk:?}");
        texts.push(chunk.choices[0].text.clone());
    }
    assert_eq!(texts, ["a", "😀", "\u{fffd}"]);
}
