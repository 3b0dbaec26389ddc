//! Duplicate members in the JSON of a caller or of the upstream: the last one counts, at every
//! door.

use featherwire::proto::v1::{
    CreateEmbeddingRequest, embedding_service_client::EmbeddingServiceClient,
};
use serde_json::{Value, json};

use crate::support::{Door, Gateway, MODEL, Reply, Scripted, door::message, prompt, rest::http};

const JSON_HEAD: &str = "200 OK\r\ncontent-type: application/json";

fn raw(body: &str) -> Reply {
    Reply::Raw(JSON_HEAD.to_owned(), body.as_bytes().to_vec())
}

fn answer() -> Reply {
    raw(
        r#"{"id":"x","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",
        "message":{"role":"assistant","content":"hi"}}]}"#,
    )
}

async fn post(gateway: &Gateway, body: String) -> (u16, String, String) {
    let response = gateway.post("/v1/chat/completions", body).await;
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap();
    let kind = kind.to_owned();
    (status, kind, response.text().await.unwrap())
}

#[tokio::test]
async fn the_upstream_gets_the_last_of_a_rest_callers_duplicate_members() {
    let upstream = Scripted::always(answer()).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = format!(
        r#"{{"model":"other","m\u006fdel":"{MODEL}",
        "messages":[{{"role":"user","content":"a"}},{{"role":"user","content":"b"}}],
        "messages":[{{"role":"user","content":"c","content":[{{"type":"text","text":"d"}}]}}],
        "temperature":0.1,"temperature":0.2,
        "stop":["a","b"],"stop":"c",
        "featherwire":{{"timeout_ms":0}},"featherwire":{{"timeout_ms":1,"timeout_ms":60000}},
        "chat_template_kwargs":{{"a":1}},"chat_template_kwargs":{{"b":1,"b":2}},
        "new":1,"new":{{"a":1,"a":2}}}}"#
    );
    let (status, _, text) = post(&gateway, body).await;
    assert_eq!(status, 200, "{text}");
    let seen = upstream.only_request();
    let expected = json!({"model": MODEL, "temperature": 0.2, "stop": ["c"], "stream": false,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "d"}]}],
        "chat_template_kwargs": {"b": 2}, "new": {"a": 2}});
    assert_eq!(seen.json(), expected);
    // JSON text is passed on unchanged, so the upstream decides its meaning.
    let sent = String::from_utf8(seen.body).unwrap();
    for text in [r#"{"b":1,"b":2}"#, r#"{"a":1,"a":2}"#] {
        assert!(sent.contains(text), "{sent}");
    }
}

#[tokio::test]
async fn the_last_stream_member_selects_streaming() {
    let upstream = Scripted::always(answer()).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = |members: &str| {
        let rest = prompt(MODEL, "hi").to_string();
        format!("{{{members},{}", rest.trim_start_matches('{'))
    };
    let (status, kind, _) = post(&gateway, body(r#""stream":true,"stream":false"#)).await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    let event = concat!(
        r#"{"id":"x","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a"},"#,
        r#""finish_reason":"stop"}]}"#
    );
    upstream.set_reply(Reply::Events(vec![event.to_owned(), "[DONE]".to_owned()]));
    let (status, kind, text) = post(&gateway, body(r#""stream":false,"stream":true"#)).await;
    assert_eq!((status, kind.as_str()), (200, "text/event-stream"));
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
}

/// The text, the id and the usage of a chat answer.
fn summary(answer: &Value) -> Value {
    json!([
        answer["id"],
        answer["choices"][0],
        answer["usage"],
        answer["new"]
    ])
}

#[tokio::test]
async fn callers_get_the_last_of_an_answers_duplicate_members() {
    let upstream = Scripted::always(raw(
        r#"{"id":"a","id":"b","created":1,"model":"m","new":1,"new":"x",
        "choices":[{"index":7},{"index":8}],
        "choices":[{"index":0,"finish_reason":null,"finish_reason":"stop",
            "message":{"role":"assistant","content":"a"},
            "message":{"role":"assistant","content":["odd"],"content":"c"}}],
        "usage":"none","usage":{"prompt_tokens":1,"prompt_tokens":3,"completion_tokens":4}}"#,
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let (status, _, text) = post(&gateway, prompt(MODEL, "hi").to_string()).await;
    assert_eq!(status, 200, "{text}");
    let by_rest: Value = serde_json::from_str(&text).unwrap();
    let choice = json!({"index": 0, "finish_reason": "stop", "logprobs": null,
        "message": {"role": "assistant", "content": "c", "refusal": null}});
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    assert_eq!(summary(&by_rest), json!(["b", choice, usage, "x"]));
    for name in [
        "\"id\"",
        "\"choices\"",
        "\"usage\"",
        "\"content\"",
        "\"new\"",
    ] {
        assert_eq!(text.matches(name).count(), 1, "{name} in {text}");
    }
    let mut client = gateway.grpc().await;
    let by_grpc = client
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap()
        .into_inner();
    let [choice] = by_grpc.choices.as_slice() else {
        panic!("{by_grpc:?}")
    };
    assert_eq!((by_grpc.id.as_str(), choice.index), ("b", 0));
    assert_eq!(choice.message.as_ref().unwrap().content(), "c");
    assert_eq!(by_grpc.usage.unwrap().prompt_tokens, Some(3));
    assert_eq!(by_grpc.extra["new"], "\"x\"");
    assert_eq!(by_grpc.extra.len(), 1);
}

#[tokio::test]
async fn callers_get_the_last_of_a_chunks_duplicate_members() {
    let event = concat!(
        r#"{"id":"a","id":"b","created":1,"model":"m","choices":[{"index":5},{"index":6}],"#,
        r#""choices":[{"index":0,"delta":{"content":"x"},"#,
        r#""delta":{"content":7,"content":"a","content":"b"},"#,
        r#""finish_reason":"length","finish_reason":"stop"}],"#,
        r#""usage":{"total_tokens":1},"usage":{"total_tokens":2}}"#
    );
    let events = vec![event.to_owned(), "[DONE]".to_owned()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::RestStream, Door::GrpcStream, Door::WebStream] {
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        assert_eq!(
            (answer.content.as_str(), answer.finish_reason.as_deref()),
            ("b", Some("stop")),
            "{door:?}"
        );
    }
    let body = prompt(MODEL, "hi");
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let (_, _, text) = post(&gateway, streamed.to_string()).await;
    for name in ["\"id\"", "\"choices\"", "\"usage\"", "\"content\""] {
        assert_eq!(text.matches(name).count(), 1, "{name} in {text}");
    }
}

#[tokio::test]
async fn extra_of_a_grpc_caller_is_decoded_as_members_in_rest_are() {
    let upstream = Scripted::always(answer()).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = message(&prompt(MODEL, "hi"));
    for (name, text) in [
        ("temperature", "0.5"),
        ("audio", r#"{"voice":"a","format":"wav","voice":"b"}"#),
        ("new", r#"{"a":1,"a":2}"#),
    ] {
        request.extra.insert(name.to_owned(), text.to_owned());
    }
    let mut client = gateway.grpc().await;
    client.create_chat_completion(request).await.unwrap();
    let seen = upstream.only_request();
    assert_eq!(seen.json()["temperature"], 0.5);
    let sent = String::from_utf8(seen.body).unwrap();
    assert!(
        sent.contains(r#""audio":{"voice":"b","format":"wav"}"#),
        "{sent}"
    );
    assert!(sent.contains(r#""new":{"a":1,"a":2}"#), "{sent}");
}

#[tokio::test]
async fn the_last_list_of_an_embedding_replaces_the_previous_one() {
    let upstream = Scripted::always(raw(
        r#"{"model":"m","data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}],
        "data":[{"index":0,"embedding":[3],"embedding":[4,5]}]}"#,
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = EmbeddingServiceClient::new(gateway.channel().await);
    let request = CreateEmbeddingRequest {
        model: MODEL.to_owned(),
        extra: [("input".to_owned(), "\"a\"".to_owned())].into(),
        ..CreateEmbeddingRequest::default()
    };
    let answer = client.create_embedding(request).await.unwrap().into_inner();
    let [embedding] = answer.data.as_slice() else {
        panic!("{answer:?}")
    };
    let text = format!("{:?}", embedding.embedding_kind);
    assert!(text.contains("[4.0, 5.0]"), "{text}");
}

#[tokio::test]
async fn the_last_of_a_catalogues_duplicate_lists_counts() {
    let upstream = Scripted::always(raw(
        r#"{"object":"list","data":[{"id":"a/b"}],"data":[{"id":"c/d","id":"e/f"}]}"#,
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let response = http().get(gateway.url("/v1/models")).send().await.unwrap();
    let models: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let ids: Vec<_> = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["id"])
        .collect();
    assert_eq!(ids, ["e/f"]);
}
