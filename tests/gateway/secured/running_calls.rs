//! Calls over TLS: what the gateway does for calls over TCP, it does for them too.

use std::time::Duration;

use bytesize::ByteSize;
use featherwire::{emulator::EmulatorConfig, server::Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Secured, answering};
use crate::support::{
    Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted,
    certificates::{Authority, Files},
    door::message,
    frames::{GOAWAY, PREFACE, SETTINGS, frame, next_frame},
    prompt,
    scripted::chunk,
};

#[tokio::test]
async fn a_caller_that_disconnects_frees_the_units_and_the_upstream_connection() {
    let emulator = Emulator::with(EmulatorConfig {
        tokens_per_second: 1.0,
        ..EmulatorConfig::default()
    })
    .await;
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let mut gateway = Gateway::with(emulator.address, |config| {
        config.tls = files.options();
        config.units.units = None;
    })
    .await;
    gateway.credentials = Some(authority.trusted());
    let mut rest = gateway.open_stream(MODEL).await;
    assert!(rest.chunk().await.unwrap().is_some());
    let request = message(&prompt(MODEL, "hi"));
    let grpc = gateway.grpc().await.stream_chat_completion(request).await;
    let mut grpc = grpc.unwrap().into_inner();
    assert!(grpc.message().await.unwrap().is_some());
    assert_eq!(gateway.units("any").await["running"], 2);
    drop((rest, grpc));
    emulator.wait_until_idle().await;
    gateway
        .wait_for_units("the units are free", |view| view["in_use"] == 0)
        .await;
}

#[tokio::test]
async fn a_caller_that_is_still_sending_can_read_why_it_is_refused() {
    const BODY_BYTES: usize = 4_000_000;
    let upstream = answering().await;
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let mut gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options();
        config.max_request_bytes = ByteSize(1000);
    })
    .await;
    gateway.credentials = Some(authority.trusted());
    let (status, answer) = gateway
        .post_json("/v1/chat/completions", "x".repeat(BODY_BYTES))
        .await;
    assert_eq!(status, 413, "{answer}");
    assert_eq!(answer["error"]["code"], "request_too_large");
    assert_eq!(upstream.requests().len(), 0);
}

#[tokio::test]
async fn a_caller_that_has_sent_more_than_its_request_is_seen_to_disconnect() {
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![chunk("a")])).await;
    let secured = Secured::to(upstream.address).await;
    let caller = secured.authority.trusted();
    for says_goodbye in [true, false] {
        let mut stream = caller
            .connect(&secured.gateway, &["http/1.1"])
            .await
            .unwrap();
        let mut body = prompt(MODEL, "hi");
        body["stream"] = true.into();
        let (body, length) = (body.to_string(), body.to_string().len());
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/json\r\ncontent-length: {length}\r\n\r\n{body}\r\nGET"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        upstream.wait_until_stalled().await;
        if says_goodbye {
            // With `close_notify`, and the socket stays open.
            stream.shutdown().await.unwrap();
            upstream.wait_until_closed().await;
        } else {
            drop(stream);
            upstream.wait_until_closed().await;
        }
    }
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_disconnected() {
    const EVENTS: usize = 50;
    // What sockets and windows can hold at most.
    const HELD_MAX: usize = 30;
    let large = chunk(&"x".repeat(1_000_000));
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![large; EVENTS])).await;
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let mut gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options();
        config.write_timeout = Duration::from_millis(300);
    })
    .await;
    gateway.credentials = Some(authority.trusted());
    let response = gateway.open_stream(MODEL).await;
    assert_eq!(response.status(), 200);
    upstream.wait_until_closed().await;
    assert!(upstream.written() < HELD_MAX, "{} MB", upstream.written());
    drop(response);
}

#[tokio::test]
async fn an_idle_connection_ends_with_a_goaway_and_a_close_notify() {
    let authority = Authority::new();
    let files = Files::of(&authority.server("gateway"));
    let upstream = answering().await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.tls = files.options();
        config.idle_connection_timeout = Duration::from_millis(200);
    })
    .await;
    let caller = authority.trusted();
    let mut http2 = caller.connect(&gateway, &["h2"]).await.unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    http2.write_all(&hello).await.unwrap();
    while next_frame(&mut http2).await.0 != GOAWAY {}
    let mut http1 = caller.connect(&gateway, &["http/1.1"]).await.unwrap();
    http1
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    for stream in [&mut http1, &mut http2] {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        // Without `close_notify`, rustls reports an unexpected end.
        assert!(read.expect("it is closed").is_ok());
    }
}

#[tokio::test]
async fn a_drain_ends_connections_with_tls_and_says_so() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    let caller = secured.authority.trusted();
    let mut http1 = caller
        .connect(&secured.gateway, &["http/1.1"])
        .await
        .unwrap();
    http1
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    http1.read_exact(&mut answer).await.unwrap();
    // It has ended its handshake and sent nothing.
    let mut silent = caller.connect(&secured.gateway, &["h2"]).await.unwrap();
    let mut health = HealthClient::new(secured.gateway.channel().await);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let stopping = tokio::spawn(secured.gateway.stop());
    while let Ok(Some(_)) = watch.message().await {}
    assert_eq!(stopping.await.unwrap(), Outcome::Drained);
    for stream in [&mut http1, &mut silent] {
        let mut rest = Vec::new();
        assert!(stream.read_to_end(&mut rest).await.is_ok(), "close_notify");
    }
}
