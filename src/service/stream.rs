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
    usage::TellsUsage,
};
use crate::{error::Result, json::Chunk, proto::v1::CallReport, upstream::StreamMessage};

/// A message of a streamed answer.
pub trait AnswerChunk: StreamMessage + Reported + TellsUsage + Default {}

impl<M: StreamMessage + Reported + TellsUsage + Default> AnswerChunk for M {}

/// A streamed answer. Dropping it gives back all that it holds, first of all the upstream
/// connection.
#[derive(Debug)]
pub struct ResponseStream<M> {
    /// `None` after the end of the answer.
    started: Option<StartedAnswer<M>>,
    call: Call,
    /// The model's name in the caller's request.
    requested: Arc<str>,
    /// Whether the caller has not asked for the message with the usage.
    hides_usage: bool,
    /// The report that follows the last chunk, if the caller asked for one.
    report: Option<Box<ReportMessage<M>>>,
}

impl<M: AnswerChunk> ResponseStream<M> {
    pub(super) fn new(
        started: StartedAnswer<M>,
        call: Call,
        requested: Arc<str>,
        hides_usage: bool,
        report: Option<Box<CallReport>>,
    ) -> Self {
        call.note_stream();
        Self {
            started: Some(started),
            call,
            requested,
            hides_usage,
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
        let item = loop {
            let mut item = match started.chunks.poll_next_unpin(context) {
                // An answer that is complete stays one.
                Poll::Ready(None) => None,
                Poll::Ready(item) => match this.call.cut() {
                    None => item,
                    Some(error) => Some(Err(error)),
                },
                Poll::Pending => Some(Err(ready!(this.call.poll_cut(context)))),
            };
            // Usually the last message. If there are many, the socket's share of the task's time
            // ends this loop.
            let is_hidden = match &mut item {
                Some(Ok(chunk)) => this.call.stats.note_chunk(chunk) && this.hides_usage,
                _ => false,
            };
            if !is_hidden {
                break item;
            }
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
