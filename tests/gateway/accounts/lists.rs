//! The models of several upstreams as one list, and searches in it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{account, fixed, gateway, upstream};
use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, advance,
    models::{FIRST, SECOND, THIRD},
    poll,
    scripted::answer_for,
};

fn list_of(ids: &[&str]) -> Value {
    let models: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
    json!({"object": "list", "data": models})
}

async fn listed(gateway: &Gateway, query: &str) -> Vec<String> {
    let (status, list) = gateway.get_json(&format!("/v1/models{query}")).await;
    assert_eq!(status, 200, "{list}");
    let models = list["data"].as_array().unwrap().iter();
    models
        .map(|model| model["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_answer_that_is_no_list_does_not_replace_the_last_list_of_its_upstream() {
    let first = upstream(answer_for(Door::RestUnary)).await;
    let second = upstream(answer_for(Door::RestUnary)).await;
    first.set_catalogue(list_of(&[FIRST]));
    second.set_catalogue(list_of(&[SECOND]));
    let accounts = [
        fixed("first", first.address, 8),
        fixed("second", second.address, 8),
    ];
    let gateway = gateway(accounts).await;
    assert_eq!(listed(&gateway, "").await, [FIRST, SECOND]);
    second.set_catalogue(json!({"message": "Welcome to the captive portal"}));
    first.set_catalogue(list_of(&[FIRST, THIRD]));
    advance(Duration::from_secs(600)).await;
    poll::until("the list is refreshed", async || {
        listed(&gateway, "").await.contains(&THIRD.to_owned())
    })
    .await;
    assert_eq!(listed(&gateway, "").await, [FIRST, THIRD, SECOND]);
}

#[tokio::test]
async fn a_search_finds_models_of_an_upstream_that_has_no_search() {
    let featherless = Emulator::start().await;
    // It takes no notice of the query, as vLLM does.
    let own = upstream(Reply::Json(200, list_of(&["own/model-70B"]))).await;
    own.set_catalogue(list_of(&["own/model-70B"]));
    let accounts = [
        account("featherless", featherless.address),
        fixed("own", own.address, 8),
    ];
    let gateway = gateway(accounts).await;
    assert!(listed(&gateway, "").await.contains(&"own/model-70B".into()));
    let found = listed(&gateway, "?q=Meta-Llama-3.1-8B").await;
    assert!(found.contains(&MODEL.into()), "{found:?}");
    assert!(!found.contains(&"own/model-70B".into()), "{found:?}");
    assert_eq!(listed(&gateway, "?q=OWN/").await, ["own/model-70B"]);
    assert_eq!(listed(&gateway, "?q=own/&page=2").await, [""; 0]);
    assert_eq!(own.requests().len(), 0);
}
