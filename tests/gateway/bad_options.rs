//! Options of a request that are refused: unknown options, invalid values, and options that
//! contradict the headers.

use featherwire::{
    error::Kind,
    proto::v1::{GatewayOptions, Priority},
};
use serde_json::json;

use crate::{
    options::{asked, invalid, refused, with},
    support::{
        Door, Gateway, MODEL, Reply, Scripted,
        door::message,
        models::{FIRST, SECOND},
        scripted::{answer_for, whole},
    },
};

#[tokio::test]
async fn an_option_and_a_header_that_differ_are_refused_and_equal_ones_are_not() {
    let upstream = Scripted::always(Reply::Json(500, json!({}))).await;
    let gateway = Gateway::to(upstream.address).await;
    const FALLBACK: &str = "x-featherwire-fallback";
    let cases = [
        (
            json!({"fallbacks": [SECOND]}),
            "featherwire.fallbacks",
            (FALLBACK, FIRST),
        ),
        (
            json!({"fallbacks": [SECOND]}),
            "featherwire.fallbacks",
            (FALLBACK, "none"),
        ),
        (
            json!({"fallbacks": [FIRST, SECOND]}),
            "featherwire.fallbacks",
            (FALLBACK, "org/second, org/first"),
        ),
        (
            json!({"no_fallbacks": true}),
            "featherwire.no_fallbacks",
            (FALLBACK, SECOND),
        ),
        (
            json!({"no_fallbacks": false}),
            "featherwire.no_fallbacks",
            (FALLBACK, "none"),
        ),
        (
            json!({"priority": "batch"}),
            "featherwire.priority",
            ("x-featherwire-priority", "default"),
        ),
        (
            json!({"unary_via_stream": true}),
            "featherwire.unary_via_stream",
            ("x-featherwire-unary-via-stream", "false"),
        ),
        (
            json!({"unary_via_stream": false}),
            "featherwire.unary_via_stream",
            ("x-featherwire-unary-via-stream", "true"),
        ),
        (
            json!({"timeout_ms": 60_000}),
            "featherwire.timeout_ms",
            ("x-request-timeout-ms", "60001"),
        ),
    ];
    for door in Door::ALL {
        for (options, path, header) in &cases {
            let answer = gateway
                .ask_with(door, &with(MODEL, options), &[*header])
                .await;
            let failure = answer.failed(Kind::Invalid, "invalid_value");
            assert_eq!(failure.param.as_deref(), Some(*path), "{door:?}");
            assert!(
                failure.message.contains(header.0),
                "the error names the header: {}",
                failure.message
            );
        }
    }
    assert!(upstream.requests().is_empty());
    for door in Door::ALL {
        let upstream = Scripted::always(answer_for(door)).await;
        let gateway = Gateway::to(upstream.address).await;
        for (options, header) in [
            (
                json!({"fallbacks": [FIRST, SECOND]}),
                (FALLBACK, "org/first, org/second"),
            ),
            (json!({"no_fallbacks": true}), (FALLBACK, "none")),
            (
                json!({"no_fallbacks": false, "fallbacks": [SECOND]}),
                (FALLBACK, SECOND),
            ),
            (
                json!({"priority": "batch"}),
                ("x-featherwire-priority", "batch"),
            ),
            (
                json!({"priority": null}),
                ("x-featherwire-priority", "batch"),
            ),
            (
                json!({"unary_via_stream": false}),
                ("x-featherwire-unary-via-stream", "false"),
            ),
            (
                json!({"timeout_ms": 60_000}),
                ("x-request-timeout-ms", "60000"),
            ),
            (json!({}), ("x-request-timeout-ms", "60000")),
        ] {
            gateway
                .ask_with(door, &with(MODEL, &options), &[header])
                .await
                .ok();
        }
        asked(&upstream);
    }
}

/// The path and the problem in REST's error.
#[tokio::test]
async fn an_unknown_option_is_refused_by_its_path_in_both_codecs() {
    let upstream = Scripted::always(Reply::Json(200, whole("b"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let long = json!([
        SECOND, SECOND, SECOND, SECOND, SECOND, SECOND, SECOND, SECOND, SECOND
    ]);
    for (options, path, problem) in [
        (
            json!({"priority": "urgent"}),
            "featherwire.priority",
            "interactive, default or batch",
        ),
        (
            json!({"priority": 3}),
            "featherwire.priority",
            "interactive, default or batch",
        ),
        (
            json!({"timeout_ms": 0}),
            "featherwire.timeout_ms",
            "at least 1",
        ),
        (
            json!({"timeout_ms": -5}),
            "featherwire.timeout_ms",
            "at least 1",
        ),
        (
            json!({"fallbacks": long}),
            "featherwire.fallbacks",
            "at most 8 models",
        ),
        (
            json!({"fallbacks": [SECOND, " "]}),
            "featherwire.fallbacks[1]",
            "a model id",
        ),
        (
            json!({"fallbacks": [SECOND], "no_fallbacks": true}),
            "featherwire.no_fallbacks",
            "fallbacks",
        ),
        (
            json!({"fallback": SECOND}),
            "featherwire.fallback",
            "no such option: there are fallbacks, no_fallbacks",
        ),
        (json!({"report": "yes"}), "featherwire.report", "a boolean"),
        (json!({"queue": 1}), "featherwire.queue", "a boolean"),
        (json!("batch"), "featherwire", "an object"),
    ] {
        let (param, message) =
            refused(&gateway, "/v1/chat/completions", &with(MODEL, &options)).await;
        assert_eq!(param, path, "{options}: {message}");
        assert!(message.contains(problem), "{options}: {message}");
    }
    type Change = fn(&mut GatewayOptions);
    let cases: [(Change, &str, &str); 8] = [
        (
            |options| options.priority = 7,
            "featherwire.priority",
            "there are 1 (interactive), 2 (default), 3 (batch)",
        ),
        (
            |options| options.timeout_ms = Some(0),
            "featherwire.timeout_ms",
            "at least 1",
        ),
        (
            |options| options.fallbacks = vec![SECOND.to_owned(); 9],
            "featherwire.fallbacks",
            "at most 8 models",
        ),
        (
            |options| options.fallbacks = vec![String::new()],
            "featherwire.fallbacks[0]",
            "a model id",
        ),
        (
            |options| _ = options.extra.insert("x".into(), "1".into()),
            "featherwire.x",
            "no such option",
        ),
        (
            |options| {
                options.priority = Priority::Batch.into();
                options.extra.insert("priority".into(), "\"batch\"".into());
            },
            "featherwire.extra[\"priority\"]",
            "set only one of the two",
        ),
        (
            |options| _ = options.extra.insert("priority".into(), "\"urgent\"".into()),
            "featherwire.priority",
            "interactive, default or batch",
        ),
        (
            |options| _ = options.extra.insert("priority".into(), "urgent".into()),
            "featherwire.extra[\"priority\"]",
            "JSON",
        ),
    ];
    let mut client = gateway.grpc().await;
    for (change, path, problem) in cases {
        let mut request = message(&with(MODEL, &json!({})));
        change(request.featherwire.as_mut().unwrap());
        for status in [
            client
                .create_chat_completion(request.clone())
                .await
                .unwrap_err(),
            client.stream_chat_completion(request).await.unwrap_err(),
        ] {
            let (param, message) = invalid(&status);
            assert_eq!(param, path, "{message}");
            assert!(message.contains(problem), "{message}");
        }
    }
    assert!(upstream.requests().is_empty());
}
