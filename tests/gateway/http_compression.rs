//! Compressed requests and compressed answers.

use std::io::{Read, Write};

use bytesize::ByteSize;
use featherwire::emulator::EmulatorConfig;
use flate2::{
    Compression,
    read::GzDecoder,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::{
    Door, Emulator, Gateway, MODEL, Reply, Scripted, prompt, rest,
    rest::http,
    scripted::{chunk, finish, whole},
};

const CHAT: &str = "/v1/chat/completions";

async fn post(gateway: &Gateway, coding: &str, body: Vec<u8>) -> (u16, HeaderMap, Value) {
    let response = rest::post(gateway.url(CHAT), body)
        .header("content-encoding", coding)
        .send()
        .await
        .unwrap();
    let (status, head) = (response.status().as_u16(), response.headers().clone());
    (
        status,
        head,
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn raw_deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(data, ruzstd::encoding::CompressionLevel::Fastest)
}

/// The data in gzip or zstd. The decoder of zstd is not the gateway's encoder's.
pub fn decoded(coding: &str, data: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "gzip" => GzDecoder::new(data).read_to_end(&mut decoded).unwrap(),
        "zstd" => {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(data).unwrap();
            decoder.read_to_end(&mut decoded).unwrap()
        }
        _ => panic!("{coding}"),
    };
    decoded
}

#[tokio::test]
async fn a_compressed_request_is_the_request_that_was_compressed() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = prompt(MODEL, &"a long prompt ".repeat(20_000)).to_string();
    let plain = request.as_bytes();
    let cases = [
        ("gzip", gzip(plain)),
        ("GZip", gzip(plain)),
        ("x-gzip", gzip(plain)),
        ("deflate", zlib(plain)),
        ("deflate", raw_deflate(plain)),
        ("zstd", zstd(plain)),
        ("identity", plain.to_vec()),
        ("identity, gzip", gzip(plain)),
        ("deflate, gzip", gzip(&zlib(plain))),
        ("zstd,deflate", zlib(&zstd(plain))),
    ];
    let times = cases.len();
    for (coding, body) in cases {
        let (status, _, answer) = post(&gateway, coding, body).await;
        assert_eq!(status, 200, "{coding}: {answer}");
    }
    let sent: Value = serde_json::from_slice(plain).unwrap();
    assert_eq!(upstream.requests().len(), times);
    for seen in upstream.requests() {
        assert!(
            seen.json()["messages"] == sent["messages"],
            "the prompt arrived changed"
        );
        assert_eq!(seen.header("content-encoding"), None);
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_decoded_is_refused_with_an_error() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let plain = prompt(MODEL, "hi").to_string().into_bytes();
    for coding in [
        "br",
        "compress",
        "gzip, br",
        "none",
        "gzip;q=1",
        "gzip,gzip,gzip,gzip,gzip",
    ] {
        let (status, head, error) = post(&gateway, coding, plain.clone()).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (415, &json!("unsupported_content_encoding")),
            "{coding}"
        );
        assert_eq!(head["accept-encoding"], "gzip, deflate, zstd");
    }
    let cut = |mut data: Vec<u8>| {
        data.truncate(data.len() - 5);
        data
    };
    for (coding, body) in [
        ("gzip", plain.clone()),
        ("gzip", cut(gzip(&plain))),
        ("gzip", Vec::new()),
        ("deflate", plain.clone()),
        ("deflate", cut(zlib(&plain))),
        ("zstd", plain.clone()),
        ("zstd", cut(zstd(&plain))),
        // A window of 128 MiB, which the gateway must not allocate.
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0]),
        ("deflate, gzip", gzip(&plain)),
    ] {
        let (status, _, error) = post(&gateway, coding, body).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (400, &json!("invalid_content_encoding")),
            "{coding}: {error}"
        );
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("Content-Encoding") && !message.contains("hi"),
            "{message}"
        );
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn the_size_limit_applies_to_the_decoded_request() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let bomb = prompt(MODEL, &"x".repeat(8_000_000))
        .to_string()
        .into_bytes();
    let huge_content = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
        &(1_u64 << 40).to_le_bytes(),
        &[1, 0, 0],
    ]
    .concat();
    for (coding, body) in [
        ("gzip", gzip(&bomb)),
        ("deflate", zlib(&bomb)),
        ("deflate", raw_deflate(&bomb)),
        ("gzip, gzip", gzip(&gzip(&bomb))),
        ("zstd", huge_content),
        ("zstd", zstd(&bomb[..1_000_000])),
    ] {
        let (status, _, error) = post(&gateway, coding, body).await;
        assert_eq!(
            (status, &error["error"]["code"]),
            (413, &json!("request_too_large")),
            "{coding}: {error}"
        );
    }
    let fits = prompt(MODEL, &"x".repeat(60_000)).to_string().into_bytes();
    assert_eq!(post(&gateway, "gzip", gzip(&fits)).await.0, 200);
    assert_eq!(upstream.requests().len(), 1);
}

async fn get(gateway: &Gateway, path: &str, accept: &str) -> (HeaderMap, Vec<u8>) {
    let get = http()
        .get(gateway.url(path))
        .header("accept-encoding", accept);
    let response = get.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    (
        response.headers().clone(),
        response.bytes().await.unwrap().to_vec(),
    )
}

fn uncompressed(coding: &str, data: &[u8]) -> Value {
    serde_json::from_slice(&decoded(coding, data)).unwrap()
}

fn varies(head: &HeaderMap) -> bool {
    head.get_all("vary")
        .iter()
        .any(|value| value.to_str().unwrap().contains("accept-encoding"))
}

#[tokio::test]
async fn large_answers_are_compressed_for_callers_who_accept_it() {
    let emulator = Emulator::with(EmulatorConfig {
        models: 500,
        tokens_per_second: 0.0,
        ..Default::default()
    })
    .await;
    let gateway = Gateway::to(emulator.address).await;
    for path in ["/v1/models", "/v1/models?per_page=400&page=1"] {
        let (head, plain) = get(&gateway, path, "identity").await;
        assert!(
            !head.contains_key("content-encoding") && varies(&head),
            "{head:?}"
        );
        assert_eq!(head["content-length"], plain.len().to_string());
        let plain: Value = serde_json::from_slice(&plain).unwrap();
        for (accepted, coding) in [
            ("br;q=1.0, gzip;q=0.8", "gzip"),
            ("gzip, zstd;q=0.9", "gzip"),
            ("*, zstd;q=0", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("zstd, identity;q=0.5", "zstd"),
            ("*", "gzip"),
        ]
        .repeat(2)
        {
            let (head, compressed) = get(&gateway, path, accepted).await;
            assert_eq!(head["content-encoding"], coding, "{path} {accepted}");
            assert!(varies(&head) && head["content-type"] == "application/json");
            assert!(uncompressed(coding, &compressed) == plain, "{path}");
        }
        for refused in ["br, gzip;q=0", "gzip;q=0.5, identity", "deflate", ""] {
            let (head, _) = get(&gateway, path, refused).await;
            assert!(!head.contains_key("content-encoding"), "{refused}");
        }
    }
    let (head, compressed) = get(&gateway, "/v1/models", "gzip").await;
    let asked = http()
        .head(gateway.url("/v1/models"))
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            &asked.headers()["content-encoding"],
            &asked.headers()["content-length"]
        ),
        (&head["content-encoding"], &head["content-length"])
    );
    assert_eq!(head["content-length"], compressed.len().to_string());
    let (head, _) = get(&gateway, &format!("/v1/models/{MODEL}"), "gzip").await;
    assert!(
        !head.contains_key("content-encoding"),
        "small answers are not compressed"
    );
    let one = format!("/v1/models/{MODEL}");
    let (_, plain) = get(&gateway, &one, "identity").await;
    for accepted in ["gzip, identity;q=0", "gzip, *;q=0"] {
        let (head, compressed) = get(&gateway, &one, accepted).await;
        assert_eq!(head["content-encoding"], "gzip", "nothing else is accepted");
        assert!(varies(&head));
        assert!(decoded("gzip", &compressed) == plain);
    }
}

#[tokio::test]
async fn a_stream_is_never_compressed() {
    let text = "x".repeat(30_000);
    let upstream = Scripted::always(Reply::Events(vec![chunk(&text), finish()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut request = prompt(MODEL, "hi");
    request["stream"] = json!(true);
    let response = gateway
        .post_request(CHAT, &request)
        .header("accept-encoding", "gzip")
        .send()
        .await
        .unwrap();
    assert!(!response.headers().contains_key("content-encoding"));
    assert!(response.text().await.unwrap().contains(&text));
}

#[tokio::test]
async fn upstream_is_asked_for_plain_answers_and_compressed_ones_are_never_passed_on() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(
        upstream.only_request().header("accept-encoding"),
        Some("identity")
    );
    let body = gzip(whole("a").to_string().as_bytes());
    upstream.set_reply(Reply::Raw(
        "200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip".to_owned(),
        body,
    ));
    for door in Door::ALL {
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
        let failure = answer.failed(featherwire::error::Kind::Upstream, "upstream_bad_answer");
        assert!(failure.message.contains("Content-Encoding"), "{failure:?}");
    }
}
