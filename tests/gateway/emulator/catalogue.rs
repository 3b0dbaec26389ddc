//! What the emulator's catalogue contains.

use std::collections::HashSet;

use featherwire::emulator::{EmulatorConfig, FAULTS};
use serde_json::Value;

use super::support::{MODEL, Peer};

fn ids(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_list_has_the_seed_models_and_no_faults() {
    let list = Peer::start().await.get("/v1/models", None).await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(ids(&list).len(), 20);
    assert!(ids(&list).contains(&MODEL));
    assert!(list["data"][0].get("available_on_current_plan").is_none());
}

#[tokio::test]
async fn one_model_is_found_by_its_id_even_with_the_slash_encoded() {
    let peer = Peer::start().await;
    for path in [MODEL.to_owned(), MODEL.replace('/', "%2F")] {
        let model = peer
            .get(&format!("/v1/models/{path}"), Some("key"))
            .await
            .json();
        assert_eq!(model["id"], MODEL);
        assert_eq!(model["context_length"], 16_384);
        assert_eq!(model["concurrency_cost"], 1);
        assert_eq!(model["available_on_current_plan"], true);
    }
    let missing = peer.get("/v1/models/nobody/nothing", None).await;
    assert_eq!(missing.refusal(), (404, "model_not_found".to_owned()));
    for fault in FAULTS {
        assert_eq!(
            peer.get(&format!("/v1/models/{}", fault.model), None)
                .await
                .status,
            200,
            "{}",
            fault.model
        );
    }
}

#[tokio::test]
async fn the_list_can_be_searched_filtered_and_paged() {
    let peer = Peer::start().await;
    let list = async |query: &str| {
        peer.get(&format!("/v1/models?{query}"), Some("key"))
            .await
            .json()
    };
    assert_eq!(ids(&list("q=LLAMA-2").await).len(), 3);
    assert_eq!(ids(&list("family=gemma2,qwen25").await).len(), 5);
    assert_eq!(ids(&list("family=gemma2&family=qwen25").await).len(), 5);
    assert_eq!(ids(&list("tags=moe").await).len(), 4);
    let all = list("available_on_current_plan=1").await;
    assert_eq!(ids(&list("page=3&per_page=5").await), ids(&all)[10..15]);
    assert_eq!(peer.get("/v1/models?page=0", None).await.status, 400);
}

#[tokio::test]
async fn a_catalogue_of_the_real_size_is_distinct_and_reproducible() {
    let config = EmulatorConfig {
        models: 22_000,
        ..EmulatorConfig::default()
    };
    let first = Peer::with(config.clone())
        .await
        .get("/v1/models", Some("key"))
        .await
        .text;
    let second = Peer::with(config)
        .await
        .get("/v1/models", Some("key"))
        .await
        .text;
    assert_eq!(first, second);
    assert!(first.len() > 5_000_000);
    let list: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(ids(&list).iter().collect::<HashSet<_>>().len(), 22_020);
}
