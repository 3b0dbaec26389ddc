//! The handler of methods whose answer is a unary response or server-sent events.

use axum::{extract::State, response::Response};
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    request::{StreamMember, StreamableJson},
    response,
    state::RestState,
    stream,
};
use crate::{
    error::Result,
    service::{QueuePosition, UnaryOrStream},
};

/// A service whose messages this door can read and write.
pub(super) trait JsonService:
    UnaryOrStream<
        Request: DeserializeOwned + StreamMember,
        Response: Serialize + prost::Message,
        Chunk: Serialize,
    >
{
}

impl<S> JsonService for S where
    S: UnaryOrStream<
            Request: DeserializeOwned + StreamMember,
            Response: Serialize + prost::Message,
            Chunk: Serialize,
        >
{
}

/// Answers a request. The path, or the member `stream` of the body, selects streaming.
pub(super) async fn create<S: JsonService>(
    State(state): State<RestState>,
    StreamableJson {
        mut call,
        message,
        is_stream,
    }: StreamableJson<S::Request>,
) -> Result<Response> {
    let service = S::of(&state.services);
    if !is_stream {
        return response::json(service.unary(call, message).await?);
    }
    let service = service.clone();
    let position = QueuePosition::default();
    call.queue_position = position.clone();
    // In memory of its own: it may go on after the head of the response is sent.
    let starting = async move { service.stream(call, message).await }.boxed();
    Ok(stream::start(starting, position).await)
}
