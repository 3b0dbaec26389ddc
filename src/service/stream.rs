//! A streamed answer on its way to a door.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};

use super::{
    call::Call,
    exchange::StartedAnswer,
    report::{ReportMessage, Reported},
};
use crate::{
    error::{Error, Result},
    json::Chunk,
    proto::v1::CallReport,
    upstream::StreamMessage,
};

/// A message of a streamed answer.
pub trait AnswerChunk: StreamMessage + Reported + Default {}

impl<M: StreamMessage + Reported + Default> AnswerChunk for M {}

/// A streamed answer. Dropping it gives back all that it holds, first of all the upstream
/// connection.
#[derive(Debug)]
pub struct ResponseStream<M> {
    /// `None` after the end of the answer.
    started: Option<StartedAnswer<M>>,
    call: Call,
    /// The model's name in the caller's request.
    requested: Arc<str>,
    /// The report that follows the last chunk, if the caller asked for one.
    report: Option<Box<ReportMessage<M>>>,
}

impl<M: AnswerChunk> ResponseStream<M> {
    pub(super) fn new(
        started: StartedAnswer<M>,
        call: Call,
        requested: Arc<str>,
        report: Option<Box<CallReport>>,
    ) -> Self {
        Self {
            started: Some(started),
            call,
            requested,
            report: report.map(|report| Box::new(ReportMessage::new(report))),
        }
    }
}

// No field is pinned.
impl<M> Unpin for ResponseStream<M> {}

impl<M: AnswerChunk> Stream for ResponseStream<M> {
    type Item = Result<Chunk<M>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(started) = &mut this.started else {
            return Poll::Ready(None);
        };
        let item = match started.chunks.poll_next_unpin(context) {
            // An answer that is complete stays one.
            Poll::Ready(item) if item.is_none() || !this.call.is_cut() => item,
            Poll::Ready(_) => Some(Err(Error::draining())),
            Poll::Pending => Some(Err(ready!(this.call.poll_cut(context)))),
        };
        Poll::Ready(match item {
            Some(Ok(chunk)) => Some(Ok(match &mut this.report {
                Some(report) => report.with_identity_of(chunk),
                None => chunk,
            })),
            Some(Err(error)) => {
                this.call.fail(&error);
                if let Some(started) = this.started.take() {
                    started.fail(&error);
                }
                Some(Err(error.with_model(&this.requested)))
            }
            None => {
                this.call.finish();
                this.started
                    .take()
                    .into_iter()
                    .for_each(StartedAnswer::finish);
                this.report
                    .take()
                    .map(|report| Ok(report.into_message().into()))
            }
        })
    }
}
