//! The services whose methods differ only in the form of the answer: complete, or as a stream.

use std::future::Future;

use super::{
    Services,
    call::Call,
    reply::Reply,
    stream::{AnswerChunk, ResponseStream},
};
use crate::error::Result;

/// A service with a unary and a streaming method for the same request message.
pub trait UnaryOrStream: Clone + Send + Sync + 'static {
    /// The request.
    type Request: Send + 'static;
    /// The complete answer.
    type Response;
    /// A message of a streamed answer.
    type Chunk: AnswerChunk + Send + 'static;

    /// Selects this service.
    fn of(services: &Services) -> &Self;

    /// Answers with one complete message.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for an invalid field; otherwise the meaning
    /// of the upstream's reply.
    fn unary(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<Self::Response>>> + Send;

    /// Answers with a stream of messages.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for an invalid field; otherwise the meaning
    /// of the upstream's reply, until the answer has started. Later errors are in the stream.
    fn stream(
        &self,
        call: Call,
        request: Box<Self::Request>,
    ) -> impl Future<Output = Result<Reply<ResponseStream<Self::Chunk>>>> + Send;
}
