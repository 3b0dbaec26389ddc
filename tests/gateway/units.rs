//! The account's units: all of them are used, and no caller gets a 429.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use featherwire::{emulator::EmulatorConfig, error::Kind};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{
    Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted, poll, prompt,
    rest::{Events, post},
    scripted::{answer_for, chunk, whole},
};

const ONE_UNIT: &str = MODEL;
const TWO_UNITS: &str = "google/gemma-2-27b-it";
const FOUR_UNITS: &str = "Qwen/Qwen2.5-72B-Instruct";

async fn emulator(units: u32, tokens_per_second: f64) -> Emulator {
    // Much shorter than the gateway's cooldown, because on a busy machine the emulator notices late
    // that a caller has disconnected.
    let release_after = Duration::from_millis(50);
    Emulator::with(EmulatorConfig {
        tokens_per_second,
        units: Some(units),
        release_after,
        ..Default::default()
    })
    .await
}

/// A gateway that learns the plan from its upstream.
pub async fn scheduling(upstream: std::net::SocketAddr) -> Gateway {
    Gateway::with(upstream, |config| config.units.units = None).await
}

/// A call that holds four units until it's dropped.
async fn hold(gateway: &Gateway) -> reqwest::Response {
    hold_for(gateway, "any").await
}

async fn hold_for(gateway: &Gateway, key: &str) -> reqwest::Response {
    let mut request = prompt("emulator/stall-after-5", "hi");
    request["stream"] = json!(true);
    let post = gateway.post_request("/v1/chat/completions", request);
    let holder = post.bearer_auth(key).send().await.unwrap();
    assert_eq!(holder.status(), 200);
    holder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_callers_share_eight_units_fairly_without_a_429() {
    const KEYS: [&str; 3] = ["gw_test_many", "gw_test_few", "gw_test_holder"];
    let emulator = emulator(8, 400.0).await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.units.units = None;
        config.api_keys = KEYS.map(Into::into).to_vec();
    })
    .await;
    gateway
        .wait_for_units_event(KEYS[0], "the plan is known", |view| view["capacity"] == 8)
        .await;
    // All units are held until all callers wait, so the shares of the keys don't depend on the
    // order of arrival.
    let holders = [
        hold_for(&gateway, KEYS[2]).await,
        hold_for(&gateway, KEYS[2]).await,
    ];
    let (begins, started) = watch::channel(false);
    let begin = async {
        poll::until("all wait", async || {
            gateway.units(KEYS[0]).await["queued"]["default"] == 200
        })
        .await;
        drop(holders);
        begins.send_replace(true);
    };
    let mut dice = fastrand::Rng::with_seed(7);
    // The number of answered calls, and the shares of the keys when half of the small key's calls
    // were answered.
    let (answered, halfway) = (
        [AtomicUsize::new(0), AtomicUsize::new(0)],
        Mutex::new(Value::Null),
    );
    let callers = (0..200).map(|number| {
        let model = [ONE_UNIT, ONE_UNIT, ONE_UNIT, TWO_UNITS, FOUR_UNITS][number % 5];
        let door = Door::ALL[number % Door::ALL.len()];
        let key = usize::from(number % 4 == 0);
        let patience = (number % 3 == 0).then(|| Duration::from_millis(dice.u64(0..2000)));
        let (gateway, answered, halfway, mut started) =
            (&gateway, &answered, &halfway, started.clone());
        async move {
            let (prompt, key_header) = (
                prompt(model, "Say hello in 20 words"),
                format!("Bearer {}", KEYS[key]),
            );
            let headers = [("authorization", key_header.as_str())];
            let mut ask = pin!(gateway.ask_with(door, &prompt, &headers));
            let answer = tokio::select! {
                answer = &mut ask => answer,
                _ = started.wait_for(|started| *started) => match patience {
                    Some(patience) => match tokio::time::timeout(patience, ask).await {
                        Ok(answer) => answer,
                        Err(_) => return,
                    },
                    None => ask.await,
                },
            };
            answer.ok();
            if answered[key].fetch_add(1, Ordering::Relaxed) == 20 && key == 1 {
                let view = gateway.units(KEYS[0]).await;
                *halfway.lock().unwrap() = view["keys"].clone();
            }
        }
    });
    tokio::join!(begin, join_all(callers));
    let answered: usize = answered.into_iter().map(AtomicUsize::into_inner).sum();
    assert!(answered >= 133, "{answered}");
    // With a plain queue, the small key would get a third of what the large key gets.
    let halfway = halfway.into_inner().unwrap();
    let granted = |key: usize| halfway[key]["unit_seconds"].as_f64().unwrap();
    let share = granted(1) / granted(0);
    assert!(
        (0.6..=1.6).contains(&share),
        "the small key got {share} of the large key's calls: {halfway}"
    );
    emulator.wait_until_idle().await;
    gateway
        .wait_for_units_event(KEYS[0], "all units are back", |view| {
            view["in_use"] == 0
                && view["settling"] == 0
                && view["running"] == 0
                && view["queued"]["default"] == 0
        })
        .await;
    assert_eq!(
        gateway.units(KEYS[0]).await["refusals"],
        0,
        "the upstream refused no request"
    );
}

#[tokio::test]
async fn a_model_that_costs_more_than_the_plan_is_refused_at_once_and_a_fallback_answers() {
    let emulator = emulator(2, 0.0).await;
    let gateway = scheduling(emulator.address).await;
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(FOUR_UNITS, "hi"))
            .await
            .failed(Kind::Forbidden, "model_exceeds_plan");
        assert!(
            failure.message.contains("costs 4") && failure.message.contains("has 2"),
            "{failure:?}"
        );
        let headers = [("x-featherwire-fallback", ONE_UNIT)];
        let answer = gateway
            .ask_with(door, &prompt(FOUR_UNITS, "hi"), &headers)
            .await
            .ok();
        assert_eq!(answer.served_by.as_deref(), Some(ONE_UNIT));
    }
}

/// A gateway with one unit, and a call that holds it until it's dropped.
pub async fn taken(
    configure: impl FnOnce(&mut featherwire::config::Serve),
) -> (Scripted, Gateway, reqwest::Response) {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    upstream.set_catalogue(json!({"data": [{"id": ONE_UNIT, "concurrency_cost": 1}]}));
    let gateway = Gateway::with(upstream.address, |config| {
        config.units.units = Some(1);
        configure(config);
    })
    .await;
    let holder = gateway.open_stream(ONE_UNIT).await;
    assert_eq!(holder.status(), 200);
    upstream.set_reply(Reply::Json(200, whole("b")));
    (upstream, gateway, holder)
}

#[tokio::test]
async fn a_waiting_call_is_served_when_units_are_free_and_reports_its_wait() {
    let emulator = emulator(4, 0.0).await;
    let gateway = scheduling(emulator.address).await;
    gateway
        .wait_for_units_event("any", "the plan is known", |view| view["capacity"] == 4)
        .await;
    for door in Door::ALL {
        let holder = hold(&gateway).await;
        let prompt = prompt(FOUR_UNITS, "Say hello in 5 words");
        let (answer, ()) = tokio::join!(gateway.ask(door, &prompt), async {
            gateway
                .wait_for_units_event("any", "it waits", |view| view["queued"]["default"] == 1)
                .await;
            drop(holder);
        });
        // The units of a cancelled call stay reserved for a short time.
        assert!(answer.ok().waited_ms.unwrap() >= 100, "{door:?}");
    }
}

#[tokio::test]
async fn a_full_queue_and_a_long_wait_are_refused_with_advice() {
    let short = Duration::from_millis(100);
    let (_upstream, gateway, _holder) = taken(|config| config.units.queue_timeout = short).await;
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(ONE_UNIT, "hi"))
            .await
            .failed(Kind::Saturated, "queue_timeout");
        if door != Door::RestStream {
            assert!(failure.retry_after_seconds.is_some(), "{door:?}");
        }
    }
    let (_upstream, gateway, _holder) = taken(|config| config.units.queue_limit = 0).await;
    for door in Door::ALL {
        gateway
            .ask(door, &prompt(ONE_UNIT, "hi"))
            .await
            .failed(Kind::Saturated, "queue_full");
    }
}

#[tokio::test]
async fn a_fallback_with_a_lower_cost_answers_after_a_too_long_wait() {
    for door in Door::ALL {
        let upstream =
            Scripted::first([Reply::EventsThenSilence(vec![chunk("a")]), answer_for(door)]).await;
        let cost = |id: &str, cost: u32| json!({"id": id, "concurrency_cost": cost});
        let costs = [
            cost(ONE_UNIT, 1),
            cost(FOUR_UNITS, 4),
            cost("emulator/stall-after-5", 1),
        ];
        upstream.set_catalogue(json!({"data": costs}));
        let gateway = Gateway::with(upstream.address, |config| {
            config.units.units = Some(4);
            config.units.queue_timeout = Duration::from_millis(100);
        })
        .await;
        let holder = hold(&gateway).await;
        let headers = [("x-featherwire-fallback", ONE_UNIT)];
        let answer = gateway
            .ask_with(door, &prompt(FOUR_UNITS, "hi"), &headers)
            .await
            .ok();
        assert_eq!(answer.served_by.as_deref(), Some(ONE_UNIT), "{door:?}");
        assert_eq!(
            answer.tried,
            Some(format!("{FOUR_UNITS}=queue_timeout")),
            "{door:?}"
        );
        assert!(
            answer.waited_ms.unwrap() >= 100,
            "{door:?}: the wait of both models counts"
        );
        drop(holder);
        upstream.wait_until_idle().await;
        gateway
            .wait_for_units("all units are back", |view| {
                view["in_use"] == 0 && view["settling"] == 0
            })
            .await;
    }
}

#[tokio::test]
async fn a_deadline_counts_the_wait_for_units() {
    let (_upstream, gateway, _holder) = taken(|_| {}).await;
    for door in Door::ALL {
        let answer = gateway
            .ask_with(
                door,
                &prompt(ONE_UNIT, "hi"),
                &[("x-request-timeout-ms", "100")],
            )
            .await;
        answer.failed(Kind::Timeout, "deadline_exceeded");
    }
    let bad = gateway
        .ask_with(
            Door::RestUnary,
            &prompt(ONE_UNIT, "hi"),
            &[("x-featherwire-priority", "high")],
        )
        .await;
    assert_eq!(
        bad.failed(Kind::Invalid, "invalid_value").param.as_deref(),
        Some("x-featherwire-priority")
    );
}

#[tokio::test]
async fn a_call_that_cannot_be_served_in_time_is_refused_at_once() {
    let emulator = emulator(4, 10.0).await;
    let gateway = scheduling(emulator.address).await;
    gateway
        .wait_for_units_event("any", "the plan is known", |view| view["capacity"] == 4)
        .await;
    // Enough calls end for the scheduler to know that a unit is held for half a second.
    let usual = prompt(ONE_UNIT, "Say hello in 5 words");
    let answers = join_all((0..24).map(|_| gateway.ask(Door::RestUnary, &usual))).await;
    answers.into_iter().for_each(|answer| drop(answer.ok()));
    let holder = hold(&gateway).await;
    let costly = prompt(FOUR_UNITS, "hi");
    let waiting = join_all((0..3).map(|_| gateway.ask(Door::RestUnary, &costly)));
    let short = [("x-request-timeout-ms", "400")];
    let refused = async {
        gateway
            .wait_for_units_event("any", "they wait", |view| view["queued"]["default"] == 3)
            .await;
        for door in Door::ALL {
            let answer = gateway.ask_with(door, &costly, &short).await;
            let failure = answer.failed(Kind::Saturated, "no_units_in_time");
            if door != Door::RestStream {
                assert!(failure.retry_after_seconds.is_some(), "{door:?}");
            }
        }
    };
    tokio::select! {
        _ = waiting => panic!("the plan is taken"),
        () = refused => {}
    }
    drop(holder);
}

#[tokio::test]
async fn interactive_calls_go_before_batch_calls() {
    // A request of four units takes the whole plan.
    let emulator = emulator(4, 0.0).await;
    let gateway = scheduling(emulator.address).await;
    gateway
        .wait_for_units_event("any", "the plan is known", |view| view["capacity"] == 4)
        .await;
    let holder = hold(&gateway).await;
    let served = Mutex::new(Vec::new());
    let ask = async |priority: &'static str| {
        let prompt = prompt(FOUR_UNITS, "Say hello in 5 words");
        gateway
            .ask_with(
                Door::RestUnary,
                &prompt,
                &[("x-featherwire-priority", priority)],
            )
            .await
            .ok();
        served.lock().unwrap().push(priority);
    };
    tokio::join!(ask("batch"), async {
        gateway
            .wait_for_units_event("any", "one waits", |view| view["queued"]["batch"] == 1)
            .await;
        tokio::join!(ask("interactive"), async {
            gateway
                .wait_for_units_event("any", "both wait", |view| {
                    view["queued"]["interactive"] == 1
                })
                .await;
            drop(holder);
        });
    });
    assert_eq!(*served.lock().unwrap(), ["interactive", "batch"]);
}

#[tokio::test]
async fn units_that_other_processes_use_are_not_scheduled() {
    let emulator = emulator(2, 0.0).await;
    // Another program holds one of the two units until the test ends.
    let mut request = prompt("emulator/stall-after-5", "hi");
    request["stream"] = json!(true);
    let url = format!("http://{}/v1/chat/completions", emulator.address);
    let other = post(url, request.to_string()).bearer_auth("any").send();
    let other = other.await.unwrap();
    assert_eq!(other.status(), 200);
    let gateway = scheduling(emulator.address).await;
    gateway
        .wait_for_units_event("any", "the other one is seen", |view| {
            view["outside"] == 1 && view["capacity"] == 2
        })
        .await;
    let prompts = Arc::new(prompt(ONE_UNIT, "Say hello in 5 words"));
    let answers = join_all((0..6).map(|_| gateway.ask(Door::GrpcStream, &prompts))).await;
    answers.into_iter().for_each(|answer| drop(answer.ok()));
    assert_eq!(
        gateway.units("any").await["refusals"],
        0,
        "the upstream refused no request"
    );
    drop(other);
}

#[tokio::test]
async fn a_model_that_is_always_refused_does_not_block_other_models() {
    let emulator = emulator(8, 0.0).await;
    let gateway = scheduling(emulator.address).await;
    gateway
        .wait_for_units_event("any", "the plan is known", |view| view["capacity"] == 8)
        .await;
    let gateway = Arc::new(gateway);
    // Together these calls would take the whole plan each time, and be refused each time.
    let mut refused = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let gateway = Arc::clone(&gateway);
        refused.spawn(async move {
            gateway
                .ask(Door::RestUnary, &prompt("emulator/429", "hi"))
                .await
        });
    }
    gateway
        .wait_for_units("they wait again", |view| view["outside"] == 8)
        .await;
    let good = prompt(FOUR_UNITS, "Say hello in 5 words");
    let answers = join_all((0..4).map(|_| gateway.ask(Door::GrpcUnary, &good)));
    let answers = tokio::time::timeout(PATIENCE, answers).await;
    answers
        .expect("units are free")
        .into_iter()
        .for_each(|answer| drop(answer.ok()));
    for refused in refused.join_all().await {
        refused.failed(Kind::Saturated, "concurrency_limit_exceeded");
    }
}

/// An account of two units. The feed says once that another process holds one of them; a request
/// for the state says that both are free.
async fn with_a_late_feed() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    use axum::{Router, body::Body, http::header::CONTENT_TYPE, routing::get};

    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let other = json!({"limit": 2, "used_cost": 1, "request_count": 1, "requests": [
        {"id": "a", "model": "a/b", "cost": 1, "duration_ms": 90_000},
    ]});
    let free = json!({"limit": 2, "used_cost": 0, "request_count": 0, "requests": []});
    let feed = async move || {
        let first = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(format!(
            "data: {other}\n\n"
        ))]);
        let events = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        (
            [(CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(events),
        )
    };
    let reply = |value: Value| ([(CONTENT_TYPE, "application/json")], value.to_string());
    let router = Router::new()
        .route("/account/concurrency/stream", get(feed))
        .route(
            "/account/concurrency",
            get(async move || {
                counter.fetch_add(1, Ordering::Relaxed);
                reply(free)
            }),
        )
        .route(
            "/v1/models",
            get(async move || reply(json!({"object": "list", "data": []}))),
        )
        .route(
            "/v1/chat/completions",
            axum::routing::post(async move || reply(whole("hello"))),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, asked)
}

#[tokio::test]
async fn the_upstream_is_asked_for_free_units_if_the_feed_is_too_late() {
    let (upstream, asked) = with_a_late_feed().await;
    let gateway = scheduling(upstream).await;
    // Each request for the scheduler's state asks the upstream too, once.
    gateway
        .wait_for_units("the other one is seen", |view| view["outside"] == 1)
        .await;
    let before = asked.load(Ordering::Relaxed);
    assert_eq!(
        gateway
            .ask(Door::GrpcUnary, &prompt(ONE_UNIT, "hi"))
            .await
            .ok()
            .content,
        "hello"
    );
    assert_eq!(asked.load(Ordering::Relaxed) - before, 1);
    gateway
        .wait_for_units("the new state is used", |view| view["outside"] == 0)
        .await;
}

#[tokio::test]
async fn a_request_that_has_ended_is_in_no_part_of_the_picture() {
    let emulator = emulator(8, 0.0).await;
    let gateway = scheduling(emulator.address).await;
    let watch = async || {
        let get = gateway.http().get(gateway.url("/v1/concurrency/stream"));
        Events::of(get.bearer_auth("any")).await
    };
    let stays = hold(&gateway).await;
    let ends = hold(&gateway).await;
    let mut events = watch().await;
    events
        .until("both are listed", |event| {
            event["requests"].as_array().unwrap().len() == 2
        })
        .await;
    drop(ends);
    gateway
        .wait_for_units("one has ended", |view| {
            view["running"] == 1 && view["settling"] == 0
        })
        .await;
    // It begins with the last snapshot of the upstream, which lists both.
    let picture = watch().await.next().await.unwrap();
    let requests = picture["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 1, "{picture}");
    assert_eq!(picture["request_count"], 1);
    assert_eq!(picture["used_cost"], requests[0]["cost"]);
    assert_eq!(picture["gateway"]["running"], 1);
    drop(stays);
}
