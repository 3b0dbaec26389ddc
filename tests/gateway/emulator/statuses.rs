//! Error statuses in every shape, once or always, delayed or with `Retry-After`, and connections
//! that end without an answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{End, Peer, ask_model, finish, streamed_text, with};

const CHAT: &str = "/v1/chat/completions";

fn ask(fault: &str) -> Value {
    ask_model(&format!("emulator/{fault}"), "count to 20")
}

type IsRight = fn(&Value) -> bool;

#[tokio::test]
async fn every_status_comes_in_every_shape() {
    let peer = Peer::start().await;
    let json_shapes: &[(&str, IsRight)] = &[
        ("-openai", |body| body["error"]["message"].is_string()),
        ("", |body| body["error"]["message"].is_string()),
        ("-bare", |body| body["error"].is_string()),
        ("-detail", |body| body["detail"].is_string()),
        ("-detail-list", |body| {
            body["detail"][0]["msg"].is_string() && body["detail"][0]["loc"].is_array()
        }),
        ("-errors", |body| body["errors"][0].is_string()),
        ("-nest", |body| {
            body["message"][1].is_string() && body["statusCode"].is_number()
        }),
        ("-unwrapped", |body| {
            body["object"] == "error" && body["message"].is_string()
        }),
    ];
    for status in [
        400, 402, 403, 404, 405, 409, 410, 415, 422, 429, 500, 502, 503, 504, 520, 523, 524, 525,
        529,
    ] {
        for (shape, is_right) in json_shapes {
            let reply = peer.post(CHAT, &ask(&format!("{status}{shape}"))).await;
            assert_eq!(reply.status, status, "{shape}");
            assert!(is_right(&reply.json()), "{status}{shape}: {}", reply.text);
        }
        let streamed = with(ask(&format!("{status}-html")), json!({"stream": true}));
        let page = peer.post(CHAT, &streamed).await;
        assert_eq!(
            (page.status, page.text.starts_with("<!DOCTYPE html>")),
            (status, true)
        );
        assert!(
            page.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
        let text = peer.post(CHAT, &ask(&format!("{status}-text"))).await;
        assert!(
            text.status == status && text.text.contains(&status.to_string()),
            "{}",
            text.text
        );
        let empty = peer.post(CHAT, &ask(&format!("{status}-empty"))).await;
        assert_eq!((empty.status, empty.text.as_str()), (status, ""));
    }
    assert_eq!(
        peer.post(CHAT, &ask("399")).await.status,
        404,
        "no error status, no fault"
    );
    peer.until_used(0).await;
}

#[tokio::test]
async fn refusals_for_lack_of_units_come_in_several_wordings() {
    let peer = Peer::start().await;
    for (fault, code, words) in [
        (
            "429-plan-limit",
            "concurrency_limit_exceeded",
            "plan limit: 8",
        ),
        (
            "429-no-numbers",
            "concurrency_limit_exceeded",
            "Concurrency limit exceeded",
        ),
        ("429-rate-limit", "rate_limit_exceeded", "Rate limit"),
    ] {
        let reply = peer.post(CHAT, &ask(fault)).await;
        assert_eq!(reply.refusal(), (429, code.to_owned()));
        assert!(
            reply.text.contains(words) && !reply.headers.contains_key("retry-after"),
            "{}",
            reply.text
        );
        if fault == "429-no-numbers" {
            let message = reply.json()["error"]["message"].to_string();
            assert!(!message.contains(|c: char| c.is_ascii_digit()), "{message}");
        }
    }
}

#[tokio::test]
async fn retry_after_comes_when_it_is_asked_for() {
    let peer = Peer::start().await;
    for fault in ["429-html", "429-rate-limit", "503", "429"] {
        let reply = peer
            .post(CHAT, &ask(&format!("{fault}-retry-after-7")))
            .await;
        assert_eq!(
            reply
                .headers
                .get_all("retry-after")
                .iter()
                .collect::<Vec<_>>(),
            ["7"],
            "{fault}"
        );
        let without = peer.post(CHAT, &ask(fault)).await;
        assert_eq!(
            without.headers.contains_key("retry-after"),
            fault == "429",
            "{fault}"
        );
    }
}

#[tokio::test]
async fn any_fault_can_end_after_some_attempts() {
    let peer = Peer::start().await;
    for expected in [502, 200, 502, 200] {
        assert_eq!(
            peer.post(CHAT, &ask("502-html-then-ok")).await.status,
            expected
        );
    }
    for expected in [529, 529, 529, 200, 529] {
        assert_eq!(
            peer.post(CHAT, &ask("529-x3-then-ok")).await.status,
            expected
        );
    }
    // The same for a stream that breaks off.
    let mut broken = peer.open(&ask("eof-after-2-then-ok")).await;
    broken.rest().await;
    assert!(!broken.is_done());
    assert_eq!(
        finish(&peer.events(&ask("eof-after-2-then-ok")).await),
        ["stop"]
    );
    // Each request has its own count.
    for endpoint in ["/v1/completions", "/v1/embeddings", "/v1/tokenize"] {
        let request =
            json!({"model": "emulator/503-then-ok", "prompt": "x", "input": endpoint, "text": "x"});
        assert_eq!(
            peer.post(endpoint, &request).await.status,
            503,
            "{endpoint}"
        );
        assert_eq!(
            peer.post(endpoint, &request).await.status,
            200,
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn a_fault_can_be_delayed() {
    let peer = Peer::start().await;
    for fault in [
        "524-html-after-300ms",
        "slow-headers-for-300ms",
        "silent-for-300ms",
        "slow-first-token-for-300ms",
    ] {
        let started = Instant::now();
        let reply = peer.post(CHAT, &ask(fault)).await;
        assert!(started.elapsed() >= Duration::from_millis(300), "{fault}");
        assert_eq!(
            reply.status,
            if fault.starts_with("524") { 524 } else { 200 }
        );
    }
    // A silence in the middle ends, and the answer is complete.
    let started = Instant::now();
    let events = peer.events(&ask("stall-after-5-for-300ms")).await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(finish(&events), ["stop"]);
    assert!(streamed_text(&events, 0).ends_with("19, 20"));
}

#[tokio::test]
async fn connections_end_before_the_head_and_in_the_middle() {
    let peer = Peer::start().await;
    for (fault, is_reset) in [("close-before-head", false), ("reset-before-head", true)] {
        for is_streamed in [false, true] {
            let mut connection = peer
                .send_raw(&with(ask(fault), json!({ "stream": is_streamed })))
                .await;
            let read = tokio::io::AsyncReadExt::read(&mut connection, &mut [0]).await;
            match is_reset {
                true => assert_eq!(
                    read.unwrap_err().kind(),
                    std::io::ErrorKind::ConnectionReset
                ),
                false => assert_eq!(read.unwrap(), 0, "FIN, and no byte of an answer"),
            }
        }
    }
    for (fault, text) in [
        ("reset-after-5", "1, 2, 3"),
        ("cut-after-2", "1,"),
        ("reset-after-0", ""),
        ("cut-after-0", ""),
    ] {
        let mut stream = peer.open(&ask(fault)).await;
        assert_eq!(stream.rest().await, End::Broken, "{fault}");
        assert_eq!(streamed_text(&stream.events(), 0), text, "{fault}");
    }
    let reset = peer
        .request(CHAT, ask("reset-after-5").to_string())
        .bearer_auth("key")
        .send()
        .await
        .unwrap();
    assert!(reset.content_length().unwrap() > 100);
    assert!(reset.text().await.is_err());
    // The emulator still answers.
    assert_eq!(peer.post(CHAT, &ask("finish-eos")).await.status, 200);
    peer.until_used(0).await;
}

#[tokio::test]
async fn a_stream_can_break_before_its_first_token() {
    let peer = Peer::start().await;
    for (fault, text) in [
        ("empty-stream", ""),
        ("eof-after-0", ""),
        ("broken-json-after-0", "data: {\"id\""),
        ("error-in-stream-after-0", "data: {\"error\""),
        ("html-in-stream-after-0", "<!DOCTYPE"),
    ] {
        let mut stream = peer.open(&ask(fault)).await;
        assert_eq!(stream.rest().await, End::Clean, "{fault}");
        assert!(
            stream.text.starts_with(text) && !stream.text.contains("role"),
            "{fault}: {}",
            stream.text
        );
    }
    assert_eq!(peer.post(CHAT, &ask("empty-stream")).await.text, "");
}
