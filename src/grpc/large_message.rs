//! Limits how many large messages are decoded at the same time. A message is decoded on a worker of
//! the runtime, as soon as its last bytes arrive. Therefore the last bytes of a large message
//! are held back until an [`offload`] permit is free.
//!
//! They also wait for the end of the request, so that the body is dropped before the message is
//! used. The wait ends with the caller's deadline, or after
//! [`PERMIT_TIMEOUT`](offload::PERMIT_TIMEOUT).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::Request;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{
    error::{Error, Result},
    offload::{self, LARGE_BYTES, OffloadPermit},
    service::Arrival,
};

/// Makes a large message wait for a permit to be decoded, at most for the `timeout` of its caller
/// after its arrival.
pub(crate) fn wait_for_turn<B>(
    request: Request<B>,
    timeout: Option<Duration>,
) -> Request<LargeMessage<B>> {
    let arrived_at = || {
        let arrival = request.extensions().get::<Arrival>();
        arrival.map_or_else(Instant::now, |arrival| arrival.at)
    };
    let deadline = timeout.map(|timeout| arrived_at() + timeout);
    request.map(|body| LargeMessage {
        body,
        bytes: 0,
        deadline,
        held_back: None,
        end: None,
        turn: None,
    })
}

/// A body whose last bytes are held back if it is large.
pub(crate) struct LargeMessage<B> {
    body: B,
    /// The number of bytes that have arrived.
    bytes: usize,
    deadline: Option<Instant>,
    /// The last bytes of a large message.
    held_back: Option<Bytes>,
    /// The body has ended while bytes were held back.
    end: Option<End>,
    /// The permit to decode the bytes that were yielded last.
    turn: Option<OffloadPermit>,
}

/// The work after the end of the body: the wait for the permit, and the trailers.
struct End {
    turn: BoxFuture<'static, Result<OffloadPermit>>,
    trailers: Option<Frame<Bytes>>,
}

impl<B> LargeMessage<B> {
    fn end(&mut self, trailers: Option<Frame<Bytes>>) {
        self.end = Some(End {
            turn: turn(self.deadline).boxed(),
            trailers,
        });
    }
}

/// Waits for a permit to decode, at most until `deadline`.
async fn turn(deadline: Option<Instant>) -> Result<OffloadPermit> {
    match deadline {
        Some(deadline) => timeout_at(deadline, offload::acquire())
            .await
            .unwrap_or_else(|_| Err(Error::deadline_exceeded("the request had arrived"))),
        None => offload::acquire().await,
    }
}

/// Converts an error of the body. The gateway's own errors become statuses.
fn status(error: BoxError) -> BoxError {
    match error.downcast::<Error>() {
        Ok(error) => Status::from(*error).into(),
        Err(error) => error,
    }
}

impl<B> HttpBody for LargeMessage<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        // The next poll comes after the previous bytes are decoded.
        this.turn = None;
        loop {
            if let Some(end) = &mut this.end {
                if this.held_back.is_some() {
                    let turn = ready!(end.turn.poll_unpin(context));
                    this.turn = Some(turn.map_err(Status::from)?);
                    return Poll::Ready(this.held_back.take().map(|data| Ok(Frame::data(data))));
                }
                return Poll::Ready(end.trailers.take().map(Ok));
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(frame) => frame.map_err(status)?,
                None if this.held_back.is_some() => {
                    this.end(None);
                    continue;
                }
                None => return Poll::Ready(None),
            };
            this.bytes += frame.data_ref().map_or(0, Bytes::len);
            if this.bytes <= LARGE_BYTES {
                return Poll::Ready(Some(Ok(frame)));
            }
            match frame.into_data() {
                Ok(data) => {
                    let before = this.held_back.replace(data);
                    if this.body.is_end_stream() {
                        this.end(None);
                    }
                    if let Some(before) = before {
                        return Poll::Ready(Some(Ok(Frame::data(before))));
                    }
                }
                Err(trailers) if this.held_back.is_some() => this.end(Some(trailers)),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let has_ended = self.end.as_ref().is_none_or(|end| end.trailers.is_none());
        self.held_back.is_none() && has_ended && self.body.is_end_stream()
    }
}
