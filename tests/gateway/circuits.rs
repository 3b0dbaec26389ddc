//! A model that fails repeatedly is not asked for a time, and then probed.

use std::time::Duration;

use featherwire::{
    error::Kind,
    proto::v1::{
        CircuitState, WatchConcurrencyRequest, account_service_client::AccountServiceClient,
    },
};
use serde_json::{Value, json};

use crate::support::{
    Door, Emulator, Gateway, Reply, Scripted, advance,
    models::{FALLBACK, FIRST, SECOND},
    prompt,
    scripted::{Then, answer_for, chunk, no_capacity, refused, whole},
};

/// The time for which a circuit is open. The tests advance the clock by twice this time.
const CIRCUIT_WAIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_model_that_fails_repeatedly_gets_no_calls_and_is_then_probed() {
    let upstream = Scripted::always(no_capacity()).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 3;
        config.models.circuit_wait = Duration::from_secs(3600);
    })
    .await;
    for door in [Door::RestUnary, Door::GrpcStream, Door::WebUnary] {
        gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
    }
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "circuit_open");
        assert!(
            (3590..=3600).contains(&failure.retry_after_seconds.unwrap()),
            "{failure:?}"
        );
        assert!(
            failure.message.contains(FIRST) && failure.message.contains("no_capacity"),
            "{failure:?}"
        );
    }
    assert_eq!(
        upstream.models().len(),
        3,
        "an open circuit sends no request"
    );
    upstream.set_reply(Reply::Json(200, whole("b")));
    let answer = gateway
        .ask_with(Door::RestUnary, &prompt(FIRST, "hi"), &[(FALLBACK, SECOND)])
        .await
        .ok();
    assert_eq!(answer.tried.as_deref(), Some("org/first=circuit_open"));
    assert_eq!(upstream.models()[3..], [SECOND]);

    let upstream = Scripted::first([no_capacity(), Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = CIRCUIT_WAIT;
    })
    .await;
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    advance(2 * CIRCUIT_WAIT).await;
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .ok();
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn the_units_show_which_models_fail_and_when_they_are_probed() {
    let upstream = Emulator::start().await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 2;
        config.models.circuit_wait = Duration::from_secs(3600);
    })
    .await;
    assert_eq!(gateway.units("any").await["circuits"], Value::Null, "none");
    for (model, kind, code) in [
        ("emulator/503", Kind::Unavailable, "no_capacity"),
        ("emulator/503", Kind::Unavailable, "no_capacity"),
        ("emulator/500", Kind::Upstream, "upstream_error"),
    ] {
        gateway
            .ask(Door::RestUnary, &prompt(model, "hi"))
            .await
            .failed(kind, code);
    }
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let watch = client.watch_concurrency(WatchConcurrencyRequest {}).await;
    let first = watch.unwrap().into_inner().message().await.unwrap();
    let circuits = first.unwrap().gateway.unwrap().circuits;
    let seen: Vec<_> = circuits
        .iter()
        .map(|circuit| (circuit.model.as_str(), circuit.state(), circuit.failures))
        .collect();
    assert_eq!(
        seen,
        [
            ("emulator/503", CircuitState::Open, 2),
            ("emulator/500", CircuitState::Closed, 1)
        ]
    );
    let open_for = circuits[0].open_for_ms.unwrap();
    assert!((3_500_000..=3_600_000).contains(&open_for), "{open_for}");
    assert_eq!(circuits[1].open_for_ms, None);
    let rest = &gateway.units("any").await["circuits"];
    assert_eq!(
        (&rest[0]["model"], &rest[0]["state"], &rest[0]["error_code"]),
        (
            &json!("emulator/503"),
            &json!("open"),
            &json!("no_capacity")
        )
    );
    assert_eq!(rest[1]["state"], "closed");
    assert_eq!(rest[1].get("open_for_ms"), None);
}

/// A gateway whose circuits open after five failures, for a long time.
async fn strict(upstream: &Scripted) -> Gateway {
    Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 5;
        config.models.circuit_wait = Duration::from_secs(3600);
    })
    .await
}

#[tokio::test]
async fn each_failure_of_a_model_opens_its_circuit_also_in_the_middle_of_a_stream() {
    let cut = Reply::EventsThenCut(vec![chunk("a")]);
    let half = Reply::Wire(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"
            .to_vec(),
        Then::Close,
    );
    let page = Reply::Raw(
        "520 x\r\ncontent-type: text/html".to_owned(),
        b"<html>".to_vec(),
    );
    let via_stream = [("x-featherwire-unary-via-stream", "true")];
    for (door, headers, reply, code) in [
        (
            Door::RestStream,
            &[][..],
            cut.clone(),
            "upstream_stream_cut",
        ),
        (Door::GrpcStream, &[], cut.clone(), "upstream_stream_cut"),
        (
            Door::WebStream,
            &[],
            Reply::EventsThenCut(vec![]),
            "upstream_stream_cut",
        ),
        (Door::GrpcUnary, &via_stream, cut, "upstream_stream_cut"),
        (Door::RestUnary, &[], half, "upstream_answer_cut"),
        (
            Door::RestUnary,
            &[],
            Reply::Json(200, json!({"id": "x"})),
            "upstream_bad_answer",
        ),
        (Door::WebUnary, &[], page, "upstream_error"),
        (Door::RestStream, &[], Reply::HangUp, "upstream_closed"),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = strict(&upstream).await;
        for _ in 0..5 {
            gateway
                .ask_with(door, &prompt(FIRST, "hi"), headers)
                .await
                .failed(Kind::Upstream, code);
        }
        let answer = gateway.ask_with(door, &prompt(FIRST, "hi"), headers).await;
        answer.failed(Kind::Unavailable, "circuit_open");
        assert_eq!(upstream.models().len(), 5, "{door:?} {code}");
    }
}

#[tokio::test]
async fn failures_that_are_not_the_models_open_no_circuit_and_a_success_resets_the_count() {
    let cut = || Reply::EventsThenCut(vec![chunk("a")]);
    // A refusal shows that the model works: failures before it are not counted together with
    // failures after it.
    let bad = refused(400, "", "bad request");
    let replies = (0..4)
        .map(|_| cut())
        .chain([bad])
        .chain((0..4).map(|_| cut()))
        .chain([answer_for(Door::RestStream)]);
    let upstream = Scripted::first(replies).await;
    let gateway = strict(&upstream).await;
    for _ in 0..9 {
        assert!(
            gateway
                .ask(Door::RestStream, &prompt(FIRST, "hi"))
                .await
                .failure
                .is_some()
        );
    }
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
    for reply in [
        refused(400, "", "The model is not ready for inference"),
        refused(401, "unauthorized", "sign in"),
        Reply::Raw("429 x".to_owned(), Vec::new()),
        Reply::Raw("302 x\r\nlocation: /".to_owned(), Vec::new()),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = strict(&upstream).await;
        for _ in 0..6 {
            let failure = gateway
                .ask(Door::GrpcStream, &prompt(FIRST, "hi"))
                .await
                .failure
                .unwrap();
            assert_ne!(failure.code, "circuit_open");
        }
    }
    // A caller that disconnects is not a failure either.
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let gateway = strict(&upstream).await;
    for _ in 0..6 {
        let body = json!({"model": FIRST, "stream": true, "messages": [{"role": "user",
            "content": "hi"}]})
        .to_string();
        let mut response = gateway.post("/v1/chat/completions", body).await;
        assert!(response.chunk().await.unwrap().is_some());
        drop(response);
        upstream.wait_until_closed().await;
    }
    upstream.set_reply(answer_for(Door::RestStream));
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
}

#[tokio::test]
async fn a_probe_is_not_retried() {
    for door in [Door::RestUnary, Door::GrpcStream] {
        let upstream = Scripted::always(no_capacity()).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.models.circuit_failures = 1;
            config.models.circuit_wait = CIRCUIT_WAIT;
            config.upstream.retries = 3;
            config.upstream.retry_wait = Duration::from_millis(1);
        })
        .await;
        gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
        assert_eq!(upstream.models().len(), 4);
        advance(2 * CIRCUIT_WAIT).await;
        gateway
            .ask(door, &prompt(FIRST, "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
        assert_eq!(upstream.models().len(), 5, "{door:?}");
    }
}

#[tokio::test]
async fn a_circuit_closes_when_the_answer_to_its_probe_begins() {
    let upstream = Scripted::first([
        no_capacity(),
        Reply::EventsThenSilence(vec![chunk("a")]),
        answer_for(Door::RestStream),
    ])
    .await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = CIRCUIT_WAIT;
    })
    .await;
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    let body =
        json!({"model": FIRST, "stream": true, "messages": [{"role": "user", "content": "hi"}]})
            .to_string();
    advance(2 * CIRCUIT_WAIT).await;
    let mut probe = gateway.post("/v1/chat/completions", body).await;
    assert_eq!(probe.status(), 200);
    assert!(probe.chunk().await.unwrap().is_some());
    gateway
        .ask(Door::RestStream, &prompt(FIRST, "hi"))
        .await
        .ok();
    drop(probe);
}

#[tokio::test]
async fn a_probe_that_waits_for_units_again_does_not_block_the_model() {
    let full = refused(429, "concurrency_limit_exceeded", "full");
    let upstream = Scripted::first([no_capacity(), full, Reply::Json(200, whole("b"))]).await;
    upstream.set_catalogue(json!({"data": [{"id": FIRST, "concurrency_cost": 1}]}));
    let gateway = Gateway::with(upstream.address, |config| {
        config.models.circuit_failures = 1;
        config.models.circuit_wait = CIRCUIT_WAIT;
        config.units.units = Some(1);
    })
    .await;
    gateway
        .ask(Door::RestUnary, &prompt(FIRST, "hi"))
        .await
        .failed(Kind::Unavailable, "no_capacity");
    advance(2 * CIRCUIT_WAIT).await;
    let request = prompt(FIRST, "hi");
    let probe = gateway.ask(Door::RestUnary, &request);
    let other = async {
        upstream.wait_for_requests(2).await;
        gateway.wait_for_queued(1).await;
        gateway.ask(Door::GrpcUnary, &prompt(FIRST, "hi")).await
    };
    let (probe, other) = tokio::join!(probe, other);
    probe.ok();
    other.ok();
}

#[tokio::test(start_paused = true)]
async fn silence_up_to_a_callers_deadline_counts_against_a_model_if_it_is_long() {
    for (deadline_ms, opens) in [("25000", true), ("5000", false)] {
        let upstream = Scripted::always(Reply::Silence).await;
        let gateway = strict(&upstream).await;
        for _ in 0..5 {
            let answer = gateway
                .ask_with(
                    Door::GrpcStream,
                    &prompt(FIRST, "hi"),
                    &[("x-request-timeout-ms", deadline_ms)],
                )
                .await;
            answer.failed(Kind::Timeout, "deadline_exceeded");
        }
        upstream.set_reply(answer_for(Door::GrpcStream));
        let answer = gateway.ask(Door::GrpcStream, &prompt(FIRST, "hi")).await;
        assert_eq!(
            answer
                .failure
                .is_some_and(|failure| failure.code == "circuit_open"),
            opens,
            "{deadline_ms}"
        );
    }
}
