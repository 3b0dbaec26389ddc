//! Every fault does what its name says, and holds no units afterwards.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use featherwire::emulator::FAULTS;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{End, Peer, Stream, ask_model, finish, streamed_text, text, with};

const CHAT: &str = "/v1/chat/completions";

/// A prompt whose answer is long enough for every fault.
fn ask(fault: &str) -> Value {
    ask_model(&format!("emulator/{fault}"), "count to 20")
}

fn counted() -> String {
    (1..=20)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Reads an answer with a fault to its end.
async fn play(peer: &Peer, fault: &str) -> (Stream, End) {
    let mut stream = peer.open(&ask(fault)).await;
    let end = stream.rest().await;
    (stream, end)
}

#[tokio::test]
async fn faults_before_the_answer_have_their_status_and_words() {
    let peer = Peer::start().await;
    for (fault, status, words) in [
        ("cold", 400, "not ready for inference"),
        ("gated", 403, "model_gated_needs_oauth"),
        ("no-plan-access", 403, "does not have API access enabled"),
        ("not-on-plan", 403, "model_not_on_plan"),
        ("401", 401, "You must be signed in"),
        ("429", 429, "concurrency_limit_exceeded"),
        ("500", 500, "completions_error"),
        ("503", 503, "No valid Executor"),
        ("524-html", 524, "<!DOCTYPE html>"),
        ("html-200", 200, "<!DOCTYPE html>"),
        ("redirect", 302, ""),
        ("bare-error", 500, "{\"error\":\""),
    ] {
        for is_streamed in [false, true] {
            let reply = peer
                .post(CHAT, &with(ask(fault), json!({ "stream": is_streamed })))
                .await;
            assert_eq!(reply.status, status, "{fault}");
            assert!(reply.text.contains(words), "{fault}: {}", reply.text);
            assert!(reply.headers.contains_key("request-id"));
            assert_eq!(reply.headers.contains_key("retry-after"), fault == "429");
            assert_eq!(reply.headers.contains_key("location"), fault == "redirect");
        }
    }
    peer.until_used(0).await;
}

#[tokio::test]
async fn a_temporary_fault_affects_only_the_first_attempt() {
    let peer = Peer::start().await;
    for (fault, status) in [("503-then-ok", 503), ("500-then-ok", 500)] {
        for expected in [status, 200, status, 200] {
            assert_eq!(
                peer.post(CHAT, &ask(fault)).await.status,
                expected,
                "{fault}"
            );
        }
    }
}

#[tokio::test]
async fn streams_can_fall_silent() {
    let peer = Peer::start().await;
    // The role comes first, and then the tokens.
    for (fault, events) in [("silent", 0), ("stall-after-5", 6)] {
        let mut stream = peer.open(&ask(fault)).await;
        while stream.events().len() < events {
            stream.more().await;
        }
        assert!(stream.is_silent().await, "{fault}: {}", stream.text);
        assert_eq!(peer.snapshot().await["used_cost"], 1);
        drop(stream);
        peer.until_used(0).await;
    }
}

#[tokio::test]
async fn unary_answers_can_be_missing() {
    let peer = Peer::start().await;
    for fault in ["slow-headers", "silent", "stall-after-5"] {
        let request = peer
            .request(CHAT, ask(fault).to_string())
            .bearer_auth("key")
            .send();
        assert!(
            timeout(Duration::from_millis(150), request).await.is_err(),
            "{fault}"
        );
        peer.until_used(0).await;
    }
}

#[tokio::test]
async fn a_cut_is_not_a_clean_end_and_a_clean_end_is_not_a_finish() {
    let peer = Peer::start().await;
    for (fault, expected) in [("cut-after-5", End::Broken), ("eof-after-5", End::Clean)] {
        let (stream, end) = play(&peer, fault).await;
        assert_eq!(end, expected, "{fault}");
        assert_eq!(streamed_text(&stream.events(), 0), "1, 2, 3", "{fault}");
        assert!(
            finish(&stream.events()).is_empty() && !stream.is_done(),
            "{fault}"
        );
    }
    let (stream, end) = play(&peer, "no-done").await;
    assert_eq!(end, End::Clean);
    assert_eq!(finish(&stream.events()), ["stop"]);
    assert!(!stream.is_done());
    peer.until_used(0).await;
}

#[tokio::test]
async fn a_whole_answer_can_be_cut_or_halved() {
    let peer = Peer::start().await;
    let cut = peer
        .request(CHAT, ask("cut-after-5").to_string())
        .bearer_auth("key")
        .send()
        .await
        .unwrap();
    assert!(cut.content_length().unwrap() > 100);
    assert!(cut.text().await.is_err());
    for fault in ["eof-after-5", "broken-json"] {
        let reply = peer.post(CHAT, &ask(fault)).await;
        assert_eq!(reply.status, 200);
        assert!(
            serde_json::from_str::<Value>(&reply.text).is_err(),
            "{fault}"
        );
    }
    for (fault, status) in [
        ("error-in-stream", 500),
        ("error-object-in-stream", 500),
        ("429-in-stream", 429),
    ] {
        assert_eq!(peer.post(CHAT, &ask(fault)).await.status, status, "{fault}");
    }
    peer.until_used(0).await;
}

#[tokio::test]
async fn errors_arrive_inside_streams() {
    let peer = Peer::start().await;
    for (fault, place, expected) in [
        ("error-in-stream", "/error", "no data in 30000ms"),
        ("error-object-in-stream", "/error/type", "completions_error"),
        ("429-in-stream", "/error/code", "concurrency_limit_exceeded"),
    ] {
        let (stream, end) = play(&peer, fault).await;
        assert_eq!(end, End::Clean);
        let events = stream.events();
        assert_eq!(streamed_text(&events, 0), "1, 2", "{fault}");
        assert_eq!(
            events.last().unwrap().pointer(place),
            Some(&json!(expected)),
            "{fault}"
        );
        assert!(!stream.is_done());
    }
    let (stream, _) = play(&peer, "broken-json").await;
    assert_eq!(stream.events().last(), Some(&Value::Null));
}

#[tokio::test]
async fn unusual_framing_carries_the_usual_answer() {
    let peer = Peer::start().await;
    for fault in ["crlf", "split", "burst", "odd", "think"] {
        let (stream, end) = play(&peer, fault).await;
        assert_eq!(end, End::Clean, "{fault}");
        assert!(stream.is_done(), "{fault}");
        assert_eq!(streamed_text(&stream.events(), 0), counted(), "{fault}");
        assert_eq!(text(&peer.chat(&ask(fault)).await), counted(), "{fault}");
    }
    let (crlf, _) = play(&peer, "crlf").await;
    assert!(crlf.text.starts_with(": ") && crlf.text.contains("\r\ndata:{"));
    assert_eq!(
        crlf.text.matches('\n').count(),
        crlf.text.matches("\r\n").count()
    );
    let mut split = peer.open(&ask("split")).await;
    split.more().await;
    assert_eq!(split.text, "d");
    let mut burst = peer.open(&ask_model("emulator/burst", "count to 3")).await;
    burst.more().await;
    assert!(burst.is_done());
    drop((split, burst));
    peer.until_used(0).await;
}

#[tokio::test]
async fn a_giant_line_is_one_event_of_two_megabytes() {
    let peer = Peer::start().await;
    let (stream, _) = play(&peer, "giant-line").await;
    assert_eq!(stream.events().len(), 3);
    assert!(streamed_text(&stream.events(), 0).len() >= 2 * 1024 * 1024);
    assert!(text(&peer.chat(&ask("giant-line")).await).len() >= 2 * 1024 * 1024);
}

#[tokio::test]
async fn the_odd_answer_has_unknown_members_at_every_level() {
    let peer = Peer::start().await;
    let tool = json!({"type": "function", "function": {"name": "count"}});
    let (request, streamed) = (ask("odd"), with(ask("odd"), json!({"tools": [tool]})));
    let whole = peer.chat(&request).await;
    for place in ["", "/choices/0", "/choices/0/message", "/usage"] {
        let big = whole.pointer(&format!("{place}/x_big_integer"));
        assert_eq!(
            big.and_then(Value::as_i64),
            Some(9_007_199_254_740_993),
            "{place}"
        );
    }
    let events = peer.events(&streamed).await;
    assert_eq!(events[0]["choices"], json!([]));
    assert_eq!(events[1]["usage"], Value::Null);
    assert_eq!(events[1]["x_tiny_number"], json!(1e-12));
    let call = &events[2]["choices"][0]["delta"]["tool_calls"][0];
    assert!(
        call["id"].is_string() && call.get("index").is_none(),
        "{call}"
    );
}

#[tokio::test]
async fn slow_faults_are_slow() {
    let peer = Peer::start().await;
    let started = Instant::now();
    let mut late = peer.open(&ask("slow-first-token")).await;
    late.more().await;
    assert!(started.elapsed() >= Duration::from_secs(3));

    let started = Instant::now();
    let mut slow = peer
        .open(&with(ask("slow"), json!({"max_tokens": 3})))
        .await;
    while !slow.is_done() {
        slow.more().await;
    }
    assert!(started.elapsed() >= Duration::from_millis(600));
}

#[test]
fn every_fault_is_described_once() {
    assert!(
        FAULTS
            .iter()
            .all(|fault| fault.model.starts_with("emulator/") && !fault.effect.is_empty())
    );
    let models: HashSet<&str> = FAULTS.iter().map(|fault| fault.model).collect();
    assert_eq!(models.len(), FAULTS.len());
}
