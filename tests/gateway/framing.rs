//! Ambiguous HTTP/1 requests: the gateway closes the connection, and never reads the bytes after
//! such a request as another request.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::{Gateway, MODEL, PATIENCE, Reply, Scripted, prompt, scripted::whole};

/// Writes these bytes, and reads until the gateway closes the connection.
async fn answers(gateway: &Gateway, bytes: Vec<u8>) -> Vec<String> {
    let address = gateway.address;
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(&bytes).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    let answers = tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap()
        .unwrap();
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(str::to_owned)
        .collect()
}

const SMUGGLED: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn two_lengths_or_odd_codings_are_refused_and_the_connection_is_closed() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let cases = [
        ("transfer-encoding: chunked, chunked", "invalid_framing"),
        ("transfer-encoding: gzip, chunked", "invalid_framing"),
        ("transfer-encoding: identity, chunked", "invalid_framing"),
        (
            "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked",
            "invalid_framing",
        ),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked",
            "invalid_framing",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 5",
            "invalid_framing",
        ),
        (
            "content-length: 5\r\ntransfer-encoding: chunked",
            "invalid_framing",
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked",
            "invalid_framing",
        ),
        (
            "content-length: 5\r\ntransfer-encoding: gzip, chunked",
            "invalid_framing",
        ),
        (
            "host: localhost\r\ntransfer-encoding: chunked",
            "invalid_host",
        ),
        // hyper refuses this itself, without a body.
        ("transfer-encoding: gzip", ""),
        ("transfer-encoding: chunked, gzip", ""),
        ("transfer-encoding: chunkedd", ""),
        ("transfer-encoding : chunked", ""),
        (" transfer-encoding: chunked", ""),
        ("content-length: 5\r\ncontent-length: 6", ""),
        ("content-length: 5, 5", ""),
        ("content-length: +5", ""),
        ("content-length: 0x5", ""),
        ("content-length: -1", ""),
        ("content-length: 18446744073709551616", ""),
        ("x-folded: a\r\n b", ""),
        ("x-null: a\0b", ""),
        ("x-return: a\rb", ""),
        ("no colon", ""),
    ];
    for (headers, code) in cases {
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n\r\n");
        let answers = answers(&gateway, format!("{head}0\r\n\r\n{SMUGGLED}").into_bytes()).await;
        let [answer] = &answers[..] else {
            panic!("{headers:?}: one answer, not {answers:?}")
        };
        assert!(answer.starts_with("400 "), "{headers:?}: {answer}");
        assert!(answer.contains(code), "{headers:?}: {answer}");
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{headers:?}: {answer}"
        );
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_ambiguous_second_request_is_refused_and_the_first_is_answered() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = prompt(MODEL, "hi").to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
                application/json\r\n";
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let measured = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    for first in [chunked, measured] {
        let both = format!(
            "{head}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n{SMUGGLED}"
        );
        let answers = answers(&gateway, format!("{first}{both}").into_bytes()).await;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.split_at(3).0).collect();
        assert_eq!(statuses, ["200", "400"], "{answers:?}");
        assert!(answers[1].contains("invalid_framing"), "{answers:?}");
    }
    assert_eq!(upstream.requests().len(), 2, "the first ones");
}

#[tokio::test]
async fn http_1_0_has_no_codings_and_needs_no_host() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let coded = "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ntransfer-encoding: \
                 chunked\r\n\r\n0\r\n\r\n";
    let refused = answers(&gateway, [coded, SMUGGLED].concat().into_bytes()).await;
    assert!(
        refused.len() == 1 && refused[0].starts_with("400 "),
        "{refused:?}"
    );
    let raw = tokio::task::spawn_blocking({
        let address = gateway.address;
        move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        }
    });
    let answer = raw.await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("ok\n"),
        "{answer}"
    );
}
