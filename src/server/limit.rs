//! The largest and the slowest gRPC request, refused with the gateway's own errors. Tonic's limit of size stands behind
//! it: it calls the same thing OUT_OF_RANGE.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tower::Service;

use super::ready::Draining;
use crate::{
    error::{Error, Kind},
    service::{
        call::{self, BODY_TIMEOUT, body_timeout},
        running,
    },
};

/// The five bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Bounds the size of requests whose callers have a key.
#[derive(Clone)]
pub(super) struct Layer {
    /// The largest message, in bytes.
    pub(super) bytes_max: usize,
}

impl<S> tower::Layer<S> for Layer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, bytes_max: self.bytes_max }
    }
}

#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    bytes_max: usize,
}

impl<S: Service<Request>> Service<Request> for Limited<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> S::Future {
        let bound = Bound { bytes_max: self.bytes_max, advice: "send less, or raise --max-request-bytes" };
        self.inner.call(bounded(request, bound, None))
    }
}

/// The largest message of a request, and what to do about a larger one.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    pub(super) bytes_max: usize,
    pub(super) advice: &'static str,
}

/// What ends a stream of requests that its caller may keep open after its first message, as only reflection's methods let
/// it.
pub(super) struct GoesOn {
    /// How long the next message may take to be there.
    pub(super) idle_timeout: Duration,
    pub(super) draining: Draining,
    /// Told why the request was ended.
    pub(super) verdict: Arc<OnceLock<Status>>,
}

/// The request with its messages bounded.
pub(super) fn bounded(request: Request, bound: Bound, goes_on: Option<GoesOn>) -> Request {
    let timeout = call::timeout(request.headers()).ok().flatten();
    let is_hurried = timeout.is_some_and(|timeout| timeout < BODY_TIMEOUT);
    let timeout = timeout.unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
    request.map(|body| {
        Body::new(Messages {
            body,
            bound,
            prefix: Vec::new(),
            rest: 0,
            has_one: false,
            alarm: Box::pin(tokio::time::sleep(timeout)),
            is_hurried,
            goes_on,
        })
    })
}

/// A request's body, watched for the length that each of its messages announces, and for how long they take to arrive.
/// Every method has one message, except those of reflection.
struct Messages {
    body: Body,
    bound: Bound,
    /// What has come of a message's prefix.
    prefix: Vec<u8>,
    /// How much of the message has still to come, after its prefix.
    rest: usize,
    /// A message has come whole.
    has_one: bool,
    /// Rings when the request, or its next message, has taken too long to arrive.
    alarm: Pin<Box<Sleep>>,
    /// It is the caller's own deadline.
    is_hurried: bool,
    goes_on: Option<GoesOn>,
}

impl Messages {
    fn check(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while !data.is_empty() {
            let (taken, left) = if self.rest > 0 {
                let (taken, left) = data.split_at(self.rest.min(data.len()));
                self.rest -= taken.len();
                (taken, left)
            } else {
                let missing = PREFIX_BYTES.saturating_sub(self.prefix.len());
                let (taken, left) = data.split_at(missing.min(data.len()));
                self.prefix.extend(taken);
                if let &[_, a, b, c, d] = self.prefix.as_slice() {
                    self.rest = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                    self.prefix.clear();
                    self.check_length()?;
                }
                (taken, left)
            };
            data = left;
            if self.is_between() && !taken.is_empty() {
                self.message_ended();
            }
        }
        Ok(())
    }

    fn check_length(&self) -> Result<(), Error> {
        let (length, Bound { bytes_max, advice }) = (self.rest, self.bound);
        if length <= bytes_max {
            return Ok(());
        }
        let message = format!("The request takes {length} bytes, and {bytes_max} are allowed: {advice}");
        Err(Error::new(Kind::TooLarge, "request_too_large", message).with_limit(bytes_max))
    }

    /// Whether all that has come are whole messages.
    fn is_between(&self) -> bool {
        self.rest == 0 && self.prefix.is_empty()
    }

    fn message_ended(&mut self) {
        self.has_one = true;
        if let Some(goes_on) = &self.goes_on {
            self.alarm.as_mut().reset(Instant::now() + goes_on.idle_timeout);
        }
    }

    /// Completes when nothing more is waited for.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let is_between = self.has_one && self.is_between();
        if let Some(goes_on) = self.goes_on.as_mut().filter(|_| is_between)
            && goes_on.draining.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(running::draining());
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(match &self.goes_on {
            Some(goes_on) if self.has_one => idle(goes_on.idle_timeout),
            _ if self.is_hurried => call::deadline_exceeded(),
            _ => body_timeout(),
        })
    }

    fn fail(&self, error: Error) -> axum::BoxError {
        let status = Status::from(error);
        if let Some(goes_on) = &self.goes_on {
            let _ = goes_on.verdict.set(status.clone());
        }
        status.into()
    }
}

fn idle(timeout: Duration) -> Error {
    let message = format!("No further message came for {} s, so this stream is ended: open another", timeout.as_secs());
    Error::new(Kind::Timeout, "stream_idle", message)
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let error = ready!(this.poll_end(context));
            return Poll::Ready(Some(Err(this.fail(error))));
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                this.check(data).map_err(|error| this.fail(error))?;
            }
            Ok(frame)
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{mpsc, oneshot};
    use tonic_types::StatusExt;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    /// A stream of requests that goes on, to write into; and what ends it for the drain.
    fn stream(bytes_max: usize) -> (mpsc::UnboundedSender<Bytes>, oneshot::Sender<()>, Body) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(|data| Ok::<_, axum::Error>(Frame::data(data)));
        let (drain, draining) = oneshot::channel();
        let goes_on = GoesOn {
            idle_timeout: IDLE,
            draining: Box::pin(async move {
                let _ = draining.await;
            }),
            verdict: Arc::default(),
        };
        let bound = Bound { bytes_max, advice: "send less" };
        let request = bounded(Request::new(Body::new(StreamBody::new(frames))), bound, Some(goes_on));
        (sender, drain, request.into_body())
    }

    fn message(length: u8) -> Bytes {
        [&[0, 0, 0, 0, length], vec![7; length.into()].as_slice()].concat().into()
    }

    async fn reason(body: &mut Body) -> String {
        let error = body.frame().await.unwrap().unwrap_err().into_inner();
        error.downcast::<Status>().unwrap().get_error_details().error_info().unwrap().reason.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_idle_for_a_while_after_each_message() {
        let (sender, _drain, mut body) = stream(100);
        for _ in 0..3 {
            sender.send(message(5)).unwrap();
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        }
        // The beginning of another message is none.
        sender.send(message(5).slice(..7)).unwrap();
        body.frame().await.unwrap().unwrap();
        let begun = Instant::now();
        assert_eq!(reason(&mut body).await, "STREAM_IDLE");
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn every_message_is_bounded_however_it_is_cut() {
        for piece in 1..40 {
            let (sender, _drain, mut body) = stream(9);
            let bytes = [message(9), message(0), message(1), message(10)].concat();
            bytes.chunks(piece).for_each(|piece| sender.send(Bytes::copy_from_slice(piece)).unwrap());
            let mut received = 0;
            let error = loop {
                match body.frame().await.unwrap() {
                    Ok(frame) => received += frame.into_data().unwrap().len(),
                    Err(error) => break error,
                }
            };
            assert!(received < 14 + 5 + 6 + 5, "{piece}: {received}");
            assert!(error.to_string().contains("10 bytes"), "{piece}: {error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_stream_between_two_messages() {
        let (sender, drain, mut body) = stream(100);
        sender.send(message(5)).unwrap();
        body.frame().await.unwrap().unwrap();
        drain.send(()).unwrap();
        assert_eq!(reason(&mut body).await, "DRAINING");
    }
}
