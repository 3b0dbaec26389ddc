//! Concurrency units: held while an answer is generated, refused beyond the plan, and released as
//! soon as no caller needs them.

use std::time::Duration;

use featherwire::emulator::EmulatorConfig;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::support::{
    EMBEDDING_MODEL, MODEL, MODEL_OF_4_UNITS, PATIENCE, Peer, ask, ask_model, with,
};
use crate::support::advance;

/// Slow enough for a test to check the units while an answer is running.
fn slow(units: Option<u32>) -> EmulatorConfig {
    EmulatorConfig {
        tokens_per_second: 2.0,
        units,
        ..EmulatorConfig::default()
    }
}

#[tokio::test]
async fn a_request_beyond_the_plan_is_refused_and_the_first_continues() {
    let peer = Peer::with(slow(Some(4))).await;
    let held = peer.open(&ask_model(MODEL_OF_4_UNITS, "x")).await;
    let reply = peer.post("/v1/chat/completions", &ask("x")).await;
    assert_eq!(
        reply.refusal(),
        (429, "concurrency_limit_exceeded".to_owned())
    );
    assert!(!reply.headers.contains_key("retry-after"));
    let message = reply.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("has 4 active units; this request requires 1 units (limit: 4, over by 1)"),
        "{message}"
    );
    for (path, model) in [
        ("/v1/completions", MODEL),
        ("/v1/embeddings", EMBEDDING_MODEL),
    ] {
        let request = json!({"model": model, "prompt": "x", "input": "x"});
        assert_eq!(peer.post(path, &request).await.status, 429, "{path}");
    }

    let snapshot = peer.snapshot().await;
    assert_eq!(
        (&snapshot["limit"], &snapshot["request_count"]),
        (&json!(4), &json!(1))
    );
    let request = &snapshot["requests"][0];
    assert_eq!(
        (&request["model"], &request["cost"]),
        (&json!(MODEL_OF_4_UNITS), &json!(4))
    );
    assert!(request["started_at"].as_u64().unwrap() > 1_700_000_000_000);
    drop(held);
    peer.until_used(0).await;
}

#[tokio::test]
async fn without_a_limit_nothing_is_refused() {
    let peer = Peer::with(slow(None)).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(peer.open(&ask_model(MODEL_OF_4_UNITS, "x")).await);
    }
    let snapshot = peer.snapshot().await;
    assert_eq!(
        (&snapshot["limit"], &snapshot["used_cost"]),
        (&json!(null), &json!(20))
    );
}

#[tokio::test]
async fn the_end_of_an_answer_frees_its_units_before_the_caller_sees_it() {
    let config = EmulatorConfig {
        tokens_per_second: 0.0,
        units: Some(1),
        ..EmulatorConfig::default()
    };
    let peer = Peer::with(config).await;
    for _ in 0..20 {
        peer.chat(&ask("x")).await;
        peer.events(&ask("x")).await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_frees_the_units_at_any_point_of_the_answer() {
    let peer = Peer::with(slow(Some(8))).await;
    let cases = [
        with(ask("x"), json!({"stream": true})),
        // Unary: no headers have been sent.
        ask("x"),
        ask_model("emulator/slow-headers", "x"),
        ask_model("emulator/silent", "x"),
        with(ask_model("emulator/silent", "x"), json!({"stream": true})),
        with(
            ask_model("emulator/stall-after-5", "x"),
            json!({"stream": true}),
        ),
        with(
            ask_model("emulator/slow-first-token", "x"),
            json!({"stream": true}),
        ),
    ];
    for request in cases {
        let connection = peer.send_raw(&request).await;
        peer.until_used(1).await;
        drop(connection);
        peer.until_used(0).await;
    }
}

#[tokio::test]
async fn the_units_of_a_cancelled_request_stay_for_a_while_and_those_of_an_answer_do_not() {
    let release_after = Duration::from_secs(3600);
    let peer = Peer::with(EmulatorConfig {
        release_after,
        ..slow(Some(4))
    })
    .await;
    let fast = with(
        ask_model("emulator/finish-eos", "x"),
        json!({"max_tokens": 1}),
    );
    peer.chat(&fast).await;
    let refused = peer
        .post("/v1/chat/completions", &ask_model("emulator/503", "x"))
        .await;
    assert_eq!(
        (refused.status, &peer.snapshot().await["used_cost"]),
        (503, &json!(0))
    );

    let mut connection = peer.send_raw(&ask_model(MODEL_OF_4_UNITS, "x")).await;
    peer.until_used(4).await;
    // The emulator closes its side too when it has cancelled the request.
    connection.shutdown().await.unwrap();
    assert_eq!(
        timeout(PATIENCE, connection.read_to_end(&mut Vec::new()))
            .await
            .unwrap()
            .unwrap(),
        0
    );
    advance(release_after / 2).await;
    let snapshot = peer.snapshot().await;
    assert_eq!(
        (&snapshot["used_cost"], &snapshot["request_count"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        peer.post("/v1/chat/completions", &ask("x")).await.status,
        429
    );
    advance(release_after / 2).await;
    let snapshot = peer.snapshot().await;
    assert_eq!(
        (&snapshot["used_cost"], &snapshot["request_count"]),
        (&json!(0), &json!(0))
    );
}

#[tokio::test]
async fn the_feed_of_snapshots_starts_at_once_and_goes_on() {
    let peer = Peer::with(slow(Some(8))).await;
    let url = format!("http://{}/account/concurrency/stream", peer.address);
    let mut feed = peer
        .client
        .get(url)
        .bearer_auth("key")
        .send()
        .await
        .unwrap();
    let mut next = async || {
        let bytes = timeout(PATIENCE, feed.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    assert_eq!(
        next().await,
        "data: {\"limit\":8,\"used_cost\":0,\"request_count\":0,\"requests\":[]}\n\n"
    );
    let held = peer.open(&ask("x")).await;
    // One snapshot may still have the previous state.
    while !next().await.contains("\"used_cost\":1") {}
    drop(held);
}

#[tokio::test]
async fn shutdown_ends_open_streams_promptly() {
    let peer = Peer::with(slow(Some(8))).await;
    let mut stalled = peer.open(&ask_model("emulator/silent", "x")).await;
    peer.shutdown.send(()).unwrap();
    timeout(PATIENCE, peer.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_ne!(stalled.rest().await, super::support::End::Silent);
}
