//! The account: its plan, its units, and the one feed that all watchers share.

use std::time::Duration;

use featherwire::proto::v1::{
    GetConcurrencyRequest, GetPlanRequest, WatchConcurrencyRequest,
    account_service_client::AccountServiceClient,
};
use serde_json::{Value, json};

use crate::support::{Emulator, Gateway, Reply, Scripted, door::grpc_failure, prompt, rest::http};

#[tokio::test]
async fn plan_and_units_are_the_same_at_both_doors() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let plan = client
        .get_plan(GetPlanRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        gateway.get_json("/v1/plan").await.1["concurrency"],
        json!(plan.concurrency)
    );
    assert_eq!(plan.concurrency, Some(8));

    let request = {
        let mut request = prompt("emulator/stall-after-5", "hi");
        request["stream"] = json!(true);
        request.to_string()
    };
    let mut running = gateway.post("/v1/chat/completions", request).await;
    assert!(running.chunk().await.unwrap().is_some());
    let units = client
        .get_concurrency(GetConcurrencyRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (units.limit, units.used_cost, units.request_count),
        (Some(8), Some(1), Some(1))
    );
    assert_eq!(
        units.requests[0].model.as_deref(),
        Some("emulator/stall-after-5")
    );
    assert!(
        units.requests[0].started_at.unwrap() > 1_600_000_000_000,
        "milliseconds"
    );
    assert_eq!(gateway.get_json("/v1/concurrency").await.1["used_cost"], 1);
    drop(running);
    emulator.wait_until_idle().await;
    let free = gateway.get_json("/v1/concurrency").await.1;
    assert_eq!(
        (&free["used_cost"], &free["requests"]),
        (&json!(0), &json!([]))
    );
}

#[tokio::test]
async fn no_limit_and_an_unknown_limit_are_different() {
    for (sent, limit, unlimited) in [
        (json!({"limit": null}), None, true),
        (json!({}), None, false),
        (json!({"limit": 8}), Some(8), false),
        (json!({"limit": "many"}), None, false),
    ] {
        let mut snapshot =
            json!({"used_cost": 0, "request_count": 0, "requests": [{"id": "a", "cost": null}]});
        snapshot
            .as_object_mut()
            .unwrap()
            .extend(sent.as_object().unwrap().clone());
        let upstream = Scripted::always(Reply::Json(200, snapshot)).await;
        let gateway = Gateway::to(upstream.address).await;
        let mut client = AccountServiceClient::new(gateway.channel().await);
        let units = client
            .get_concurrency(GetConcurrencyRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!((units.limit, units.unlimited), (limit, unlimited), "{sent}");
        let request = &units.requests[0];
        assert_eq!(
            (request.cost, request.started_at, request.duration_ms),
            (None, None, None)
        );
        let received = gateway.get_json("/v1/concurrency").await.1;
        assert_eq!(received.get("limit"), sent.get("limit"), "as it came");
        assert_eq!(received.get("unlimited"), None);
    }
    for name in ["concurrency", "max_context_length", "max_model_size"] {
        for (sent, limit, unlimited) in [
            (Some(json!(null)), None, true),
            (None, None, false),
            (Some(json!(7)), Some(7), false),
        ] {
            let mut plan = json!({"id": "p", "name": "P"});
            plan.as_object_mut()
                .unwrap()
                .extend(sent.clone().map(|sent| (name.to_owned(), sent)));
            let upstream = Scripted::always(Reply::Json(200, plan.clone())).await;
            let gateway = Gateway::to(upstream.address).await;
            let mut client = AccountServiceClient::new(gateway.channel().await);
            let came = client
                .get_plan(GetPlanRequest::default())
                .await
                .unwrap()
                .into_inner();
            let seen = match name {
                "concurrency" => (came.concurrency.map(i64::from), came.unlimited_concurrency),
                "max_context_length" => (
                    came.max_context_length.map(i64::from),
                    came.unlimited_context_length,
                ),
                _ => (came.max_model_size, came.unlimited_model_size),
            };
            assert_eq!((seen, came.extra.len()), ((limit, unlimited), 0), "{plan}");
            assert_eq!(gateway.get_json("/v1/plan").await.1, plan);
        }
    }
}

fn snapshot(used: i32) -> String {
    json!({"limit": null, "used_cost": used, "request_count": 0, "requests": [], "later": {"a": 1}})
        .to_string()
}

#[tokio::test]
async fn all_watchers_share_one_upstream_connection_and_the_last_one_closes_it() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![snapshot(3)])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let mut watchers = Vec::new();
    for _ in 0..3 {
        let mut stream = client
            .watch_concurrency(WatchConcurrencyRequest {})
            .await
            .unwrap()
            .into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_eq!(
            (first.limit, first.unlimited, first.used_cost),
            (None, true, Some(3)),
            "a later watcher gets the last snapshot immediately"
        );
        watchers.push(stream);
    }
    let mut rest = http()
        .get(gateway.url("/v1/concurrency/stream"))
        .send()
        .await
        .unwrap();
    assert_eq!(rest.headers()["content-type"], "text/event-stream");
    let event = String::from_utf8(rest.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let mut received: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    let own = received.as_object_mut().unwrap().remove("gateway").unwrap();
    assert_eq!(
        own["in_use"], 0,
        "the gateway's own data is added to the upstream's"
    );
    assert_eq!(
        received,
        serde_json::from_str::<Value>(&snapshot(3)).unwrap()
    );
    let seen = upstream.only_request();
    assert!(
        seen.head.starts_with("GET /account/concurrency/stream "),
        "beside /v1, not below it: {}",
        seen.head
    );
    assert_eq!(seen.header("authorization"), Some("Bearer upstream-secret"));
    watchers.clear();
    drop(rest);
    upstream.wait_until_closed().await;
    // The next watcher opens a new connection.
    let mut stream = client
        .watch_concurrency(WatchConcurrencyRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_feed_that_breaks_ends_every_watch_with_an_error() {
    let upstream = Scripted::always(Reply::EventsThenCut(vec![snapshot(1)])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let mut stream = client
        .watch_concurrency(WatchConcurrencyRequest {})
        .await
        .unwrap()
        .into_inner();
    let error = loop {
        match stream.message().await {
            Ok(Some(snapshot)) => assert_eq!(snapshot.used_cost, Some(1)),
            Ok(None) => panic!("a watch ends only with an error"),
            Err(status) => break grpc_failure(&status),
        }
    };
    assert_eq!(error.code, "upstream_stream_cut");
    let refused = Scripted::always(Reply::Json(
        401,
        json!({"statusCode": 401, "message": "no", "code": "unauthorized"}),
    ))
    .await;
    let gateway = Gateway::to(refused.address).await;
    let body = http()
        .get(gateway.url("/v1/concurrency/stream"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        body.contains("featherless_api_key_rejected") && !body.contains("[DONE]"),
        "{body}"
    );
}

#[tokio::test]
async fn the_feed_of_units_has_a_longer_idle_timeout_than_an_answer() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.upstream.first_token_timeout = Duration::from_millis(300);
        config.upstream.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let mut stream = client
        .watch_concurrency(WatchConcurrencyRequest {})
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        // Featherless sends a snapshot every two seconds.
        assert!(stream.message().await.unwrap().is_some());
    }
}
