//! A stream has exactly one end, and no part of a call outlives its caller.

use std::time::Duration;

use featherwire::error::Kind;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    Door, Gateway, MODEL, Reply, Scripted,
    door::message,
    prompt,
    scripted::{chunk, done, event, finish},
};

#[tokio::test]
async fn only_a_finished_answer_ends_without_an_error() {
    let error = |text: &str| json!({"error": text}).to_string();
    let limit =
        json!({"error": {"message": "full", "code": "concurrency_limit_exceeded"}}).to_string();
    let two = |index: i32, finish: Option<&str>| {
        json!({"id": "x", "created": 1, "model": MODEL, "choices": [{"index": index,
            "delta": {"content": "a"}, "finish_reason": finish}]})
        .to_string()
    };
    let scripts = [
        (vec![chunk("a"), finish(), done()], None),
        (vec![chunk("a"), finish()], None),
        (
            vec![chunk("a")],
            Some((Kind::Upstream, "upstream_stream_cut")),
        ),
        (
            vec![chunk("a"), done()],
            Some((Kind::Upstream, "upstream_stream_cut")),
        ),
        (vec![], Some((Kind::Upstream, "upstream_stream_cut"))),
        (
            vec![two(0, None), two(1, None), two(1, Some("stop"))],
            Some((Kind::Upstream, "upstream_stream_cut")),
        ),
        (
            vec![two(0, None), two(1, Some("stop")), two(0, Some("stop"))],
            None,
        ),
        (
            vec![event(&json!({"content": "a"}), Some(""))],
            Some((Kind::Upstream, "upstream_stream_cut")),
        ),
        (
            vec![
                event(&json!({"content": "a"}), Some("")),
                finish(),
                " [DONE] ".to_owned(),
            ],
            None,
        ),
        (
            vec![chunk("a"), error("no data in 30000ms")],
            Some((Kind::Upstream, "upstream_stream_failed")),
        ),
        (
            vec![chunk("a"), limit],
            Some((Kind::Saturated, "concurrency_limit_exceeded")),
        ),
        (
            vec![chunk("a"), "{\"id\":".to_owned(), finish(), done()],
            Some((Kind::Upstream, "upstream_bad_answer")),
        ),
        (
            vec![chunk("a"), "<html>".to_owned()],
            Some((Kind::Upstream, "upstream_bad_answer")),
        ),
    ];
    for (events, end) in scripts {
        let upstream = Scripted::always(Reply::Events(events.clone())).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            if !events.is_empty() {
                assert!(
                    answer.content.starts_with('a'),
                    "{door:?} {events:?}: the content before the error is passed on: \
                                 {answer:?}"
                );
            }
            match end {
                None => drop(answer.ok()),
                Some((kind, code)) => drop(answer.failed(kind, code)),
            }
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_is_an_error_and_not_an_answer() {
    let upstream = Scripted::always(Reply::EventsThenCut(vec![chunk("half")])).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::STREAMS {
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
        assert_eq!(answer.content, "half");
        answer.failed(Kind::Upstream, "upstream_stream_cut");
    }
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn each_timeout_has_its_own_error_and_closes_the_upstream_call() {
    let short = Duration::from_millis(50);
    let stall = || Reply::EventsThenSilence(vec![chunk("half")]);
    for door in Door::ALL {
        let upstream = Scripted::always(Reply::Silence).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.upstream.first_token_timeout = short
        })
        .await;
        let failure = gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Timeout, "first_token_timeout");
        assert!(
            failure
                .message
                .contains("smaller model, fewer max_tokens, or a longer timeout"),
            "{failure:?}"
        );
        upstream.wait_until_closed().await;

        let upstream = Scripted::always(Reply::Silence).await;
        let gateway = Gateway::to(upstream.address).await;
        // Tonic's client would apply `grpc-timeout` itself and never receive the gateway's error. A
        // browser's client does not apply it.
        let header = match door {
            Door::WebUnary | Door::WebStream => ("grpc-timeout", "400m"),
            _ => ("x-request-timeout-ms", "400"),
        };
        let answer = gateway
            .ask_with(door, &prompt(MODEL, "hi"), &[header])
            .await;
        answer.failed(Kind::Timeout, "deadline_exceeded");
        upstream.wait_until_idle().await;
    }
    for door in Door::STREAMS {
        let upstream = Scripted::always(stall()).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.upstream.idle_timeout = short
        })
        .await;
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
        assert_eq!(answer.content, "half");
        answer.failed(Kind::Timeout, "stream_stalled");
        upstream.wait_until_closed().await;

        let upstream = Scripted::always(Reply::EventsThenSilence(vec![])).await;
        let gateway = Gateway::with(upstream.address, |config| {
            config.upstream.first_token_timeout = short
        })
        .await;
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Timeout, "first_token_timeout");
        upstream.wait_until_closed().await;
    }
}

#[tokio::test]
async fn the_upstream_call_is_closed_when_the_caller_disconnects() {
    for (reply, path) in [
        (Reply::Silence, "before the head"),
        (Reply::EventsThenSilence(vec![]), "before the first token"),
        (Reply::EventsThenSilence(vec![chunk("a")]), "in the middle"),
        (
            Reply::EventsThenSilence(vec![chunk("a"), finish()]),
            "after the last token",
        ),
    ] {
        for stream in [true, false] {
            let upstream = Scripted::always(reply.clone()).await;
            let gateway = Gateway::to(upstream.address).await;
            let mut request = prompt(MODEL, "hi");
            request["stream"] = json!(stream);
            let body = request.to_string();
            let mut caller = TcpStream::connect(gateway.address).await.unwrap();
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
                 application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            caller.write_all(head.as_bytes()).await.unwrap();
            caller.write_all(body.as_bytes()).await.unwrap();
            upstream.wait_for_request().await;
            if stream && path == "in the middle" {
                let mut seen = Vec::new();
                while !seen.windows(7).any(|window| window == b"content") {
                    assert!(caller.read_buf(&mut seen).await.unwrap() > 0);
                }
            }
            drop(caller);
            upstream.wait_until_closed().await;
        }
        let upstream = Scripted::always(reply).await;
        let gateway = Gateway::to(upstream.address).await;
        // The connection stays open and serves the next call. Only this stream is reset.
        let client = gateway.grpc().await;
        let mut caller = client.clone();
        let call = tokio::spawn(async move {
            let mut stream = caller
                .stream_chat_completion(message(&prompt(MODEL, "hi")))
                .await
                .unwrap()
                .into_inner();
            while stream.message().await.unwrap().is_some() {}
        });
        upstream.wait_for_request().await;
        call.abort();
        upstream.wait_until_closed().await;
        let refused = client
            .clone()
            .create_chat_completion(message(&json!({"model": "", "messages": []})))
            .await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_pause_of_the_caller_does_not_count_as_silence_of_the_upstream() {
    let large = "x".repeat(100_000);
    let events: Vec<_> = (0..200)
        .map(|_| chunk(&large))
        .chain([finish(), done()])
        .collect();
    let upstream = Scripted::always(Reply::Events(events)).await;
    let idle = Duration::from_secs(1);
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.idle_timeout = idle
    })
    .await;
    for path in [Door::RestStream, Door::GrpcStream] {
        let mut received = 0;
        if path == Door::GrpcStream {
            let mut client = gateway.grpc().await;
            let mut stream = client
                .stream_chat_completion(message(&prompt(MODEL, "hi")))
                .await
                .unwrap()
                .into_inner();
            while stream.message().await.unwrap().is_some() {
                received += 1;
                if received == 20 {
                    tokio::time::sleep(3 * idle).await; // the break itself
                }
            }
            assert_eq!(received, 201);
            continue;
        }
        let mut response = gateway.open_stream(MODEL).await;
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.unwrap() {
            body.extend_from_slice(&bytes);
            received += 1;
            if received == 20 {
                tokio::time::sleep(3 * idle).await; // the break itself
            }
        }
        assert!(
            body.ends_with(b"data: [DONE]\n\n"),
            "{}",
            String::from_utf8_lossy(&body[body.len().saturating_sub(300)..])
        );
    }
}

#[tokio::test]
async fn a_success_without_an_answer_is_an_error() {
    let full =
        json!({"error": {"message": "full", "type": "t", "code": "concurrency_limit_exceeded"}});
    for (body, kind, code) in [
        (json!({}), Kind::Upstream, "upstream_bad_answer"),
        (
            json!({"id": "x", "choices": []}),
            Kind::Upstream,
            "upstream_bad_answer",
        ),
        (
            json!({"error": "no data in 30000ms"}),
            Kind::Upstream,
            "upstream_stream_failed",
        ),
        (full, Kind::Saturated, "concurrency_limit_exceeded"),
    ] {
        let upstream = Scripted::always(Reply::Json(200, body)).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::ALL {
            gateway
                .ask(door, &prompt(MODEL, "hi"))
                .await
                .failed(kind, code);
        }
    }
}

#[tokio::test]
async fn a_role_alone_is_not_yet_a_token() {
    let role = event(&json!({"role": "assistant", "content": ""}), None);
    let upstream = Scripted::always(Reply::EventsThenSilence(vec![role])).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.upstream.first_token_timeout = Duration::from_millis(300);
        config.upstream.idle_timeout = Duration::from_millis(50);
    })
    .await;
    for door in Door::STREAMS {
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Timeout, "first_token_timeout");
    }
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn line_ends_inside_verbatim_json_do_not_break_an_event() {
    let event = event(&json!({"content": "a", "later": "HERE"}), Some("stop"));
    let event = event.replace("\"HERE\"", "{\ndata: \"b\":\ndata: 1}");
    let upstream = Scripted::always(Reply::Events(vec![event, done()])).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in Door::STREAMS {
        assert_eq!(
            gateway.ask(door, &prompt(MODEL, "hi")).await.ok().content,
            "a",
            "{door:?}"
        );
    }
}

#[tokio::test]
async fn a_finished_stream_leaves_its_upstream_connection_for_the_next() {
    let upstream = Scripted::always(Reply::Events(vec![chunk("a"), finish(), done()])).await;
    let gateway = Gateway::to(upstream.address).await;
    for _ in 0..3 {
        gateway
            .ask(Door::RestStream, &prompt(MODEL, "hi"))
            .await
            .ok();
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn an_event_of_several_lines_is_sent_as_one_line() {
    let chunk = "{\"id\":\"x\",\"created\":1,\"model\":\"m\",\"later\":{\ndata: \"a\":\ndata: \
                 1},\ndata: \"choices\":[]}";
    let upstream = Scripted::always(Reply::Events(vec![chunk.to_owned(), finish(), done()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let body =
        json!({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": true})
            .to_string();
    let events = gateway.post("/v1/chat/completions", body).await;
    let events = events.text().await.unwrap();
    assert!(events.starts_with(r#"data: {"id":"x","#), "{events}");
    assert!(events.contains(r#""later":{ "a": 1}"#), "{events}");
    assert!(
        events
            .lines()
            .all(|line| line.is_empty() || line.starts_with("data: ")),
        "{events}"
    );
}

/// A chunk of a choice. `is_last` adds a finish reason.
fn choice(index: i32, is_last: bool) -> String {
    let finish_reason = is_last.then_some("stop");
    json!({"id": "x", "created": 1, "model": MODEL, "choices":
        [{"index": index, "delta": {"content": "a"}, "finish_reason": finish_reason}]})
    .to_string()
}

#[tokio::test]
async fn an_answer_without_all_requested_choices_is_not_complete() {
    let mut two = prompt(MODEL, "hi");
    two["n"] = json!(2);
    let (one, both) = (
        vec![choice(0, true)],
        vec![choice(0, true), choice(1, true)],
    );
    let only_said = vec![choice(0, true), done()];
    for (script, is_complete) in [(one, false), (both, true), (only_said, true)] {
        let upstream = Scripted::always(Reply::Events(script)).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            let answer = gateway.ask(door, &two).await;
            assert_eq!(answer.failure.is_none(), is_complete, "{door:?}");
        }
        let added = gateway
            .ask_with(
                Door::RestUnary,
                &two,
                &[("x-featherwire-unary-via-stream", "true")],
            )
            .await;
        assert_eq!(added.failure.is_none(), is_complete);
    }
}

#[tokio::test]
async fn each_of_any_number_of_choices_has_to_finish() {
    let choices = |finished: i32| {
        (0..200)
            .map(|index| choice(index, index < finished))
            .collect()
    };
    for (finished, is_complete) in [(199, false), (200, true)] {
        let upstream = Scripted::always(Reply::Events(choices(finished))).await;
        let gateway = Gateway::to(upstream.address).await;
        for door in Door::STREAMS {
            let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
            assert_eq!(answer.failure.is_none(), is_complete, "{door:?} {finished}");
        }
    }
}

#[tokio::test]
async fn half_an_answer_with_an_error_is_an_error() {
    let mut half = crate::support::scripted::whole("half");
    half["error"] = json!({"message": "boom", "code": 500});
    let upstream = Scripted::always(Reply::Json(200, half)).await;
    let gateway = Gateway::to(upstream.address).await;
    for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
        gateway
            .ask(door, &prompt(MODEL, "hi"))
            .await
            .failed(Kind::Upstream, "upstream_stream_failed");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_size_limit_is_refused_and_the_upstream_call_closed() {
    let large = "x".repeat(1_000_000);
    let stream: Vec<_> = (0..80).map(|_| chunk(&large)).collect();
    let whole = crate::support::scripted::whole(&large.repeat(80));
    for (reply, header) in [
        (Reply::EventsThenSilence(stream), "true"),
        (Reply::Json(200, whole), "false"),
    ] {
        let upstream = Scripted::always(reply).await;
        let gateway = Gateway::to(upstream.address).await;
        let headers = [("x-featherwire-unary-via-stream", header)];
        let answer = gateway
            .ask_with(Door::RestUnary, &prompt(MODEL, "hi"), &headers)
            .await;
        answer.failed(Kind::Upstream, "upstream_answer_too_large");
        upstream.wait_until_closed().await;
    }
}
