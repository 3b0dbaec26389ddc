//! A streamed answer as tonic sends it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};
use tonic::Status;

use super::surrogates::{SplitSurrogates, TextChunk};
use crate::service::{AnswerChunk, ResponseStream};

/// A streamed answer whose errors are gRPC statuses, and whose texts are valid UTF-8.
#[derive(Debug)]
pub struct GrpcStream<M> {
    answer: ResponseStream<M>,
    surrogates: SplitSurrogates,
}

impl<M> GrpcStream<M> {
    pub(super) fn new(answer: ResponseStream<M>) -> Self {
        Self {
            answer,
            surrogates: SplitSurrogates::default(),
        }
    }
}

impl<M: AnswerChunk + TextChunk> Stream for GrpcStream<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.answer.poll_next_unpin(context));
        Poll::Ready(item.map(|item| match item {
            Ok(chunk) => Ok(self.surrogates.complete(chunk.into_message())),
            Err(error) => Err(error.into()),
        }))
    }
}
