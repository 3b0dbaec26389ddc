//! The handler of methods whose answer is a unary response or server-sent events.

use std::future::Future;

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
    service::{AnswerChunk, Call, Reply, ResponseStream, Services},
};

/// A service with a unary and a streaming method for the same request message.
pub(super) trait UnaryOrStream: Clone + Send + Sync + 'static {
    /// The request.
    type Request: DeserializeOwned + StreamMember + Send + 'static;
    /// The complete answer.
    type Response: Serialize + prost::Message;
    /// A message of a streamed answer.
    type Chunk: AnswerChunk + Serialize + Send + 'static;

    /// Selects this service.
    fn of(services: &Services) -> &Self;

    /// Answers with one message.
    ///
    /// # Errors
    /// Those of the service.
    fn unary(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<Self::Response>>> + Send;

    /// Answers with a stream of messages.
    ///
    /// # Errors
    /// Those of the service.
    fn stream(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<ResponseStream<Self::Chunk>>>> + Send;
}

/// Answers a request. The path, or the member `stream` of the body, selects streaming.
pub(super) async fn create<S: UnaryOrStream>(
    State(state): State<RestState>,
    StreamableJson {
        call,
        message,
        is_stream,
    }: StreamableJson<S::Request>,
) -> Result<Response> {
    let service = S::of(&state.services).clone();
    if !is_stream {
        return response::json(service.unary(call, message).await?);
    }
    let position = call.queue_position.clone();
    // In memory of its own: it may go on after the head of the response is sent.
    let starting = async move { service.stream(call, message).await }.boxed();
    Ok(stream::start(starting, position).await)
}
