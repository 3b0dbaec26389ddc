//! Compressed gRPC messages, in each of its forms.

use bytesize::ByteSize;
use featherwire::{
    emulator::EmulatorConfig,
    proto::v1::{
        Concurrency, CreateChatCompletionRequest, CreateChatCompletionResponse, ListModelsRequest,
        ListModelsResponse, StreamChatCompletionResponse, chat_service_client::ChatServiceClient,
    },
};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::{
    http_compression::{decoded, gzip, raw_deflate, zlib, zstd},
    support::{
        Emulator, Gateway, MODEL, Reply, Scripted,
        door::message,
        prompt,
        raw::{Form, call, frame},
        scripted::{chunk, finish, whole},
    },
};

const UNARY: &str = "/featherwire.v1.ChatService/CreateChatCompletion";
const STREAM: &str = "/featherwire.v1.ChatService/StreamChatCompletion";
const MODELS: &str = "/featherwire.v1.ModelService/ListModels";
const WATCH: &str = "/featherwire.v1.AccountService/WatchConcurrency";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

const UNDERSTOOD: &str = "gzip,deflate,zstd,identity";

#[tokio::test]
async fn a_compressed_message_is_the_message_that_was_compressed() {
    let upstream = Scripted::always(Reply::Json(200, whole("a"))).await;
    let gateway = Gateway::to(upstream.address).await;
    let request = prompt(MODEL, &"a long prompt ".repeat(20_000));
    let plain = message(&request).encode_to_vec();
    for form in Form::ALL {
        let before = upstream.requests().len();
        let cases = [
            ("gzip", frame(1, &gzip(&plain))),
            ("GZip", frame(1, &gzip(&plain))),
            ("deflate", frame(1, &zlib(&plain))),
            ("deflate", frame(1, &raw_deflate(&plain))),
            ("zstd", frame(1, &zstd(&plain))),
            ("gzip", frame(0, &plain)),
            ("identity", frame(0, &plain)),
            ("Identity", frame(0, &plain)),
            ("", frame(0, &plain)),
        ];
        for (coding, body) in &cases {
            upstream.set_reply(Reply::Json(200, whole("a")));
            let answer = call(&gateway, form, UNARY, &[("grpc-encoding", coding)], body)
                .await
                .ok();
            CreateChatCompletionResponse::decode(&answer.messages[0].1[..]).unwrap();
            upstream.set_reply(Reply::Events(vec![chunk("a"), finish()]));
            let answer = call(&gateway, form, STREAM, &[("grpc-encoding", coding)], body)
                .await
                .ok();
            assert_eq!(answer.messages.len(), 2);
            StreamChatCompletionResponse::decode(&answer.messages[0].1[..]).unwrap();
        }
        let seen = &upstream.requests()[before..];
        assert_eq!(seen.len(), 2 * cases.len());
        assert!(
            seen.iter()
                .all(|seen| seen.json()["messages"] == request["messages"]),
            "the prompt arrived changed"
        );
        for (path, body) in [(HEALTH, &b""[..]), (REFLECTION, b"\x3a\x00")] {
            let compressed = [frame(1, &gzip(body)), frame(1, body), frame(0, body)];
            let bodies = if body.is_empty() {
                &compressed[..]
            } else {
                &compressed[..1]
            };
            for body in bodies {
                let answer = call(&gateway, form, path, &[("grpc-encoding", "gzip")], body)
                    .await
                    .ok();
                assert_eq!(answer.messages.len(), 1, "{path}");
            }
        }
        let both = [
            frame(1, &gzip(b"\x3a\x00")),
            frame(0, b"\x3a\x00"),
            frame(1, &gzip(b"\x3a\x00")),
        ]
        .concat();
        let answer = call(
            &gateway,
            form,
            REFLECTION,
            &[("grpc-encoding", "gzip")],
            &both,
        )
        .await
        .ok();
        assert_eq!(
            answer.messages.len(),
            3,
            "each message of a stream may be compressed or not"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_when_decompressed_or_is_broken_is_refused_with_an_error() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.max_request_bytes = ByteSize::kib(64)
    })
    .await;
    let plain = message(&prompt(MODEL, "hi")).encode_to_vec();
    let large = message(&prompt(MODEL, &"x".repeat(64 * 1024))).encode_to_vec();
    let zeros = vec![0; 1024 * 1024];
    let bombs = [
        ("gzip", gzip(&zeros)),
        ("deflate", zlib(&zeros)),
        ("zstd", zstd(&zeros)),
        ("gzip", gzip(&large)),
    ];
    let cut = |mut data: Vec<u8>| {
        data.truncate(data.len() - 5);
        data
    };
    for form in Form::ALL {
        for path in [UNARY, STREAM, MODELS, HEALTH, REFLECTION] {
            for (coding, body) in &bombs {
                let answer = call(
                    &gateway,
                    form,
                    path,
                    &[("grpc-encoding", coding)],
                    &frame(1, body),
                )
                .await;
                let message = answer.failed(Code::ResourceExhausted, "request_too_large");
                let words = if [HEALTH, REFLECTION].contains(&path) {
                    ["4096", "short name"]
                } else {
                    ["65536", "--max-request-bytes"]
                };
                assert!(
                    words.iter().all(|words| message.contains(words)),
                    "{message}"
                );
            }
            for (coding, body) in [
                ("gzip", plain.clone()),
                ("gzip", cut(gzip(&plain))),
                ("deflate", cut(zlib(&plain))),
                ("zstd", plain.clone()),
                ("zstd", cut(zstd(&plain))),
            ] {
                let answer = call(
                    &gateway,
                    form,
                    path,
                    &[("grpc-encoding", coding)],
                    &frame(1, &body),
                )
                .await;
                let message = answer.failed(Code::InvalidArgument, "invalid_grpc_encoding");
                assert!(message.contains(coding), "{message}");
            }
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_error_about_an_unknown_encoding_names_the_known_ones() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = frame(1, b"xyz");
    for form in Form::ALL {
        for path in [UNARY, STREAM, HEALTH, REFLECTION] {
            for coding in ["br", "snappy", "gzip,zstd", &"x".repeat(2000)] {
                let answer = call(&gateway, form, path, &[("grpc-encoding", coding)], &body).await;
                assert_eq!(answer.head["grpc-accept-encoding"], UNDERSTOOD);
                let message = answer.failed(Code::Unimplemented, "unsupported_grpc_encoding");
                assert!(
                    message.contains("gzip, deflate, zstd") && message.len() < 256,
                    "{message}"
                );
            }
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn only_large_pages_of_the_catalogue_are_compressed_for_callers_who_accept_it() {
    let emulator = Emulator::with(EmulatorConfig {
        models: 500,
        tokens_per_second: 0.0,
        ..Default::default()
    })
    .await;
    let gateway = Gateway::to(emulator.address).await;
    let page = |size: i32| {
        frame(
            0,
            &ListModelsRequest {
                page_size: size,
                ..Default::default()
            }
            .encode_to_vec(),
        )
    };
    for form in Form::ALL {
        let models = async |size: i32, accept: &str| {
            let answer = call(
                &gateway,
                form,
                MODELS,
                &[("grpc-accept-encoding", accept)],
                &page(size),
            )
            .await
            .ok();
            assert_eq!(answer.head["grpc-accept-encoding"], UNDERSTOOD);
            assert_eq!(answer.messages.len(), 1);
            answer
        };
        let plain = models(400, "identity").await;
        assert!(!plain.head.contains_key("grpc-encoding") && plain.messages[0].0 == 0);
        for (accept, coding) in [
            ("gzip", "gzip"),
            ("identity,deflate,gzip", "gzip"),
            ("zstd, GZIP", "zstd"),
            ("gzip,ZSTD", "zstd"),
        ] {
            let packed = models(400, accept).await;
            assert_eq!(
                (&packed.head["grpc-encoding"], packed.messages[0].0),
                (&coding.parse().unwrap(), 1),
                "{accept}"
            );
            assert!(packed.messages[0].1.len() < plain.messages[0].1.len() / 2);
            let message = decoded(coding, &packed.messages[0].1);
            let (packed, plain) = (
                ListModelsResponse::decode(&message[..]),
                &plain.messages[0].1[..],
            );
            assert_eq!(
                packed.unwrap().models,
                ListModelsResponse::decode(plain).unwrap().models
            );
        }
        for accept in ["", "identity", "deflate", "br", "gzipped"] {
            assert!(
                !models(400, accept).await.head.contains_key("grpc-encoding"),
                "{accept}"
            );
        }
        let small = models(1, "gzip").await;
        assert!(
            !small.head.contains_key("grpc-encoding") && small.messages[0].0 == 0,
            "small messages are not compressed"
        );
        let bad = frame(
            0,
            &ListModelsRequest {
                page_size: -1,
                ..Default::default()
            }
            .encode_to_vec(),
        );
        let answer = call(
            &gateway,
            form,
            MODELS,
            &[("grpc-accept-encoding", "gzip")],
            &bad,
        )
        .await;
        answer.failed(Code::InvalidArgument, "invalid_value");
    }
    let upstream =
        Scripted::always(Reply::Events(vec![chunk(&"x".repeat(30_000)), finish()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let body = frame(0, &message(&prompt(MODEL, "hi")).encode_to_vec());
    for form in Form::ALL {
        let answer = call(
            &gateway,
            form,
            STREAM,
            &[("grpc-accept-encoding", "gzip")],
            &body,
        )
        .await
        .ok();
        assert!(!answer.head.contains_key("grpc-encoding"));
        assert!(
            answer.messages.iter().all(|(flag, _)| *flag == 0),
            "a stream of chunks is never compressed"
        );
    }
    let text = "long ".repeat(5000);
    let upstream = Scripted::always(Reply::Json(200, whole(&text))).await;
    let gateway = Gateway::to(upstream.address).await;
    for form in Form::ALL {
        for coding in ["gzip", "zstd"] {
            let headers = [("grpc-accept-encoding", coding)];
            let answer = call(&gateway, form, UNARY, &headers, &body).await.ok();
            assert_eq!(answer.head["grpc-encoding"], coding, "{form:?}");
            let (flag, message) = &answer.messages[0];
            let message = decoded(coding, message);
            let message = CreateChatCompletionResponse::decode(&message[..]).unwrap();
            let content = &message.choices[0].message.as_ref().unwrap().content;
            assert_eq!((*flag, content.as_deref()), (1, Some(&*text)));
        }
    }
}

#[tokio::test]
async fn a_large_message_about_units_is_compressed_alone() {
    let request = json!({"id": "a".repeat(36), "model": MODEL, "cost": 1});
    let snapshot = json!({"limit": 8, "used_cost": 0, "requests": vec![request; 400]});
    let snapshot = Reply::EventsThenSilence(vec![snapshot.to_string()]);
    let upstream = Scripted::always(snapshot).await;
    let gateway = Gateway::to(upstream.address).await;
    let gateway = &gateway;
    let watch = async |form: Form, coding: &'static str, flag: u8| {
        let headers = [("grpc-accept-encoding", coding), ("grpc-timeout", "8S")];
        let answer = call(gateway, form, WATCH, &headers, &frame(0, b"")).await;
        assert_eq!(answer.status.code(), Code::DeadlineExceeded);
        assert_eq!(answer.messages[0].0, flag, "{form:?} {coding}");
        let message = match flag {
            1 => decoded(coding, &answer.messages[0].1),
            _ => answer.messages[0].1.clone(),
        };
        let units = Concurrency::decode(&message[..]).unwrap();
        assert_eq!(units.requests.len(), 400);
    };
    let watches = Form::ALL.into_iter().flat_map(|form| {
        [("zstd", 1), ("gzip", 1), ("identity", 0)].map(|(coding, flag)| watch(form, coding, flag))
    });
    futures_util::future::join_all(watches).await;
}

#[tokio::test]
async fn a_generated_client_needs_no_code_for_compression() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut client = ChatServiceClient::new(gateway.channel().await);
    let answer = client
        .create_chat_completion(message(&prompt(MODEL, "hi")))
        .await
        .unwrap();
    assert_eq!(
        answer.metadata().get("grpc-accept-encoding").unwrap(),
        UNDERSTOOD
    );
}

#[tokio::test]
async fn an_error_is_only_a_head_whatever_compression_its_caller_accepts() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for method in ["CreateChatCompletion", "StreamChatCompletion"] {
        let path = format!("/featherwire.v1.ChatService/{method}");
        for accepted in ["identity", "identity, deflate, gzip", "zstd"] {
            let headers = [("grpc-accept-encoding", accepted)];
            let message: CreateChatCompletionRequest = message(&prompt("nope/none", "hi"));
            let body = frame(0, &message.encode_to_vec());
            let answer = call(&gateway, Form::Grpc, &path, &headers, &body).await;
            answer.failed(Code::NotFound, "model_not_found");
            // Clients in C and Python take a body for the end of a broken stream.
            assert!(answer.is_only_head, "{method} {accepted}");
        }
    }
}
