//! The largest age of a connection: no new calls after it, time for the running ones, and their end.

use std::time::Duration;

use featherwire::{error::Kind, server::Outcome};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{
    Door, Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted,
    frames::{GOAWAY, PREFACE, SETTINGS, frame, next_frame},
    prompt,
    scripted::chunk,
};

const AGE: Duration = Duration::from_secs(1);
/// Less than the time after which a connection without a request ends for another reason.
const WITHOUT_REQUEST: Duration = Duration::from_secs(20);

const GRACE: Duration = Duration::from_secs(2);

/// An HTTP/2 connection without requests, until the gateway ends it.
async fn whole_life(gateway: &Gateway) {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&hello).await.unwrap();
    let end = async {
        loop {
            let (kind, _, payload) = next_frame(&mut stream).await;
            if kind == GOAWAY {
                assert_eq!(payload[4..8], [0; 4], "no error");
                return;
            }
        }
    };
    tokio::time::timeout(WITHOUT_REQUEST, end)
        .await
        .expect("it ends by its age");
}

#[tokio::test]
async fn an_answer_outlives_the_age_of_its_connection_and_the_next_call_gets_a_new_one() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.max_connection_age = Some(AGE);
    })
    .await;
    let mut request = prompt("emulator/slow", "Say hello in 5 words");
    request["stream"] = json!(true);
    let mut rest = gateway.post("/v1/chat/completions", request).await;
    assert!(rest.chunk().await.unwrap().is_some());
    let channel = gateway.channel().await;
    let mut health = HealthClient::new(channel);
    for _ in 0..3 {
        whole_life(&gateway).await;
        let again = async {
            loop {
                match health.check(HealthCheckRequest::default()).await {
                    // Tonic has not sent it, and does not try again by itself.
                    Err(status) if status.code() == Code::Cancelled => {}
                    answer => return answer.unwrap().into_inner().status,
                }
            }
        };
        let status = tokio::time::timeout(PATIENCE, again).await;
        assert_eq!(status, Ok(1), "a call gets a new connection");
    }
    let mut received = String::new();
    while let Some(bytes) = rest.chunk().await.unwrap() {
        received.push_str(std::str::from_utf8(&bytes).unwrap());
    }
    assert!(received.ends_with("data: [DONE]\n\n"), "{received}");
    assert_eq!(gateway.stop().await, Outcome::Drained);
}

#[tokio::test]
async fn a_call_that_outlives_the_grace_gets_an_error_at_every_door() {
    let calls = Door::ALL.map(async |door| {
        let reply = if door.is_stream() {
            Reply::EventsThenSilence(vec![chunk("half")])
        } else {
            Reply::Silence
        };
        let upstream = Scripted::always(reply).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.max_connection_age = Some(AGE);
            config.max_connection_age_grace = GRACE;
        })
        .await;
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
        let content = if door.is_stream() { "half" } else { "" };
        assert_eq!(answer.content, content, "{door:?}");
        let failure = answer.failed(Kind::Unavailable, "draining");
        assert!(failure.message.contains("age"), "{}", failure.message);
        upstream.wait_until_closed().await;
        assert_eq!(gateway.stop().await, Outcome::Drained, "{door:?}");
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_stream_that_never_ends_does_not_keep_its_connection() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_connection_age = Some(AGE);
        config.max_connection_age_grace = GRACE;
    })
    .await;
    let mut health = HealthClient::new(gateway.channel().await);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    let end = tokio::time::timeout(PATIENCE, watch.message()).await;
    assert!(end.expect("it ends").is_err());
    assert_eq!(gateway.stop().await, Outcome::Drained);
}

#[tokio::test]
async fn a_request_over_http1_that_has_begun_at_the_age_is_answered() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_connection_age = Some(AGE);
    })
    .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    stream.write_all(&request[..20]).await.unwrap();
    for _ in 0..2 {
        whole_life(&gateway).await;
    }
    stream.write_all(&request[20..]).await.unwrap();
    let mut rest = String::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut rest)).await;
    read.expect("it is closed").unwrap();
    assert_eq!(rest.matches("HTTP/1.1 200 OK").count(), 1, "{rest}");
}
