//! Answers with unusual JSON or framing.

use serde_json::{Value, json};

use super::support::{End, Peer, ask_model, streamed_text, text, with};

fn ask(fault: &str) -> Value {
    ask_model(&format!("emulator/{fault}"), "count to 3")
}

fn ask_tools(fault: &str) -> Value {
    let tool = |name: &str| {
        json!({"type": "function", "function": {"name": name, "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}},
        }}})
    };
    with(
        ask_model(&format!("emulator/{fault}"), "weather and time, please"),
        json!({"tools": [tool("get_weather"), tool("get_time")]}),
    )
}

fn choices(events: &[Value]) -> Vec<&Value> {
    events
        .iter()
        .filter_map(|event| event["choices"].get(0))
        .collect()
}

#[tokio::test]
async fn members_are_null_or_absent() {
    let peer = Peer::start().await;
    let whole = async |fault: &str| peer.chat(&ask(fault)).await;
    let events = async |fault: &str| peer.events(&ask(fault)).await;

    let probable = with(ask("null-logprob"), json!({"logprobs": true}));
    let entry = peer.chat(&probable).await["choices"][0]["logprobs"]["content"][0].clone();
    assert_eq!(
        (&entry["token"], entry.get("logprob")),
        (&json!("1"), Some(&Value::Null))
    );
    assert_eq!(
        peer.events(&probable).await[1]["choices"][0]["logprobs"]["content"][0]["logprob"],
        Value::Null
    );

    let usage = whole("usage-in-part").await["usage"].clone();
    assert_eq!(usage, json!({"completion_tokens": 5}));

    assert!(
        whole("no-role").await["choices"][0]["message"]
            .get("role")
            .is_none()
    );
    assert!(
        events("no-role").await[0]["choices"][0]["delta"]
            .get("role")
            .is_none()
    );
    assert_eq!(
        whole("null-role").await["choices"][0]["message"].get("role"),
        Some(&Value::Null)
    );
    assert_eq!(
        events("null-role").await[0]["choices"][0]["delta"].get("role"),
        Some(&Value::Null)
    );

    assert!(
        choices(&events("no-delta").await)
            .last()
            .unwrap()
            .get("delta")
            .is_none()
    );
    assert_eq!(
        choices(&events("null-delta").await)
            .last()
            .unwrap()
            .get("delta"),
        Some(&Value::Null)
    );

    assert!(
        events("no-content").await[0]["choices"][0]["delta"]
            .get("content")
            .is_none()
    );
    assert_eq!(
        events("null-content").await[0]["choices"][0]["delta"].get("content"),
        Some(&Value::Null)
    );
    assert!(
        peer.chat(&ask_tools("no-content")).await["choices"][0]["message"]
            .get("content")
            .is_none()
    );
    // The content that was sent before stays.
    assert_eq!(text(&whole("no-content").await), "1, 2, 3");
}

#[tokio::test]
async fn only_their_ids_distinguish_parallel_calls() {
    let peer = Peer::start().await;
    for fault in ["same-index-calls", "calls-by-id"] {
        let events = peer.events(&ask_tools(fault)).await;
        let pieces = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].get(0));
        let pieces: Vec<&Value> = pieces.collect();
        let names = pieces
            .iter()
            .filter_map(|piece| piece["function"]["name"].as_str());
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["get_weather", "get_time"],
            "{fault}"
        );
        let is_by_id = fault == "calls-by-id";
        assert!(
            pieces
                .iter()
                .all(|piece| piece.get("index") == (!is_by_id).then_some(&json!(0))),
            "{fault}"
        );
        assert_eq!(
            pieces.iter().all(|piece| piece["id"].is_string()),
            is_by_id,
            "{fault}"
        );
        let mut ids: Vec<&str> = pieces
            .iter()
            .filter_map(|piece| piece["id"].as_str())
            .collect();
        ids.dedup();
        assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    }
}

#[tokio::test]
async fn members_have_another_type() {
    let peer = Peer::start().await;
    let whole = peer.chat(&ask_tools("object-arguments")).await;
    let call = &whole["choices"][0]["message"]["tool_calls"][1];
    assert!(
        call["function"]["arguments"].is_object() && call["id"].is_string(),
        "{call}"
    );
    let whole = peer.chat(&ask_tools("number-ids")).await;
    assert!(
        whole["id"].is_number()
            && whole["choices"][0]["message"]["tool_calls"][0]["id"].is_number()
    );
    for event in peer
        .events(&with(ask("text-indexes"), json!({"n": 2})))
        .await
    {
        assert!(
            event["choices"]
                .get(0)
                .is_none_or(|choice| ["0", "1"].map(Value::from).contains(&choice["index"]))
        );
    }
    assert_eq!(
        peer.chat(&ask("other-object")).await["object"],
        "engine.answer"
    );
    let events = peer.events(&ask("odd-delta")).await;
    assert!(
        choices(&events)
            .iter()
            .any(|choice| choice["delta"]["content"] == json!(["odd"]))
    );
    assert_eq!(streamed_text(&events, 0), "1, 2, 3");
}

#[tokio::test]
async fn surrogates_are_sent_in_two_chunks_and_alone() {
    let peer = Peer::start().await;
    let stream = async |fault: &str| {
        let mut stream = peer.open(&ask(fault)).await;
        assert_eq!(stream.rest().await, End::Clean);
        assert!(stream.is_done());
        stream.text
    };
    let halves = stream("half-emoji").await;
    let (first, second) = (
        halves.find(r#""content":"\ud83e""#).unwrap(),
        halves.find(r#""content":"\udd8a""#).unwrap(),
    );
    assert!(
        halves.get(first..second).unwrap().contains("\n\n"),
        "in two events"
    );
    assert_eq!(text(&peer.chat(&ask("half-emoji")).await), "1, 2, 3🦊");
    assert!(
        stream("lone-surrogate")
            .await
            .contains(r#""content":"\ud83e""#)
    );
    assert!(stream("surrogate-name").await.contains(r#""x_\ud83e":"#));
    for fault in ["lone-surrogate", "surrogate-name"] {
        let reply = peer.post("/v1/chat/completions", &ask(fault)).await;
        assert!(
            reply.text.contains(r"\ud83e") && serde_json::from_str::<Value>(&reply.text).is_err()
        );
    }
}

#[tokio::test]
async fn reasoning_is_sent_in_every_format() {
    let peer = Peer::start().await;
    for (fault, member) in [
        ("think", "reasoning_content"),
        ("think-reasoning", "reasoning"),
    ] {
        let message = peer.chat(&ask(fault)).await["choices"][0]["message"].clone();
        let thought = message[member].as_str().unwrap().to_owned();
        assert!(
            !thought.is_empty() && message["content"] == "1, 2, 3",
            "{message}"
        );
        let events = peer.events(&ask(fault)).await;
        let streamed = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"][member].as_str());
        assert_eq!(streamed.collect::<String>(), thought);
    }
    let object = peer.chat(&ask("think-object")).await;
    assert!(object["choices"][0]["message"]["reasoning"]["text"].is_string());
    for (fault, is_closed) in [("think-inline", true), ("think-open", false)] {
        let answer = peer.chat(&ask(fault)).await;
        let whole = text(&answer);
        assert!(
            whole.starts_with("<think>\n") && whole.ends_with("\n\n1, 2, 3"),
            "{whole}"
        );
        assert_eq!(whole.contains("</think>"), is_closed);
        assert_eq!(streamed_text(&peer.events(&ask(fault)).await, 0), whole);
    }
}

/// The bytes in a gzip member of stored blocks.
fn unzipped(mut bytes: &[u8]) -> Vec<u8> {
    assert_eq!(&bytes[..3], [0x1f, 0x8b, 8]);
    bytes = &bytes[10..];
    let mut out = Vec::new();
    loop {
        let (is_last, length) = (
            bytes[0] & 1 == 1,
            usize::from(u16::from_le_bytes([bytes[1], bytes[2]])),
        );
        out.extend_from_slice(&bytes[5..5 + length]);
        bytes = &bytes[5 + length..];
        if is_last {
            assert_eq!(bytes[4..8], (out.len() as u32).to_le_bytes());
            return out;
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_without_being_asked_for() {
    let peer = Peer::start().await;
    for is_streamed in [false, true] {
        let body = with(ask("gzip"), json!({ "stream": is_streamed })).to_string();
        let response = peer
            .request("/v1/chat/completions", body)
            .bearer_auth("key")
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["content-encoding"], "gzip");
        let answer = String::from_utf8(unzipped(&response.bytes().await.unwrap())).unwrap();
        match is_streamed {
            true => assert!(
                answer.starts_with("data: {") && answer.ends_with("data: [DONE]\n\n"),
                "{answer}"
            ),
            false => assert_eq!(text(&serde_json::from_str(&answer).unwrap()), "1, 2, 3"),
        }
    }
    peer.set("models", "gzip").await;
    let url = format!("http://{}/v1/models", peer.address);
    let response = peer.client.get(url).send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let list: Value = serde_json::from_slice(&unzipped(&response.bytes().await.unwrap())).unwrap();
    assert_eq!(list["data"].as_array().unwrap().len(), 20);
    peer.until_used(0).await;
}
