//! One client for each way in. A story asks through a door and gets the same kind of answer from
//! all of them.

use std::fmt;

use featherwire::{
    error::{Kind, TABLE},
    json,
    proto::v1::{
        CallReport, ChatMessage, CreateChatCompletionRequest, CreateChatCompletionResponse,
        StreamChatCompletionResponse, ToolCall, Usage, chat_service_client::ChatServiceClient,
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

use super::gateway::{Gateway, http};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Door {
    RestUnary,
    RestStream,
    GrpcUnary,
    GrpcStream,
    WebUnary,
    WebStream,
}

impl Door {
    pub const ALL: [Self; 6] = [
        Self::RestUnary,
        Self::RestStream,
        Self::GrpcUnary,
        Self::GrpcStream,
        Self::WebUnary,
        Self::WebStream,
    ];
    pub const STREAMS: [Self; 3] = [Self::RestStream, Self::GrpcStream, Self::WebStream];

    pub fn is_stream(self) -> bool {
        Self::STREAMS.contains(&self)
    }
}

/// What came through a door, in words that all doors share.
#[derive(Debug, Default)]
pub struct Answer {
    pub role: String,
    pub content: String,
    pub reasoning: String,
    /// Name and arguments of each.
    pub tool_calls: Vec<(String, String)>,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    pub logprobs: usize,
    /// How many pieces it came in.
    pub pieces: usize,
    pub upstream_request_id: Option<String>,
    pub request_id: Option<String>,
    /// The model that answered in place of the one asked for, and what was tried before.
    pub served_by: Option<String>,
    pub tried: Option<String>,
    pub waited_ms: Option<u64>,
    /// What the answer says itself of the call.
    pub report: Option<CallReport>,
    /// Of a stream, the last piece.
    pub last: Option<StreamChatCompletionResponse>,
    pub failure: Option<Failure>,
}

/// An error as its dialect told it.
pub struct Failure {
    /// The kinds whose row has this status.
    pub kinds: Vec<Kind>,
    pub code: String,
    pub message: String,
    pub param: Option<String>,
    pub retry_after_seconds: Option<u64>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.kinds, self.code, self.message)
    }
}

impl Answer {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.failure.is_none(), "{self:?}");
        assert!(
            self.finish_reason.is_some(),
            "an answer without an end: {self:?}"
        );
        self
    }

    /// The error, which must be of this kind and have this code.
    #[track_caller]
    pub fn failed(self, kind: Kind, code: &str) -> Failure {
        let failure = self
            .failure
            .unwrap_or_else(|| panic!("expected {code}, got an answer: {:?}", self.content));
        assert!(
            failure.kinds.contains(&kind) && failure.code == code,
            "expected {kind:?} {code}, got {failure:?}"
        );
        failure
    }
}

impl Gateway {
    /// Asks for a chat completion through this door.
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
            }
        };
        tokio::time::timeout(super::PATIENCE, answer)
            .await
            .unwrap_or_else(|_| panic!("{door:?}: no end to {request}"))
    }

    /// A gRPC client with a connection of its own.
    pub async fn grpc(&self) -> ChatServiceClient<Channel> {
        ChatServiceClient::new(self.channel().await)
    }

    /// A new HTTP/2 connection.
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url(""))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }
}

/// The message that a JSON request is.
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
    let mut post = http()
        .post(gateway.url("/v1/chat/completions"))
        .header("content-type", "application/json");
    for (name, value) in headers {
        post = post.header(*name, *value);
    }
    let response = post.body(request.to_string()).send().await.unwrap();
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
    // A stream that let its caller wait has said so in comments.
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
    let mut post = http()
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

impl Answer {
    fn with_ids(mut self, headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        self.upstream_request_id = text("x-featherless-request-id").or(self.upstream_request_id);
        self.request_id = text("x-request-id").or(self.request_id);
        self.served_by = text("x-featherwire-model").or(self.served_by);
        self.tried = text("x-featherwire-tried").or(self.tried);
        self.waited_ms = text("x-featherwire-waited-ms")
            .map(|number| number.parse().unwrap())
            .or(self.waited_ms);
        self
    }

    fn take_whole(&mut self, response: CreateChatCompletionResponse) {
        assert!(!response.id.is_empty() && response.created > 0 && !response.model.is_empty());
        let choice = response.choices.into_iter().next().unwrap();
        let ChatMessage {
            role,
            content,
            tool_calls,
            reasoning_content,
            ..
        } = choice.message.unwrap();
        self.role = role;
        self.content = content.unwrap_or_default();
        self.reasoning = reasoning_content.unwrap_or_default();
        tool_calls
            .into_iter()
            .for_each(|call| self.take_tool_call(call));
        self.finish_reason = choice.finish_reason;
        self.logprobs = choice
            .logprobs
            .map(|logprobs| logprobs.content.len())
            .unwrap_or_default();
        self.usage = response.usage;
        self.report = response.featherwire.map(|report| *report);
        self.pieces = 1;
    }

    fn take_piece(&mut self, piece: StreamChatCompletionResponse) {
        self.pieces += 1;
        self.last = Some(piece.clone());
        self.report = piece
            .featherwire
            .map(|report| *report)
            .or(self.report.take());
        self.usage = piece.usage.or(self.usage.take());
        for choice in piece.choices {
            let delta = choice.delta.unwrap_or_default();
            self.role.push_str(&delta.role.unwrap_or_default());
            self.content.push_str(&delta.content.unwrap_or_default());
            self.reasoning
                .push_str(&delta.reasoning_content.unwrap_or_default());
            delta
                .tool_calls
                .into_iter()
                .for_each(|call| self.take_tool_call(call));
            self.logprobs += choice
                .logprobs
                .map(|logprobs| logprobs.content.len())
                .unwrap_or_default();
            self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        }
    }

    /// A whole call, or a piece of one: a name begins a new call.
    fn take_tool_call(&mut self, call: ToolCall) {
        let function = call.function.unwrap_or_default();
        if let Some(name) = function.name {
            self.tool_calls.push((name, String::new()));
        }
        if let (Some((_, arguments)), Some(more)) = (self.tool_calls.last_mut(), function.arguments)
        {
            arguments.push_str(&more);
        }
    }
}
