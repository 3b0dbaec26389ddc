//! A streamed answer whose first content has arrived. A failure before that has not reached the
//! caller, so the request may be sent again.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt};

use super::{
    event_stream::{EventStream, has_content},
    sse::EVENT_BYTES_MAX,
    stream_message::StreamMessage,
};
use crate::{
    error::{Error, ErrorCode, Result},
    json::Chunk,
};

/// How many messages without content are held back: mostly the role, or empty messages that keep
/// the connection alive. After that many, the answer counts as started.
const EARLY_MESSAGES_MAX: usize = 64;

/// The largest sum of their events, in bytes: as much as one event.
const EARLY_BYTES_MAX: usize = EVENT_BYTES_MAX;

/// A streamed answer whose first content has arrived. Dropping it closes the upstream connection.
#[derive(Debug)]
pub struct StartedStream<M> {
    /// The messages up to the first one with content.
    first: VecDeque<Chunk<M>>,
    /// In memory of its own, because the answer is moved several times before it is sent.
    rest: Box<EventStream<M>>,
}

impl<M: StreamMessage> StartedStream<M> {
    /// Waits for the first message with content.
    ///
    /// # Errors
    /// The error that ends the answer before that.
    /// [`Kind::Upstream`](crate::error::Kind::Upstream) if too much arrives before it.
    pub(super) async fn wait_for(mut events: Box<EventStream<M>>) -> Result<Self> {
        let (mut first, mut bytes) = (VecDeque::with_capacity(1), 0);
        while let Some(chunk) = events.next().await.transpose()? {
            let has_content = has_content(&chunk);
            first.push_back(chunk);
            if has_content || first.len() == EARLY_MESSAGES_MAX {
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

// No field is structurally pinned.
impl<M> Unpin for StartedStream<M> {}

impl<M: StreamMessage> Stream for StartedStream<M> {
    type Item = Result<Chunk<M>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        match this.first.pop_front() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => this.rest.poll_next_unpin(context),
        }
    }
}
