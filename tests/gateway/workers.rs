//! Several workers: each connection, with all its calls, belongs to one worker.

use std::time::Duration;

use featherwire::server::Outcome;

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt,
    rest::{http, with_json},
    scripted::{chunk, whole},
};

#[tokio::test]
async fn every_door_answers_on_every_worker_and_all_drain() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| config.workers = Some(3)).await;
    for door in Door::ALL {
        // Each call has its own connection, so that the workers take turns.
        for _ in 0..3 {
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        }
    }
    emulator.wait_until_idle().await;
    assert_eq!(gateway.stop().await, Outcome::Drained);
}

#[tokio::test]
async fn each_worker_has_connections_of_its_own_to_the_upstream() {
    let upstream = Scripted::always(Reply::Json(200, whole("b"))).await;
    let gateway = Gateway::with(upstream.address, |config| config.workers = Some(2)).await;
    let callers = [http(), http()];
    for (opened, caller) in (1..).zip(&callers) {
        let request = caller.post(gateway.url("/v1/chat/completions"));
        let asked = with_json(request, prompt(MODEL, "hi").to_string());
        assert_eq!(asked.send().await.unwrap().status(), 200);
        assert_eq!(upstream.connections(), opened);
    }
}

#[tokio::test]
async fn a_caller_who_leaves_a_worker_closes_its_upstream_connection_and_the_drain_ends_the_rest() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.workers = Some(2);
        config.drain_timeout = Duration::from_millis(10);
    })
    .await;
    let mut leaving = gateway.open_stream(MODEL).await;
    assert!(leaving.chunk().await.unwrap().is_some());
    drop(leaving);
    upstream.wait_until_closed().await;

    let mut first = gateway.open_stream(MODEL).await;
    let mut second = gateway.open_stream(MODEL).await;
    let (ended, (first, second)) = tokio::join!(gateway.stop(), async {
        let mut text = (Vec::new(), Vec::new());
        while let Some(bytes) = first.chunk().await.unwrap() {
            text.0.extend(bytes);
        }
        while let Some(bytes) = second.chunk().await.unwrap() {
            text.1.extend(bytes);
        }
        text
    });
    assert_eq!(ended, Outcome::Cut(2));
    for text in [first, second] {
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("draining"), "{text}");
    }
    upstream.wait_until_closed().await;
}
