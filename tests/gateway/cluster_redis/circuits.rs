//! Circuits of models, which several gateways share.

use std::time::Duration;

use featherwire::error::Kind;

use super::SPACE;
use crate::support::{
    Door, Gateway, Reply, Scripted,
    models::FIRST,
    poll, prompt,
    redis::RedisServer,
    scripted::{no_capacity, whole},
};

/// Two gateways that share circuits.
async fn pair(
    server: &RedisServer,
    upstream: &Scripted,
    failures: u32,
    wait: Duration,
) -> [Gateway; 2] {
    let gateway = async || {
        Gateway::with(upstream.address, |config| {
            config.models.circuit_failures = failures;
            config.models.circuit_wait = wait;
            config.cluster.redis_url = Some(server.url());
            config.cluster.cluster_name = Some(SPACE.to_owned());
        })
        .await
    };
    let pair = [gateway().await, gateway().await];
    poll::until("both listen", async || {
        let clients: String = server.command(&["INFO", "clients"]).await;
        clients.contains("blocked_clients:2")
    })
    .await;
    pair
}

/// How many models have failed on a gateway, or on another one.
async fn failing(gateway: &Gateway) -> f64 {
    gateway.scrape().await.sum("featherwire_circuits", &[])
}

#[tokio::test]
async fn a_circuit_that_opens_on_one_gateway_is_open_on_the_other() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let upstream = Scripted::always(no_capacity()).await;
    let [first, second] = pair(&server, &upstream, 3, Duration::from_secs(60)).await;
    for _ in 0..3 {
        let answer = first.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
        answer.failed(Kind::Unavailable, "no_capacity");
    }
    poll::until("the other one knows", async || {
        failing(&second).await == 1.0
    })
    .await;
    let answer = second.ask(Door::GrpcUnary, &prompt(FIRST, "hi")).await;
    let failure = answer.failed(Kind::Unavailable, "circuit_open");
    assert!(failure.message.contains("no_capacity"), "{failure:?}");
    assert_eq!(upstream.models().len(), 3, "it has sent nothing");
}

#[tokio::test]
async fn a_circuit_that_closes_on_one_gateway_is_closed_on_the_other() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let replies = [no_capacity(), Reply::Json(200, whole("b"))];
    let upstream = Scripted::first(replies).await;
    let [first, second] = pair(&server, &upstream, 1, Duration::from_millis(1)).await;
    let answer = first.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
    answer.failed(Kind::Unavailable, "no_capacity");
    poll::until("the other one knows", async || {
        failing(&second).await == 1.0
    })
    .await;
    // The wait of the circuit is over long before this.
    let answer = first.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
    answer.ok();
    poll::until("the other one knows", async || {
        failing(&second).await == 0.0
    })
    .await;
    assert_eq!(upstream.models().len(), 2);
}

#[tokio::test]
async fn without_redis_each_gateway_has_its_own_circuits() {
    let Some(mut server) = RedisServer::start().await else {
        return;
    };
    let upstream = Scripted::always(no_capacity()).await;
    let [first, second] = pair(&server, &upstream, 1, Duration::from_secs(60)).await;
    server.kill().await;
    for gateway in [&first, &second] {
        for code in ["no_capacity", "circuit_open"] {
            let answer = gateway.ask(Door::RestUnary, &prompt(FIRST, "hi")).await;
            answer.failed(Kind::Unavailable, code);
        }
    }
    assert_eq!(upstream.models().len(), 2);
}
