//! Connections without a call: their longest life, the limit without a key, and their end.

use std::time::{Duration, Instant};

use featherwire::server::Outcome;
use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Gateway, MODEL, PATIENCE, Reply, Scripted,
    frames::{GOAWAY, PREFACE, SETTINGS, frame, next_frame},
    rest::http,
    scripted::chunk,
};

const IDLE: Duration = Duration::from_millis(200);

const KEY: &str = "gw_live_1";

async fn gateway_with(upstream: &Scripted, idle: Duration, keys: &[&str]) -> Gateway {
    Gateway::with(upstream.address, |config| {
        config.idle_connection_timeout = idle;
        config.api_keys = keys.iter().map(|key| (*key).into()).collect();
    })
    .await
}

/// Requests the path, and returns the connection, which stays open.
async fn http1(gateway: &Gateway, path: &str, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    ask(&mut stream, path, key).await;
    stream
}

async fn ask(stream: &mut TcpStream, path: &str, key: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        assert!(
            stream.read_buf(&mut answer).await.unwrap() > 0,
            "it is open"
        );
    }
}

/// An HTTP/2 connection without requests.
async fn http2(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
        .await
        .unwrap();
    stream
}

/// Waits until the gateway has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // It may end with a reset if bytes of the test are still on the way.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("it is closed");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_goaway_where_the_protocol_has_one() {
    let upstream = Scripted::always(Reply::Silence).await;
    for keys in [&[][..], &[KEY]] {
        let gateway = gateway_with(&upstream, IDLE, keys).await;
        let mut kept = http1(&gateway, "/v1/nothing", KEY).await;
        let mut silent = TcpStream::connect(gateway.address).await.unwrap();
        silent.write_all(b"\r\n").await.unwrap();
        let mut streams = http2(&gateway).await;
        loop {
            let (kind, _, payload) = next_frame(&mut streams).await;
            if kind == GOAWAY {
                assert_eq!(payload[4..8], [0; 4], "no error");
                break;
            }
        }
        for stream in [&mut kept, &mut silent, &mut streams] {
            closed(stream).await;
        }
    }
}

#[tokio::test]
async fn the_version_of_http_is_recognised_from_any_first_bytes() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = gateway_with(&upstream, Duration::from_secs(60), &[]).await;
    let request: &[u8] = b"PUT /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    for first in [1, 2, 3, 23, 24] {
        let mut http1 = TcpStream::connect(gateway.address).await.unwrap();
        let mut http2 = TcpStream::connect(gateway.address).await.unwrap();
        http1.write_all(&request[..first]).await.unwrap();
        http2.write_all(&hello[..first]).await.unwrap();
        // The gateway works on these connections before it answers later ones.
        drop(self::http1(&gateway, "/healthz", KEY).await);
        http1.write_all(&request[first..]).await.unwrap();
        http2.write_all(&hello[first..]).await.unwrap();
        let mut answer = [0; 12];
        http1.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 405", "after {first} bytes");
        assert_eq!(
            next_frame(&mut http2).await.0,
            SETTINGS,
            "after {first} bytes"
        );
    }
}

#[tokio::test]
async fn a_connection_with_a_running_call_is_not_closed() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let gateway = gateway_with(&upstream, IDLE, &[]).await;
    let mut running = gateway.open_stream(MODEL).await;
    running.chunk().await.unwrap().unwrap();
    let mut health = HealthClient::new(gateway.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    for _ in 0..3 {
        closed(&mut http2(&gateway).await).await;
    }
    assert!(
        running.chunk().now_or_never().is_none() && watch.message().now_or_never().is_none(),
        "both go on"
    );
    let again = health.check(HealthCheckRequest::default());
    assert_eq!(
        again.await.unwrap().into_inner().status,
        1,
        "the connection takes calls"
    );
    drop(running);
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_connection_without_a_key_is_closed() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec![KEY.into()];
        config.unauthenticated_connections = 3;
    })
    .await;
    let mut with_key = http1(&gateway, "/v1/nothing", KEY).await;
    let mut health = HealthClient::new(gateway.channel().await);
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    let mut first = http1(&gateway, "/healthz", "wrong").await;
    let mut second = http1(&gateway, "/healthz", "wrong").await;
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    closed(&mut first).await;
    closed(&mut second).await;
    assert!(
        watch.message().now_or_never().is_none(),
        "a connection with a call stays open while others are idle"
    );
    ask(&mut with_key, "/v1/nothing", KEY).await;
    let mut new = http1(&gateway, "/v1/nothing", KEY).await;
    for _ in 0..20 {
        flood.push(TcpStream::connect(gateway.address).await.unwrap());
    }
    closed(flood.first_mut().unwrap()).await;
    ask(&mut new, "/v1/nothing", KEY).await;
}

#[tokio::test]
async fn a_client_that_never_responds_does_not_delay_the_shutdown() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| config.drain_timeout = PATIENCE).await;
    // It sends a request, and then reads nothing, neither pings nor GOAWAY.
    let silent = http2(&gateway).await;
    let begun_only = {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(b"GET /healthz HTT").await.unwrap();
        stream
    };
    let kept = http1(&gateway, "/healthz", "none").await;
    // The gateway has accepted them all when it serves a later connection.
    assert_eq!(
        http()
            .get(gateway.url("/healthz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    let started = Instant::now();
    assert_eq!(gateway.stop().await, Outcome::Drained);
    // The gateway waits this long for the answer to a ping. Closing takes a tenth of this time.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    drop((silent, begun_only, kept));
}
