//! The shutdown of a server: in time, and with an error for each call that is cut.

use std::time::Duration;

use clap::Parser;
use featherwire::{
    config,
    error::Kind,
    keys::Identity,
    proto::v1::{WatchConcurrencyRequest, account_service_client::AccountServiceClient},
    server::Outcome,
    service::{ActiveCalls, Arrival, Call, ConnectionCut, feed::Feed},
    upstream::Client,
};
use futures_util::StreamExt;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted, door::grpc_failure, prompt,
    rest::http, scripted::chunk,
};

const NOT_SERVING: i32 = 2;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    upstream: config::Upstream,
}

#[tokio::test]
async fn open_watches_do_not_delay_the_drain() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut health = HealthClient::new(gateway.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let mut units = AccountServiceClient::new(gateway.channel().await);
    let mut units = units
        .watch_concurrency(WatchConcurrencyRequest {})
        .await
        .unwrap()
        .into_inner();
    let silent = TcpStream::connect(gateway.address).await.unwrap();
    let stopping = tokio::spawn(gateway.stop());
    assert_eq!(
        watch.message().await.unwrap().unwrap().status,
        NOT_SERVING,
        "the status is sent before the watch ends"
    );
    assert_eq!(
        grpc_failure(&watch.message().await.unwrap_err()).code,
        "draining"
    );
    assert_eq!(
        grpc_failure(&units.message().await.unwrap_err()).code,
        "draining"
    );
    assert_eq!(stopping.await.unwrap(), Outcome::Drained);
    drop(silent);
}

#[tokio::test]
async fn a_health_watch_that_begins_during_the_drain_gets_not_serving_and_ends() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.drain_timeout = 10 * PATIENCE
    })
    .await;
    let mut running = gateway.open_stream(MODEL).await;
    assert!(running.chunk().await.unwrap().is_some());
    gateway.drain().await;
    let mut health = HealthClient::new(gateway.channel().await);
    for service in ["", "featherwire.v1.ChatService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut watch = health.watch(request).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status, NOT_SERVING);
        assert_eq!(
            grpc_failure(&watch.message().await.unwrap_err()).code,
            "draining"
        );
    }
    drop(running);
    let stopped = tokio::time::timeout(PATIENCE, gateway.stop()).await;
    assert_eq!(
        stopped.expect("long before the drain timeout"),
        Outcome::Drained
    );
}

#[tokio::test]
async fn a_watch_whose_request_arrives_only_during_the_drain_ends_at_once() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.drain_timeout = 10 * PATIENCE
    })
    .await;
    let mut running = gateway.open_stream(MODEL).await;
    assert!(running.chunk().await.unwrap().is_some());
    let mut late = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST /featherwire.v1.AccountService/WatchConcurrency HTTP/1.1\r\nhost: \
                localhost\r\ncontent-type: application/grpc-web+proto\r\nexpect: \
                100-continue\r\ncontent-length: 5\r\n\r\n";
    late.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    late.read_exact(&mut go_on).await.unwrap();
    assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n", "it was let in");
    gateway.drain().await;
    late.write_all(&[0; 5]).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, late.read_to_end(&mut answer)).await;
    read.expect("the call and its connection end").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("grpc-status:14") && answer.contains("shutting%20down"),
        "{answer}"
    );
    assert_eq!(
        upstream.requests().len(),
        1,
        "the upstream is not asked for a feed"
    );
    drop(running);
    let stopped = tokio::time::timeout(PATIENCE, gateway.stop()).await;
    assert_eq!(
        stopped.expect("long before the drain timeout"),
        Outcome::Drained
    );
}

#[tokio::test]
async fn a_watch_ends_with_all_calls() {
    let upstream = Scripted::always(Reply::Silence).await;
    let address = format!("http://{}/v1", upstream.address);
    let flags = [
        "test",
        "--featherless-base-url",
        &address,
        "--featherless-api-key",
        "secret",
    ];
    let feed = Feed::new(Client::new(&Options::parse_from(flags).upstream).unwrap());
    let running = ActiveCalls::default();
    let mut extensions = http::Extensions::new();
    extensions.insert(Identity::gateway());
    extensions.insert(Arrival {
        at: tokio::time::Instant::now(),
        active_calls: running.clone(),
        connection_cut: ConnectionCut::default(),
        ledger: Default::default(),
        observation: None,
        deadline_observer: None,
    });
    let mut watch = feed.watch(Call::new(&http::HeaderMap::new(), &extensions).unwrap());
    let (end, calls) = tokio::join!(watch.next(), async {
        upstream.wait_for_request().await;
        running.cut_all()
    });
    assert_eq!((end.unwrap().unwrap_err().code(), calls), ("draining", 1));
    assert!(watch.next().await.is_none());
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn during_the_drain_readiness_is_503_and_new_calls_are_refused() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("half")])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.drain_timeout = Duration::from_secs(60)
    })
    .await;
    let mut running = gateway.open_stream(MODEL).await;
    assert!(running.chunk().await.unwrap().is_some());
    let status = async |path| {
        http()
            .get(gateway.url(path))
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    gateway.drain().await;
    assert_eq!(
        (status("/readyz").await, status("/healthz").await),
        (503, 200)
    );
    let mut health = HealthClient::new(gateway.channel().await);
    assert_eq!(
        health
            .check(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner()
            .status,
        NOT_SERVING
    );
    for door in Door::ALL {
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Unavailable, "draining");
        assert!(failure.retry_after_seconds.is_some(), "{door:?}");
    }
    assert_eq!(
        upstream.requests().len(),
        1,
        "the upstream was asked for the running call only"
    );
    drop(running);
    let address = gateway.address;
    assert_eq!(gateway.stop().await, Outcome::Drained);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn open_reflection_streams_do_not_delay_the_drain() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.drain_timeout = 10 * PATIENCE
    })
    .await;
    let (send, requests) = tokio::sync::mpsc::channel(1);
    let mut client = ServerReflectionClient::new(gateway.channel().await);
    let list = MessageRequest::ListServices(String::new());
    send.send(ServerReflectionRequest {
        message_request: Some(list),
        ..Default::default()
    })
    .await
    .unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    assert!(
        answers.message().await.unwrap().is_some(),
        "it answers, and stays open"
    );
    let stopped = tokio::time::timeout(PATIENCE, gateway.stop()).await;
    assert_eq!(
        stopped.expect("long before the drain timeout"),
        Outcome::Drained
    );
    drop(send);
}

#[tokio::test]
async fn draining_lets_a_running_answer_end() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let _url = gateway.url("/v1/chat/completions");
    let mut request = prompt("emulator/slow", "Say hello in 5 words");
    request["stream"] = json!(true);
    let mut running = gateway.post("/v1/chat/completions", request).await;
    assert!(running.chunk().await.unwrap().is_some());
    let stopping = tokio::spawn(gateway.stop());
    let mut rest = String::new();
    while let Some(bytes) = running.chunk().await.unwrap() {
        rest.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert_eq!(stopping.await.unwrap(), Outcome::Drained);
}

#[tokio::test]
async fn a_call_that_runs_after_the_drain_timeout_gets_an_error_at_every_door() {
    for door in Door::ALL {
        let reply = if door.is_stream() {
            Reply::EventsThenSilence(vec![chunk("half")])
        } else {
            Reply::Silence
        };
        let upstream = Scripted::always(reply).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.drain_timeout = Duration::from_secs(1)
        })
        .await;
        let prompt = prompt(MODEL, "hi");
        let (answer, ()) = tokio::join!(gateway.ask(door, &prompt), async {
            upstream.wait_for_request().await;
            gateway.shut_down();
        });
        assert_eq!(
            answer.content,
            if door.is_stream() { "half" } else { "" },
            "{door:?}"
        );
        answer.failed(Kind::Unavailable, "draining");
        upstream.wait_until_closed().await;
        assert_eq!(gateway.stop().await, Outcome::Cut(1), "{door:?}");
    }
}

#[tokio::test]
async fn a_caller_that_does_not_read_its_last_error_does_not_delay_the_end() {
    let large = "x".repeat(1_000_000);
    let upstream = Scripted::always(Reply::EventsThenSilence(
        (0..50).map(|_| chunk(&large)).collect(),
    ))
    .await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.drain_timeout = Duration::from_millis(100)
    })
    .await;
    let held = gateway.open_stream(MODEL).await;
    assert_eq!(gateway.stop().await, Outcome::Cut(1));
    upstream.wait_until_closed().await;
    drop(held);
}
