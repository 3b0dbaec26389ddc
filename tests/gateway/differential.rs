//! All doors are equivalent: the same request reaches the upstream as the same JSON, and the same
//! answer reaches the caller as the same messages, by REST, gRPC and gRPC-Web.

use std::collections::BTreeMap;

use featherwire::{
    json,
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, CreateCompletionRequest,
        CreateCompletionResponse, CreateEmbeddingRequest, CreateEmbeddingResponse,
        StreamChatCompletionResponse, StreamCompletionResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use crate::{
    shapes::{Shape, shapes_of},
    support::{
        Gateway, Reply, Scripted,
        law::{self, Author, Tree},
        rest::http,
        rest::with_json,
    },
};

/// A method, with its path at each door.
struct Method {
    path: &'static str,
    unary: &'static str,
    stream: Option<&'static str>,
    request: &'static str,
    /// Any request.
    question: &'static str,
}

const CHAT: Method = Method {
    path: "/v1/chat/completions",
    unary: "/featherwire.v1.ChatService/CreateChatCompletion",
    stream: Some("/featherwire.v1.ChatService/StreamChatCompletion"),
    request: "CreateChatCompletionRequest",
    question: r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}]}"#,
};
const COMPLETION: Method = Method {
    path: "/v1/completions",
    unary: "/featherwire.v1.CompletionService/CreateCompletion",
    stream: Some("/featherwire.v1.CompletionService/StreamCompletion"),
    request: "CreateCompletionRequest",
    question: r#"{"model": "m", "prompt": "hi"}"#,
};
const EMBEDDING: Method = Method {
    path: "/v1/embeddings",
    unary: "/featherwire.v1.EmbeddingService/CreateEmbedding",
    stream: None,
    request: "CreateEmbeddingRequest",
    question: r#"{"model": "m", "input": "hi"}"#,
};

#[derive(Clone, Copy, Debug)]
enum Way {
    Rest,
    Grpc,
    GrpcWeb,
}

const WAYS: [Way; 3] = [Way::Rest, Way::Grpc, Way::GrpcWeb];

trait Protobuf:
    prost::Message + Default + Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned
{
}

impl<M> Protobuf for M where
    M: prost::Message
        + Default
        + Clone
        + PartialEq
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned
{
}

/// A gateway, and a client for each door.
struct Doors {
    gateway: Gateway,
    http: reqwest::Client,
    channel: Channel,
}

impl Doors {
    async fn of(gateway: Gateway) -> Self {
        Self {
            http: http(),
            channel: gateway.channel().await,
            gateway,
        }
    }
}

/// Sends a request through one door, and decodes the answer to messages. A unary answer is one
/// message.
async fn ask<Q: Protobuf + 'static, A: Protobuf + 'static>(
    doors: &Doors,
    way: Way,
    method: &Method,
    is_stream: bool,
    text: &str,
) -> Vec<A> {
    let rpc = if is_stream {
        method.stream.unwrap()
    } else {
        method.unary
    };
    let request: Q = json::decode_request(text.as_bytes()).unwrap();
    match way {
        Way::Rest => {
            let text = if is_stream {
                text.replacen('{', "{\"stream\": true,", 1)
            } else {
                text.to_owned()
            };
            let post = doors.http.post(doors.gateway.url(method.path));
            let response = with_json(post, text).send().await.unwrap();
            let status = response.status();
            let body = response.text().await.unwrap();
            assert!(status.is_success(), "{body}");
            if !is_stream {
                return vec![json::decode_answer(body.as_bytes()).unwrap()];
            }
            let mut events: Vec<&str> = body.split_terminator("\n\n").collect();
            assert_eq!(events.pop(), Some("data: [DONE]"), "{body}");
            let chunks = events.into_iter().map(|event| {
                let data = event.strip_prefix("data: ").unwrap();
                assert!(
                    !data.contains(['\n', '\r']),
                    "an event is one line, for clients that read lines: {data}"
                );
                json::decode_answer(data.as_bytes()).unwrap()
            });
            chunks.collect()
        }
        Way::Grpc => {
            let mut client = tonic::client::Grpc::new(doors.channel.clone());
            client.ready().await.unwrap();
            let codec = ProstCodec::<Q, A>::default();
            let path = http::uri::PathAndQuery::from_static(rpc);
            let mut answers = client
                .server_streaming(tonic::Request::new(request), path, codec)
                .await
                .unwrap()
                .into_inner();
            let mut messages = Vec::new();
            while let Some(message) = answers.message().await.unwrap() {
                messages.push(message);
            }
            messages
        }
        Way::GrpcWeb => {
            let body = request.encode_to_vec();
            let length = u32::try_from(body.len()).unwrap().to_be_bytes();
            let post = doors
                .http
                .post(doors.gateway.url(rpc))
                .header("content-type", "application/grpc-web+proto");
            let response = post
                .body([&[0], &length[..], &body].concat())
                .send()
                .await
                .unwrap();
            let body = response.bytes().await.unwrap();
            let (mut rest, mut messages, mut trailers) = (&body[..], Vec::new(), String::new());
            while let [flag, a, b, c, d, ..] = *rest {
                let (frame, after) = rest[5..].split_at(u32::from_be_bytes([a, b, c, d]) as usize);
                rest = after;
                match flag {
                    0 => messages.push(A::decode(frame).unwrap()),
                    _ => trailers = String::from_utf8(frame.to_vec()).unwrap(),
                }
            }
            assert!(
                trailers
                    .to_lowercase()
                    .replace(": ", ":")
                    .contains("grpc-status:0"),
                "{trailers}"
            );
            messages
        }
    }
}

/// Sends every document through every door, and compares the requests that the upstream receives.
async fn requests_arrive_alike<Q: Protobuf + 'static, A: Protobuf + 'static>(
    method: &Method,
    is_stream: bool,
    reply: Reply,
) {
    let upstream = Scripted::always(reply).await;
    let doors = Doors::of(Gateway::to(upstream.address).await).await;
    let shapes = some(shapes_of(method.request));
    for Shape { name, text, .. } in shapes {
        let before = upstream.requests().len();
        for way in WAYS {
            ask::<Q, A>(&doors, way, method, is_stream, &text).await;
        }
        let bodies: Vec<String> = upstream
            .requests()
            .split_off(before)
            .into_iter()
            .map(|seen| String::from_utf8(seen.body).unwrap())
            .collect();
        assert_eq!(bodies.len(), WAYS.len(), "{name}");
        assert_eq!(bodies[0], bodies[1], "{name}: REST and gRPC");
        assert_eq!(bodies[0], bodies[2], "{name}: REST and gRPC-Web");
        // The body is that of the caller, with the `stream` of the method and without the gateway's
        // own members. A stream is always asked for its usage.
        let Tree::Object(mut expected) = law::expected_tree(method.request, &text, Author::Caller)
        else {
            panic!()
        };
        expected.remove("provider");
        if method.stream.is_some() {
            expected.insert("stream".to_owned(), Tree::Verbatim(is_stream.to_string()));
        }
        if is_stream {
            ask_for_usage(&mut expected);
        }
        let expected = Tree::Object(expected);
        let got = law::tree(method.request, &bodies[0]);
        assert!(
            expected == got,
            "{name}: {}\n{}",
            law::difference(&expected, &got, "$"),
            bodies[0]
        );
    }
}

/// Makes the upstream send every document, and compares the answers of all doors.
async fn answers_come_back_alike<Q: Protobuf + 'static, A: Protobuf + 'static>(
    method: &Method,
    answer: &str,
) {
    for Shape { name, text, .. } in some(shapes_of(answer)) {
        let upstream = Scripted::always(whole(&text)).await;
        let doors = Doors::of(Gateway::to(upstream.address).await).await;
        for way in WAYS {
            // Protobuf cannot hold half a surrogate pair.
            let is_json = matches!(way, Way::Rest);
            let text = if is_json {
                text.clone()
            } else {
                text.replace(r"half \ud83e", r"half \ufffd")
            };
            let received: Vec<A> = ask::<Q, A>(&doors, way, method, false, method.question).await;
            let [received] = &received[..] else {
                panic!("{name} {way:?}: {received:?}")
            };
            assert_eq!(*received, named(meaning(&text), received), "{name} {way:?}");
        }
    }
}

/// The same for chunks, all in one stream.
async fn chunks_come_back_alike<Q: Protobuf + 'static, A: Protobuf + 'static>(
    method: &Method,
    chunk: &str,
) {
    let shapes = some(shapes_of(chunk));
    let upstream = Scripted::always(stream(shapes.iter().map(|shape| shape.text.as_str()))).await;
    let doors = Doors::of(Gateway::to(upstream.address).await).await;
    for way in WAYS {
        // A chunk with only the usage is for callers who ask for it.
        let asked = r#"{"stream_options": {"include_usage": true}, "#;
        let question = method.question.replacen('{', asked, 1);
        let received: Vec<A> = ask::<Q, A>(&doors, way, method, true, &question).await;
        assert_eq!(
            received.len(),
            shapes.len() + 1,
            "{way:?}: every chunk, and the last one"
        );
        for (Shape { name, text, .. }, received) in shapes.iter().zip(received) {
            // An event of server-sent events is one line: line breaks between JSON's tokens become
            // spaces.
            let is_one_line = matches!(way, Way::Rest);
            // A role that is not a string becomes the role of its place.
            let text = text.replace(r#""role": 1,"#, r#""role": "assistant","#);
            let expected: A = if is_one_line {
                meaning(&text.trim_end().replace('\n', " "))
            } else {
                meaning(&text)
            };
            assert_eq!(received, named(expected, &received), "{name} {way:?}");
        }
    }
}

fn ask_for_usage(request: &mut BTreeMap<String, Tree>) {
    let asked = ("include_usage".to_owned(), Tree::Bool(true));
    match request.get_mut("stream_options") {
        Some(Tree::Object(options)) => {
            options.insert(asked.0, asked.1);
        }
        _ => {
            let options = Tree::Object(BTreeMap::from([asked]));
            request.insert("stream_options".to_owned(), options);
        }
    }
}

fn some(shapes: Vec<Shape>) -> Vec<Shape> {
    assert!(shapes.len() >= 3, "{shapes:?}");
    shapes
}

/// The upstream's answer after a round trip through protobuf, which does not always distinguish -0
/// from 0.
fn meaning<A: Protobuf>(text: &str) -> A {
    let message: A = json::decode_answer(text.as_bytes()).unwrap();
    A::decode(&*message.encode_to_vec()).unwrap()
}

/// The same message with the ids that the gateway adds.
fn named<A: Protobuf>(mut expected: A, received: &A) -> A {
    // Not as a `Value`, which refuses half a surrogate pair.
    #[derive(serde::Deserialize)]
    struct Names {
        id: Option<Box<RawValue>>,
        created: Option<Box<RawValue>>,
        model: Option<Box<RawValue>>,
    }
    let parse_names =
        |message: &A| serde_json::from_str(&serde_json::to_string(message).unwrap()).unwrap();
    let (sent, received): (Names, Names) = (parse_names(&expected), parse_names(received));
    let is_nothing = |value: &RawValue| matches!(value.get(), "\"\"" | "0");
    let mut names = json!({});
    for (name, sent, received) in [
        ("id", sent.id, received.id),
        ("created", sent.created, received.created),
        ("model", sent.model, received.model),
    ] {
        if sent.is_some_and(|sent| is_nothing(&sent)) {
            let received = received
                .filter(|received| !is_nothing(received))
                .unwrap_or_else(|| panic!("no {name}"));
            names[name] = serde_json::from_str(received.get()).unwrap();
        }
    }
    let names: A = json::decode_answer(names.to_string().as_bytes()).unwrap();
    expected.merge(&*names.encode_to_vec()).unwrap();
    expected
}

fn whole(text: &str) -> Reply {
    Reply::Raw(
        "200 OK\r\ncontent-type: application/json".to_owned(),
        text.as_bytes().to_vec(),
    )
}

/// These chunks, unchanged, and a last chunk that finishes every choice.
fn stream<'a>(chunks: impl IntoIterator<Item = &'a str>) -> Reply {
    let choices: Vec<_> = (0..4)
        .map(|index| json!({"index": index, "finish_reason": "stop"}))
        .collect();
    let finish = json!({"id": "x", "created": 1, "model": "m", "choices": choices}).to_string();
    let events = chunks
        .into_iter()
        .map(|text| text.trim_end().replace('\n', "\ndata: "));
    Reply::Events(events.chain([finish, "[DONE]".to_owned()]).collect())
}

#[tokio::test]
async fn a_chat_request_reaches_upstream_alike_through_every_door() {
    let answer = whole(r#"{"id":"x","created":1,"model":"m","choices":[{"index":0}]}"#);
    requests_arrive_alike::<CreateChatCompletionRequest, CreateChatCompletionResponse>(
        &CHAT, false, answer,
    )
    .await;
    let chunk = stream([r#"{"id":"x","created":1,"model":"m","choices":[]}"#]);
    requests_arrive_alike::<CreateChatCompletionRequest, StreamChatCompletionResponse>(
        &CHAT, true, chunk,
    )
    .await;
}

#[tokio::test]
async fn a_text_request_reaches_upstream_alike_through_every_door() {
    let answer = whole(r#"{"id":"x","created":1,"model":"m","choices":[{"index":0}]}"#);
    requests_arrive_alike::<CreateCompletionRequest, CreateCompletionResponse>(
        &COMPLETION,
        false,
        answer,
    )
    .await;
    let chunk = stream([r#"{"id":"x","created":1,"model":"m","choices":[]}"#]);
    requests_arrive_alike::<CreateCompletionRequest, StreamCompletionResponse>(
        &COMPLETION,
        true,
        chunk,
    )
    .await;
    let vectors = whole(r#"{"model":"m","data":[{"index":0}]}"#);
    requests_arrive_alike::<CreateEmbeddingRequest, CreateEmbeddingResponse>(
        &EMBEDDING, false, vectors,
    )
    .await;
}

#[tokio::test]
async fn a_whole_answer_means_the_same_through_every_door() {
    type Chat = CreateChatCompletionRequest;
    answers_come_back_alike::<Chat, CreateChatCompletionResponse>(
        &CHAT,
        "CreateChatCompletionResponse",
    )
    .await;
    answers_come_back_alike::<CreateCompletionRequest, CreateCompletionResponse>(
        &COMPLETION,
        "CreateCompletionResponse",
    )
    .await;
    answers_come_back_alike::<CreateEmbeddingRequest, CreateEmbeddingResponse>(
        &EMBEDDING,
        "CreateEmbeddingResponse",
    )
    .await;
}

#[tokio::test]
async fn a_streamed_answer_means_the_same_through_every_door() {
    type Chat = CreateChatCompletionRequest;
    chunks_come_back_alike::<Chat, StreamChatCompletionResponse>(
        &CHAT,
        "StreamChatCompletionResponse",
    )
    .await;
    chunks_come_back_alike::<CreateCompletionRequest, StreamCompletionResponse>(
        &COMPLETION,
        "StreamCompletionResponse",
    )
    .await;
}
