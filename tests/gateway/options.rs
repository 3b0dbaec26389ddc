//! The options in the member `featherwire` of a request: the typed form of the headers.

use std::time::Duration;

use featherwire::{
    config::Fallback,
    error::Kind,
    proto::v1::{
        CreateCompletionRequest, CreateEmbeddingRequest, GatewayOptions,
        completion_service_client::CompletionServiceClient, create_completion_request::PromptKind,
        create_embedding_request::InputKind, embedding_service_client::EmbeddingServiceClient,
    },
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::{
    Door, Gateway, MODEL, PATIENCE, Reply, Scripted, advance,
    door::{grpc_failure, message},
    models::{FIRST, SECOND},
    prompt,
    scripted::{answer_for, chunk, finish, no_capacity, whole},
};

fn events() -> Reply {
    Reply::Events(vec![chunk("b"), finish()])
}

/// A request with these options.
pub fn with(model: &str, options: &Value) -> Value {
    let mut request = prompt(model, "hi");
    request["featherwire"] = options.clone();
    request
}

/// The same call in two forms: with the option, and with its header.
pub fn ways(
    model: &str,
    options: &Value,
    header: (&'static str, &'static str),
) -> [(Value, Vec<(&'static str, &'static str)>); 2] {
    [
        (with(model, options), vec![]),
        (prompt(model, "hi"), vec![header]),
    ]
}

/// The models that the upstream was asked for. Checks that it received no options.
pub fn asked(upstream: &Scripted) -> Vec<String> {
    let seen = upstream.requests();
    for seen in &seen {
        assert!(
            seen.json().get("featherwire").is_none(),
            "never sent upstream: {}",
            seen.json()
        );
    }
    upstream.models()
}

pub async fn refused(gateway: &Gateway, path: &str, request: &Value) -> (String, String) {
    let response = gateway.post(path, &request).await;
    let (status, body) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 400, "{request}: {body}");
    let error: Value = serde_json::from_str(&body).unwrap();
    let text = |name: &str| error["error"][name].as_str().unwrap_or_default().to_owned();
    (text("param"), text("message"))
}

pub fn invalid(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let failure = grpc_failure(status);
    (failure.param.unwrap_or_default(), failure.message)
}

#[tokio::test]
async fn fallbacks_are_those_of_the_header_at_every_door() {
    for door in Door::ALL {
        for (request, headers) in ways(
            FIRST,
            &json!({"fallbacks": [SECOND]}),
            ("x-featherwire-fallback", SECOND),
        ) {
            let upstream = Scripted::first([no_capacity(), answer_for(door)]).await;
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
        // The configured fallbacks are not asked if the call says so.
        for (request, headers) in ways(
            FIRST,
            &json!({"no_fallbacks": true}),
            ("x-featherwire-fallback", "none"),
        ) {
            let upstream = Scripted::first([no_capacity(), answer_for(door)]).await;
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
            upstream.set_reply(answer_for(door));
            gateway.ask(door, &by_configuration).await.ok();
        }
    }
}

#[tokio::test]
async fn a_timeout_is_that_of_the_header_at_every_door_and_closes_upstream() {
    for door in Door::ALL {
        for (request, headers) in ways(
            MODEL,
            &json!({"timeout_ms": 20_000}),
            ("x-request-timeout-ms", "20000"),
        ) {
            let upstream = Scripted::always(Reply::Silence).await;
            let gateway = Gateway::to(upstream.address).await;
            let time_passes = async {
                upstream.wait_for_request().await;
                advance(Duration::from_secs(20)).await;
            };
            let call = gateway.ask_with(door, &request, &headers);
            let (answer, ()) = tokio::join!(call, time_passes);
            answer.failed(Kind::Timeout, "deadline_exceeded");
            upstream.wait_until_closed().await;
            assert_eq!(asked(&upstream), [MODEL], "{door:?}");
        }
    }
}

#[tokio::test]
async fn the_earlier_of_the_option_and_grpcs_deadline_counts() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for (option, grpc) in [(200, "1H"), (3_600_000, "200m"), (i64::MAX, "200m")] {
        // Tonic's client is not used, because it applies such a deadline itself.
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
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn a_timeout_ends_a_call_even_if_the_caller_does_not_read() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let large = "x".repeat(1_000_000);
    let upstream = Scripted::always(Reply::EventsThenSilence(
        (0..50).map(|_| chunk(&large)).collect(),
    ))
    .await;
    let gateway = Gateway::to(upstream.address).await;
    let request = with(MODEL, &json!({"timeout_ms": TIMEOUT.as_millis() as u64}));
    let held = gateway
        .grpc()
        .await
        .stream_chat_completion(message(&request))
        .await
        .unwrap();
    advance(TIMEOUT).await;
    upstream.wait_until_closed().await;
    drop(held);
    let mut request = request;
    request["stream"] = json!(true);
    let held = gateway.post("/v1/chat/completions", &request).await;
    advance(TIMEOUT).await;
    upstream.wait_until_closed().await;
    drop(held);
}

#[tokio::test]
async fn the_option_unary_via_stream_does_what_the_header_does() {
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
                // The configuration of the gateway says the opposite.
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
                    upstream.only_request().json()["stream"],
                    is_stream,
                    "{door:?} {options}"
                );
                asked(&upstream);
            }
        }
    }
    // A streamed call stays a stream.
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
                let upstream = Scripted::first([Reply::Silence, answer_for(door)]).await;
                upstream.set_catalogue(json!({"object": "list", "data": []}));
                let gateway =
                    Gateway::with(upstream.address, |config| config.units.units = Some(1)).await;
                let other = prompt(MODEL, "hi");
                let holds = gateway.ask(Door::RestUnary, &other);
                let waits = async {
                    upstream.wait_for_request().await;
                    let asks = gateway.ask_with(door, &request, &headers);
                    let queued =
                        gateway.wait_for_units("it waits", |view| view["queued"][word] == 1);
                    let mut asks = std::pin::pin!(asks);
                    tokio::select! {
                        answer = &mut asks => panic!("{door:?} {word}: no units for {answer:?}"),
                        () = queued => {}
                    }
                };
                tokio::select! {
                    answer = holds => panic!("silence, and not {answer:?}"),
                    waited = tokio::time::timeout(PATIENCE, waits) => waited.unwrap(),
                }
                upstream.wait_until_idle().await;
            }
        }
    }
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
    // The same inside the options themselves.
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
async fn completions_and_embeddings_have_the_options_that_apply_to_them() {
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
    assert!(upstream.requests().is_empty());

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
        let response = tokio::time::timeout(PATIENCE, gateway.post_request(path, &request).send())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(response.status(), 504, "{path}");
    }
    upstream.wait_until_closed().await;
    assert_eq!(asked(&upstream), [MODEL; 6]);

    // And a fallback, if the method has fallbacks.
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
