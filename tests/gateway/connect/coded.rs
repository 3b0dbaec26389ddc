//! Compressed messages, and the limits of messages.

use std::convert::Infallible;

use bytes::Bytes;
use bytesize::ByteSize;
use featherwire::{emulator::EmulatorConfig, proto::v1::Concurrency};
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;
use serde_json::json;

use super::{CHAT, MODELS, STREAM, error_of, post, told};
use crate::{
    http_compression::{decoded, gzip, raw_deflate, zlib, zstd},
    support::{
        Emulator, Gateway, MODEL, Reply, Scripted,
        connect::{envelope, envelopes, from_json, to_json},
        door::message,
        prompt,
        scripted::{chunk, finish, whole},
    },
};

const WATCH_UNITS: &str = "/featherwire.v1.AccountService/WatchConcurrency";

/// A body whose length its client does not know before.
fn without_length(pieces: Vec<Vec<u8>>) -> reqwest::Body {
    let frames = pieces
        .into_iter()
        .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(piece))));
    reqwest::Body::wrap(StreamBody::new(stream::iter(frames)))
}

#[tokio::test]
async fn a_compressed_message_is_the_message_that_was_compressed() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = prompt(MODEL, &"a long prompt ".repeat(20_000));
    let proto = message(&request).encode_to_vec();
    let json = to_json("CreateChatCompletionRequest", &message(&request)).to_string();
    let mut number = 0;
    for (codec, plain) in [("proto", proto), ("json", json.into_bytes())] {
        for (coding, coded) in [
            ("gzip", gzip(&plain)),
            ("GZip", gzip(&plain)),
            ("deflate", zlib(&plain)),
            ("deflate", raw_deflate(&plain)),
            ("zstd", zstd(&plain)),
            ("identity", plain.clone()),
        ] {
            upstream.set_reply(Reply::Json(200, whole("a")));
            let media_type = format!("application/{codec}");
            let headers = [("content-encoding", coding)];
            let answer = post(&gateway, true, (CHAT, &media_type), &headers, coded.clone()).await;
            assert_eq!(answer.http_status, 200, "{codec} {coding}: {answer:?}");
            upstream.set_reply(Reply::Events(vec![chunk("a"), finish()]));
            let media_type = format!("application/connect+{codec}");
            let headers = [("connect-content-encoding", coding)];
            let flag = u8::from(coding != "identity");
            let body = envelope(flag, &coded);
            let answer = post(&gateway, false, (STREAM, &media_type), &headers, body).await;
            let (messages, end) = envelopes(&answer.body);
            assert_eq!((messages.len(), end), (2, json!({})), "{codec} {coding}");
            number += 2;
        }
    }
    let seen = upstream.requests();
    assert_eq!(seen.len(), number);
    assert!(
        seen.iter()
            .all(|seen| seen.json()["messages"] == request["messages"])
    );
}

#[tokio::test]
async fn an_unknown_coding_is_unimplemented_and_the_known_ones_are_named() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let headers = [("content-encoding", "br")];
    let answer = post(&gateway, false, (CHAT, "application/json"), &headers, "{}").await;
    assert_eq!(answer.head["accept-encoding"], "gzip, deflate, zstd");
    let (code, reason, text) = error_of(&answer, 501);
    assert_eq!(
        (&*code, &*reason),
        ("unimplemented", "unsupported_grpc_encoding")
    );
    assert!(text.contains("gzip, deflate, zstd"), "{text}");
    let headers = [("connect-content-encoding", "br")];
    let of = (STREAM, "application/connect+proto");
    let answer = post(&gateway, false, of, &headers, envelope(1, b"x")).await;
    assert_eq!(
        answer.head["connect-accept-encoding"],
        "gzip, deflate, zstd"
    );
    let (messages, end) = envelopes(&answer.body);
    assert!(messages.is_empty());
    assert_eq!(told(&end["error"]).0, "unimplemented");
    // The other wrong frames are in the table of the conformance.
    for body in [vec![0, 0], envelope(0, b"{}")[..6].to_vec()] {
        for codec in ["proto", "json"] {
            let of = format!("application/connect+{codec}");
            let answer = post(&gateway, false, (STREAM, &of), &[], body.clone()).await;
            let (messages, end) = envelopes(&answer.body);
            assert_eq!(messages.len(), 0, "{body:?}");
            assert_eq!(told(&end["error"]).0, "invalid_argument", "{body:?}");
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_message_that_is_too_large_before_or_after_decompression_is_refused() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64);
    })
    .await;
    let request = message(&prompt(MODEL, &"x".repeat(64 * 1024)));
    let json = to_json("CreateChatCompletionRequest", &request).to_string();
    for (codec, large) in [
        ("proto", request.encode_to_vec()),
        ("json", json.into_bytes()),
    ] {
        let bomb = vec![b' '; 1024 * 1024];
        for (coding, body) in [
            ("identity", large.clone()),
            ("gzip", gzip(&large)),
            ("zstd", zstd(&large)),
            ("gzip", gzip(&bomb)),
            ("zstd", zstd(&bomb)),
        ] {
            let media_type = format!("application/{codec}");
            for is_http2 in [false, true] {
                let headers = [("content-encoding", coding)];
                let of = (CHAT, &*media_type);
                let answer = post(&gateway, is_http2, of, &headers, body.clone()).await;
                let (code, reason, text) = error_of(&answer, 429);
                assert_eq!(
                    (&*code, &*reason),
                    ("resource_exhausted", "request_too_large")
                );
                assert!(text.contains("--max-request-bytes"), "{text}");
            }
            let media_type = format!("application/connect+{codec}");
            let headers = [("connect-content-encoding", coding)];
            let body = envelope(u8::from(coding != "identity"), &body);
            let answer = post(&gateway, false, (STREAM, &media_type), &headers, body).await;
            let (_, end) = envelopes(&answer.body);
            assert_eq!(
                told(&end["error"]).1,
                "request_too_large",
                "{codec} {coding}"
            );
        }
    }
    // Without a length.
    let pieces = vec!["x".repeat(8192).into_bytes(); 16];
    let url = gateway.url(CHAT);
    let body = without_length(pieces);
    let chunked = crate::support::rest::http().post(url).body(body);
    let chunked = chunked.header("content-type", "application/json");
    let (status, error) =
        crate::support::rest::status_and_json(chunked.send().await.unwrap()).await;
    assert_eq!((status, &*told(&error).1), (429, "request_too_large"));
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_body_without_a_length_is_read_to_its_end() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = message(&prompt(MODEL, &"x".repeat(100_000)));
    let json = to_json("CreateChatCompletionRequest", &request).to_string();
    for (codec, body) in [
        ("proto", request.encode_to_vec()),
        ("json", json.into_bytes()),
    ] {
        let body = without_length(body.chunks(777).map(<[u8]>::to_vec).collect());
        let media_type = format!("application/{codec}");
        let chunked = crate::support::rest::http()
            .post(gateway.url(CHAT))
            .body(body);
        let response = chunked
            .header("content-type", media_type)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{codec}");
    }
    let seen = upstream.requests();
    assert!(
        seen.iter()
            .all(|seen| seen.json()["messages"][0]["content"] == "x".repeat(100_000))
    );
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_callers_who_take_it() {
    let emulator = Emulator::with(EmulatorConfig {
        models: 500,
        ..EmulatorConfig::default()
    })
    .await;
    let gateway = Gateway::to(emulator.address).await;
    let request = r#"{"pageSize": 1000}"#;
    let ask = async |headers: &[(&str, &str)], body: Vec<u8>| {
        post(&gateway, false, (MODELS, "application/json"), headers, body).await
    };
    // The entries of a map are in any order.
    let value =
        |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap()["models"].take();
    let plain = ask(&[], request.into()).await;
    assert!(plain.body.len() > 16 * 1024);
    assert!(!plain.head.contains_key("content-encoding"));
    let accept = |value| [("accept-encoding", value)];
    for (headers, body, coding) in [
        (accept("br, gzip"), request.into(), "gzip"),
        (accept("zstd"), request.into(), "zstd"),
        // The first one is what the caller wants most.
        (accept("gzip, zstd"), request.into(), "gzip"),
        (accept("zstd, gzip"), request.into(), "zstd"),
        (accept("gzip;q=0.5, zstd"), request.into(), "zstd"),
        // A caller who compresses can decompress.
        (
            [("content-encoding", "gzip")],
            gzip(request.as_bytes()),
            "gzip",
        ),
        (
            [("content-encoding", "zstd")],
            zstd(request.as_bytes()),
            "zstd",
        ),
    ] {
        let answer = ask(&headers, body).await;
        assert_eq!(answer.head["content-encoding"], coding, "{headers:?}");
        let vary = answer.head.get_all("vary").iter();
        assert!(vary.into_iter().any(|value| value == "accept-encoding"));
        let text = decoded(coding, &answer.body);
        assert!(value(&text) == value(&plain.body), "{headers:?}");
    }
    for headers in [accept("deflate"), accept("gzip;q=0"), accept("identity")] {
        let answer = ask(&headers, request.into()).await;
        assert!(value(&answer.body) == value(&plain.body), "{headers:?}");
    }
}

#[tokio::test]
async fn a_large_message_of_a_stream_is_compressed_for_callers_who_take_it() {
    let request = json!({"id": "a".repeat(36), "model": MODEL, "cost": 1});
    let snapshot = json!({"limit": 8, "used_cost": 0, "requests": vec![request; 400]});
    let snapshot = Reply::EventsThenSilence(vec![snapshot.to_string()]);
    let upstream = Scripted::always(snapshot).await;
    let gateway = Gateway::to(upstream.address).await;
    // The first message; then the call is dropped.
    let watch = async |headers: &[(&str, &str)], codec: &str| {
        let message = if codec == "json" { &b"{}"[..] } else { b"" };
        let watch = crate::support::rest::http().post(gateway.url(WATCH_UNITS));
        let mut watch = watch.header("content-type", format!("application/connect+{codec}"));
        for (name, value) in headers {
            watch = watch.header(*name, *value);
        }
        let mut answer = watch.body(envelope(0, message)).send().await.unwrap();
        let coding = answer.headers().get("connect-content-encoding").cloned();
        let mut received = Vec::new();
        loop {
            received.extend_from_slice(&answer.chunk().await.unwrap().expect("it goes on"));
            if let Some((&[flag, a, b, c, d], rest)) = received.split_first_chunk()
                && let Some(first) = rest.get(..u32::from_be_bytes([a, b, c, d]) as usize)
            {
                return (coding, flag, first.to_vec());
            }
        }
    };
    for codec in ["proto", "json"] {
        let units = |message: &[u8]| match codec {
            "proto" => Concurrency::decode(message).unwrap(),
            _ => from_json("Concurrency", message),
        };
        let (coding, flag, plain) = watch(&[], codec).await;
        assert_eq!((coding, flag), (None, 0), "{codec}");
        assert!(plain.len() > 16 * 1024, "{codec}: {}", plain.len());
        for (accepted, coding) in [("gzip", "gzip"), ("br, zstd, gzip", "zstd")] {
            let headers = [("connect-accept-encoding", accepted)];
            let (named, flag, packed) = watch(&headers, codec).await;
            assert_eq!(
                (named.unwrap(), flag),
                (coding.parse().unwrap(), 1),
                "{codec}"
            );
            assert!(packed.len() < plain.len() / 4, "{codec} {coding}");
            let read = units(&decoded(coding, &packed));
            assert_eq!(read.requests, units(&plain).requests);
        }
        for refused in ["", "identity", "gzip;q=0"] {
            let (named, flag, _) = watch(&[("connect-accept-encoding", refused)], codec).await;
            assert_eq!((named, flag), (None, 0), "{codec} {refused}");
        }
    }
    // Each message says whether it is compressed, and small ones are not.
    upstream.set_reply(Reply::Events(vec![chunk("a"), finish()]));
    let headers = [("connect-accept-encoding", "gzip")];
    let request = prompt(MODEL, "hi").to_string();
    let body = envelope(0, request.as_bytes());
    let of = (STREAM, "application/connect+json");
    let answer = post(&gateway, false, of, &headers, body).await;
    let (messages, end) = envelopes(&answer.body);
    assert_eq!((messages.len(), end), (2, json!({})));
}
