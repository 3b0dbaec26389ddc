//! Informational responses (1xx): a few before an answer are normal, an endless sequence is not an
//! answer.

use std::time::Duration;

use featherwire::error::Kind;
use serde_json::{Value, json};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted, prompt,
    rest::http,
    scripted::{STREAM_HEAD, Then, chunk, chunked, finish, whole},
};

const PROCESSING: &str = "HTTP/1.1 102 Processing\r\n\r\n";

/// The largest number of informational responses that the gateway accepts before an answer.
const HEADS_MAX: usize = 16;

/// A complete answer after `heads`.
fn announced(door: Door, heads: &str) -> Reply {
    let answer = if door.is_stream() {
        let event = |data: &str| chunked(&format!("data: {data}\n\n"));
        format!(
            "{STREAM_HEAD}{}{}{}0\r\n\r\n",
            event(&chunk("hi")),
            event(&finish()),
            event("[DONE]")
        )
    } else {
        let body = whole("hi").to_string();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    Reply::Wire(format!("{heads}{answer}").into_bytes(), Then::Next)
}

#[tokio::test]
async fn endless_informational_heads_end_the_call_before_any_timeout() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    for head in ["HTTP/1.1 100 Continue\r\n\r\n", PROCESSING, hints] {
        for door in Door::ALL {
            let upstream =
                Scripted::always(Reply::Wire(Vec::new(), Then::Repeat(head.into()))).await;
            let gateway =
                Gateway::with(upstream.address, |config| config.upstream.retries = 3).await;
            let failure = gateway
                .ask(door, &prompt(MODEL, "hi"))
                .await
                .failed(Kind::Upstream, "upstream_bad_answer");
            assert!(failure.message.contains("1xx"), "{door:?}: {failure:?}");
            upstream.wait_until_closed().await;
            assert_eq!(
                upstream.requests().len(),
                1,
                "{door:?}: an invalid answer is not retried"
            );
            upstream.set_reply(announced(door, ""));
            assert_eq!(
                gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
                "hi",
                "{door:?}"
            );
        }
    }
}

#[tokio::test]
async fn endless_heads_at_full_speed_end_the_call_too() {
    let flood = Reply::Wire(PROCESSING.repeat(100_000).into_bytes(), Then::Silence);
    for door in Door::ALL {
        let upstream = Scripted::always(flood.clone()).await;
        let gateway = Gateway::to(upstream.address).await;
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
        upstream.wait_until_closed().await;
    }
}

#[tokio::test]
async fn endless_informational_heads_end_every_kind_of_request() {
    let upstream = Scripted::always(Reply::Wire(Vec::new(), Then::Repeat(PROCESSING.into()))).await;
    let gateway = Gateway::to(upstream.address).await;
    for path in [
        "/v1/plan",
        "/v1/models",
        "/v1/models/org/name",
        "/v1/models?q=x",
    ] {
        let answer = http().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 502, "{path}");
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(
            body["error"]["code"],
            json!("upstream_bad_answer"),
            "{path}"
        );
    }
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn sixteen_informational_heads_are_allowed_and_seventeen_are_not() {
    let upstream = Scripted::always(Reply::Silence).await;
    let short = Gateway::with(upstream.address, |config| {
        config.upstream.first_token_timeout = Duration::from_millis(500);
    })
    .await;
    let long = Gateway::to(upstream.address).await;
    for door in Door::ALL {
        upstream.set_reply(Reply::Wire(
            PROCESSING.repeat(HEADS_MAX).into_bytes(),
            Then::Silence,
        ));
        short
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Timeout, "first_token_timeout");
        upstream.set_reply(Reply::Wire(
            PROCESSING.repeat(HEADS_MAX + 1).into_bytes(),
            Then::Silence,
        ));
        long.ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_bad_answer");
    }
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn a_few_heads_before_an_answer_are_normal_on_each_request_of_a_connection() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n";
    for heads in [
        "HTTP/1.1 100 Continue\r\n\r\n".to_owned(),
        hints.to_owned(),
        PROCESSING.repeat(HEADS_MAX),
    ] {
        for door in Door::ALL {
            let upstream = Scripted::always(announced(door, &heads)).await;
            let gateway = Gateway::to(upstream.address).await;
            for _ in 0..3 {
                assert_eq!(
                    gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
                    "hi",
                    "{door:?}"
                );
            }
            assert_eq!(
                upstream.connections(),
                1,
                "{door:?}: the connection stays usable"
            );
        }
    }
}
