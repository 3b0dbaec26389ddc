//! The JSON body of a request. The call begins before the body is read, so an unreadable body ends
//! the call like any other failure.

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header, request::Parts};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::{compression, limit::BodyLimit, routes::STREAM_SUFFIX, state::RestState};
use crate::{
    error::{Error, ErrorCode, Result},
    json, offload,
    proto::v1::{
        CreateChatCompletionRequest, CreateCompletionRequest, CreateEmbeddingRequest,
        TokenizeRequest,
    },
    service::{Call, Door, Rpc},
};

/// A call and the message of its body.
#[derive(Debug)]
pub(super) struct Json<M> {
    pub(super) call: Call,
    pub(super) message: Box<M>,
}

/// A call and the message of its body, for a method that can stream its answer.
#[derive(Debug)]
pub(super) struct StreamableJson<M> {
    pub(super) call: Call,
    pub(super) message: Box<M>,
    /// Whether the caller asks for a stream, by the path or by the member `stream`.
    pub(super) is_stream: bool,
}

/// A message whose call the ledger may record, even if the message cannot be read.
pub(super) trait Recorded {
    /// What is called, as far as the path tells it. `None` if the ledger does not record it.
    const RPC: Option<Rpc>;
}

impl Recorded for CreateChatCompletionRequest {
    const RPC: Option<Rpc> = Some(Rpc::CreateChatCompletion);
}

impl Recorded for CreateCompletionRequest {
    const RPC: Option<Rpc> = Some(Rpc::CreateCompletion);
}

impl Recorded for CreateEmbeddingRequest {
    const RPC: Option<Rpc> = Some(Rpc::CreateEmbedding);
}

impl Recorded for TokenizeRequest {
    const RPC: Option<Rpc> = None;
}

/// A message whose JSON may have a member `stream`. The contract has no such field, because the RPC
/// selects streaming.
pub(super) trait StreamMember: Recorded {
    /// Removes the member `stream`, and returns its JSON text.
    fn take_stream(&mut self) -> Option<String>;
}

impl StreamMember for CreateChatCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}

impl StreamMember for CreateCompletionRequest {
    fn take_stream(&mut self) -> Option<String> {
        self.extra.remove("stream")
    }
}

impl<M: DeserializeOwned + Recorded + Send + 'static> FromRequest<RestState> for Json<M> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &RestState) -> Result<Self> {
        let (head, body) = request.into_parts();
        let mut call = Call::new(&head.headers, &head.extensions)?;
        call.door = Door::Rest;
        call.rpc = M::RPC;
        let message = call
            .run_part(read(&call, &head.headers, body, state.body_limit))
            .await?;
        Ok(Self { call, message })
    }
}

impl<M> FromRequest<RestState> for StreamableJson<M>
where
    M: DeserializeOwned + StreamMember + Send + 'static,
{
    type Rejection = Error;

    async fn from_request(request: Request, state: &RestState) -> Result<Self> {
        let (head, body) = request.into_parts();
        let mut call = Call::new(&head.headers, &head.extensions)?;
        call.door = Door::Rest;
        call.rpc = M::RPC;
        let reading = async {
            let mut message: Box<M> = read(&call, &head.headers, body, state.body_limit).await?;
            let is_stream = is_stream(&head, message.take_stream().as_deref())?;
            Ok((message, is_stream))
        };
        let (message, is_stream) = call.run_part(reading).await?;
        Ok(Self {
            call,
            message,
            is_stream,
        })
    }
}

/// Whether the caller asks for a stream. `member` is the JSON text of the body's member `stream`.
fn is_stream(head: &Parts, member: Option<&str>) -> Result<bool> {
    let by_path = head.uri.path().ends_with(STREAM_SUFFIX);
    match member {
        None | Some("null") => Ok(by_path),
        Some("true") => Ok(true),
        Some("false") if by_path => Err(Error::invalid(
            "stream",
            "this path always streams: for a complete answer use the one without `:stream`",
        )),
        Some("false") => Ok(false),
        Some(_) => Err(Error::invalid("stream", "expected true, false or null")),
    }
}

/// Reads a JSON body.
///
/// # Errors
/// [`Kind::WrongMediaType`](crate::error::Kind::WrongMediaType) for another media type;
/// [`Kind::TooLarge`](crate::error::Kind::TooLarge) beyond `limit`;
/// [`Kind::Timeout`](crate::error::Kind::Timeout) if it is too slow;
/// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if all requests in memory reach their
/// limit; [`Kind::Invalid`](crate::error::Kind::Invalid) if the body is incomplete, or for invalid
/// JSON, with the path of the invalid member.
async fn read<M: DeserializeOwned + Send + 'static>(
    call: &Call,
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<Box<M>> {
    if !is_json(headers) {
        // A browser sends other media types to another origin without a preflight request. Because
        // of this check no web page can use an open gateway without its user's consent.
        return Err(not_json());
    }
    let body = receive(call, headers, body, limit).await?;
    let decoded = offload::run(body.len(), move || json::decode_request(&body));
    call.receive(decoded).await??.map_err(|bad| match bad.path {
        Some(path) => Error::invalid(path, bad.problem),
        None if bad.is_too_large => Error::invalid("request", bad.problem),
        None => Error::new(ErrorCode::InvalidJson, format!("The body: {}", bad.problem)),
    })
}

/// The error for a body of another media type than JSON.
pub(super) fn not_json() -> Error {
    let message = "The body must be JSON with the header Content-Type: application/json";
    Error::new(ErrorCode::UnsupportedMediaType, message)
}

/// Receives the bytes of a body, and decompresses them.
///
/// # Errors
/// Those of [`read`] that are not about the media type or the JSON.
pub(super) async fn receive(
    call: &Call,
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<Bytes> {
    if body.size_hint().lower() > limit.0 as u64 {
        // A client that sent `Expect: 100-continue` learns this before it sends the body.
        return Err(limit.exceeded());
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    call.body().map_or(Ok(()), |share| share.expect(expected))?;
    let body = call.receive(collect(body, expected, limit)).await??;
    let decompressed = compression::decompress(call, headers, body, limit);
    call.receive(decompressed).await?
}

/// Collects the bytes of a body. `expected` is the number of bytes in the `content-length` header.
async fn collect(mut body: Body, expected: usize, limit: BodyLimit) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit.0 {
            return Err(limit.exceeded());
        }
        if bytes.is_empty() {
            if body.is_end_stream() {
                return Ok(data);
            }
            // The system does not allocate reserved memory before it is written.
            bytes.reserve(expected.max(data.len()));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

/// The error for a body that did not arrive completely. If a layer refused the body, the error of
/// that layer.
fn broken(error: axum::Error) -> Error {
    let causes = std::iter::successors(
        Some(&error as &(dyn std::error::Error + 'static)),
        |cause| cause.source(),
    );
    let own = causes
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .next()
        .cloned();
    own.unwrap_or_else(|| {
        Error::new(
            ErrorCode::IncompleteBody,
            "The request body ended before it was complete",
        )
        .with_source(error)
    })
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // What nearly all clients send.
    if value == "application/json" {
        return true;
    }
    let media_type = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
