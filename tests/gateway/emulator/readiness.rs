//! Models that are available only to some accounts or only after loading, and the variation in the
//! catalogue.

use std::time::Duration;

use featherwire::emulator::EmulatorConfig;
use serde_json::{Value, json};

use super::support::{Peer, ask_model};
use crate::support::advance;

const CHAT: &str = "/v1/chat/completions";

async fn peer(warm_after: Duration) -> Peer {
    let config = EmulatorConfig {
        tokens_per_second: 0.0,
        models: 2_000,
        units: None,
        warm_after,
        ..EmulatorConfig::default()
    };
    Peer::with(config).await
}

async fn models(peer: &Peer) -> Vec<Value> {
    peer.get("/v1/models", Some("key")).await.json()["data"]
        .as_array()
        .unwrap()
        .clone()
}

fn id_of(models: &[Value], matches: impl Fn(&Value) -> bool) -> String {
    models.iter().find(|model| matches(model)).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn is_free(model: &Value) -> bool {
    model["available_on_current_plan"] == true && model["is_gated"] == false
}

fn requests(model: &str) -> [(&'static str, Value); 3] {
    [
        (CHAT, ask_model(model, "x")),
        ("/v1/completions", json!({"model": model, "prompt": "x"})),
        ("/v1/tokenize", json!({"model": model, "text": "x"})),
    ]
}

#[tokio::test]
async fn what_the_catalogue_says_is_not_available_is_refused() {
    let peer = peer(Duration::from_secs(300)).await;
    let models = models(&peer).await;
    let off_plan = id_of(&models, |model| model["available_on_current_plan"] == false);
    let is_generated = |model: &Value| !model["id"].as_str().unwrap().starts_with(['m', 'g']);
    let gated = id_of(&models, |model| {
        model["is_gated"] == true
            && model["available_on_current_plan"] == true
            && is_generated(model)
    });
    for (model, code) in [
        (off_plan, "model_not_on_plan"),
        (gated, "model_gated_needs_oauth"),
    ] {
        for (path, request) in requests(&model) {
            let reply = peer.post(path, &request).await;
            assert_eq!(reply.refusal(), (403, code.to_owned()), "{path}");
            assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
        }
    }
    // Every model that is not available, and no other model.
    for model in models.iter().step_by(7) {
        let is_refused = peer
            .post(CHAT, &ask_model(model["id"].as_str().unwrap(), "x"))
            .await
            .status
            == 403;
        let is_made_up = model["id"].as_str().unwrap().contains("-v");
        let is_available = model["available_on_current_plan"] == true
            && !(is_made_up && model["is_gated"] == true);
        assert_eq!(is_refused, !is_available, "{model}");
    }
    peer.until_used(0).await;
}

#[tokio::test]
async fn a_cold_model_is_refused_until_it_has_loaded() {
    let warm_after = Duration::from_secs(3600);
    let peer = peer(warm_after).await;
    let is_cold = |model: &Value| is_free(model) && model["availability"]["tier"] == "cold";
    let cold = id_of(&models(&peer).await, is_cold);
    let tier = async || {
        peer.get(&format!("/v1/models/{cold}"), None).await.json()["availability"]["tier"].clone()
    };
    assert_eq!(tier().await, "cold", "a catalogue request loads nothing");
    assert_eq!(
        peer.post("/v1/tokenize", &json!({"model": cold, "text": "x"}))
            .await
            .status,
        200
    );
    advance(2 * warm_after).await;
    assert_eq!(tier().await, "cold", "a tokenizer request loads nothing");
    for (path, request) in requests(&cold).into_iter().take(2) {
        let reply = peer.post(path, &request).await;
        assert_eq!(reply.status, 400);
        assert!(
            reply.text.contains("not ready for inference"),
            "{}",
            reply.text
        );
        assert_eq!(tier().await, "loading");
    }
    let loading = peer.get("/v1/models?tags=loading", None).await.json();
    assert_eq!(loading["data"].as_array().unwrap().len(), 1);

    // The loading time counts from the first request, regardless of later requests. The remaining
    // time is longer than this test takes.
    advance(warm_after / 2).await;
    assert_eq!(
        (
            tier().await,
            peer.post(CHAT, &ask_model(&cold, "x")).await.status
        ),
        (json!("loading"), 400)
    );
    advance(warm_after / 2).await;
    assert_eq!(
        (
            tier().await,
            peer.post(CHAT, &ask_model(&cold, "x")).await.status
        ),
        (json!("warm"), 200)
    );
    peer.until_used(0).await;
}

#[tokio::test]
async fn the_entries_of_a_generated_catalogue_vary() {
    let list = models(&peer(Duration::from_secs(1)).await).await;
    for member in ["max_completion_tokens", "pricing", "status", "availability"] {
        let with = list
            .iter()
            .filter(|model| model.get(member).is_some())
            .count();
        assert!(
            with > list.len() / 2 && with < list.len(),
            "{member}: {with} of {}",
            list.len()
        );
    }
    let varied = |place: &str| {
        let mut values: Vec<String> = list
            .iter()
            .filter_map(|model| Some(model.pointer(place)?.to_string()))
            .collect();
        values.sort();
        values.dedup();
        values.len()
    };
    for place in [
        "/max_completion_tokens",
        "/pricing/prompt",
        "/status",
        "/availability/tier",
    ] {
        assert!(varied(place) > 1, "{place}");
    }
    let sizes = async |seed| {
        let peer = Peer::with(EmulatorConfig {
            seed,
            ..EmulatorConfig::default()
        })
        .await;
        peer.get("/v1/plan", Some("key"))
            .await
            .json()
            .get("max_model_size")
            .cloned()
    };
    assert_eq!(
        (sizes(0).await, sizes(1).await, sizes(2).await),
        (Some(Value::Null), None, Some(json!(1100)))
    );
}

#[tokio::test]
async fn the_catalogue_entries_of_a_model_are_consistent() {
    let list = models(&peer(Duration::from_secs(1)).await).await;
    for model in &list {
        let class = model["model_class"].as_str().unwrap();
        let thousands = class
            .rsplit_once('-')
            .and_then(|(_, last)| last.strip_suffix('k')?.parse::<u64>().ok());
        if let Some(thousands) = thousands {
            assert_eq!(model["context_length"], thousands * 1024, "{class}");
        }
        let billions = model["parameter_size"].as_u64().unwrap() / 1_000_000_000;
        let cost = match billions {
            0..=15 => 1,
            16..=49 => 2,
            _ => 4,
        };
        assert_eq!(model["concurrency_cost"], cost, "{model}");
        let most = model["max_completion_tokens"].as_u64().unwrap_or(0);
        assert!(most <= model["context_length"].as_u64().unwrap(), "{model}");
        assert_eq!(model["features"]["image_input"], model["vision_supported"]);
    }
    let llama = list
        .iter()
        .find(|model| model["model_class"] == "llama31-8b-16k")
        .unwrap();
    assert_eq!(llama["context_length"], 16_384);
}
