//! The catalogue: fetched once, cached, and refreshed in the background.

use std::{pin::pin, time::Duration};

use clap::Parser;
use featherwire::{
    config,
    emulator::EmulatorConfig,
    proto::v1::{
        GetModelRequest, ListModelsRequest, ListModelsResponse, ModelFilter,
        model_service_client::ModelServiceClient,
    },
    upstream::{Catalogue, Client, ModelNames, RequestOptions},
};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::support::{
    Door, Emulator, Gateway, PATIENCE, Reply, Scripted, advance, poll, prompt, rest::http,
    scripted::Then,
};

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    upstream: config::Upstream,
}

fn list(ids: &[&str]) -> Reply {
    Reply::Json(
        200,
        json!({"data": ids.iter().map(|id| json!({"id": id, "later": {"b": 1,
            "a": 2}})).collect::<Vec<_>>()}),
    )
}

async fn page(
    client: &mut ModelServiceClient<Channel>,
    size: i32,
    token: &str,
) -> ListModelsResponse {
    let request = ListModelsRequest {
        page_size: size,
        page_token: token.to_owned(),
        ..Default::default()
    };
    client.list_models(request).await.unwrap().into_inner()
}

fn ids(page: &ListModelsResponse) -> Vec<&str> {
    page.models.iter().map(|model| model.id.as_str()).collect()
}

async fn minutes_pass(minutes: u64) {
    seconds_pass(60 * minutes).await;
}

async fn seconds_pass(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn the_catalogue_is_fetched_once_for_any_number_of_callers() {
    let upstream = Scripted::always(list(&["a/1", "a/2"])).await;
    let gateway = Gateway::to(upstream.address).await;
    let ask = || http().get(gateway.url("/v1/models")).send();
    let (a, b, c) = tokio::join!(ask(), ask(), ask());
    for answer in [a, b, c] {
        let answer: Value =
            serde_json::from_slice(&answer.unwrap().bytes().await.unwrap()).unwrap();
        assert_eq!(
            answer["data"][0],
            json!({"id": "a/1", "object": "model", "created": 0, "owned_by": "a", "later": {"b": 1,
                "a": 2}})
        );
    }
    let mut client = ModelServiceClient::new(gateway.channel().await);
    assert_eq!(ids(&page(&mut client, 10, "").await), ["a/1", "a/2"]);
    assert_eq!(
        client
            .get_model(GetModelRequest {
                model: "a/2".to_owned()
            })
            .await
            .unwrap()
            .into_inner()
            .id,
        "a/2"
    );
    assert_eq!(
        upstream.only_request().head.lines().next(),
        Some("GET /v1/models HTTP/1.1")
    );
}

/// OpenAI's schema requires both members, and allows null for neither.
#[tokio::test]
async fn a_model_has_an_owner_and_a_date_at_every_door_even_if_upstream_leaves_them_out() {
    let list = json!({"object": "list", "data": [
        {"id": "org/bare"},
        {"id": "org/null", "owned_by": null, "created": null},
        {"id": "org/told", "owned_by": "somebody", "created": 7},
        {"id": "org/odd", "owned_by": ["a", "b"]},
        {"id": "without-an-organisation"},
    ]});
    let upstream = Scripted::always(Reply::Json(200, list)).await;
    let gateway = Gateway::to(upstream.address).await;
    let get = async |path: &str| {
        let answer = http()
            .get(gateway.url(path))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()
    };
    let expected = [
        ("org/bare", json!("org"), 0),
        ("org/null", json!("org"), 0),
        ("org/told", json!("somebody"), 7),
        ("org/odd", json!(["a", "b"]), 0),
        ("without-an-organisation", json!(""), 0),
    ];
    let lists = [get("/v1/models").await, get("/v1/models?q=o").await];
    for (place, (id, owner, created)) in expected.iter().enumerate() {
        let single = get(&format!("/v1/models/{id}")).await;
        for model in [&lists[0]["data"][place], &lists[1]["data"][place], &single] {
            let members = (
                model["id"].as_str(),
                &model["owned_by"],
                model["created"].as_i64(),
            );
            assert_eq!(members, (Some(*id), owner, Some(*created)), "{model}");
        }
    }
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let bare = client
        .get_model(GetModelRequest {
            model: "org/bare".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((&*bare.owned_by, bare.created), ("org", 0));
}

#[tokio::test]
async fn pages_stay_consistent_when_the_catalogue_is_refreshed_between_them() {
    let upstream = Scripted::always(list(&["a/1", "a/3", "a/5", "a/7"])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let first = page(&mut client, 2, "").await;
    assert_eq!((ids(&first), first.total_size()), (vec!["a/1", "a/3"], 4));
    upstream.set_reply(list(&["a/0", "a/1", "a/3", "a/4", "a/5", "a/7"]));
    minutes_pass(11).await;
    // This page still comes from the old copy, has its age, and starts the refresh.
    let old = page(&mut client, 2, first.next_page_token()).await;
    assert_eq!((ids(&old), old.age_ms / 60_000), (vec!["a/5", "a/7"], 11));
    upstream.wait_for_requests(2).await;
    let fresh = async {
        loop {
            let fresh = page(&mut client, 2, first.next_page_token()).await;
            if fresh.total_size() == 6 {
                return fresh;
            }
        }
    };
    let fresh = tokio::time::timeout(PATIENCE, fresh).await.unwrap();
    assert_eq!(
        ids(&fresh),
        ["a/4", "a/5"],
        "no model is repeated or missing"
    );
    assert!(fresh.age_ms < 600_000, "it is the new copy");
    assert_eq!(
        ids(&page(&mut client, 2, fresh.next_page_token()).await),
        ["a/7"]
    );
}

#[tokio::test]
async fn the_last_good_copy_is_kept_if_a_refresh_fails() {
    let upstream = Scripted::always(list(&["a/1"])).await;
    let gateway = Gateway::to(upstream.address).await;
    let get = async || {
        let response = http().get(gateway.url("/v1/models")).send().await.unwrap();
        let age: u64 = response.headers()["age"].to_str().unwrap().parse().unwrap();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (age, body["data"][0]["id"].clone())
    };
    let (age, id) = get().await;
    assert!(age < 600 && id == "a/1");
    for failure in [
        Reply::Json(500, json!({"error": "boom"})),
        Reply::Raw(
            "200 OK\r\ncontent-type: text/html".to_owned(),
            b"<html>".to_vec(),
        ),
    ] {
        let asked = upstream.requests().len();
        upstream.set_reply(failure);
        minutes_pass(11).await;
        let (age, id) = get().await;
        assert!(age >= 660 && id == "a/1");
        upstream.wait_for_requests(asked + 1).await;
        let (age, id) = get().await;
        assert!(age >= 660 && id == "a/1");
        // The upstream is not asked again for a while: not every caller causes a fetch.
        assert_eq!(upstream.requests().len(), asked + 1);
    }
}

#[tokio::test]
async fn a_first_fetch_that_fails_is_an_error_and_is_tried_again() {
    let upstream = Scripted::always(Reply::Json(
        503,
        json!({"error": {"message": "No valid Executor"}}),
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let response = http().get(gateway.url("/v1/models")).send().await.unwrap();
    assert_eq!(response.status(), 503);
    upstream.set_reply(list(&["a/1"]));
    assert_eq!(
        http()
            .get(gateway.url("/v1/models"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn an_error_of_a_fetch_without_waiting_callers_is_not_returned_later() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = http()
        .get(gateway.url("/v1/models"))
        .header("x-request-timeout-ms", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(
        request.status(),
        504,
        "the caller has disconnected before the fetch fails"
    );
    upstream.wait_for_request().await;
    upstream.set_reply(list(&["a/1"]));
    seconds_pass(35).await;
    upstream.wait_until_closed().await;
    assert_eq!(
        http()
            .get(gateway.url("/v1/models"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_caller_that_joined_a_failed_fetch_gets_its_own_fetch() {
    let upstream = Scripted::first([Reply::Silence, list(&["a/1"])]).await;
    let address = format!("http://{}/v1", upstream.address);
    let options = Options::parse_from(["test", "--featherless-base-url", &address]).upstream;
    let catalogue = Catalogue::new(Client::new(&options).unwrap(), ModelNames::default());
    let first = catalogue.get(RequestOptions::default());
    let joined = async {
        upstream.wait_for_request().await;
        let mut joined = pin!(catalogue.get(RequestOptions::default()));
        assert!(
            joined.as_mut().now_or_never().is_none(),
            "it waits for the running fetch"
        );
        seconds_pass(31).await;
        joined.await
    };
    let (first, joined) = tokio::join!(first, joined);
    assert_eq!(first.unwrap_err().code(), "upstream_timeout");
    assert_eq!(joined.unwrap().len(), 1);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_refresh_that_trickles_ends_and_is_tried_again() {
    let upstream = Scripted::always(list(&["a/1"])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    page(&mut client, 10, "").await;
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    upstream.set_reply(Reply::Wire(
        head.as_bytes().to_vec(),
        Then::Repeat(b"1\r\n \r\n".to_vec()),
    ));
    minutes_pass(11).await;
    assert_eq!(
        ids(&page(&mut client, 10, "").await),
        ["a/1"],
        "the old copy is shown during the refresh"
    );
    upstream.wait_for_requests(2).await;
    upstream.set_reply(list(&["a/1", "a/2"]));
    seconds_pass(31).await;
    upstream.wait_until_closed().await;
    seconds_pass(31).await;
    poll::until("it is refreshed", async || {
        ids(&page(&mut client, 10, "").await) == ["a/1", "a/2"]
    })
    .await;
    assert_eq!(upstream.requests().len(), 3);
}

#[tokio::test]
async fn an_entry_of_the_list_that_is_not_a_model_is_left_out_at_every_door() {
    let odd = json!({"data": [
        {"id": "a/1"}, null, 7, "a/2", [], {}, {"id": ""}, {"id": " "}, {"id": null}, {"id": 5},
        {"name": "x"}, {"id": "a/3"},
    ]});
    let upstream = Scripted::always(Reply::Json(200, odd)).await;
    let gateway = Gateway::to(upstream.address).await;
    for path in ["/v1/models", "/v1/models?q=a"] {
        let answer = http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let ids: Vec<_> = answer["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert_eq!(ids, ["a/1", "a/3"], "{path}");
    }
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let page = page(&mut client, 10, "").await;
    assert_eq!((ids(&page), page.total_size()), (vec!["a/1", "a/3"], 2));
}

#[tokio::test]
async fn the_catalogue_suggests_and_never_refuses() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    assert_eq!(
        http()
            .get(gateway.url("/v1/models"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    // The model is not in the catalogue, but it answers.
    gateway
        .ask(Door::GrpcUnary, &prompt("emulator/crlf", "hi"))
        .await
        .ok();
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let model = client
        .get_model(GetModelRequest {
            model: "emulator/crlf".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(model.id, "emulator/crlf");
}

#[tokio::test]
async fn an_error_about_an_unknown_model_suggests_similar_names() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for door in Door::ALL {
        let answer = gateway
            .ask(door, &prompt("meta-llama/meta-llama-3.1-8b-instruct", "hi"))
            .await;
        let failure = answer.failed(featherwire::error::Kind::NotFound, "model_not_found");
        assert!(
            failure
                .message
                .contains("Did you mean meta-llama/Meta-Llama-3.1-8B-Instruct"),
            "{failure:?}"
        );
        let answer = gateway.ask(door, &prompt("zzz/qqq", "hi")).await;
        let failure = answer.failed(featherwire::error::Kind::NotFound, "model_not_found");
        assert!(!failure.message.contains("Near"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_catalogue_of_full_size_is_paged_and_filtered_completely() {
    let emulator = Emulator::with(EmulatorConfig {
        models: 22_000,
        ..EmulatorConfig::default()
    })
    .await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = ModelServiceClient::new(gateway.channel().await);
    let (mut token, mut seen, mut last) = (String::new(), 0, String::new());
    loop {
        let page = page(&mut client, 1000, &token).await;
        assert_eq!(page.total_size(), 22_020);
        for model in &page.models {
            assert!(model.id > last, "{} after {last}", model.id);
            last.clone_from(&model.id);
        }
        seen += page.models.len();
        match page.next_page_token {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, 22_020);
    let filter = ModelFilter {
        search: "LLAMA".to_owned(),
        gated: Some(true),
        ..ModelFilter::default()
    };
    let request = ListModelsRequest {
        page_size: 5,
        filter: Some(filter),
        ..Default::default()
    };
    let page = client
        .list_models(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(
        page.models
            .iter()
            .all(|model| model.id.to_lowercase().contains("llama") && model.is_gated == Some(true))
    );
    let other = ListModelsRequest {
        page_token: page.next_page_token.unwrap(),
        filter: None,
        ..request
    };
    let refused = client.list_models(other).await.unwrap_err();
    assert_eq!(
        refused.code(),
        tonic::Code::InvalidArgument,
        "a page token is valid only for its own filter"
    );
    let whole: Value = serde_json::from_slice(
        &http()
            .get(gateway.url("/v1/models"))
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
    )
    .unwrap();
    assert_eq!(whole["data"].as_array().unwrap().len(), 22_020);
}
