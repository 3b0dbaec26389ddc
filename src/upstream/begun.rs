//! A streamed answer that has begun: what fails before that has not reached the caller, and may be
//! asked again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};

use super::{
    events::{Chunk, Events},
    sse::EVENT_BYTES_MAX,
};
use crate::error::{Error, ErrorCode, Result};

/// How many pieces of a stream are held back while nothing of the answer is in them: who speaks,
/// mostly, or empty pieces that keep a connection alive. With more, the answer counts as begun.
const EARLY_PIECES_MAX: usize = 64;

/// How long their events may be together, in bytes: as long as one event.
const EARLY_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// A streamed answer that has begun. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct Begun<M> {
    /// The pieces up to the first that has something of the answer.
    first: VecDeque<M>,
    rest: Events<M>,
}

impl<M: Chunk> Begun<M> {
    /// Waits for the first piece that has something of the answer in it.
    ///
    /// # Errors
    /// What ends the answer before that. Upstream, if what comes before it is too long to be held
    /// back.
    pub(super) async fn wait_for(mut events: Events<M>) -> Result<Self> {
        let (mut first, mut bytes) = (VecDeque::with_capacity(1), 0);
        while let Some(piece) = events.next().await.transpose()? {
            let has_begun = M::has_begun(&piece);
            first.push_back(piece);
            if has_begun || first.len() == EARLY_PIECES_MAX {
                break;
            }
            bytes += events.event_bytes();
            if bytes > EARLY_BYTES_MAX {
                return Err(too_much());
            }
        }
        Ok(Self {
            first,
            rest: events,
        })
    }
}

fn too_much() -> Error {
    let message = format!(
        "Featherless sent more than {EARLY_BYTES_MAX} bytes before anything of the answer: try \
         again, or use another model"
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
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
