//! The doors over TLS, and the versions of HTTP and TLS.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Secured, answering};
use crate::support::{
    Door, MODEL, PATIENCE,
    certificates::Authority,
    door::VIA_STREAM,
    frames::{PREFACE, SETTINGS, frame, next_frame},
    prompt,
};

#[tokio::test]
async fn every_door_answers_over_tls() {
    let upstream = answering().await;
    let Secured { gateway, .. } = Secured::to(upstream.address).await;
    for door in Door::ALL {
        let answer = gateway
            .ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM)
            .await;
        assert_eq!(answer.ok().content, "hi", "{door:?}");
    }
    upstream.wait_until_idle().await;
}

#[tokio::test]
async fn the_rest_door_answers_over_http2_and_tls() {
    let upstream = answering().await;
    let Secured {
        gateway, authority, ..
    } = Secured::to(upstream.address).await;
    let protocols = ["h2", "http/1.1"];
    let stream = authority.trusted().connect(&gateway, &protocols).await;
    let stream = stream.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    let mut body = prompt(MODEL, "hi");
    body["stream"] = json!(false);
    let request = Request::post(gateway.url("/v1/chat/completions"))
        .header("content-type", "application/json")
        .header(VIA_STREAM[0].0, VIA_STREAM[0].1)
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let answer = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "hi");
}

#[tokio::test]
async fn without_agreement_in_the_handshake_the_first_bytes_tell_the_version_of_http() {
    let upstream = answering().await;
    let Secured {
        gateway, authority, ..
    } = Secured::to(upstream.address).await;
    let caller = authority.trusted();
    let mut http1 = caller.connect(&gateway, &[]).await.unwrap();
    assert_eq!(http1.get_ref().1.alpn_protocol(), None);
    let request = b"PUT /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for first in [1, 3] {
        http1.write_all(&request[..first]).await.unwrap();
        http1.flush().await.unwrap();
        http1.write_all(&request[first..]).await.unwrap();
        let mut answer = [0; 12];
        http1.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 405", "after {first} bytes");
        http1 = caller.connect(&gateway, &[]).await.unwrap();
    }
    let mut http2 = caller.connect(&gateway, &[]).await.unwrap();
    http2
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
        .await
        .unwrap();
    assert_eq!(next_frame(&mut http2).await.0, SETTINGS);
}

/// What a connection with these bytes gets until it is closed.
async fn answer_to(secured: &Secured, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(secured.gateway.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(PATIENCE, read).await;
    read.expect("it is closed").unwrap();
    answer
}

#[tokio::test]
async fn a_request_without_tls_is_told_to_use_https() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    let large = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20000\r\n\r\n{}",
        "x".repeat(20_000)
    );
    for request in ["GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n", &large] {
        let answer = String::from_utf8(answer_to(&secured, request.as_bytes()).await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
        assert!(body.contains("https://"), "{body}");
    }
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
}

/// An extension of a hello: the signatures that the client accepts.
pub const SIGNATURES: [u8; 8] = [0, 13, 0, 4, 0, 2, 4, 3];

/// The curves that the client accepts. Clients without TLS 1.2 send this one, and not the other.
pub const CURVES: [u8; 8] = [0, 10, 0, 4, 0, 2, 0, 23];

/// The beginning of a handshake of this version and with this extension, as before TLS 1.3.
pub fn old_hello(version: [u8; 2], extension: [u8; 8]) -> Vec<u8> {
    // A random number, no session, one cipher suite of that time, no compression.
    let hello = [
        &version[..],
        &[7; 32],
        &[0],
        &[0, 2, 0xc0, 0x13],
        &[1, 0],
        &[0, 8],
        &extension,
    ]
    .concat();
    let length = u8::try_from(hello.len()).unwrap();
    let message = [&[1, 0, 0, length], &hello[..]].concat();
    [&[22, 3, 1, 0, length + 4], &message[..]].concat()
}

#[tokio::test]
async fn tls_before_version_1_2_is_refused() {
    const PROTOCOL_VERSION: [u8; 2] = [2, 70];
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    for version in [[3, 1], [3, 2]] {
        let answer = answer_to(&secured, &old_hello(version, SIGNATURES)).await;
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
        assert_eq!(answer[5..], PROTOCOL_VERSION, "{version:?}");
    }
    assert_eq!(secured.gateway.get_json("/v1/nothing").await.0, 404);
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_disconnects_and_others_go_on() {
    let upstream = answering().await;
    let secured = Secured::to(upstream.address).await;
    let mut stranger = Authority::new().trusted();
    let error = stranger.connect(&secured.gateway, &["h2"]).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    stranger.authority = secured.authority.pem.clone();
    assert!(stranger.connect(&secured.gateway, &["h2"]).await.is_ok());
    let running = secured.gateway.http().get(secured.gateway.url("/healthz"));
    let answer = running.timeout(Duration::from_secs(60)).send().await;
    assert_eq!(answer.unwrap().status(), 200);
}
