//! How long a gRPC request may take to arrive, refused with the gateway's own errors. Every method
//! has one message, except those of reflection, whose callers may keep the stream of their messages
//! open.

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

use super::prefixes::{Mark, Prefixes};
use crate::{
    error::{Error, ErrorCode},
    service::{
        DrainStarted,
        call::{self, BODY_TIMEOUT, body_timeout},
    },
};

/// What ends a stream of messages that goes on after its first one.
pub(crate) struct GoesOn {
    /// How long the next message may take to be there.
    pub(crate) idle_timeout: Duration,
    pub(crate) draining: DrainStarted,
}

/// The request with a clock on its body.
pub(crate) fn timed(request: Request, goes_on: Option<GoesOn>) -> Request {
    let timeout = call::timeout(request.headers()).ok().flatten();
    let is_hurried = timeout.is_some_and(|timeout| timeout < BODY_TIMEOUT);
    let timeout = timeout.unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
    let stream = goes_on.map(|goes_on| Messages {
        goes_on,
        prefixes: Prefixes::default(),
        has_one: false,
    });
    request.map(|body| {
        Body::new(Timed {
            body,
            alarm: Box::pin(tokio::time::sleep(timeout)),
            is_hurried,
            stream,
        })
    })
}

/// A request's body, watched for how long it takes to arrive.
struct Timed {
    body: Body,
    /// Rings when the request, or its next message, has taken too long to arrive.
    alarm: Pin<Box<Sleep>>,
    /// It is the caller's own deadline.
    is_hurried: bool,
    /// How far the messages have come, if they may go on after the first one.
    stream: Option<Messages>,
}

struct Messages {
    goes_on: GoesOn,
    prefixes: Prefixes,
    /// A message has come whole.
    has_one: bool,
}

impl Messages {
    /// Whether something has come, and all of it are whole messages.
    fn is_between(&self) -> bool {
        self.has_one && self.prefixes.is_between()
    }
}

impl Timed {
    fn note(&mut self, mut data: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        while let Some(mark) = stream.prefixes.next(&mut data) {
            if mark == Mark::Ends {
                stream.has_one = true;
                self.alarm
                    .as_mut()
                    .reset(Instant::now() + stream.goes_on.idle_timeout);
            }
        }
    }

    /// Completes when nothing more is waited for.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.is_between())
            && stream.goes_on.draining.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Error::draining());
        }
        ready!(self.alarm.as_mut().poll(context));
        Poll::Ready(match &self.stream {
            Some(stream) if stream.has_one => idle(stream.goes_on.idle_timeout),
            _ if self.is_hurried => Error::deadline_exceeded("the request had arrived"),
            _ => body_timeout(),
        })
    }
}

fn idle(timeout: Duration) -> Error {
    let message = format!(
        "No further message came for {} s, so this stream is ended: open another",
        timeout.as_secs()
    );
    Error::new(ErrorCode::StreamIdle, message)
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let error = ready!(this.poll_late(context));
            return Poll::Ready(Some(Err(Status::from(error).into())));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.note(data);
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

    /// A stream of requests that goes on, to write into; and what ends it for the drain.
    fn stream() -> (mpsc::UnboundedSender<Bytes>, oneshot::Sender<()>, Body) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))
            .map(|data| Ok::<_, axum::Error>(Frame::data(data)));
        let (drain, draining) = oneshot::channel();
        let goes_on = GoesOn {
            idle_timeout: IDLE,
            draining: Box::pin(async move {
                let _ = draining.await;
            }),
        };
        let request = timed(
            Request::new(Body::new(StreamBody::new(frames))),
            Some(goes_on),
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
        // The beginning of another message is none.
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
