//! A streamed answer on its way to a door.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};

use super::{
    call::Call,
    circuit::CircuitPass,
    exchange::{StartedAnswer, release_after},
    report::{ReportMessage, Reported},
};
use crate::{
    admission::Permit,
    error::{Error, Result},
    proto::v1::CallReport,
    upstream::{StartedStream, StreamMessage},
};

/// A message of a streamed answer.
pub trait AnswerChunk: StreamMessage + Reported + Default {}

impl<M: StreamMessage + Reported + Default> AnswerChunk for M {}

/// A streamed answer. Dropping it gives back all that it holds, first of all the upstream
/// connection.
#[derive(Debug)]
pub struct ResponseStream<M> {
    /// `None` after the end of the answer.
    chunks: Option<StartedStream<M>>,
    /// The units that the answer holds until its end.
    permit: Option<Permit>,
    /// Tells the model's circuit how the answer ends. If the caller disconnects, that says nothing
    /// about the model.
    pass: Option<CircuitPass>,
    call: Call,
    /// The model's name in the caller's request.
    requested: String,
    /// The report that follows the last chunk, if the caller asked for one.
    report: Option<Box<ReportMessage<M>>>,
}

impl<M: AnswerChunk> ResponseStream<M> {
    pub(super) fn new(
        started: StartedAnswer<M>,
        call: Call,
        requested: String,
        report: Option<Box<CallReport>>,
    ) -> Self {
        Self {
            chunks: Some(started.chunks),
            permit: Some(started.permit),
            pass: started.pass,
            call,
            requested,
            report: report.map(|report| Box::new(ReportMessage::new(report))),
        }
    }
}

// No field is pinned.
impl<M> Unpin for ResponseStream<M> {}

impl<M: AnswerChunk> Stream for ResponseStream<M> {
    type Item = Result<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(chunks) = &mut this.chunks else {
            return Poll::Ready(None);
        };
        let mut item = match chunks.poll_next_unpin(context) {
            Poll::Ready(item) if !this.call.is_drained() => item,
            Poll::Ready(_) => Some(Err(Error::draining())),
            Poll::Pending => Some(Err(ready!(this.call.poll_drained(context)))),
        };
        match &mut item {
            Some(Ok(chunk)) => {
                if let Some(report) = &mut this.report {
                    report.copy_identity(chunk);
                }
                return Poll::Ready(item);
            }
            Some(Err(error)) => {
                this.call.fail(error);
                this.pass
                    .take()
                    .into_iter()
                    .for_each(|pass| pass.record(error));
            }
            None => {
                this.call.finish();
                this.pass
                    .take()
                    .into_iter()
                    .for_each(CircuitPass::record_success);
            }
        }
        this.chunks = None;
        let item = match (item, this.permit.take()) {
            (Some(Err(error)), Some(permit)) => Some(Err(release_after(permit, error))),
            (item, permit) => {
                permit.into_iter().for_each(Permit::finish);
                item.or_else(|| this.report.take().map(|report| Ok(report.into_message())))
            }
        };
        Poll::Ready(item.map(|item| item.map_err(|error| error.with_model(&this.requested))))
    }
}
