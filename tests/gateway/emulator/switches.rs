//! The switches for faults of the feed of units, the plan and the list of models, set at the start
//! or while the emulator runs.

use std::time::Duration;

use featherwire::emulator::{EmulatorConfig, SWITCHES};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::support::{MODEL, PATIENCE, Peer, ask};

async fn with_switches(switches: &[&str]) -> Peer {
    let switches = switches
        .iter()
        .map(|switch| switch.parse().unwrap())
        .collect();
    Peer::with(EmulatorConfig {
        tokens_per_second: 0.0,
        units: Some(4),
        switches,
        ..EmulatorConfig::default()
    })
    .await
}

async fn feed(peer: &Peer) -> Response {
    let url = format!("http://{}/account/concurrency/stream", peer.address);
    peer.client
        .get(url)
        .bearer_auth("key")
        .send()
        .await
        .unwrap()
}

/// The first bytes of the feed.
async fn first(peer: &Peer) -> String {
    let bytes = timeout(PATIENCE, feed(peer).await.chunk())
        .await
        .unwrap()
        .unwrap()
        .unwrap_or_default();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn data(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap_or(json!("not JSON")))
        .collect()
}

#[tokio::test]
async fn every_value_of_every_switch_can_be_set_and_is_shown() {
    let peer = Peer::start().await;
    for switch in SWITCHES {
        let reply = peer.set(switch.name, switch.value).await;
        assert_eq!(
            (reply.status, &reply.json()[switch.name]),
            (200, &json!(switch.value)),
            "{}",
            switch.value
        );
        assert_eq!(
            peer.get("/emulator/switches", None).await.json()[switch.name],
            switch.value
        );
        assert!(!switch.effect.is_empty());
    }
    for (name, value, words) in [
        ("feed", "nonsense", "expected one of usual, "),
        ("nothing", "usual", "unknown switch 'nothing'"),
        ("units", "-1", "units must be a number"),
    ] {
        let refused = peer.set(name, value).await;
        assert!(
            refused.status == 400 && refused.text.contains(words),
            "{}",
            refused.text
        );
    }
    assert_eq!(peer.get("/emulator/switches/feed", None).await.status, 405);
}

#[tokio::test]
async fn faults_of_snapshots_apply_to_the_feed_and_to_single_snapshots() {
    for (value, member, expected) in [
        ("no-limit", "limit", None),
        ("null-limit", "limit", Some(json!(null))),
        ("float-limit", "limit", Some(json!(4.0))),
        ("text-limit", "limit", Some(json!("4"))),
        ("huge-limit", "limit", Some(json!(99_999_999_999_u64))),
        ("zero-limit", "limit", Some(json!(0))),
        ("negative-limit", "limit", Some(json!(-1))),
        ("no-used-cost", "used_cost", None),
        ("null-used-cost", "used_cost", Some(json!(null))),
        ("text-used-cost", "used_cost", Some(json!("none"))),
        ("negative-used-cost", "used_cost", Some(json!(-1))),
        ("no-requests", "requests", None),
    ] {
        let peer = with_switches(&[&format!("feed={value}")]).await;
        let text = first(&peer).await;
        assert_eq!(
            data(&text)[0].get(member),
            expected.as_ref(),
            "{value}: {text}"
        );
        assert_eq!(
            peer.snapshot().await.get(member),
            expected.as_ref(),
            "{value}"
        );
        assert!(
            value != "float-limit" || text.contains("\"limit\":4.0"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn other_events_are_sent_between_or_in_place_of_snapshots() {
    let snapshot = json!({"limit": 4, "used_cost": 0, "request_count": 0, "requests": []});
    for (value, expected) in [
        ("empty-object", vec![snapshot.clone(), json!({})]),
        ("ping", vec![snapshot.clone(), json!({"type": "ping"})]),
        (
            "error",
            vec![snapshot.clone(), json!({"error": "no data in 30000ms"})],
        ),
        ("broken-json", vec![snapshot.clone(), json!("not JSON")]),
        ("only-pings", vec![json!({"type": "ping"})]),
        ("only-comments", vec![]),
        ("lag", vec![snapshot.clone()]),
    ] {
        let peer = with_switches(&[&format!("feed={value}")]).await;
        let text = first(&peer).await;
        assert_eq!(data(&text), expected, "{value}: {text}");
        assert_eq!(text.starts_with(": "), value == "only-comments");
    }
}

#[tokio::test]
async fn a_feed_can_trickle_stall_end_and_break() {
    let peer = with_switches(&["feed=trickle"]).await;
    assert_eq!(first(&peer).await, "d");
    peer.set("feed", "end").await;
    assert_eq!(first(&peer).await, "");
    peer.set("feed", "cut").await;
    let mut cut = feed(&peer).await;
    assert!(timeout(PATIENCE, cut.chunk()).await.unwrap().is_err());
    for (value, status) in [("503", 503), ("html", 502)] {
        peer.set("feed", value).await;
        assert_eq!(feed(&peer).await.status(), status);
    }
    peer.set("feed", "silent").await;
    let mut silent = feed(&peer).await;
    assert!(
        timeout(Duration::from_millis(150), silent.chunk())
            .await
            .is_err()
    );
    // The switch affects a running feed.
    peer.set("feed", "usual").await;
    assert!(
        timeout(PATIENCE, silent.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .starts_with(b"data: {\"limit\":4")
    );
}

#[tokio::test]
async fn a_lagging_feed_sends_old_snapshots() {
    let peer = with_switches(&["feed=lag"]).await;
    let mut feed = feed(&peer).await;
    let mut next = async || {
        let bytes = timeout(PATIENCE, feed.chunk())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        data(std::str::from_utf8(&bytes).unwrap())[0]["used_cost"].clone()
    };
    assert_eq!(next().await, 0);
    let held = peer
        .open(&super::support::ask_model("emulator/silent", "x"))
        .await;
    assert_eq!(next().await, 0);
    assert_eq!(peer.snapshot().await["used_cost"], 1);
    drop(held);
}

#[tokio::test]
async fn the_plan_changes_while_requests_run() {
    let peer = with_switches(&[]).await;
    let held = peer
        .open(&super::support::ask_model("emulator/silent", "x"))
        .await;
    for (value, limit) in [("1", json!(1)), ("none", json!(null)), ("100", json!(100))] {
        assert_eq!(peer.set("units", value).await.json()["units"], limit);
        assert_eq!(
            peer.get("/v1/plan", Some("key")).await.json()["concurrency"],
            limit
        );
        assert_eq!(peer.snapshot().await["limit"], limit);
        let expected = if value == "1" { 429 } else { 200 };
        assert_eq!(
            peer.post("/v1/chat/completions", &ask("x")).await.status,
            expected,
            "{value}"
        );
    }
    drop(held);
    peer.until_used(0).await;
}

#[tokio::test]
async fn the_plan_and_the_catalogue_can_be_invalid() {
    let peer = with_switches(&["plan=empty-object", "models=empty-object"]).await;
    let plan = async || peer.get("/v1/plan", Some("key")).await.text;
    let models = async || peer.get("/v1/models", None).await;
    assert_eq!(
        (plan().await.as_str(), models().await.text.as_str()),
        ("{}", "{}")
    );
    for (value, is_right) in [
        (
            "all-null",
            (|plan| plan.get("id") == Some(&Value::Null)) as fn(&Value) -> bool,
        ),
        ("no-concurrency", |plan| {
            plan.get("concurrency").is_none() && plan["id"].is_string()
        }),
        ("text-concurrency", |plan| plan["concurrency"] == "eight"),
        ("list", |plan| *plan == json!([])),
    ] {
        peer.set("plan", value).await;
        assert!(
            is_right(&serde_json::from_str(&plan().await).unwrap()),
            "{value}"
        );
    }
    peer.set("plan", "not-json").await;
    assert!(serde_json::from_str::<Value>(&plan().await).is_err());
    for (value, is_right) in [
        (
            "no-list",
            (|list| list.get("data") == Some(&Value::Null)) as fn(&Value) -> bool,
        ),
        ("bare-list", |list| {
            list.as_array().is_some_and(|list| list.len() == 20)
        }),
        ("null-entry", |list| {
            list["data"][10].is_null() && list["data"].as_array().unwrap().len() == 21
        }),
        ("odd-entries", |list| {
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|model| model["id"].is_string())
                .count()
                == 20
        }),
        ("usual", |list| {
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .all(|model| model["id"].is_string())
        }),
    ] {
        peer.set("models", value).await;
        assert!(is_right(&models().await.json()), "{value}");
    }
    peer.set("models", "not-json").await;
    assert!(serde_json::from_str::<Value>(&models().await.text).is_err());
    assert_eq!(
        peer.get(&format!("/v1/models/{MODEL}"), None).await.json()["id"],
        MODEL,
        "requests for a single model are not affected"
    );
}
