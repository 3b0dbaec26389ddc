//! One client for each door. A test sends a request through any door and gets the same type of
//! answer.

use featherwire::{
    error::{Kind, TABLE},
    json,
    proto::v1::{
        CreateChatCompletionRequest, CreateChatCompletionResponse, StreamChatCompletionResponse,
        chat_service_client::ChatServiceClient,
    },
};
use http::HeaderMap;
use prost::Message;
use serde_json::{Value, json};
use tonic::{
    Request, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::{
    clock::PATIENCE,
    gateway::Gateway,
    requests::{MODEL, prompt},
};

mod answer;
mod connect;

pub use answer::{Answer, Failure};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Door {
    RestUnary,
    RestStream,
    GrpcUnary,
    GrpcStream,
    WebUnary,
    WebStream,
    /// Connect with JSON.
    ConnectUnary,
    ConnectStream,
}

/// The header that makes the gateway stream a unary answer upstream.
pub const VIA_STREAM: [(&str, &str); 1] = [("x-featherwire-unary-via-stream", "true")];

impl Door {
    pub const ALL: [Self; 8] = [
        Self::RestUnary,
        Self::RestStream,
        Self::GrpcUnary,
        Self::GrpcStream,
        Self::WebUnary,
        Self::WebStream,
        Self::ConnectUnary,
        Self::ConnectStream,
    ];
    pub const STREAMS: [Self; 4] = [
        Self::RestStream,
        Self::GrpcStream,
        Self::WebStream,
        Self::ConnectStream,
    ];

    pub fn is_stream(self) -> bool {
        Self::STREAMS.contains(&self)
    }
}

impl Gateway {
    /// Requests a chat completion through this door.
    pub async fn ask(&self, door: Door, request: &Value) -> Answer {
        self.ask_with(door, request, &[]).await
    }

    /// The same, with headers or metadata.
    pub async fn ask_with(
        &self,
        door: Door,
        request: &Value,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let answer = async {
            match door {
                Door::RestUnary | Door::RestStream => rest(self, door, request, headers).await,
                Door::GrpcUnary | Door::GrpcStream => grpc(self, door, request, headers).await,
                Door::WebUnary | Door::WebStream => grpc_web(self, door, request, headers).await,
                Door::ConnectUnary | Door::ConnectStream => {
                    connect::ask(self, door, request, headers).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("{door:?}: no end to {request}"))
    }

    /// Sends a request through every door, in the form for which the gateway requests a stream from
    /// the upstream.
    pub async fn ask_streamed(&self) -> Vec<(Door, Answer)> {
        let mut answers = Vec::new();
        for door in Door::ALL {
            let answer = self.ask_with(door, &prompt(MODEL, "hi"), &VIA_STREAM).await;
            answers.push((door, answer));
        }
        answers
    }

    /// Sends a request through every unary door, so that the gateway requests a unary answer from
    /// the upstream.
    pub async fn ask_whole(&self) -> Vec<(Door, Answer)> {
        let mut answers = Vec::new();
        for door in Door::ALL.into_iter().filter(|door| !door.is_stream()) {
            answers.push((door, self.ask(door, &prompt(MODEL, "hi")).await));
        }
        answers
    }

    /// A gRPC client with a connection of its own.
    pub async fn grpc(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(self.channel().await)
    }

    /// A new HTTP/2 connection.
    pub async fn channel(&self) -> Channel {
        let mut endpoint = Endpoint::from_shared(self.url("")).unwrap();
        if let Some(credentials) = &self.credentials {
            endpoint = endpoint.tls_config(credentials.tonic()).unwrap();
        }
        endpoint.connect().await.unwrap()
    }
}

/// The protobuf message of a JSON request.
pub fn message(request: &Value) -> CreateChatCompletionRequest {
    json::decode_request(request.to_string().as_bytes()).unwrap()
}

async fn rest(
    gateway: &Gateway,
    door: Door,
    request: &Value,
    headers: &[(&'static str, &str)],
) -> Answer {
    let mut request = request.clone();
    if door.is_stream() {
        request["stream"] = json!(true);
    }
    let mut post = gateway.post_request("/v1/chat/completions", request);
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let response = post.send().await.unwrap();
    let (status, head) = (response.status(), response.headers().clone());
    let mut answer = Answer::default().with_ids(&head);
    let body = response.text().await.unwrap();
    if !status.is_success() {
        assert_eq!(head["content-type"], "application/json");
        let error: Value = serde_json::from_str(&body).unwrap();
        let kinds = TABLE
            .iter()
            .filter(|row| row.http == status)
            .map(|row| row.kind)
            .collect();
        let retry_after = head
            .get("retry-after")
            .map(|value| value.to_str().unwrap().parse().unwrap());
        answer.failure = Some(openai_failure(&error, kinds, retry_after));
    } else if door.is_stream() {
        assert_eq!(head["content-type"], "text/event-stream");
        read_events(&mut answer, &body);
    } else {
        assert_eq!(head["content-type"], "application/json");
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(value["object"], "chat.completion");
        answer.take_whole(json::decode_answer(body.as_bytes()).unwrap());
    }
    answer
}

fn read_events(answer: &mut Answer, body: &str) {
    // A stream with a long wait begins with comments.
    let events = body
        .split_terminator("\n\n")
        .filter(|event| !event.starts_with(':'));
    let events: Vec<&str> = events
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    let (last, chunks) = events.split_last().expect("a stream has an end");
    for chunk in chunks {
        let value: Value = serde_json::from_str(chunk).unwrap();
        assert_eq!(value["object"], "chat.completion.chunk", "{chunk}");
        answer.take_piece(json::decode_answer(chunk.as_bytes()).unwrap());
    }
    if *last != "[DONE]" {
        let error: Value = serde_json::from_str(last).unwrap();
        let kinds = TABLE
            .iter()
            .filter(|row| row.openai == error["error"]["type"])
            .map(|row| row.kind)
            .collect();
        answer.failure = Some(openai_failure(&error, kinds, None));
    }
}

fn openai_failure(error: &Value, kinds: Vec<Kind>, retry_after_seconds: Option<u64>) -> Failure {
    let members: Vec<_> = error["error"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        members,
        ["code", "message", "param", "type"],
        "OpenAI's error has these members, no more and no less"
    );
    let text = |name: &str| error["error"][name].as_str().map(str::to_owned);
    Failure {
        kinds,
        code: text("code").unwrap(),
        message: text("message").unwrap(),
        param: text("param"),
        retry_after_seconds,
    }
}

async fn grpc(
    gateway: &Gateway,
    door: Door,
    request: &Value,
    headers: &[(&'static str, &str)],
) -> Answer {
    let mut request = Request::new(message(request));
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    let mut client = gateway.grpc().await;
    let mut answer = Answer::default();
    let result = if door.is_stream() {
        match client.stream_chat_completion(request).await {
            Ok(response) => {
                answer = answer.with_ids(response.metadata().as_ref());
                let mut stream = response.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(piece)) => answer.take_piece(piece),
                        Ok(None) => break Ok(()),
                        Err(status) => break Err(status),
                    }
                }
            }
            Err(status) => Err(status),
        }
    } else {
        client
            .create_chat_completion(request)
            .await
            .map(|response| {
                answer = std::mem::take(&mut answer).with_ids(response.metadata().as_ref());
                answer.take_whole(response.into_inner());
            })
    };
    if let Err(status) = result {
        answer = answer.with_ids(status.metadata().as_ref());
        answer.failure = Some(grpc_failure(&status));
    }
    answer
}

pub fn grpc_failure(status: &Status) -> Failure {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("every error has an ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "featherwire");
    let violations = details.bad_request().map(|bad| &bad.field_violations);
    Failure {
        kinds: TABLE
            .iter()
            .filter(|row| row.grpc == status.code())
            .map(|row| row.kind)
            .collect(),
        code: info.reason.to_lowercase(),
        message: status.message().to_owned(),
        param: violations
            .and_then(|fields| fields.first())
            .map(|violation| violation.field.clone()),
        retry_after_seconds: details
            .retry_info()
            .and_then(|info| info.retry_delay)
            .map(|delay| delay.as_secs()),
    }
}

/// gRPC-Web as a browser speaks it: HTTP/1.1, length-prefixed messages, trailers as the last frame
/// of the body.
async fn grpc_web(
    gateway: &Gateway,
    door: Door,
    request: &Value,
    headers: &[(&'static str, &str)],
) -> Answer {
    let method = if door.is_stream() {
        "StreamChatCompletion"
    } else {
        "CreateChatCompletion"
    };
    let mut post = gateway
        .http()
        .post(gateway.url(&format!("/featherwire.v1.ChatService/{method}")))
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(frame(&message(request).encode_to_vec()));
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let response = post.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/grpc-web")
    );
    let head = response.headers().clone();
    let mut answer = Answer::default().with_ids(&head);
    let body = response.bytes().await.unwrap();
    let mut trailers = head;
    let mut rest = &body[..];
    while let [flag, a, b, c, d, ..] = *rest {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let (frame, after) = rest[5..].split_at(length);
        rest = after;
        match flag {
            0 if door.is_stream() => {
                answer.take_piece(StreamChatCompletionResponse::decode(frame).unwrap())
            }
            0 => answer.take_whole(CreateChatCompletionResponse::decode(frame).unwrap()),
            0x80 => trailers = parse_trailers(frame),
            flag => panic!("frame with flag {flag}"),
        }
    }
    let status = Status::from_header_map(&trailers).expect("gRPC-Web ends with a status");
    if status.code() != tonic::Code::Ok {
        answer.failure = Some(grpc_failure(&status));
    }
    answer
}

pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

pub fn parse_trailers(frame: &[u8]) -> HeaderMap {
    let mut trailers = MetadataMap::new().into_headers();
    for line in std::str::from_utf8(frame)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
    {
        let (name, value) = line.split_once(':').unwrap();
        trailers.insert(
            http::HeaderName::from_bytes(name.trim().as_bytes()).unwrap(),
            value.trim().parse().unwrap(),
        );
    }
    trailers
}
