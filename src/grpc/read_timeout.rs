//! The timeout for the arrival of a gRPC request, with the gateway's own errors. Every method has
//! one request message, except reflection, whose callers may keep their stream of messages open.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::message_scanner::{Boundary, MessageScanner};
use crate::{
    error::{Error, ErrorCode},
    service::{
        DrainStarted,
        body_timeout::{self, BODY_TIMEOUT},
    },
};

/// The limits of a stream of messages after its first message.
pub(crate) struct MessageStream {
    /// The longest wait for the next message.
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_started: DrainStarted,
}

/// The request with a timeout for its body: the `timeout` of its caller, or [`BODY_TIMEOUT`] if
/// that is shorter. `message_stream` is set for a method that takes a stream of messages.
pub(crate) fn with_timeout<B>(
    request: Request<B>,
    timeout: Option<Duration>,
    message_stream: Option<MessageStream>,
) -> Request<TimedBody<B>> {
    let is_callers_deadline = timeout.is_some_and(|timeout| timeout < BODY_TIMEOUT);
    let timeout = timeout.unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
    let stream = message_stream.map(|limits| StreamState {
        limits,
        scanner: MessageScanner::default(),
        has_message: false,
    });
    let due = Instant::now() + timeout;
    request.map(|body| TimedBody {
        body,
        due,
        alarm: None,
        is_callers_deadline,
        stream,
    })
}

/// A request body with a timeout.
pub(crate) struct TimedBody<B> {
    body: B,
    /// When the request, or its next message, takes too long to arrive.
    due: Instant,
    /// Fires at that time. It is set at the first wait: most requests arrive with their head.
    alarm: Option<Pin<Box<Sleep>>>,
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

impl<B> TimedBody<B> {
    fn scan(&mut self, mut data: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while let Some(boundary) = stream.scanner.next(&mut data) {
            if boundary == Boundary::End {
                stream.has_message = true;
                self.due = Instant::now() + stream.limits.idle_timeout;
                if let Some(alarm) = &mut self.alarm {
                    alarm.as_mut().reset(self.due);
                }
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
        let due = self.due;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        ready!(alarm.as_mut().poll(context));
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

impl<B> HttpBody for TimedBody<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
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
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::StreamExt;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::{mpsc, oneshot};
    use tonic_types::StatusExt;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    /// An open stream of requests: its sender, the sender that starts the drain, and the body.
    fn stream() -> (
        mpsc::UnboundedSender<Bytes>,
        oneshot::Sender<()>,
        TimedBody<Body>,
    ) {
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
            None,
            Some(message_stream),
        );
        (sender, drain, request.into_body())
    }

    fn message(length: u8) -> Bytes {
        [&[0, 0, 0, 0, length], vec![7; length.into()].as_slice()]
            .concat()
            .into()
    }

    async fn reason(body: &mut TimedBody<Body>) -> String {
        let error = body.frame().await.unwrap().unwrap_err();
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
