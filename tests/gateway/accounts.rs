//! Several accounts in one gateway: where a call goes, and what one account's refusal changes.

use std::{net::SocketAddr, time::Duration};

use featherwire::{
    config::{Account, Glob},
    emulator::EmulatorConfig,
    error::Kind,
    ledger::Ledger,
    proto::v1::{WatchConcurrencyRequest, account_service_client::AccountServiceClient},
    server::Outcome,
};
use secrecy::SecretString;
use serde_json::json;

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted,
    models::{FIRST, SECOND},
    poll, prompt,
    rest::http,
    scripted::{answer_for, chunk, no_capacity, refused, whole},
};

mod lists;
mod logs;
mod pins;
mod plans;
mod refusals;
mod usage;
mod views;
mod waiting;

/// The time for which an account that was refused is not asked.
const CIRCUIT_WAIT: Duration = Duration::from_secs(10);

/// An account at this address, with a key that every upstream of these tests accepts.
fn account(name: &str, address: SocketAddr) -> Account {
    Account {
        featherless_api_key: Some(SecretString::from("any")),
        featherless_base_url: Some(format!("http://{address}/v1").parse().unwrap()),
        ..Account::new(name)
    }
}

/// The same with fixed units, so that the upstream is not asked for its plan.
fn fixed(name: &str, address: SocketAddr, units: u32) -> Account {
    Account {
        units: Some(units),
        ..account(name, address)
    }
}

fn limited_to(models: &[&str], account: Account) -> Account {
    Account {
        models: models.iter().map(|it| Glob::parse(it).unwrap()).collect(),
        ..account
    }
}

/// A gateway with these accounts.
async fn gateway(accounts: impl Into<Vec<Account>>) -> Gateway {
    gateway_with(accounts, Ledger::default()).await
}

/// The same, which records its calls in `ledger`.
async fn gateway_with(accounts: impl Into<Vec<Account>>, ledger: Ledger) -> Gateway {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    Gateway::recorded(nowhere, ledger, |config| {
        config.upstream.featherless_api_key = None;
        config.units.units = None;
        config.models.circuit_wait = CIRCUIT_WAIT;
        config.accounts = accounts.into();
        config.check().unwrap();
    })
    .await
}

async fn emulator(units: u32, tokens_per_second: f64) -> Emulator {
    Emulator::with(EmulatorConfig {
        tokens_per_second,
        units: Some(units),
        ..EmulatorConfig::default()
    })
    .await
}

/// An upstream without a plan and without a list of models.
async fn upstream(reply: Reply) -> Scripted {
    let upstream = Scripted::always(reply).await;
    upstream.set_catalogue(json!({"object": "list", "data": []}));
    upstream
}

/// The value of a gauge of an account.
async fn gauge(gateway: &Gateway, name: &str, labels: &str) -> Option<f64> {
    let text = http().get(gateway.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let series = format!("{name}{{{labels}}} ");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(&series).map(str::to_owned));
    value.map(|value| value.parse().unwrap())
}

/// Waits until a gauge has this value.
async fn wait_for_gauge(gateway: &Gateway, name: &str, labels: &str, expected: f64) {
    poll::until(&format!("{name}{{{labels}}} is {expected}"), async || {
        gauge(gateway, name, labels).await == Some(expected)
    })
    .await;
}

async fn wait_for_plans(gateway: &Gateway, plans: &[(&str, f64)]) {
    for (name, units) in plans {
        let account = format!("account=\"{name}\"");
        wait_for_gauge(gateway, "featherwire_units_capacity", &account, *units).await;
    }
}

/// The units in use of these accounts.
async fn in_use<const N: usize>(gateway: &Gateway, names: [&str; N]) -> [f64; N] {
    let mut used = [0.0; N];
    for (used, name) in used.iter_mut().zip(names) {
        let account = format!("account=\"{name}\"");
        let gauge = gauge(gateway, "featherwire_units_in_use", &account).await;
        *used = gauge.unwrap();
    }
    used
}

#[tokio::test]
async fn a_call_goes_where_most_units_are_free_in_proportion_to_the_weight_and_then_where_it_fits()
{
    let (small, large) = (emulator(2, 1.0).await, emulator(4, 1.0).await);
    let gateway = gateway([
        account("small", small.address),
        account("large", large.address),
    ])
    .await;
    wait_for_plans(&gateway, &[("small", 2.0), ("large", 4.0)]).await;
    let mut streams = Vec::new();
    for expected in [
        [0.0, 1.0],
        [0.0, 2.0],
        [1.0, 2.0],
        [1.0, 3.0],
        [2.0, 3.0],
        [2.0, 4.0],
    ] {
        let stream = gateway.open_stream(MODEL).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
        assert_eq!(in_use(&gateway, ["small", "large"]).await, expected);
    }
    // All units are in use. The account with more units has one free sooner.
    let waiting = gateway.open_stream(MODEL);
    let waits_at_large = async {
        let labels = "class=\"default\",account=\"large\"";
        wait_for_gauge(&gateway, "featherwire_queue_requests", labels, 1.0).await;
        // The second stream is at the large account.
        streams.remove(1);
    };
    let (waited, ()) = tokio::join!(waiting, waits_at_large);
    assert_eq!(waited.status(), 200);
    assert_eq!(in_use(&gateway, ["small", "large"]).await, [2.0, 4.0]);
    let (status, units) = gateway.get_json("/v1/concurrency").await;
    assert_eq!((status, &units["limit"]), (200, &json!(6)));
    assert_eq!(units["gateway"]["capacity"], 6);
    assert_eq!(units["gateway"]["running"], 6);
    drop((streams, waited));
    small.wait_until_idle().await;
    large.wait_until_idle().await;
}

#[tokio::test]
async fn a_weight_makes_free_units_count_for_more() {
    let (light, heavy) = (emulator(4, 1.0).await, emulator(4, 1.0).await);
    let heavy_account = Account {
        weight: 10,
        ..account("heavy", heavy.address)
    };
    let gateway = gateway([account("light", light.address), heavy_account]).await;
    wait_for_plans(&gateway, &[("light", 4.0), ("heavy", 4.0)]).await;
    let mut streams = Vec::new();
    for expected in [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0], [0.0, 4.0], [1.0, 4.0]] {
        streams.push(gateway.open_stream(MODEL).await);
        assert_eq!(in_use(&gateway, ["light", "heavy"]).await, expected);
    }
}

#[tokio::test]
async fn an_upstream_without_a_feed_has_its_fixed_units_and_each_request_costs_one() {
    let endless = Reply::EventsThenSilence(vec![chunk("a")]);
    let own = Scripted::always(endless).await;
    own.set_catalogue(json!({"object": "list", "data": [{"id": "own/model-70B"}]}));
    let featherless = Emulator::start().await;
    let own_account = Account {
        featherless_api_key: None,
        ..fixed("own", own.address, 2)
    };
    let gateway = gateway([account("featherless", featherless.address), own_account]).await;
    let (_, models) = gateway.get_json("/v1/models").await;
    let ids = models["data"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.map(|model| model["id"].as_str().unwrap()).collect();
    assert!(
        ids.contains(&MODEL) && ids.contains(&"own/model-70B"),
        "{ids:?}"
    );
    let holders = [
        gateway.open_stream("own/model-70B").await,
        gateway.open_stream("own/model-70B").await,
    ];
    assert_eq!(in_use(&gateway, ["featherless", "own"]).await, [0.0, 2.0]);
    let third = gateway.open_stream("own/model-70B");
    let freed = async {
        let labels = "class=\"default\",account=\"own\"";
        wait_for_gauge(&gateway, "featherwire_queue_requests", labels, 1.0).await;
        drop(holders);
    };
    let (third, ()) = tokio::join!(third, freed);
    assert_eq!(third.status(), 200);
    // Featherless's models go to Featherless, and no request had a key that it does not need.
    gateway
        .ask(Door::GrpcStream, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(own.models(), ["own/model-70B"; 3]);
    assert!(
        own.requests()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_watch_of_accounts_without_a_feed_tells_their_units() {
    let own = upstream(answer_for(Door::RestUnary)).await;
    let gateway = gateway([fixed("own", own.address, 3)]).await;
    let (status, units) = gateway.get_json("/v1/concurrency").await;
    assert_eq!((status, &units["gateway"]["capacity"]), (200, &json!(3)));
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let watch = client
        .watch_concurrency(WatchConcurrencyRequest::default())
        .await;
    let mut watch = watch.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.gateway.unwrap().capacity, Some(3));
    assert_eq!(own.requests().len(), 0);
}

#[tokio::test]
async fn a_model_goes_only_to_accounts_whose_patterns_have_it() {
    let (one, two) = (
        upstream(answer_for(Door::RestUnary)).await,
        upstream(answer_for(Door::RestUnary)).await,
    );
    let accounts = [
        limited_to(&["org/first", "big/*"], fixed("one", one.address, 8)),
        limited_to(&["org/second"], fixed("two", two.address, 8)),
    ];
    let gateway = gateway(accounts).await;
    for model in [FIRST, SECOND, "big/model"] {
        gateway
            .ask(Door::RestUnary, &prompt(model, "hi"))
            .await
            .ok();
    }
    assert_eq!(one.models(), [FIRST, "big/model"]);
    assert_eq!(two.models(), [SECOND]);
    for door in Door::ALL {
        let answer = gateway.ask(door, &prompt("org/third", "hi")).await;
        let failure = answer.failed(Kind::NotFound, "model_not_found");
        assert_eq!(failure.param.as_deref(), Some("model"), "{door:?}");
    }
}

#[tokio::test]
async fn a_model_that_one_upstream_does_not_know_or_cannot_serve_is_asked_of_the_other() {
    let unknown = refused(404, "model_not_found", "The model does not exist");
    for reply in [unknown, no_capacity()] {
        let first = upstream(reply).await;
        let second = upstream(Reply::Json(200, whole("b"))).await;
        let preferred = Account {
            weight: 100,
            ..fixed("first", first.address, 8)
        };
        let gateway = gateway([preferred, fixed("second", second.address, 8)]).await;
        gateway
            .ask(Door::RestUnary, &prompt(FIRST, "hi"))
            .await
            .ok();
        assert_eq!(
            (first.models(), second.models()),
            (vec![FIRST.into()], vec![FIRST.into()])
        );
        // If the other cannot serve it either, the caller sees the first error.
        second.set_reply(no_capacity());
        let answer = gateway.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
        answer.failed(Kind::Unavailable, "no_capacity");
    }
}

#[tokio::test]
async fn a_drain_lets_the_streams_of_all_accounts_finish_and_ends_their_watches() {
    let (one, two) = (emulator(1, 200.0).await, emulator(1, 200.0).await);
    let gateway = gateway([account("one", one.address), account("two", two.address)]).await;
    wait_for_plans(&gateway, &[("one", 1.0), ("two", 1.0)]).await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let watch = client
        .watch_concurrency(WatchConcurrencyRequest::default())
        .await;
    let mut watch = watch.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let streams = [
        gateway.open_stream(MODEL).await,
        gateway.open_stream(MODEL).await,
    ];
    assert_eq!(in_use(&gateway, ["one", "two"]).await, [1.0, 1.0]);
    gateway.shut_down();
    for stream in streams {
        assert!(stream.text().await.unwrap().ends_with("data: [DONE]\n\n"));
    }
    let end = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert_eq!(end.unwrap_err().code(), tonic::Code::Unavailable);
    drop(client);
    assert!(matches!(gateway.stop().await, Outcome::Drained));
}

#[tokio::test]
async fn readiness_needs_one_account_that_can_work() {
    let own = upstream(answer_for(Door::RestUnary)).await;
    let keyless = Account {
        featherless_api_key: None,
        ..fixed("own", own.address, 3)
    };
    let gateway = gateway([keyless]).await;
    let ready = http().get(gateway.url("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 200);
}
