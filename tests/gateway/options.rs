//! What a request's member `featherwire` asks of the gateway: the same as the headers, with types.

use std::time::Duration;

use featherwire::{
    config::Fallback,
    error::Kind,
    proto::v1::{
        CreateCompletionRequest, CreateEmbeddingRequest, GatewayOptions, Priority,
        completion_service_client::CompletionServiceClient, create_completion_request::PromptKind,
        create_embedding_request::InputKind, embedding_service_client::EmbeddingServiceClient,
    },
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::{
    Door, Gateway, MODEL, PATIENCE, Reply, Scripted,
    door::{grpc_failure, message},
    gateway::http,
    prompt,
    scripted::{chunk, finish, whole},
};

const FIRST: &str = "org/first";
const SECOND: &str = "org/second";

fn no_capacity() -> Reply {
    let error = json!({"message": "No valid Executor", "type": "x", "param": null, "code": ""});
    Reply::Json(503, json!({ "error": error }))
}

fn events() -> Reply {
    Reply::Events(vec![chunk("b"), finish()])
}

fn good(door: Door) -> Reply {
    if door.is_stream() {
        events()
    } else {
        Reply::Json(200, whole("b"))
    }
}

/// A request with these options.
fn with(model: &str, options: &Value) -> Value {
    let mut request = prompt(model, "hi");
    request["featherwire"] = options.clone();
    request
}

/// A call in two ways: by the option, and by its twin among the headers.
fn ways(
    model: &str,
    options: &Value,
    header: (&'static str, &'static str),
) -> [(Value, Vec<(&'static str, &'static str)>); 2] {
    [
        (with(model, options), vec![]),
        (prompt(model, "hi"), vec![header]),
    ]
}

/// The models that upstream was asked for. No option has come to it.
fn asked(upstream: &Scripted) -> Vec<String> {
    let seen = upstream.seen();
    for seen in &seen {
        assert!(
            seen.json().get("featherwire").is_none(),
            "never sent upstream: {}",
            seen.json()
        );
    }
    seen.iter()
        .map(|seen| seen.json()["model"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn fallbacks_are_those_of_the_header_at_every_door() {
    for door in Door::ALL {
        for (request, headers) in ways(
            FIRST,
            &json!({"fallbacks": [SECOND]}),
            ("x-featherwire-fallback", SECOND),
        ) {
            let upstream = Scripted::first([no_capacity(), good(door)]).await;
            let gateway = Gateway::to(upstream.address).await;
            let answer = gateway.ask_with(door, &request, &headers).await.ok();
            assert_eq!(
                (answer.content.as_str(), answer.served_by.as_deref()),
                ("b", Some(SECOND)),
                "{door:?}"
            );
            assert_eq!(
                answer.tried,
                Some(format!("{FIRST}=no_capacity")),
                "{door:?}"
            );
            assert_eq!(asked(&upstream), [FIRST, SECOND]);
        }
        // Those of the configuration are not asked for, if the call says so.
        for (request, headers) in ways(
            FIRST,
            &json!({"no_fallbacks": true}),
            ("x-featherwire-fallback", "none"),
        ) {
            let upstream = Scripted::first([no_capacity(), good(door)]).await;
            let gateway = Gateway::with(upstream.address, |config| {
                config.models.fallbacks = vec![Fallback {
                    model: FIRST.to_owned(),
                    others: vec![SECOND.to_owned()],
                }];
            })
            .await;
            gateway
                .ask_with(door, &request, &headers)
                .await
                .failed(Kind::Unavailable, "no_capacity");
            assert_eq!(asked(&upstream), [FIRST], "{door:?}");
            let by_configuration = with(FIRST, &json!({"no_fallbacks": false}));
            upstream.replies(good(door));
            gateway.ask(door, &by_configuration).await.ok();
        }
    }
}

#[tokio::test]
async fn a_timeout_is_that_of_the_header_at_every_door_and_closes_upstream() {
    for door in Door::ALL {
        for (request, headers) in ways(
            MODEL,
            &json!({"timeout_ms": 200}),
            ("x-request-timeout-ms", "200"),
        ) {
            let upstream = Scripted::always(Reply::Silence).await;
            let gateway = Gateway::to(upstream.address).await;
            gateway
                .ask_with(door, &request, &headers)
                .await
                .failed(Kind::Timeout, "deadline_exceeded");
            upstream.closed().await;
            assert_eq!(asked(&upstream), [MODEL], "{door:?}");
        }
    }
}

#[tokio::test]
async fn of_the_option_and_grpcs_own_deadline_the_sooner_counts() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (option, grpc) in [(200, "1H"), (3_600_000, "200m"), (i64::MAX, "200m")] {
        // Not tonic's client, which keeps such a deadline itself.
        for door in [
            Door::RestUnary,
            Door::RestStream,
            Door::WebUnary,
            Door::WebStream,
        ] {
            let request = with(MODEL, &json!({ "timeout_ms": option }));
            let answer = gateway
                .ask_with(door, &request, &[("grpc-timeout", grpc)])
                .await;
            answer.failed(Kind::Timeout, "deadline_exceeded");
        }
    }
    upstream.closed().await;
}

#[tokio::test]
async fn a_timeout_is_kept_though_nobody_reads() {
    let large = "x".repeat(1_000_000);
    let upstream = Scripted::always(Reply::EventsThenSilence(
        (0..50).map(|_| chunk(&large)).collect(),
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let request = with(MODEL, &json!({"timeout_ms": 2000}));
    let held = gateway
        .grpc()
        .await
        .stream_chat_completion(message(&request))
        .await
        .unwrap();
    upstream.closed().await;
    drop(held);
    let mut request = request;
    request["stream"] = json!(true);
    let post = http()
        .post(gateway.url("/v1/chat/completions"))
        .header("content-type", "application/json");
    let held = post.body(request.to_string()).send().await.unwrap();
    upstream.closed().await;
    drop(held);
}

#[tokio::test]
async fn a_whole_answer_by_way_of_a_stream_is_asked_for_as_by_the_header() {
    const VIA_STREAM: &str = "x-featherwire-unary-via-stream";
    for door in [Door::RestUnary, Door::GrpcUnary, Door::WebUnary] {
        for (options, header) in [
            (json!({"unary_via_stream": true}), (VIA_STREAM, "true")),
            (json!({"unary_via_stream": false}), (VIA_STREAM, "false")),
        ] {
            let is_stream = header.1 == "true";
            for (request, headers) in ways(MODEL, &options, header) {
                let reply = if is_stream {
                    events()
                } else {
                    Reply::Json(200, whole("b"))
                };
                let upstream = Scripted::always(reply).await;
                // Whatever all other calls do.
                let gateway = Gateway::with(upstream.address, |config| {
                    config.unary_via_stream = !is_stream
                })
                .await;
                assert_eq!(
                    gateway
                        .ask_with(door, &request, &headers)
                        .await
                        .ok()
                        .content,
                    "b"
                );
                assert_eq!(
                    upstream.only().json()["stream"],
                    is_stream,
                    "{door:?} {options}"
                );
                asked(&upstream);
            }
        }
    }
    // A stream is one already.
    for door in Door::STREAMS {
        let upstream = Scripted::always(events()).await;
        let gateway = Gateway::to(upstream.address).await;
        gateway
            .ask(door, &with(MODEL, &json!({"unary_via_stream": true})))
            .await
            .ok();
    }
}

#[tokio::test]
async fn a_priority_is_that_of_the_header_at_every_door() {
    for door in Door::ALL {
        for word in ["interactive", "default", "batch"] {
            for (request, headers) in ways(
                MODEL,
                &json!({ "priority": word }),
                ("x-featherwire-priority", word),
            ) {
                let upstream = Scripted::first([Reply::Silence, good(door)]).await;
                upstream.knows(json!({"object": "list", "data": []}));
                let gateway =
                    Gateway::with(upstream.address, |config| config.units.units = Some(1)).await;
                let other = prompt(MODEL, "hi");
                let holds = gateway.ask(Door::RestUnary, &other);
                let waits = async {
                    upstream.asked().await;
                    let asks = gateway.ask_with(door, &request, &headers);
                    let queued = async {
                        while gateway.units("any").await["queued"][word] != 1 {
                            tokio::task::yield_now().await;
                        }
                    };
                    let mut asks = std::pin::pin!(asks);
                    tokio::select! {
                        answer = &mut asks => panic!("{door:?} {word}: there are no units for {answer:?}"),
                        () = queued => {}
                    }
                };
                tokio::select! {
                    answer = holds => panic!("silence, and not {answer:?}"),
                    waited = tokio::time::timeout(PATIENCE, waits) => waited.unwrap(),
                }
                upstream.rests().await;
            }
        }
    }
}

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
                "names the other one: {}",
                failure.message
            );
        }
    }
    assert!(upstream.seen().is_empty());
    for door in Door::ALL {
        let upstream = Scripted::always(good(door)).await;
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

/// What REST says is wrong: the path, and the problem.
async fn refused(gateway: &Gateway, path: &str, request: &Value) -> (String, String) {
    let post = http()
        .post(gateway.url(path))
        .header("content-type", "application/json");
    let response = post.body(request.to_string()).send().await.unwrap();
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 400, "{request}: {body}");
    let error: Value = serde_json::from_str(&body).unwrap();
    let text = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    (text("param"), text("message"))
}

fn invalid(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let failure = grpc_failure(status);
    (failure.param.unwrap_or_default(), failure.message)
}

#[tokio::test]
async fn what_is_no_option_is_refused_by_its_path_in_both_codecs() {
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
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn options_in_extra_are_the_options_themselves() {
    let upstream = Scripted::first([no_capacity(), Reply::Json(200, whole("b"))]).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut client = gateway.grpc().await;
    let mut request = message(&prompt(FIRST, "hi"));
    let options = json!({"fallbacks": [SECOND], "report": true}).to_string();
    request
        .extra
        .insert("featherwire".to_owned(), options.clone());
    let answer = client
        .create_chat_completion(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.featherwire.unwrap().model, SECOND);
    assert_eq!(asked(&upstream), [FIRST, SECOND]);
    request.featherwire = Some(Box::default());
    let (param, problem) = invalid(
        &client
            .create_chat_completion(request.clone())
            .await
            .unwrap_err(),
    );
    assert_eq!(param, "extra[\"featherwire\"]", "{problem}");
    request.featherwire = None;
    request
        .extra
        .insert("featherwire".to_owned(), "null".to_owned());
    client.create_chat_completion(request).await.unwrap();
    // One level deeper.
    let mut request = message(&with(MODEL, &json!({})));
    request
        .featherwire
        .as_mut()
        .unwrap()
        .extra
        .insert("report".to_owned(), "true".to_owned());
    assert!(
        client
            .create_chat_completion(request)
            .await
            .unwrap()
            .into_inner()
            .featherwire
            .is_some()
    );
    asked(&upstream);
}

#[tokio::test]
async fn texts_and_embeddings_have_the_options_that_make_sense_for_them() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let text = |options: &Value| json!({"model": MODEL, "prompt": "hi", "featherwire": options});
    let vector = |options: &Value| json!({"model": MODEL, "input": "hi", "featherwire": options});
    for (path, request) in [
        ("/v1/completions", text(&json!({"unary_via_stream": true}))),
        ("/v1/embeddings", vector(&json!({"unary_via_stream": true}))),
    ] {
        let (param, message) = refused(&gateway, path, &request).await;
        assert_eq!(param, "featherwire.unary_via_stream", "{message}");
    }
    let (param, message) = refused(
        &gateway,
        "/v1/embeddings",
        &vector(&json!({"fallbacks": [SECOND]})),
    )
    .await;
    assert_eq!(param, "featherwire.fallbacks", "{message}");
    assert!(upstream.seen().is_empty());

    let options = GatewayOptions {
        timeout_ms: Some(200),
        ..GatewayOptions::default()
    };
    let options = || Some(Box::new(options.clone()));
    let mut texts = CompletionServiceClient::new(gateway.channel().await);
    let mut vectors = EmbeddingServiceClient::new(gateway.channel().await);
    let prompt_kind = Some(PromptKind::Prompt("hi".to_owned()));
    let continues = CreateCompletionRequest {
        model: MODEL.to_owned(),
        prompt_kind,
        featherwire: options(),
        ..CreateCompletionRequest::default()
    };
    let embeds = CreateEmbeddingRequest {
        model: MODEL.to_owned(),
        input_kind: Some(InputKind::Input("hi".to_owned())),
        featherwire: options(),
        ..CreateEmbeddingRequest::default()
    };
    let statuses = [
        texts
            .create_completion(continues.clone())
            .await
            .unwrap_err(),
        texts
            .stream_completion(continues.clone())
            .await
            .unwrap_err(),
        vectors.create_embedding(embeds).await.unwrap_err(),
    ];
    for status in statuses {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    let late = json!({"timeout_ms": 200});
    for (path, request) in [
        ("/v1/completions", text(&late)),
        ("/v1/completions:stream", text(&late)),
        ("/v1/embeddings", vector(&late)),
    ] {
        let post = http()
            .post(gateway.url(path))
            .header("content-type", "application/json");
        let response = tokio::time::timeout(PATIENCE, post.body(request.to_string()).send())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(response.status(), 504, "{path}");
    }
    upstream.closed().await;
    assert_eq!(asked(&upstream), [MODEL; 6]);

    // And a fallback, where there are some.
    let choice = json!({"index": 0, "text": "b", "finish_reason": "stop"});
    let good = json!({"id": "cmpl-1", "created": 1, "model": SECOND, "choices": [choice]});
    let upstream = Scripted::first([no_capacity(), Reply::Json(200, good)]).await;
    let gateway = Gateway::to(upstream.address).await;
    let options = GatewayOptions {
        fallbacks: vec![SECOND.to_owned()],
        ..GatewayOptions::default()
    };
    let request = CreateCompletionRequest {
        featherwire: Some(Box::new(options)),
        ..continues
    };
    let mut texts = CompletionServiceClient::new(gateway.channel().await);
    let answer = tokio::time::timeout(Duration::from_secs(120), texts.create_completion(request))
        .await
        .unwrap();
    assert_eq!(
        answer
            .unwrap()
            .metadata()
            .get("x-featherwire-model")
            .unwrap(),
        SECOND
    );
    assert_eq!(asked(&upstream), [MODEL, SECOND]);
}
