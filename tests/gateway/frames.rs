//! Requests that violate the gRPC protocol, in each of its forms: the error says what is wrong, and
//! no call ends with OK.

use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest,
};

use crate::support::{
    Emulator, Gateway, MODEL, PATIENCE, Reply, Scripted,
    door::message,
    prompt,
    raw::{Form, base64, call, frame, send},
};

const UNARY: &str = "/featherwire.v1.ChatService/CreateChatCompletion";
const STREAM: &str = "/featherwire.v1.ChatService/StreamChatCompletion";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

fn hello() -> Vec<u8> {
    message(&prompt(MODEL, "hi")).encode_to_vec()
}

fn list() -> Vec<u8> {
    let list = MessageRequest::ListServices(String::new());
    ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    }
    .encode_to_vec()
}

#[tokio::test]
async fn an_error_about_a_request_that_is_not_one_message_says_what_it_is() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let whole = frame(0, &hello());
    let (half, length) = (&whole[..whole.len() / 2], whole.len() - 5);
    let announced = format!(
        "{length} bytes are announced, and {} have arrived",
        half.len() - 5
    );
    let mut over = frame(0, &[]);
    over[1..5].copy_from_slice(&u32::MAX.to_be_bytes());
    let cases = [
        (vec![], Code::Unimplemented, "missing_message", "no message"),
        (
            half.to_vec(),
            Code::InvalidArgument,
            "incomplete_body",
            &announced,
        ),
        (
            whole[..3].to_vec(),
            Code::InvalidArgument,
            "incomplete_body",
            "five bytes",
        ),
        (
            [&whole[..], &whole].concat(),
            Code::Unimplemented,
            "too_many_messages",
            "exactly one",
        ),
        (
            [&whole[..], &frame(0, &[])].concat(),
            Code::Unimplemented,
            "too_many_messages",
            "exactly one",
        ),
        (
            [&whole[..], &whole[..4]].concat(),
            Code::InvalidArgument,
            "incomplete_body",
            "five bytes",
        ),
        (
            frame(1, &hello()),
            Code::Internal,
            "invalid_frame",
            "grpc-encoding",
        ),
        (
            frame(2, &hello()),
            Code::Internal,
            "invalid_frame",
            "first byte is 2",
        ),
        (
            frame(128, b"x-y: z\r\n"),
            Code::Internal,
            "invalid_frame",
            "first byte is 128",
        ),
        (
            frame(0, &[255; 9]),
            Code::InvalidArgument,
            "invalid_protobuf",
            "",
        ),
    ];
    for form in Form::ALL {
        for path in [UNARY, STREAM, HEALTH] {
            for (body, code, reason, words) in &cases {
                let answer = call(&gateway, form, path, &[], body).await;
                let message = answer.failed(*code, reason);
                assert!(message.contains(words), "{form:?} {path}: {message}");
            }
            let answer = call(&gateway, form, path, &[], &over).await;
            answer.failed(Code::ResourceExhausted, "request_too_large");
        }
    }
    assert!(upstream.requests().is_empty(), "nothing is sent upstream");
}

#[tokio::test]
async fn reflection_does_not_end_with_ok_when_a_question_does_not_arrive() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let whole = frame(0, &list());
    for form in Form::ALL {
        for path in REFLECTION {
            for (body, answers, reason) in [
                (whole[..3].to_vec(), 0, "incomplete_body"),
                (whole[..6].to_vec(), 0, "incomplete_body"),
                (frame(7, &list()), 0, "invalid_frame"),
                (frame(0, &[255; 9]), 0, "invalid_protobuf"),
                ([&whole[..], &whole[..6]].concat(), 1, "incomplete_body"),
            ] {
                let mut answer = call(&gateway, form, path, &[], &body).await;
                // The valid messages are answered; but tonic may send no answer after an error in
                // the request.
                assert!(answer.messages.len() <= answers, "{answer:?}");
                answer.messages.clear();
                let code = match reason {
                    "invalid_frame" => Code::Internal,
                    _ => Code::InvalidArgument,
                };
                answer.failed(code, reason);
            }
            let answer = call(&gateway, form, path, &[], &[&whole[..], &whole].concat())
                .await
                .ok();
            assert_eq!(answer.messages.len(), 2, "{form:?}");
            assert!(
                call(&gateway, form, path, &[], &[])
                    .await
                    .ok()
                    .messages
                    .is_empty(),
                "nothing was asked"
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_never_arrives_ends_with_an_error_at_its_time_limit() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for path in REFLECTION.into_iter().chain([UNARY, STREAM, HEALTH]) {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/grpc-web\r\ncontent-length: 99\r\ngrpc-timeout: 50m\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&frame(0, &[0; 94])[..20]).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("it ends")
            .unwrap();
        let answer = String::from_utf8_lossy(&answer).replace("grpc-status: ", "grpc-status:");
        assert!(
            answer.contains("grpc-status:4") && answer.contains("deadline"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn an_incomplete_body_or_invalid_base64_is_refused_with_the_reason() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let whole = frame(0, &hello());
    for path in [UNARY, STREAM, REFLECTION[0]] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
             application/grpc-web\r\ncontent-length: {}\r\n\r\n",
            whole.len()
        );
        stream
            .write_all(&[head.as_bytes(), &whole[..9]].concat())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("it ends")
            .unwrap();
        let answer = String::from_utf8_lossy(&answer).replace("%20", " ");
        assert!(
            answer.is_empty() || answer.contains("incomplete"),
            "{path}: {answer}"
        );
        assert!(!answer.contains("grpc-status:0"), "{path}: {answer}");
        let mut cut = base64(&whole);
        cut.pop();
        for body in ["AAAA*AAA".to_owned(), cut] {
            let headers = [("content-type", "application/grpc-web-text")];
            let answer = send(&gateway, path, false, &headers, body).await;
            assert!(
                answer
                    .failed(Code::InvalidArgument, "incomplete_body")
                    .contains("base64")
            );
        }
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_deadline_of_zero_passes_at_once_and_an_invalid_one_is_refused() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    for form in Form::ALL {
        for (path, body) in [
            (UNARY, hello()),
            (STREAM, hello()),
            (HEALTH, vec![]),
            (REFLECTION[0], list()),
        ] {
            let answer = async |timeout: &str| {
                call(
                    &gateway,
                    form,
                    path,
                    &[("grpc-timeout", timeout)],
                    &frame(0, &body),
                )
                .await
            };
            for timeout in ["0n", "0S", "00000000H"] {
                answer(timeout)
                    .await
                    .failed(Code::DeadlineExceeded, "deadline_exceeded");
            }
            for timeout in ["soon", "1", "n", "1s", "-1S", "123456789S", "1.5S"] {
                let message = answer(timeout)
                    .await
                    .failed(Code::InvalidArgument, "invalid_value");
                assert!(message.contains("grpc-timeout"), "{message}");
            }
            answer("60S").await.ok();
            answer("99999999H").await.ok();
        }
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn an_error_about_an_unknown_method_or_service_names_the_known_ones() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::with(upstream.address, |config| {
        config.api_keys = vec!["gw_live_1".into()]
    })
    .await;
    let long = format!("/{}/{}", "s".repeat(2000), "m".repeat(2000));
    for form in Form::ALL {
        for (path, reason, words) in [
            (
                "/featherwire.v1.ChatService/Nonsense",
                "unknown_method",
                "CreateChatCompletion, StreamChatCompletion",
            ),
            (
                "/featherwire.v1.ChatService/createChatCompletion",
                "unknown_method",
                "CreateChatCompletion",
            ),
            (
                "/featherwire.v1.ChatService/",
                "unknown_method",
                "CreateChatCompletion",
            ),
            (
                "/featherwire.v1.ModelService/a/b",
                "unknown_service",
                "featherwire.v1.ModelService",
            ),
            (
                "/grpc.health.v1.Health/List2",
                "unknown_method",
                "Check, Watch",
            ),
            (
                "/grpc.reflection.v1.ServerReflection/x",
                "unknown_method",
                "ServerReflectionInfo",
            ),
            (
                "/no.such.Service/Method",
                "unknown_service",
                "featherwire.v1.ChatService",
            ),
            (
                "/featherwire.v1.ChatService",
                "unknown_service",
                "featherwire.v1.ChatService",
            ),
            ("/v1/nonsense", "unknown_service", "grpc.health.v1.Health"),
            (&long, "unknown_service", "/package.Service/Method"),
        ] {
            let answer = call(&gateway, form, path, &[], &frame(0, &[])).await;
            assert_eq!(answer.http_status, 200);
            let message = answer.failed(Code::Unimplemented, reason);
            assert!(
                message.contains(words) && message.len() < 1024,
                "{form:?} {path}: {message}"
            );
        }
    }
}

#[tokio::test]
async fn a_form_of_grpc_is_recognised_by_every_spelling_of_its_media_type() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let binary = frame(0, &hello());
    for (media_type, is_http2, body, answered) in [
        ("Application/GRPC", true, binary.clone(), "application/grpc"),
        (
            "application/grpc;charset=utf-8",
            true,
            binary.clone(),
            "application/grpc",
        ),
        (
            "application/grpc+PROTO ; a=b",
            true,
            binary.clone(),
            "application/grpc",
        ),
        (
            "APPLICATION/grpc-web",
            false,
            binary.clone(),
            "application/grpc-web+proto",
        ),
        (
            "application/grpc-web+proto; charset=x",
            false,
            binary.clone(),
            "application/grpc-web+proto",
        ),
        (
            "application/grpc-web+proto",
            true,
            binary.clone(),
            "application/grpc-web+proto",
        ),
        (
            "application/Grpc-Web-Text;q=1",
            false,
            base64(&binary).into_bytes(),
            "application/grpc-web+proto",
        ),
        (
            "application/grpc-web-text+proto",
            true,
            base64(&binary).into_bytes(),
            "application/grpc-web+proto",
        ),
    ] {
        for path in [UNARY, STREAM] {
            let answer = send(
                &gateway,
                path,
                is_http2,
                &[("content-type", media_type)],
                body.clone(),
            )
            .await
            .ok();
            assert!(!answer.messages.is_empty(), "{media_type}");
            assert_eq!(answer.head["content-type"], answered, "{media_type}");
        }
    }
    for accept in [
        "application/grpc-web-text",
        "Application/grpc-web-text+proto;q=0.9",
        "*/*, application/grpc-web-text; q=1",
    ] {
        let headers = [
            ("content-type", "application/grpc-web-text"),
            ("accept", accept),
        ];
        let answer = send(&gateway, UNARY, false, &headers, base64(&binary)).await;
        assert_eq!(
            answer.head["content-type"], "application/grpc-web-text+proto",
            "{accept}"
        );
        assert!(
            answer.body.starts_with(b"AAAA"),
            "a message's frame in base64"
        );
    }
    emulator.wait_until_idle().await;
}

#[tokio::test]
async fn other_forms_of_grpc_are_refused_and_not_read_as_protobuf() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    for media_type in [
        "application/grpc+json",
        "Application/GRPC+JSON; charset=utf-8",
        "application/grpc-web+json",
        "application/grpc-web-text+json",
        "application/grpc-web+thrift",
        "application/grpc+",
    ] {
        for is_http2 in [false, true] {
            for path in [UNARY, STREAM, HEALTH, REFLECTION[0]] {
                let answer = send(
                    &gateway,
                    path,
                    is_http2,
                    &[("content-type", media_type)],
                    frame(0, &hello()),
                )
                .await;
                assert_eq!(answer.http_status, 415, "{media_type}");
                let message = answer.failed(Code::InvalidArgument, "unsupported_media_type");
                let body = String::from_utf8(answer.body).unwrap();
                assert!(
                    message.contains("application/grpc-web") && body.contains(&message),
                    "{media_type}: {body}"
                );
            }
        }
    }
    for media_type in [
        "application/grpcx",
        "text/application/grpc",
        "text/plain",
        "",
    ] {
        let answer = send(
            &gateway,
            UNARY,
            false,
            &[("content-type", media_type)],
            frame(0, &hello()),
        )
        .await;
        assert_eq!(
            (answer.http_status, answer.status.code()),
            (415, Code::Unknown),
            "{media_type}"
        );
    }
    assert!(upstream.requests().is_empty());
}
