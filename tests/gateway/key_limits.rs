//! What a gateway key may do: models, calls in a minute, classes, and roles.

use featherwire::proto::v1::{
    ListModelsRequest, chat_service_client::ChatServiceClient,
    model_service_client::ModelServiceClient,
};
use serde_json::{Value, json};
use tokio::process::Child;
use tonic::{
    Code, Request,
    metadata::AsciiMetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use crate::{
    keys::{serve, text},
    support::{Database, MODEL, door::message, poll, prompt, rest::http},
};

const OTHER: &str = "google/gemma-2-9b-it";

/// A gateway, and the secret of a key with these flags.
pub async fn with_key(
    flags: &[&str],
    more: &[(&str, &str)],
) -> ((Child, Database), String, String) {
    let database = Database::sqlite();
    let create = ["create", "--name", "app"];
    let arguments: Vec<_> = create.iter().chain(flags).copied().collect();
    let key = database.keys_json(&arguments).await;
    let (child, address) = serve(&database, more).await;
    ((child, database), address, text(&key, "secret").to_owned())
}

pub async fn post(
    address: &str,
    secret: &str,
    body: Value,
    more: &[(&str, &str)],
) -> reqwest::Response {
    let mut request = http()
        .post(format!("{address}/v1/chat/completions"))
        .header("content-type", "application/json")
        .bearer_auth(secret)
        .body(body.to_string());
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(address: &str, secret: &str, path: &str) -> (u16, Value) {
    let response = http()
        .get(format!("{address}{path}"))
        .bearer_auth(secret)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

pub async fn json_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

pub fn with_secret<T>(message: T, secret: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = AsciiMetadataValue::try_from(format!("Bearer {secret}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub async fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(address.to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

fn ids(list: &Value) -> Vec<&str> {
    let models = list["data"].as_array().unwrap();
    models.iter().map(|model| text(model, "id")).collect()
}

#[tokio::test]
async fn a_key_sees_and_uses_only_its_models_at_every_door() {
    let alias = [("FEATHERWIRE_ALIASES", format!("mine={OTHER}"))];
    let alias = alias
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (_child, address, secret) = with_key(&["--models", "GOOGLE/gemma-2-9*"], &alias).await;
    for model in [OTHER, "mine"] {
        let answer = post(&address, &secret, prompt(model, "hi"), &[]).await;
        assert_eq!(answer.status(), 200, "{model}");
    }
    let (status, refusal) = json_of(post(&address, &secret, prompt(MODEL, "hi"), &[]).await).await;
    let error = &refusal["error"];
    assert_eq!((status, text(error, "code")), (403, "model_not_allowed"));
    assert_eq!(
        (text(error, "type"), text(error, "param")),
        ("permission_error", "model")
    );
    let mut client = ChatServiceClient::new(channel(&address).await);
    let refused = client
        .create_chat_completion(with_secret(message(&prompt(MODEL, "hi")), &secret))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let info = refused.get_error_details().error_info().unwrap().clone();
    assert_eq!(
        (info.reason.as_str(), info.metadata["model"].as_str()),
        ("MODEL_NOT_ALLOWED", MODEL)
    );

    let (_, list) = get(&address, &secret, "/v1/models").await;
    assert_eq!(ids(&list), [OTHER, "mine"]);
    let (_, page) = get(&address, &secret, "/v1/models?page_size=10").await;
    assert_eq!(ids(&page), [OTHER, "mine"]);
    let (_, found) = get(&address, &secret, "/v1/models?q=gemma").await;
    assert_eq!(ids(&found), ["mine", OTHER]);
    let mut models = ModelServiceClient::new(channel(&address).await);
    let listed = models
        .list_models(with_secret(ListModelsRequest::default(), &secret))
        .await;
    assert_eq!(listed.unwrap().into_inner().total_size, Some(2));
    let (status, _) = get(&address, &secret, &format!("/v1/models/{OTHER}")).await;
    assert_eq!(status, 200);
    let (status, refusal) = get(&address, &secret, &format!("/v1/models/{MODEL}")).await;
    assert_eq!(
        (status, text(&refusal["error"], "code")),
        (403, "model_not_allowed")
    );
}

#[tokio::test]
async fn a_fallback_is_no_way_around_the_models_of_a_key() {
    let failing = "emulator/503";
    let (_child, address, secret) = with_key(
        &["--models", "emulator/*,google/*"],
        &[("FEATHERWIRE_RETRIES", "0")],
    )
    .await;
    for (fallback, status) in [(MODEL, 503), (OTHER, 200)] {
        let header = [("x-featherwire-fallback", fallback)];
        let answer = post(&address, &secret, prompt(failing, "hi"), &header).await;
        assert_eq!(answer.status().as_u16(), status, "{fallback}");
    }
}

#[tokio::test]
async fn a_key_makes_as_many_calls_in_a_minute_as_it_may() {
    let (_child, address, secret) = with_key(&["--requests-per-minute", "2"], &[]).await;
    let header = |answer: &reqwest::Response, name: &str| {
        let value = answer.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    for remaining in ["1", "0"] {
        let answer = post(&address, &secret, prompt(MODEL, "hi"), &[]).await;
        assert_eq!(answer.status(), 200);
        let limit = header(&answer, "x-ratelimit-limit-requests");
        assert_eq!(limit.as_deref(), Some("2"));
        let left = header(&answer, "x-ratelimit-remaining-requests");
        assert_eq!(left.as_deref(), Some(remaining));
        assert!(header(&answer, "x-ratelimit-reset-requests").is_some());
    }
    let refused = post(&address, &secret, prompt(MODEL, "hi"), &[]).await;
    let seconds: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
    let left = header(&refused, "x-ratelimit-remaining-requests");
    assert_eq!(left.as_deref(), Some("0"));
    let (status, body) = json_of(refused).await;
    let error = &body["error"];
    assert_eq!((status, text(error, "code")), (429, "rate_limit_exceeded"));
    assert_eq!(text(error, "type"), "rate_limit_error");
    let message_text = text(error, "message");
    assert!(
        message_text.contains("2 calls in a minute"),
        "{message_text}"
    );

    let mut client = ChatServiceClient::new(channel(&address).await);
    let refused = client
        .create_chat_completion(with_secret(message(&prompt(MODEL, "hi")), &secret))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "RATE_LIMIT_EXCEEDED");
    assert_eq!(details.error_info().unwrap().metadata["limit"], "2");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(
        details.quota_failure().unwrap().violations[0].subject,
        "requests/minute"
    );
    assert!(
        refused
            .metadata()
            .contains_key("x-ratelimit-limit-requests")
    );
}

#[tokio::test]
async fn a_change_of_limits_counts_for_the_next_call_and_forgets_no_call() {
    let database = Database::sqlite();
    let key = database.keys_json(&["create", "--name", "app"]).await;
    let secret = text(&key, "secret");
    let (_child, address) = serve(&database, &[]).await;
    let status = async || {
        let answer = post(&address, secret, prompt(MODEL, "hi"), &[]).await;
        answer.status().as_u16()
    };
    assert_eq!(status().await, 200);
    database
        .keys_json(&["update", "app", "--requests-per-minute", "1"])
        .await;
    poll::until("the limit holds", async || status().await == 429).await;
    database
        .keys_json(&["update", "app", "--owner", "Ada"])
        .await;
    database
        .keys_json(&["update", "app", "--models", OTHER])
        .await;
    database
        .keys_json(&["update", "app", "--clear", "requests-per-minute"])
        .await;
    poll::until("the model is not allowed", async || status().await == 403).await;
}

#[tokio::test]
async fn a_key_that_manages_keys_calls_no_model() {
    for role in ["admin", "viewer"] {
        let (_child, address, secret) = with_key(&["--admin", role], &[]).await;
        let (status, body) = json_of(post(&address, &secret, prompt(MODEL, "hi"), &[]).await).await;
        assert_eq!(
            (status, text(&body["error"], "code")),
            (403, "wrong_key_role")
        );
        let (status, _) = get(&address, &secret, "/v1/models").await;
        assert_eq!(status, 403);
    }
}

#[tokio::test]
async fn a_key_waits_in_no_class_above_its_highest_and_with_its_weight() {
    let flags = ["--highest-priority", "batch", "--weight", "7"];
    let slow = [
        ("FEATHERWIRE_EMULATOR_UNITS", "1"),
        ("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "1"),
    ];
    let (_child, address, secret) = with_key(&flags, &slow).await;
    let mut stream = prompt(MODEL, "hi");
    stream["stream"] = json!(true);
    let running = post(&address, &secret, stream, &[]).await;
    assert_eq!(running.status(), 200);
    let interactive = [("x-featherwire-priority", "interactive")];
    let waiting = post(&address, &secret, prompt(MODEL, "hi"), &interactive);
    let seen = poll::find("the call waits as batch", async || {
        let (_, view) = get(&address, &secret, "/v1/concurrency").await;
        let gateway = view["gateway"].clone();
        (gateway["queued"]["batch"] == 1).then_some(gateway)
    });
    tokio::select! {
        gateway = seen => {
            assert_eq!(gateway["queued"]["interactive"].as_i64().unwrap_or_default(), 0);
            assert_eq!(gateway["keys"][0]["weight"], 7);
        }
        answer = waiting => panic!("it does not wait: {}", answer.status()),
    }
}

#[tokio::test]
async fn a_key_holds_no_more_units_than_it_may() {
    let slow = [
        ("FEATHERWIRE_EMULATOR_UNITS", "8"),
        ("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "1"),
    ];
    let (_child, address, secret) = with_key(&["--max-units", "2"], &slow).await;
    let mut stream = prompt(MODEL, "hi");
    stream["stream"] = json!(true);
    let mut running = Vec::new();
    for _ in 0..2 {
        running.push(post(&address, &secret, stream.clone(), &[]).await);
    }
    let waiting = post(&address, &secret, stream, &[]);
    let seen = poll::find("the third call waits", async || {
        let (_, view) = get(&address, &secret, "/v1/concurrency").await;
        let gateway = view["gateway"].clone();
        (gateway["queued"]["default"] == 1).then_some(gateway)
    });
    tokio::pin!(waiting);
    tokio::select! {
        gateway = seen => assert_eq!((&gateway["in_use"], &gateway["capacity"]), (&json!(2), &json!(8))),
        answer = &mut waiting => panic!("it does not wait: {}", answer.status()),
    }
    // The end of one call of the key makes room.
    running.pop();
    assert_eq!(waiting.await.status(), 200);
    let costly = "meta-llama/Meta-Llama-3.1-70B-Instruct";
    let (status, refusal) = json_of(post(&address, &secret, prompt(costly, "hi"), &[]).await).await;
    assert_eq!(
        (status, text(&refusal["error"], "code")),
        (403, "model_not_allowed")
    );
}

#[tokio::test]
async fn one_key_fills_the_queue_only_as_long_as_there_is_no_other() {
    let slow = [
        ("FEATHERWIRE_EMULATOR_UNITS", "1"),
        ("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "1"),
        ("FEATHERWIRE_QUEUE_LIMIT", "4"),
    ];
    let ((_child, database), address, secret) = with_key(&[], &slow).await;
    let mut stream = prompt(MODEL, "hi");
    stream["stream"] = json!(true);
    let running = post(&address, &secret, stream, &[]).await;
    assert_eq!(running.status(), 200);
    let wait = |secret: &str| {
        let (address, secret) = (address.clone(), secret.to_owned());
        tokio::spawn(async move { post(&address, &secret, prompt(MODEL, "hi"), &[]).await })
    };
    let until_waiting = async |calls: usize| {
        poll::until("calls wait", async || {
            let (_, view) = get(&address, &secret, "/v1/concurrency").await;
            view["gateway"]["queued"]["default"] == calls
        })
        .await;
    };
    let refused = async || {
        let (status, body) = json_of(post(&address, &secret, prompt(MODEL, "hi"), &[]).await).await;
        assert_eq!((status, text(&body["error"], "code")), (429, "queue_full"));
    };
    let waiting: Vec<_> = (0..4).map(|_| wait(&secret)).collect();
    until_waiting(4).await;
    refused().await;

    let other = database.keys_json(&["create", "--name", "other"]).await;
    let other = text(&other, "secret").to_owned();
    poll::until("the other key is known", async || {
        get(&address, &other, "/v1/key").await.0 == 200
    })
    .await;
    waiting[0].abort();
    until_waiting(3).await;
    // The last place is for other keys.
    refused().await;
    let of_other = wait(&other);
    until_waiting(4).await;
    of_other.abort();
    until_waiting(3).await;

    let deleted = database.keys(&["delete", "other"]).await;
    assert_eq!(deleted.code, Some(0), "{}", deleted.err);
    poll::until("the other key is gone", async || {
        get(&address, &other, "/v1/key").await.0 == 401
    })
    .await;
    let _last = wait(&secret);
    until_waiting(4).await;
    drop((running, waiting));
}
