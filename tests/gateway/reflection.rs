//! Server reflection as tools use it: one stream with several requests in sequence.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, prost_types::FileDescriptorProto};
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Gateway, Reply, Scripted, door::frame, rest::http};

/// The messages of both versions are the same.
const VERSIONS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

async fn start() -> (Scripted, Gateway) {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    (upstream, gateway)
}

fn ask(question: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest {
        host: "a host".to_owned(),
        message_request: Some(question),
    }
}

fn symbol(name: &str) -> ServerReflectionRequest {
    ask(MessageRequest::FileContainingSymbol(name.to_owned()))
}

fn extension(message: &str, number: i32) -> ServerReflectionRequest {
    let extension = ExtensionRequest {
        containing_type: message.to_owned(),
        extension_number: number,
    };
    ask(MessageRequest::FileContainingExtension(extension))
}

/// The answers to these requests, all on one stream.
async fn answers(
    gateway: &Gateway,
    version: &'static str,
    questions: &[ServerReflectionRequest],
) -> Vec<ServerReflectionResponse> {
    let mut client = Grpc::new(gateway.channel().await);
    client.ready().await.unwrap();
    let request = tonic::Request::new(tokio_stream::iter(questions.to_vec()));
    let codec = ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let stream = client
        .streaming(request, PathAndQuery::from_static(version), codec)
        .await
        .unwrap();
    let (mut stream, mut answers) = (stream.into_inner(), Vec::new());
    while let Some(answer) = stream.message().await.unwrap() {
        answers.push(answer);
    }
    assert_eq!(
        answers.len(),
        questions.len(),
        "one answer for each question"
    );
    for (answer, question) in answers.iter().zip(questions) {
        assert_eq!(
            (&answer.valid_host, answer.original_request.as_ref()),
            (&question.host, Some(question))
        );
    }
    answers
}

/// The files of an answer, the requested file first.
fn files(answer: &ServerReflectionResponse) -> Vec<FileDescriptorProto> {
    let Some(MessageResponse::FileDescriptorResponse(files)) = &answer.message_response else {
        panic!("not files: {answer:?}")
    };
    files
        .file_descriptor_proto
        .iter()
        .map(|file| FileDescriptorProto::decode(&file[..]).unwrap())
        .collect()
}

fn error(answer: &ServerReflectionResponse) -> (tonic::Code, &str) {
    let Some(MessageResponse::ErrorResponse(error)) = &answer.message_response else {
        panic!("not an error: {answer:?}")
    };
    (tonic::Code::from(error.error_code), &error.error_message)
}

#[tokio::test]
async fn a_file_is_sent_with_all_its_dependencies_each_once() {
    let (_upstream, gateway) = start().await;
    for version in VERSIONS {
        let list = answers(
            &gateway,
            version,
            &[ask(MessageRequest::ListServices(String::new()))],
        )
        .await;
        let Some(MessageResponse::ListServicesResponse(list)) = &list[0].message_response else {
            panic!("{list:?}")
        };
        let questions: Vec<_> = list
            .service
            .iter()
            .map(|service| symbol(&service.name))
            .collect();
        assert_eq!(questions.len(), 11);
        for (answer, question) in answers(&gateway, version, &questions)
            .await
            .iter()
            .zip(&questions)
        {
            let files = files(answer);
            let names: BTreeSet<_> = files.iter().map(FileDescriptorProto::name).collect();
            assert_eq!(names.len(), files.len(), "{question:?}: {names:?}");
            let by_name = ask(MessageRequest::FileByFilename(files[0].name().to_owned()));
            // A tool can build a descriptor pool from them without further requests.
            let Some(MessageResponse::FileDescriptorResponse(raw)) = &answer.message_response
            else {
                panic!()
            };
            let set: Vec<u8> = raw
                .file_descriptor_proto
                .iter()
                .flat_map(|file| entry(file))
                .collect();
            let pool = DescriptorPool::decode(&set[..]).unwrap();
            let Some(MessageRequest::FileContainingSymbol(service)) = &question.message_request
            else {
                panic!()
            };
            let service = pool
                .get_service_by_name(service)
                .expect("the file that was asked for is among them");
            if let Some(method) = service
                .methods()
                .find(|_| service.full_name().starts_with("featherwire"))
            {
                let http = pool.get_extension_by_name("google.api.http").unwrap();
                assert!(
                    method.options().has_extension(&http),
                    "options of the contract are kept"
                );
            }
            assert_eq!(
                answers(&gateway, version, &[by_name]).await[0].message_response,
                answer.message_response
            );
        }
    }
}

/// A file in the form of a `FileDescriptorSet`.
fn entry(file: &[u8]) -> Vec<u8> {
    let mut entry = vec![10];
    prost::encoding::encode_varint(file.len() as u64, &mut entry);
    [entry, file.to_vec()].concat()
}

#[tokio::test]
async fn every_kind_of_symbol_is_found() {
    let (_upstream, gateway) = start().await;
    let symbols = [
        (
            "featherwire.v1.ChatService",
            "featherwire/v1/chat_service.proto",
        ),
        (
            "featherwire.v1.ChatService.StreamChatCompletion",
            "featherwire/v1/chat_service.proto",
        ),
        (
            "featherwire.v1.CreateChatCompletionRequest",
            "featherwire/v1/chat_service.proto",
        ),
        (
            ".featherwire.v1.CreateChatCompletionRequest",
            "featherwire/v1/chat_service.proto",
        ),
        (
            "featherwire.v1.CreateChatCompletionRequest.temperature",
            "featherwire/v1/chat_service.proto",
        ),
        (
            "featherwire.v1.CreateChatCompletionRequest.ExtraEntry",
            "featherwire/v1/chat_service.proto",
        ),
        ("google.api.http", "google/api/annotations.proto"),
        ("google.api.HttpRule.pattern", "google/api/http.proto"),
        (
            "google.protobuf.FieldDescriptorProto.Type",
            "google/protobuf/descriptor.proto",
        ),
        (
            "google.protobuf.FieldDescriptorProto.TYPE_BOOL",
            "google/protobuf/descriptor.proto",
        ),
        (
            "google.protobuf.FieldDescriptorProto.Type.TYPE_BOOL",
            "google/protobuf/descriptor.proto",
        ),
        ("google.protobuf.Any", "google/protobuf/any.proto"),
    ];
    for version in VERSIONS {
        let questions = symbols.map(|(name, _)| symbol(name));
        for (answer, (name, file)) in answers(&gateway, version, &questions)
            .await
            .iter()
            .zip(symbols)
        {
            assert_eq!(files(answer)[0].name(), file, "{name}");
        }
        let details = [
            "ErrorInfo",
            "BadRequest.FieldViolation",
            "RetryInfo",
            "QuotaFailure",
            "Help",
            "Status",
        ];
        let questions = details.map(|name| symbol(&format!("google.rpc.{name}")));
        answers(&gateway, version, &questions)
            .await
            .iter()
            .for_each(|answer| assert!(!files(answer).is_empty()));
    }
}

#[tokio::test]
async fn an_unknown_name_gets_an_answer_and_the_stream_stays_open() {
    let (_upstream, gateway) = start().await;
    let long = "x".repeat(1024);
    let questions = [
        symbol("featherwire.v1.NoSuchThing"),
        symbol("featherwire.v1"),
        symbol(""),
        symbol(&long),
        ask(MessageRequest::FileByFilename("no/such.proto".to_owned())),
        extension("google.protobuf.MethodOptions", 1),
        extension("no.such.Message", 72_295_728),
        ask(MessageRequest::AllExtensionNumbersOfType(
            "no.such.Message".to_owned(),
        )),
        ServerReflectionRequest {
            host: "a host".to_owned(),
            message_request: None,
        },
        symbol("featherwire.v1.ChatService"),
    ];
    for version in VERSIONS {
        let answers = answers(&gateway, version, &questions).await;
        let names = [
            "symbol featherwire.v1.NoSuchThing",
            "symbol featherwire.v1 ",
            "symbol",
            &"x".repeat(256),
        ];
        let names = names.into_iter().chain([
            "file no/such.proto",
            "extension 1 of the message google.protobuf.MethodOptions",
            "extension 72295728 of the message no.such.Message",
            "message no.such.Message",
        ]);
        for (answer, name) in answers.iter().zip(names) {
            let (code, message) = error(answer);
            assert!(
                code == tonic::Code::NotFound && message.contains(name),
                "{name}: {answer:?}"
            );
            assert!(message.len() < 512, "{message}");
        }
        let (code, message) = error(&answers[8]);
        assert!(
            code == tonic::Code::InvalidArgument && message.contains("file_containing_symbol"),
            "{message}"
        );
        assert!(!files(&answers[9]).is_empty());
    }
}

#[tokio::test]
async fn extensions_are_found_by_what_they_extend() {
    let (_upstream, gateway) = start().await;
    let numbers_of = |name: &str| ask(MessageRequest::AllExtensionNumbersOfType(name.to_owned()));
    for version in VERSIONS {
        const HTTP: i32 = 72_295_728;
        let questions = [
            extension("google.protobuf.MethodOptions", HTTP),
            extension(".google.protobuf.MethodOptions", HTTP),
            numbers_of("google.protobuf.MethodOptions"),
            numbers_of("featherwire.v1.ChatMessage"),
        ];
        let answers = answers(&gateway, version, &questions).await;
        for answer in &answers[..2] {
            assert_eq!(files(answer)[0].name(), "google/api/annotations.proto");
        }
        for (answer, numbers) in answers[2..].iter().zip([vec![HTTP], vec![]]) {
            let Some(MessageResponse::AllExtensionNumbersResponse(response)) =
                &answer.message_response
            else {
                panic!("not numbers: {answer:?}")
            };
            assert_eq!(response.extension_number, numbers);
        }
    }
}

#[tokio::test]
async fn reflection_is_there_by_grpc_web_too() {
    let (_upstream, gateway) = start().await;
    for version in VERSIONS {
        let body = frame(&symbol("featherwire.v1.ChatService").encode_to_vec());
        let post = http()
            .post(gateway.url(version))
            .header("content-type", "application/grpc-web+proto");
        let body = post.body(body).send().await.unwrap().bytes().await.unwrap();
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let answer = ServerReflectionResponse::decode(&body[5..5 + length]).unwrap();
        assert_eq!(
            files(&answer)[0].name(),
            "featherwire/v1/chat_service.proto"
        );
        assert!(String::from_utf8_lossy(&body[5 + length..]).contains("grpc-status:0"));
    }
}
