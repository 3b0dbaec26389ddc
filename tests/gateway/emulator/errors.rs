//! Failures with a success status: bodies that are not answers, errors inside an answer, and finish
//! reasons that mean a failure.

use serde_json::{Value, json};

use super::support::{End, Peer, ask_model, finish, streamed_text, text, with};

const CHAT: &str = "/v1/chat/completions";

fn ask(fault: &str) -> Value {
    ask_model(&format!("emulator/{fault}"), "count to 20")
}

#[tokio::test]
async fn a_200_can_have_a_body_that_is_not_an_answer() {
    let peer = Peer::start().await;
    for (fault, body) in [
        ("empty-body", ""),
        ("empty-object", "{}"),
        ("null-body", "null"),
        ("list-body", "[]"),
    ] {
        for path in [CHAT, "/v1/completions", "/v1/embeddings", "/v1/tokenize"] {
            let request = with(
                ask(fault),
                json!({"prompt": "x", "input": "x", "text": "x"}),
            );
            let reply = peer.post(path, &request).await;
            assert_eq!(
                (reply.status, reply.text.as_str()),
                (200, body),
                "{path} {fault}"
            );
        }
        let model = peer
            .get(&format!("/v1/models/emulator/{fault}"), None)
            .await;
        assert_eq!((model.status, model.text.as_str()), (200, body), "{fault}");
    }
    let reply = peer.post(CHAT, &ask("not-json")).await;
    assert!(reply.status == 200 && serde_json::from_str::<Value>(&reply.text).is_err());
    assert!(peer.chat(&ask("no-choices")).await.get("choices").is_none());
    assert_eq!(peer.chat(&ask("empty-choices")).await["choices"], json!([]));
    let request = with(
        ask("no-choices"),
        json!({"stream_options": {"include_usage": true}}),
    );
    let events = peer.events(&request).await;
    assert!(!events.is_empty() && events.iter().all(|event| event.get("choices").is_none()));
    peer.until_used(0).await;
}

#[tokio::test]
async fn unwrapped_errors_are_sent_in_a_stream_and_in_a_unary_200() {
    let peer = Peer::start().await;
    for (fault, place, value) in [
        ("rate-limit-in-stream", "/error/code", json!("429")),
        (
            "rate-limit-in-stream",
            "/error/type",
            json!("rate_limit_error"),
        ),
        ("unwrapped-in-stream", "/object", json!("error")),
        (
            "detail-in-stream",
            "/detail",
            json!("the engine ran out of memory"),
        ),
        (
            "event-error-in-stream",
            "/message",
            json!("the engine ran out of memory"),
        ),
    ] {
        let mut stream = peer.open(&ask(fault)).await;
        assert_eq!(stream.rest().await, End::Clean);
        let events = stream.events();
        assert_eq!(streamed_text(&events, 0), "1, 2", "{fault}");
        assert_eq!(
            events.last().unwrap().pointer(place),
            Some(&value),
            "{fault}"
        );
        assert!(finish(&events).is_empty());
        assert_eq!(stream.is_done(), fault != "rate-limit-in-stream", "{fault}");
        assert_eq!(
            stream.text.contains("event: error\n"),
            fault == "event-error-in-stream"
        );
        assert_eq!(
            peer.chat(&ask(fault)).await.pointer(place),
            Some(&value),
            "{fault}"
        );
    }
    let mut words = peer.open(&ask("text-in-stream")).await;
    words.rest().await;
    assert!(
        words
            .text
            .contains("\n\ndata: the engine ran out of memory\n\ndata: [DONE]"),
        "{}",
        words.text
    );
    assert_eq!(
        peer.post(CHAT, &ask("text-in-stream")).await.text,
        "the engine ran out of memory"
    );
}

#[tokio::test]
async fn an_error_can_be_beside_the_choices() {
    let peer = Peer::start().await;
    let events = peer.events(&ask("error-beside-choices-after-0")).await;
    let with_error: Vec<&Value> = events
        .iter()
        .filter(|event| event["error"]["message"].is_string())
        .collect();
    assert_eq!(with_error.len(), 1);
    assert_eq!(with_error[0]["choices"][0]["delta"]["content"], "1");
    assert!(peer.chat(&ask("error-beside-choices")).await["error"]["message"].is_string());
    for (fault, value) in [
        ("error-null", json!(null)),
        ("error-false", json!(false)),
        ("error-empty", json!("")),
        ("error-object", json!({})),
    ] {
        let events = peer.events(&ask(fault)).await;
        assert!(
            events
                .iter()
                .all(|event| event.get("error") == Some(&value)),
            "{fault}"
        );
        assert_eq!(
            peer.chat(&ask(fault)).await.get("error"),
            Some(&value),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn an_answer_ends_with_any_reason() {
    let peer = Peer::start().await;
    for reason in [
        "abort",
        "error",
        "eos",
        "end_turn",
        "stop_sequence",
        "max_tokens",
    ] {
        let events = peer.events(&ask(&format!("finish-{reason}"))).await;
        assert_eq!(finish(&events), [reason]);
        assert_eq!(
            peer.chat(&ask(&format!("finish-{reason}"))).await["choices"][0]["finish_reason"],
            reason
        );
    }
    let events = peer.events(&ask("finish-abort-with-error")).await;
    let last = &events.last().unwrap()["choices"][0];
    assert_eq!(
        (&last["finish_reason"], last["error"]["message"].is_string()),
        (&json!("abort"), true)
    );
    let whole = peer.chat(&ask("finish-error-with-error")).await;
    assert!(
        whole["choices"][0]["error"]["message"].is_string() && text(&whole).starts_with("1, 2")
    );
    assert_eq!(
        finish(&peer.events(&ask("later-empty-finish")).await),
        ["stop", ""]
    );
    // The same for a text completion.
    let request = json!({"model": "emulator/finish-abort", "prompt": "count to 3"});
    let completion = peer.post("/v1/completions", &request).await.json();
    assert_eq!(completion["choices"][0]["finish_reason"], "abort");
}
