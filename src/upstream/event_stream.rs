//! A streamed answer: bytes of the upstream's body in, messages out, and exactly one end.
//!
//! The stream ends without an error only if every choice has a finish reason, and then `[DONE]` or
//! a clean end of the body came. Everything else is an error: an answer that is cut short never
//! looks complete. An event is an error if its name says so, if it has an error in it, or if a
//! choice in it ends with one. The part of the answer in such an event is yielded first.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    error::too_large,
    event_meaning::{Interpreter, Meaning, cut},
    options::RequestOptions,
    response_body::ResponseBody,
    sse::{Decoder, EVENT_BYTES_MAX, Event, TooLong},
    stream_message::StreamMessage,
    timeouts::{Expired, Timeouts},
};
use crate::{
    error::{Error, ErrorCode, Result},
    json::Chunk,
};

/// How long to wait for the end of the body after `[DONE]`. A body that ends lets its connection
/// serve the next request.
const END_OF_BODY_WAIT: Duration = Duration::from_millis(50);

/// After this many body frames without an event, such as endless comments, the timeouts are checked
/// for each frame.
const FRAMES_WITHOUT_EVENT_MAX: usize = 256;

/// A streamed answer. Dropping it closes the upstream connection.
pub struct EventStream<M, B = ResponseBody> {
    /// `None` after the end.
    body: Option<B>,
    decoder: Decoder,
    interpreter: Interpreter<M>,
    state: State,
    /// The error to yield next. The last message came in the same event and was yielded first.
    failure: Option<Error>,
    timeouts: Timeouts,
    deadline: Option<Instant>,
    /// When the next message is due, and by which timeout.
    due: (Instant, Expired),
    /// The first content has arrived. From now on the idle timeout applies.
    has_started: bool,
    /// The stream is waiting for upstream. While the caller has not polled for the next message,
    /// upstream is not silent.
    is_waiting: bool,
    /// The number of frames since the last event.
    frames_without_event: usize,
    /// How many more bytes the body may have.
    bytes_left: usize,
    /// The length of the last event, in bytes.
    event_bytes: usize,
    alarm: Pin<Box<Sleep>>,
    request_id: Option<String>,
    /// The API key, which no error may contain.
    secret: Option<SecretString>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Messages may come.
    Open,
    /// The answer is complete. Only the end of the body is missing.
    Done,
    /// Nothing more is read from the body.
    Ended,
}

impl<M, B> std::fmt::Debug for EventStream<M, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl<M, B> EventStream<M, B>
where
    M: StreamMessage,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    pub(super) fn new(
        body: B,
        timeouts: Timeouts,
        sent: Instant,
        options: RequestOptions<'_>,
        request_id: Option<String>,
    ) -> Self {
        let due = timeouts.first(sent, options.deadline);
        Self {
            body: Some(body),
            decoder: Decoder::default(),
            interpreter: Interpreter::new(options),
            state: State::Open,
            failure: None,
            timeouts,
            deadline: options.deadline,
            due,
            has_started: false,
            is_waiting: true,
            frames_without_event: 0,
            bytes_left: options.bytes_max.unwrap_or(usize::MAX),
            event_bytes: 0,
            alarm: Box::pin(sleep_until(due.0)),
            request_id,
            secret: None,
        }
    }

    /// Removes `secret` from the errors of this stream.
    pub(super) fn hiding(self, secret: Option<SecretString>) -> Self {
        Self { secret, ..self }
    }

    /// The length of the event that had the last message, in bytes. An event at the end of the body
    /// without an empty line is not measured, because nothing follows it.
    pub(super) fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// The error for the caller: without the secret, with the `request-id`.
    fn finish_error(&mut self, error: Error) -> Error {
        let secret = self.secret.as_ref().map(|secret| secret.expose_secret());
        error
            .without_secret(secret)
            .with_upstream_request_id(self.request_id.take())
    }

    /// What the next buffered event means. `None` if no whole event is buffered.
    fn next_decoded(&mut self) -> Option<Meaning<M>> {
        loop {
            let event = match self.decoder.next_event() {
                Ok(event) => event?,
                Err(TooLong) => return Some(Meaning::Broken(too_long())),
            };
            if is_blank(&event) {
                continue;
            }
            if !event.is_bare {
                self.event_bytes = event.data.len();
                return Some(self.interpreter.interpret(&event));
            }
            if let Some(error) = self.interpreter.bare_error(&event) {
                return Some(Meaning::Failed(None, error));
            }
        }
    }

    /// The end of the body: the event before it that has no empty line, or nothing, or the error
    /// that the answer was cut.
    fn last(&mut self) -> Option<Result<Chunk<M>>> {
        loop {
            let event = match self.decoder.finish() {
                Ok(Some(event)) if is_blank(&event) => continue,
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(TooLong) => return Some(Err(too_long())),
            };
            if event.is_bare {
                match self.interpreter.bare_error(&event) {
                    Some(error) => return Some(Err(error)),
                    None => continue,
                }
            }
            match self.interpreter.interpret(&event) {
                Meaning::Message(message) if self.interpreter.is_complete() => {
                    return Some(Ok(message));
                }
                Meaning::Done => return None,
                Meaning::Failed(last, error) => return Some(self.fail(last, error)),
                // A part of an event, or a message after which more was to come.
                Meaning::Message(_) | Meaning::Broken(_) => return Some(Err(cut())),
            }
        }
        if self.interpreter.is_complete() {
            None
        } else {
            Some(Err(cut()))
        }
    }

    /// The answer has failed: yields its last message, if there is one, and the error after it.
    fn fail(&mut self, last: Option<Box<M>>, error: Error) -> Result<Chunk<M>> {
        let Some(last) = last else { return Err(error) };
        self.failure = Some(self.finish_error(error));
        Ok(Chunk::Message(last))
    }

    /// The timeout that has expired, if one has. A body that always has more data never polls the
    /// alarm, but its timeouts apply too.
    fn expired_while_busy(&self) -> Option<Expired> {
        let is_past = |time: Instant| Instant::now() >= time;
        if self.deadline.is_some_and(is_past) {
            return Some(Expired::Deadline);
        }
        let is_without_events =
            self.is_waiting && self.frames_without_event > FRAMES_WITHOUT_EVENT_MAX;
        (is_without_events && is_past(self.due.0)).then_some(self.due.1)
    }

    /// Sets when the next message is due. The alarm is only moved to an earlier time. Usually it
    /// fires too early and is set again then, which costs less than moving it for every message.
    fn expect(&mut self, due: (Instant, Expired)) {
        self.due = due;
        if due.0 < self.alarm.deadline() {
            self.alarm.as_mut().reset(due.0);
        }
    }

    /// Completes when the next message is overdue.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<Expired> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if Instant::now() >= self.due.0 {
                return Poll::Ready(self.due.1);
            }
            self.alarm.as_mut().reset(self.due.0);
        }
    }

    fn end(&mut self, item: Option<Result<Chunk<M>>>) -> Poll<Option<Result<Chunk<M>>>> {
        self.state = State::Ended;
        // Close the upstream connection now, not when the caller drops the stream.
        self.body = None;
        Poll::Ready(item.map(|item| item.map_err(|error| self.finish_error(error))))
    }
}

impl<M, B> Stream for EventStream<M, B>
where
    M: StreamMessage,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Item = Result<Chunk<M>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.state {
                State::Open => match this.next_decoded() {
                    Some(Meaning::Message(chunk)) => {
                        this.has_started = this.has_started || has_content(&chunk);
                        this.is_waiting = false;
                        this.frames_without_event = 0;
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Some(Meaning::Failed(last, error)) => {
                        let item = this.fail(last, error);
                        return this.end(Some(item));
                    }
                    Some(Meaning::Broken(error)) => return this.end(Some(Err(error))),
                    Some(Meaning::Done) => {
                        this.state = State::Done;
                        this.expect((Instant::now() + END_OF_BODY_WAIT, Expired::Idle));
                    }
                    None => {}
                },
                State::Done => {}
                State::Ended => return Poll::Ready(this.failure.take().map(Err)),
            }
            let frame = match &mut this.body {
                Some(body) => Pin::new(body).poll_frame(context),
                None => Poll::Ready(None),
            };
            match (frame, this.state) {
                (Poll::Ready(Some(Ok(frame))), State::Open) => {
                    if let Some(data) = frame.data_ref() {
                        let Some(left) = this.bytes_left.checked_sub(data.len()) else {
                            return this.end(Some(Err(too_large())));
                        };
                        this.bytes_left = left;
                        this.decoder.feed(data);
                    }
                    this.frames_without_event += 1;
                    if let Some(expired) = this.expired_while_busy() {
                        return this.end(Some(Err(expired.error(this.timeouts))));
                    }
                }
                (Poll::Ready(Some(Ok(_))), _) => {}
                (Poll::Ready(None), State::Open) => {
                    let last = this.last();
                    return this.end(last);
                }
                (Poll::Ready(Some(Err(error))), State::Open) => {
                    return this.end(Some(Err(cut().with_source(error))));
                }
                (Poll::Ready(_), _) => return this.end(None),
                (Poll::Pending, state) => {
                    if state == State::Open && this.has_started && !this.is_waiting {
                        this.expect(this.timeouts.next(this.deadline));
                    }
                    this.is_waiting = true;
                    let expired = ready!(this.poll_expired(context));
                    let expired = (state == State::Open).then(|| Err(expired.error(this.timeouts)));
                    return this.end(expired);
                }
            }
        }
    }
}

/// Whether the message has a part of the answer in it. A repeat always has, because its text is not
/// empty.
pub(super) fn has_content<M: StreamMessage>(chunk: &Chunk<M>) -> bool {
    chunk.complete().is_none_or(M::has_content)
}

/// Whether an event has no data.
fn is_blank(event: &Event<'_>) -> bool {
    !event.is_error && event.data.trim_ascii().is_empty()
}

fn too_long() -> Error {
    let message = format!("Featherless sent an event of more than {EVENT_BYTES_MAX} bytes");
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

#[cfg(test)]
mod tests;
