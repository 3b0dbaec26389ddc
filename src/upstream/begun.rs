//! A streamed answer that has begun: what fails before that has not reached the caller, and may be asked again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};

use super::events::{Chunk, Events};
use crate::error::Result;

/// How many pieces of a stream are held back while nothing of the answer is in them: who speaks, mostly, or empty pieces
/// that keep a connection alive. With more, the answer counts as begun.
const EARLY_PIECES_MAX: usize = 64;

/// A streamed answer that has begun. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct Begun<M> {
    /// The pieces up to the first that has something of the answer.
    first: VecDeque<M>,
    rest: Events<M>,
}

impl<M: Chunk> Begun<M> {
    /// Waits for the first piece that has something of the answer in it.
    pub(super) async fn wait_for(mut events: Events<M>) -> Result<Self> {
        let mut first = VecDeque::with_capacity(1);
        while let Some(piece) = events.next().await.transpose()? {
            let has_begun = M::has_begun(&piece);
            first.push_back(piece);
            if has_begun || first.len() == EARLY_PIECES_MAX {
                break;
            }
        }
        Ok(Self { first, rest: events })
    }
}

// Nothing in it is pinned.
impl<M> Unpin for Begun<M> {}

impl<M: Chunk> Stream for Begun<M> {
    type Item = Result<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match this.first.pop_front() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => this.rest.poll_next_unpin(context),
        }
    }
}
