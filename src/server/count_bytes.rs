//! Counts the bytes of every request's body while they arrive, so that all bodies together keep
//! their bound.
//!
//! A gRPC message that is large waits for its turn before its last bytes are handed on: tonic
//! decodes it right then, on the worker it runs on. And it waits for the end of the request, so
//! that the bytes are gone when the message is there. That wait ends with the caller's deadline, or
//! after [`PERMIT_TIMEOUT`](offload::PERMIT_TIMEOUT).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::{
    error::{Error, Result},
    grpc,
    offload::{self, LARGE_BYTES, OffloadPermit},
    service::{
        Arrival, call,
        inflight_bytes::{Bodies, Share},
    },
};

/// Has what arrives of a request counted.
pub(super) fn count(bodies: &Bodies, mut request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let share = bodies.share();
    request.extensions_mut().insert(Arc::clone(&share));
    let is_grpc = grpc::is_grpc(request.headers());
    let deadline = if is_grpc { deadline(&request) } else { None };
    request.map(|body| {
        Body::new(Counted {
            body,
            share,
            is_grpc,
            deadline,
            kept: None,
            end: None,
            turn: None,
        })
    })
}

/// The caller's own deadline.
fn deadline(request: &Request) -> Option<Instant> {
    let arrived_at = request
        .extensions()
        .get::<Arrival>()
        .map_or_else(Instant::now, |arrival| arrival.at);
    // One that can't be read is told by those who ask for more of the head.
    call::timeout(request.headers())
        .ok()
        .flatten()
        .map(|timeout| arrived_at + timeout)
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    share: Arc<Share>,
    is_grpc: bool,
    /// Until when it waits for its turn, if that is sooner than anybody's wait ends.
    deadline: Option<Instant>,
    /// What came last of a large message.
    kept: Option<Bytes>,
    /// The body has ended while something was kept.
    end: Option<End>,
    /// The turn to decode what was handed on last.
    turn: Option<OffloadPermit>,
}

/// What is left to do at the end.
struct End {
    turn: BoxFuture<'static, Result<OffloadPermit>>,
    trailers: Option<Frame<Bytes>>,
}

impl Counted {
    /// The next frame, counted.
    fn poll_counted(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                self.share
                    .add(data.len())
                    .map_err(|error| self.in_dialect(error))?;
            }
            Ok(frame)
        }))
    }

    /// An error as what reads the body understands it.
    fn in_dialect(&self, error: Error) -> axum::BoxError {
        if self.is_grpc {
            Status::from(error).into()
        } else {
            error.into()
        }
    }

    fn end(&mut self, trailers: Option<Frame<Bytes>>) {
        self.end = Some(End {
            turn: turn(self.deadline).boxed(),
            trailers,
        });
    }
}

/// Waits for the turn to decode, until the caller's deadline at most.
async fn turn(deadline: Option<Instant>) -> Result<OffloadPermit> {
    match deadline {
        Some(deadline) => timeout_at(deadline, offload::acquire())
            .await
            .unwrap_or_else(|_| Err(Error::deadline_exceeded("the request had arrived"))),
        None => offload::acquire().await,
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        // Who asks for more has decoded what came before.
        this.turn = None;
        loop {
            if let Some(end) = &mut this.end {
                if this.kept.is_some() {
                    let turn = ready!(end.turn.poll_unpin(context));
                    this.turn = Some(turn.map_err(|error| this.in_dialect(error))?);
                    return Poll::Ready(this.kept.take().map(|data| Ok(Frame::data(data))));
                }
                return Poll::Ready(end.trailers.take().map(Ok));
            }
            match ready!(this.poll_counted(context)) {
                None if this.kept.is_some() => this.end(None),
                Some(Ok(frame)) if this.is_grpc && this.share.bytes() > LARGE_BYTES => {
                    match frame.into_data() {
                        Ok(data) => {
                            let before = this.kept.replace(data);
                            if this.body.is_end_stream() {
                                this.end(None);
                            }
                            if let Some(before) = before {
                                return Poll::Ready(Some(Ok(Frame::data(before))));
                            }
                        }
                        Err(trailers) if this.kept.is_some() => this.end(Some(trailers)),
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    }
                }
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_through = self.end.as_ref().is_none_or(|end| end.trailers.is_none());
        self.kept.is_none() && is_through && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_grpc {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt, Full};
    use tonic_types::StatusExt;

    use super::*;

    /// A gRPC request that is large, with its caller's deadline.
    fn large(grpc_timeout: Option<&str>) -> Request {
        let mut request = Request::builder().header("content-type", "application/grpc");
        if let Some(timeout) = grpc_timeout {
            request = request.header("grpc-timeout", timeout);
        }
        request
            .body(Body::new(Full::from(vec![0; LARGE_BYTES + 1])))
            .unwrap()
    }

    /// Why it ends.
    async fn reason(request: Request) -> String {
        let error = request
            .into_body()
            .frame()
            .await
            .unwrap()
            .unwrap_err()
            .into_inner();
        error
            .downcast::<Status>()
            .unwrap()
            .get_error_details()
            .error_info()
            .unwrap()
            .reason
            .clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_message_waits_for_its_turn_in_bounded_time_and_gives_its_bytes_back() {
        let bodies = Bodies::new(usize::MAX);
        let turns = offload::acquire_all().await;
        for (grpc_timeout, expected, seconds) in [
            (
                None,
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (
                Some("3600S"),
                "TOO_MANY_LARGE_BODIES",
                offload::PERMIT_TIMEOUT.as_secs(),
            ),
            (Some("7S"), "DEADLINE_EXCEEDED", 7),
        ] {
            let asked = Instant::now();
            assert_eq!(
                reason(count(&bodies, large(grpc_timeout))).await,
                expected,
                "{grpc_timeout:?}"
            );
            assert_eq!(
                asked.elapsed(),
                Duration::from_secs(seconds),
                "{grpc_timeout:?}"
            );
            assert_eq!(bodies.taken(), 0, "{grpc_timeout:?}");
        }
        let mut waiting = count(&bodies, large(None)).into_body();
        assert!(waiting.frame().now_or_never().is_none(), "it waits");
        drop(turns);
        assert_eq!(
            waiting
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
                .len(),
            LARGE_BYTES + 1
        );
        assert!(waiting.frame().await.is_none());
    }
}
