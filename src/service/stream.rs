//! A streamed answer on its way to a door.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, stream::Map};
use tonic::Status;

use super::Call;
use crate::{
    error::Result,
    proto::v1::{StreamChatCompletionResponse, StreamCompletionResponse},
    upstream::{Chunk, Events},
};

/// A streamed answer. Dropping it gives back all that it holds, the upstream connection first of all.
#[derive(Debug)]
pub struct Answers<M> {
    events: Events<M>,
    call: Call,
}

/// The same, as tonic wants it.
pub type GrpcAnswers<M> = Map<Answers<M>, fn(Result<M>) -> Result<M, Status>>;

impl<M: Chunk> Answers<M> {
    pub(super) fn new(events: Events<M>, call: Call) -> Self {
        Self { events, call }
    }

    pub(super) fn into_grpc(self) -> GrpcAnswers<M> {
        self.map(|item| item.map_err(Status::from))
    }
}

impl<M: Chunk> Stream for Answers<M> {
    type Item = Result<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = this.events.poll_next_unpin(context);
        if let Poll::Ready(Some(Err(error))) = &item {
            this.call.log(error);
        }
        item
    }
}

impl Chunk for StreamChatCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        self.choices.iter().map(|choice| (choice.index, choice.finish_reason.is_some()))
    }
}

impl Chunk for StreamCompletionResponse {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        self.choices.iter().map(|choice| (choice.index, choice.finish_reason.is_some()))
    }
}
