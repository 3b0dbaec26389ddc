//! Several accounts in one gateway: where a call goes, and what one account's refusal changes.

use std::{net::SocketAddr, time::Duration};

use featherwire::{
    config::{Account, Glob},
    emulator::EmulatorConfig,
    error::Kind,
    proto::v1::{WatchConcurrencyRequest, account_service_client::AccountServiceClient},
    server::Outcome,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, advance,
    models::{FALLBACK, FIRST, SECOND},
    poll, prompt,
    rest::{http, status_and_json},
    scripted::{answer_for, chunk, no_capacity, refused, whole},
};

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
    let nowhere = "127.0.0.1:9".parse().unwrap();
    Gateway::with(nowhere, |config| {
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
async fn a_refusal_of_an_account_is_not_seen_and_closes_only_this_account_until_a_probe() {
    let refusals = [
        (401, "invalid_api_key", "Invalid API key"),
        (402, "payment_required", "Payment required"),
        (403, "forbidden", "Your plan has no API access"),
    ];
    for (status, code, message) in refusals {
        for door in Door::ALL {
            let refusing = upstream(refused(status, code, message)).await;
            let working = upstream(answer_for(door)).await;
            let preferred = Account {
                weight: 100,
                ..fixed("refused", refusing.address, 8)
            };
            let gateway = gateway([preferred, fixed("works", working.address, 8)]).await;
            for _ in 0..2 {
                let answer = gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
                assert_eq!(answer.tried, None, "{status} {door:?}");
            }
            assert_eq!(refusing.models(), [MODEL], "{status} {door:?}");
            assert_eq!(working.models().len(), 2, "{status} {door:?}");
            let is_refused = async |name: &str| {
                let account = format!("account=\"{name}\"");
                gauge(&gateway, "featherwire_account_refused", &account).await
            };
            assert_eq!(is_refused("refused").await, Some(1.0));
            assert_eq!(is_refused("works").await, Some(0.0));
            // A probe that is refused is not seen either, and the wait is twice as long.
            advance(CIRCUIT_WAIT).await;
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(refusing.models().len(), 2, "{status} {door:?}");
            advance(CIRCUIT_WAIT).await;
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            assert_eq!(refusing.models().len(), 2, "{status} {door:?}");
            refusing.set_reply(answer_for(door));
            advance(CIRCUIT_WAIT).await;
            for _ in 0..2 {
                gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
            }
            assert_eq!(refusing.models().len(), 4, "{status} {door:?}");
            assert_eq!(is_refused("refused").await, Some(0.0));
            assert_eq!(in_use(&gateway, ["refused", "works"]).await, [0.0, 0.0]);
        }
    }
}

#[tokio::test]
async fn emulators_with_another_key_and_with_a_plan_without_access_are_left_out() {
    let with_key = |key: Option<&str>| EmulatorConfig {
        tokens_per_second: 0.0,
        api_key: key.map(str::to_owned),
        ..EmulatorConfig::default()
    };
    let other_key = Emulator::with(with_key(Some("another"))).await;
    let working = Emulator::with(with_key(None)).await;
    let no_access = Account {
        featherless_api_key: Some(SecretString::from("no-plan-access")),
        ..account("no-access", working.address)
    };
    let accounts = [
        account("other-key", other_key.address),
        no_access,
        account("works", working.address),
    ];
    let gateway = gateway(accounts).await;
    wait_for_plans(&gateway, &[("works", 8.0)]).await;
    for door in Door::ALL {
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
    }
    let embedding = json!({"model": "Qwen/Qwen3-Embedding-8B", "input": "text"});
    let (_, models) = gateway.get_json("/v1/models").await;
    let ids = models["data"].as_array().unwrap().iter();
    let ids: Vec<_> = ids.map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&MODEL), "{ids:?}");
    let (status, answer) = gateway.post_json("/v1/embeddings", &embedding).await;
    assert_eq!(status, 200, "{answer}");
    let text = json!({"model": MODEL, "prompt": "hi"});
    let (status, answer) = gateway.post_json("/v1/completions", &text).await;
    assert_eq!(status, 200, "{answer}");
    let text = json!({"model": MODEL, "text": "hi"});
    let (status, answer) = gateway.post_json("/v1/tokenize", &text).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn the_only_account_and_the_only_one_with_the_model_show_their_own_refusal() {
    let refusing = upstream(refused(401, "", "Invalid API key")).await;
    let only = gateway([fixed("only", refusing.address, 8)]).await;
    let working = upstream(answer_for(Door::RestUnary)).await;
    let other = limited_to(&["other/*"], fixed("other", working.address, 8));
    let only_with_model = gateway([fixed("main", refusing.address, 8), other]).await;
    for gateway in [only, only_with_model] {
        for door in Door::ALL {
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            answer.failed(Kind::Misconfigured, "featherless_api_key_rejected");
        }
    }
    assert_eq!(refusing.models().len(), 2 * Door::ALL.len());
}

#[tokio::test]
async fn if_all_accounts_are_refused_the_caller_sees_it_and_later_calls_wait_for_the_probe() {
    let refusing = upstream(refused(401, "", "Invalid API key")).await;
    let names = ["one", "two"].map(|name| fixed(name, refusing.address, 8));
    let gateway = gateway(names).await;
    let first = gateway.ask(Door::GrpcUnary, &prompt(MODEL, "hi")).await;
    first.failed(Kind::Misconfigured, "featherless_api_key_rejected");
    let later = gateway.ask(Door::GrpcUnary, &prompt(MODEL, "hi")).await;
    let failure = later.failed(Kind::Unavailable, "circuit_open");
    assert!(failure.message.contains("account one"), "{failure:?}");
    assert!(failure.retry_after_seconds.is_some(), "{failure:?}");
    assert_eq!(refusing.models().len(), 2);
}

#[tokio::test]
async fn a_gated_model_goes_where_its_licence_is_and_other_models_stay() {
    for door in Door::ALL {
        let gating = upstream(answer_for(door)).await;
        let message = "This is a gated model";
        gating.set_reply_for_model(Some((FIRST, refused(403, "model_gated", message))));
        let licensed = upstream(answer_for(door)).await;
        let preferred = Account {
            weight: 100,
            ..fixed("gating", gating.address, 8)
        };
        let gateway = gateway([preferred, fixed("licensed", licensed.address, 8)]).await;
        for model in [FIRST, FIRST, SECOND] {
            let answer = gateway.ask(door, &prompt(model, "hi")).await.ok();
            assert_eq!(answer.tried, None, "{door:?}");
        }
        assert_eq!(gating.models(), [FIRST, SECOND], "{door:?}");
        assert_eq!(licensed.models(), [FIRST, FIRST], "{door:?}");
        // It is asked again after a time.
        gating.set_reply_for_model(None);
        advance(Duration::from_secs(600)).await;
        gateway.ask(door, &prompt(FIRST, "hi")).await.ok();
        assert_eq!(gating.models().len(), 3, "{door:?}");
    }
}

#[tokio::test]
async fn a_model_that_every_account_lacks_the_licence_for_says_so() {
    let gating = upstream(refused(403, "model_gated", "This is a gated model")).await;
    let names = ["one", "two"].map(|name| fixed(name, gating.address, 8));
    let gateway = gateway(names).await;
    for asked in [2, 4] {
        let answer = gateway.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
        answer.failed(Kind::Forbidden, "model_gated");
        assert_eq!(gating.models().len(), asked);
    }
    // A fallback is the way out, as with one account.
    gating.set_reply_for_model(Some((SECOND, answer_for(Door::RestUnary))));
    let request = prompt(FIRST, "hi");
    let answer = gateway.ask_with(Door::RestUnary, &request, &[(FALLBACK, SECOND)]);
    assert_eq!(answer.await.ok().served_by.as_deref(), Some(SECOND));
}

#[tokio::test]
async fn a_refusal_that_may_be_about_the_request_is_asked_of_one_account_only() {
    let refusing = upstream(refused(403, "", "We do not answer this")).await;
    let working = upstream(answer_for(Door::RestUnary)).await;
    let preferred = Account {
        weight: 100,
        ..fixed("first", refusing.address, 8)
    };
    let gateway = gateway([preferred, fixed("second", working.address, 8)]).await;
    for reply in [403, 400] {
        refusing.set_reply(refused(reply, "", "We do not answer this"));
        for _ in 0..2 {
            let answer = gateway.ask(Door::RestUnary, &prompt(MODEL, "hi")).await;
            assert!(answer.failure.is_some());
        }
    }
    assert_eq!((refusing.models().len(), working.models().len()), (4, 0));
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

#[tokio::test]
async fn the_key_of_no_account_is_in_an_error() {
    let refusing = upstream(refused(401, "", "Invalid API key s3cr3t-one")).await;
    let with_key = |name: &str| Account {
        featherless_api_key: Some(SecretString::from(format!("s3cr3t-{name}"))),
        ..fixed(name, refusing.address, 8)
    };
    let gateway = gateway([with_key("one"), with_key("two")]).await;
    for _ in 0..2 {
        let post = gateway
            .post("/v1/chat/completions", prompt(MODEL, "hi"))
            .await;
        let (_, answer): (u16, Value) = status_and_json(post).await;
        assert!(!answer.to_string().contains("s3cr3t"), "{answer}");
    }
}
