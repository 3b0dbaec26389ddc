//! The timeout for the arrival of a gRPC request, with the gateway's own errors. Every method has
//! one request message, except reflection, whose callers may keep their stream of messages open.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::message_scanner::{Boundary, MessageScanner};
use crate::{
    error::{Error, ErrorCode},
    service::{
        DrainStarted,
        body_timeout::{self, BODY_TIMEOUT},
        headers,
    },
};

/// The limits of a stream of messages after its first message.
pub(crate) struct MessageStream {
    /// The longest wait for the next message.
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_started: DrainStarted,
}

/// The request with a timeout for its body. `message_stream` is set for a method that takes a
/// stream of messages.
pub(crate) fn with_timeout(request: Request, message_stream: Option<MessageStream>) -> Request {
    let timeout = headers::timeout(request.headers()).ok().flatten();
    let is_callers_deadline = timeout.is_some_and(|timeout| timeout < BODY_TIMEOUT);
    let timeout = timeout.unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
    let stream = message_stream.map(|limits| StreamState {
        limits,
        scanner: MessageScanner::default(),
        has_message: false,
    });
    request.map(|body| {
        Body::new(TimedBody {
            body,
            alarm: Box::pin(tokio::time::sleep(timeout)),
            is_callers_deadline,
            stream,
        })
    })
}

/// A request body with a timeout.
struct TimedBody {
    body: Body,
    /// Fires when the request, or its next message, takes too long to arrive.
    alarm: Pin<Box<Sleep>>,
    /// Whether `alarm` is the caller's deadline.
    is_callers_deadline: bool,
    /// The state of a stream of messages.
    stream: Option<StreamState>,
}

struct StreamState {
    limits: MessageStream,
    scanner: MessageScanner,
    /// A message has arrived completely.
    has_message: bool,
}

impl StreamState {
    /// Whether at least one message has arrived, and none has arrived in part.
    fn is_between_messages(&self) -> bool {
        self.has_message && self.scanner.is_between_messages()
    }
}

impl TimedBody {
    fn scan(&mut self, mut data: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while let Some(boundary) = stream.scanner.next(&mut data) {
            if boundary == Boundary::End {
                stream.has_message = true;
                self.alarm
                    .as_mut()
                    .reset(Instant::now() + stream.limits.idle_timeout);
            }
        }
    }

    /// Completes with an error when the wait for more bytes ends.
    fn poll_timeout(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if let Some(stream) = self
            .stream
            .as_mut()
            .filter(|stream| stream.is_between_messages())
            && stream
                .limits
                .drain_started
                .as_mut()
                .poll(context)
                .is_ready()
        {
            return Poll::Ready(Error::draining());
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(match &self.stream {
            Some(stream) if stream.has_message => idle(stream.limits.idle_timeout),
            _ if self.is_callers_deadline => Error::deadline_exceeded("the request had arrived"),
            _ => body_timeout::exceeded(),
        })
    }
}

fn idle(timeout: Duration) -> Error {
    let message = format!(
        "The stream was closed because no message arrived for {} s: open another stream",
        timeout.as_secs()
    );
    Error::new(ErrorCode::StreamIdle, message)
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let error = ready!(this.poll_timeout(context));
            return Poll::Ready(Some(Err(Status::from(error).into())));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.scan(data);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
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

    /// An open stream of requests: its sender, the sender that starts the drain, and the body.
    fn stream() -> (mpsc::UnboundedSender<Bytes>, oneshot::Sender<()>, Body) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(|data| Ok::<_, axum::Error>(Frame::data(data)));
        let (drain, drain_started) = oneshot::channel();
        let message_stream = MessageStream {
            idle_timeout: IDLE,
            drain_started: Box::pin(async move {
                let _ = drain_started.await;
            }),
        };
        let request = with_timeout(
            Request::new(Body::new(StreamBody::new(frames))),
            Some(message_stream),
        );
        (sender, drain, request.into_body())
    }

    fn message(length: u8) -> Bytes {
        [&[0, 0, 0, 0, length], vec![7; length.into()].as_slice()]
            .concat()
            .into()
    }

    async fn reason(body: &mut Body) -> String {
        let error = body.frame().await.unwrap().unwrap_err().into_inner();
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
    async fn a_stream_may_be_idle_for_a_while_after_each_message() {
        let (sender, _drain, mut body) = stream();
        for _ in 0..3 {
            sender.send(message(5)).unwrap();
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        }
        // The beginning of a message does not count as a message.
        sender.send(message(5).slice(..7)).unwrap();
        body.frame().await.unwrap().unwrap();
        let begun = Instant::now();
        assert_eq!(reason(&mut body).await, "STREAM_IDLE");
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_a_stream_between_two_messages() {
        let (sender, drain, mut body) = stream();
        sender.send(message(5)).unwrap();
        body.frame().await.unwrap().unwrap();
        drain.send(()).unwrap();
        assert_eq!(reason(&mut body).await, "DRAINING");
    }
}
