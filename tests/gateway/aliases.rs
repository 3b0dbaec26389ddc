//! Aliases of models, and the models that lists show.

use clap::Parser;
use featherwire::{
    config::{self, Models},
    error::Kind,
    proto::v1::{
        GetModelRequest, ListModelsRequest, ModelFilter, TokenizeRequest,
        model_service_client::ModelServiceClient,
    },
};
use serde_json::{Value, json};

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt,
    rest::http,
    scripted::{Seen, chunk, finish, whole},
};

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    models: Models,
}

/// The models' configuration from these flags, without circuits.
fn models(flags: &[&str]) -> Models {
    let flags = ["test", "--circuit-failures", "0"].iter().chain(flags);
    Options::parse_from(flags).models
}

async fn gateway(upstream: std::net::SocketAddr, flags: &[&str]) -> Gateway {
    Gateway::with(upstream, |config: &mut config::Serve| {
        config.models = models(flags)
    })
    .await
}

async fn get(gateway: &Gateway, path: &str) -> Value {
    let response = http().get(gateway.url(path)).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect()
}

fn good(door: Door) -> Reply {
    if door.is_stream() {
        Reply::Events(vec![chunk("b"), finish()])
    } else {
        Reply::Json(200, whole("b"))
    }
}

fn model(seen: &Seen) -> String {
    seen.json()["model"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_alias_is_accepted_at_every_door_and_the_upstream_gets_the_model() {
    for door in Door::ALL {
        let upstream = Scripted::always(good(door)).await;
        let gateway = gateway(upstream.address, &["--alias", &format!("gpt-4o={MODEL}")]).await;
        let answer = gateway.ask(door, &prompt("gpt-4o", "hi")).await.ok();
        assert_eq!(
            answer.served_by.as_deref(),
            Some(MODEL),
            "{door:?}: who answers"
        );
        assert_eq!(answer.tried, None);
        assert_eq!(model(&upstream.only_request()), MODEL);
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        assert_eq!(answer.served_by, None);
    }
}

#[tokio::test]
async fn an_alias_is_accepted_wherever_a_models_id_is() {
    let emulator = Emulator::start().await;
    let gateway = gateway(
        emulator.address,
        &["--alias", &format!("gpt-4o={MODEL};embed=BAAI/bge-m3")],
    )
    .await;
    let post = async |path: &str, body: Value| {
        let response = gateway.post(path, &body).await;
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert_eq!(status, 200, "{path}: {text}");
    };
    post(
        "/v1/completions",
        json!({"model": "gpt-4o", "prompt": "x", "max_tokens": 3}),
    )
    .await;
    post("/v1/embeddings", json!({"model": "embed", "input": "x"})).await;
    post("/v1/tokenize", json!({"model": "gpt-4o", "text": "x"})).await;
    let entry = |id: &str, mut model: Value| {
        assert_eq!(model["id"], id);
        model["id"] = json!(MODEL);
        model
    };
    // Once before the catalogue is there, and once after.
    for _ in 0..2 {
        let model = get(&gateway, "/v1/models/gpt-4o").await;
        assert_eq!(
            entry("gpt-4o", model),
            get(&gateway, &format!("/v1/models/{MODEL}")).await
        );
        get(&gateway, "/v1/models").await;
    }
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let found = client
        .get_model(GetModelRequest {
            model: "gpt-4o".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (found.id.as_str(), found.concurrency_cost),
        ("gpt-4o", Some(1))
    );
    let request = TokenizeRequest {
        model: "gpt-4o".to_owned(),
        text: Some("x".to_owned()),
        ..Default::default()
    };
    client.tokenize(request).await.unwrap();
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn fallbacks_may_be_named_by_alias_and_configured_for_one() {
    let no_capacity = || Reply::Json(503, json!({"error": {"message": "No valid Executor"}}));
    let aliases = ["--alias", "one=org/one", "--alias", "two=org/two"];
    for (configured, headers) in [
        (vec!["--fallback", "one=two"], vec![]),
        (vec!["--fallback", "org/one=org/two"], vec![]),
        (vec![], vec![("x-featherwire-fallback", "one, two")]),
    ] {
        let upstream = Scripted::first([no_capacity(), Reply::Json(200, whole("b"))]).await;
        let gateway = gateway(upstream.address, &[&aliases[..], &configured].concat()).await;
        let answer = gateway
            .ask_with(Door::RestUnary, &prompt("one", "hi"), &headers)
            .await
            .ok();
        assert_eq!(answer.served_by.as_deref(), Some("org/two"));
        assert_eq!(answer.tried.as_deref(), Some("org/one=no_capacity"));
        let asked: Vec<_> = upstream
            .requests()
            .iter()
            .filter(|seen| !seen.body.is_empty())
            .map(model)
            .collect();
        assert_eq!(asked, ["org/one", "org/two"]);
    }
}

#[tokio::test]
async fn lists_searches_and_suggestions_show_what_is_exposed_and_the_aliases() {
    let emulator = Emulator::start().await;
    let flags = [
        "--expose-models",
        "google/gemma-2-*, *qwen2.5-72b*",
        "--alias",
        &format!("gpt-4o={MODEL},mystery=no/model"),
    ];
    let gateway = gateway(emulator.address, &flags).await;
    let shown = [
        "google/gemma-2-27b-it",
        "google/gemma-2-9b-it",
        "gpt-4o",
        "mystery",
        "Qwen/Qwen2.5-72B-Instruct",
    ];
    let list = get(&gateway, "/v1/models").await;
    let mut listed = ids(&list);
    listed.sort_by_key(|id| id.to_lowercase());
    assert_eq!(listed, shown);
    let alias = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["id"] == "gpt-4o")
        .unwrap();
    assert_eq!(alias["concurrency_cost"], 1, "the same as its model's");

    assert_eq!(ids(&get(&gateway, "/v1/models?q=llama").await), ["gpt-4o"]);
    assert_eq!(ids(&get(&gateway, "/v1/models?q=GPT").await), ["gpt-4o"]);
    assert_eq!(ids(&get(&gateway, "/v1/models?q=gemma").await).len(), 2);
    assert_eq!(ids(&get(&gateway, "/v1/models?q=mixtral").await), [""; 0]);

    let mut client = ModelServiceClient::new(gateway.channel().await);
    let page = client
        .list_models(ListModelsRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut paged: Vec<_> = page.models.iter().map(|model| model.id.as_str()).collect();
    paged.sort_by_key(|id| id.to_lowercase());
    assert_eq!((paged, page.total_size()), (shown.to_vec(), 5));
    let filter = Some(ModelFilter {
        search: "llama".to_owned(),
        ..Default::default()
    });
    let page = client
        .list_models(ListModelsRequest {
            filter,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.total_size(), 0);

    let failure = gateway
        .ask(
            Door::RestUnary,
            &prompt("meta-llama/Meta-Llama-3.1-8B-Instructt", "hi"),
        )
        .await;
    let failure = failure.failed(Kind::NotFound, "model_not_found");
    let suggested = failure.message.split_once("Did you mean");
    assert!(
        suggested.is_none_or(|(_, ids)| !ids.contains("meta-llama")),
        "{failure:?}"
    );
    let failure = gateway
        .ask(Door::RestUnary, &prompt("google/gemma-2-9b-itt", "hi"))
        .await;
    assert!(
        failure
            .failed(Kind::NotFound, "model_not_found")
            .message
            .contains("google/gemma-2-9b-it")
    );

    // A model that is not shown still answers.
    gateway
        .ask(Door::GrpcUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(
        get(&gateway, &format!("/v1/models/{MODEL}")).await["id"],
        MODEL
    );
}

#[tokio::test]
async fn an_alias_hides_the_model_of_its_name() {
    let emulator = Emulator::start().await;
    let gateway = gateway(
        emulator.address,
        &["--alias", &format!("google/gemma-2-9b-it={MODEL}")],
    )
    .await;
    let list = get(&gateway, "/v1/models").await;
    assert_eq!(
        ids(&list)
            .iter()
            .filter(|id| **id == "google/gemma-2-9b-it")
            .count(),
        1
    );
    let model = get(&gateway, "/v1/models/google/gemma-2-9b-it").await;
    assert_eq!(
        model["model_class"],
        get(&gateway, &format!("/v1/models/{MODEL}")).await["model_class"]
    );
}
