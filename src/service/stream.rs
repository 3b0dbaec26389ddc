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
    queued::{QueueEvent, QueuedAnswer},
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
pub struct ResponseStream<M>(State<M>);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large variant, which needs no memory of its own so"
)]
enum State<M> {
    /// The caller is told how the call waits.
    Queued(Box<QueuedAnswer<M>>),
    Started(Answer<M>),
    /// It failed before it started.
    Over,
}

/// An answer that has started.
#[derive(Debug)]
struct Answer<M> {
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
        Self(State::Started(Answer {
            started: Some(started),
            call,
            requested,
            hides_usage,
            report: report.map(|report| Box::new(ReportMessage::new(report))),
        }))
    }

    /// An answer that has not started.
    pub(super) fn queued(queued: QueuedAnswer<M>) -> Self {
        Self(State::Queued(Box::new(queued)))
    }
}

// No field is pinned.
impl<M> Unpin for ResponseStream<M> {}

impl<M: AnswerChunk> Stream for ResponseStream<M> {
    type Item = Result<Chunk<M>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let event = match &mut this.0 {
                State::Started(answer) => return answer.poll_next(context),
                State::Queued(queued) => ready!(queued.poll(context)),
                State::Over => return Poll::Ready(None),
            };
            match event {
                QueueEvent::Message(message) => return Poll::Ready(Some(Ok(message.into()))),
                QueueEvent::Started(answer) => *this = answer,
                QueueEvent::Failed(error) => {
                    this.0 = State::Over;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<M: AnswerChunk> Answer<M> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Chunk<M>>>> {
        let Some(started) = &mut self.started else {
            return Poll::Ready(None);
        };
        let item = loop {
            let mut item = match started.chunks.poll_next_unpin(context) {
                // An answer that is complete stays one.
                Poll::Ready(None) => None,
                Poll::Ready(item) => match self.call.cut() {
                    None => item,
                    Some(error) => Some(Err(error)),
                },
                Poll::Pending => Some(Err(ready!(self.call.poll_cut(context)))),
            };
            // Usually the last message. If there are many, the socket's share of the task's time
            // ends this loop.
            let is_hidden = match &mut item {
                Some(Ok(chunk)) => self.call.stats.note_chunk(chunk) && self.hides_usage,
                _ => false,
            };
            if !is_hidden {
                break item;
            }
        };
        Poll::Ready(match item {
            Some(Ok(chunk)) => Some(Ok(match &mut self.report {
                Some(report) => report.with_identity_of(chunk),
                None => chunk,
            })),
            Some(Err(error)) => {
                self.call.fail(&error);
                if let Some(started) = self.started.take() {
                    started.fail(&error);
                }
                Some(Err(error.with_model(&self.requested)))
            }
            None => {
                self.call.finish();
                self.started
                    .take()
                    .into_iter()
                    .for_each(StartedAnswer::finish);
                self.report
                    .take()
                    .map(|report| Ok(report.into_message().into()))
            }
        })
    }
}
