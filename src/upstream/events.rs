//! A streamed answer coming up: bytes of the upstream's body in, chunks out, and exactly one end.
//!
//! The end is *finished* only if every choice has said why it finished, and then `[DONE]` or a
//! clean end of the body came. Everything else is an error: an answer cut short never looks
//! complete. An event is an error if its name says so, if it has an error in it, or if a choice in
//! it ends with one; what such an event has of the answer is handed out before.

use std::{
    collections::BTreeMap,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::Body;
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    choices::Choices,
    client::Ask,
    clocks::{Clocks, Late},
    failures::{bad_event, too_large},
    finish::End,
    identity::{self, Identity, Named},
    sse::{Decoder, Event, TooLong},
};
use crate::{
    aside,
    error::{self, Error, ErrorCode, Result},
    json,
};

/// After `[DONE]`, how long to wait for the body's own end, so that the connection can serve the
/// next request.
const END_OF_BODY_WAIT: Duration = Duration::from_millis(50);

/// After so many segments without a single event, such as comments without end, the clocks are
/// looked at for each.
const FRAMES_WITHOUT_EVENT_MAX: usize = 256;

/// A message that comes as an event of a stream.
pub trait Chunk: DeserializeOwned {
    /// The members that the message has no field for.
    fn extra(&self) -> &BTreeMap<String, String>;

    /// For each choice in this chunk its index, and whether this is its last chunk.
    fn choices(&self) -> impl Iterator<Item = (i32, bool)>;

    /// How each choice in this chunk ends, as far as it does.
    fn ends(&self) -> impl Iterator<Item = End<'_>>;

    /// What a chunk that tells of a failure has of the answer, without what tells of it; none if
    /// there is nothing.
    fn before_failure(self) -> Option<Self>;

    /// Whether this chunk has something of the answer in it, rather than only who speaks.
    fn has_begun(&self) -> bool;

    /// The members that name the answer, if it is of a kind that has them.
    fn named(&mut self) -> Option<Named<'_>> {
        None
    }

    /// The indexes of what is in it, if that has some.
    fn indexes(&mut self) -> impl Iterator<Item = &mut i32> {
        std::iter::empty()
    }

    /// Puts in what else the chunk must have, and is known of it.
    fn complete(&mut self) {}
}

/// What one event says.
enum Meaning<M> {
    /// A piece of the answer.
    Chunk(M),
    /// The answer has failed, after this last piece.
    Failed(Option<M>, Error),
    /// It can't be read.
    Broken(Error),
    /// The answer is complete.
    Done,
}

/// A streamed answer. Dropping it closes the upstream connection.
pub struct Events<M, B = Incoming> {
    /// None once nothing more is read.
    body: Option<B>,
    decoder: Decoder,
    choices: Choices,
    identity: Identity,
    state: State,
    /// Why the answer has failed, if that is yet to be told: a piece of it came in the same event.
    failure: Option<Error>,
    clocks: Clocks,
    deadline: Option<Instant>,
    /// When the next piece is due, and by which clock.
    due: (Instant, Late),
    /// The first piece has come: from now on, silence is measured.
    has_begun: bool,
    /// The next piece is being waited for. Not so while the caller takes its time: that is no
    /// silence of upstream's.
    is_waiting: bool,
    /// How much came since the last event.
    frames_without_event: usize,
    /// How much more the body may have.
    bytes_left: usize,
    /// The length of the last event, in bytes.
    event_bytes: usize,
    alarm: Pin<Box<Sleep>>,
    model: Option<String>,
    request_id: Option<String>,
    /// What no error may tell.
    secret: Option<SecretString>,
    message: std::marker::PhantomData<fn() -> M>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// Chunks may come.
    Open,
    /// The answer is complete; only the end of the body is waited for.
    Done,
    /// Nothing more is read.
    Ended,
}

impl<M, B> std::fmt::Debug for Events<M, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

impl<M, B> Events<M, B>
where
    M: Chunk,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    pub(super) fn new(
        body: B,
        clocks: Clocks,
        sent: Instant,
        ask: Ask<'_>,
        request_id: Option<String>,
    ) -> Self {
        let due = clocks.first(sent, ask.deadline);
        Self {
            body: Some(body),
            decoder: Decoder::default(),
            choices: Choices::expecting(ask.choices),
            identity: Identity::default(),
            state: State::Open,
            failure: None,
            clocks,
            deadline: ask.deadline,
            due,
            has_begun: false,
            is_waiting: true,
            frames_without_event: 0,
            bytes_left: ask.bytes_max.unwrap_or(usize::MAX),
            event_bytes: 0,
            alarm: Box::pin(sleep_until(due.0)),
            model: ask.model.map(str::to_owned),
            request_id,
            secret: None,
            message: std::marker::PhantomData,
        }
    }

    /// The same, and its errors don't tell this.
    pub(super) fn hiding(self, secret: Option<SecretString>) -> Self {
        Self { secret, ..self }
    }

    /// The length of the event in which the last piece came, in bytes. Not that of one without its
    /// empty line, after which nothing comes.
    pub(super) fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    /// The error as the caller gets it.
    fn told(&mut self, error: Error) -> Error {
        let secret = self.secret.as_ref().map(|secret| secret.expose_secret());
        error
            .without_secret(secret)
            .with_upstream_request_id(self.request_id.take())
    }

    fn understand(
        choices: &mut Choices,
        identity: &mut Identity,
        event: &Event<'_>,
        model: Option<&str>,
    ) -> Meaning<M> {
        let data = event.data.trim_ascii();
        if event.is_error {
            return Meaning::Failed(None, Error::from_error_event(data, model));
        }
        if data == b"[DONE]" {
            return if choices.are_finished() {
                Meaning::Done
            } else {
                Meaning::Failed(None, cut())
            };
        }
        let mut chunk: M = match aside::here(data.len(), || json::decode_answer(data)) {
            Ok(chunk) => chunk,
            Err(problem) => {
                // A list, perhaps, with an error in it.
                if let Some(error) = Error::from_event(data, model) {
                    return Meaning::Failed(None, error);
                }
                return Meaning::Broken(bad_event(&problem));
            }
        };
        if let Some(named) = chunk.named() {
            identity.complete(named, model);
        }
        if identity::are_unplaced(chunk.indexes()) {
            identity::place(chunk.indexes(), data);
        }
        chunk.complete();
        // An error is a member that chunks have no field for, or stands where a chunk's choices
        // are.
        let is_odd = !chunk.extra().is_empty()
            && (chunk.extra().contains_key("error") || chunk.choices().next().is_none());
        let error = if is_odd {
            Error::from_event(data, model)
        } else {
            None
        };
        if let Some(error) = error.or_else(|| chunk.ends().find_map(|end| end.error(model))) {
            return Meaning::Failed(chunk.before_failure(), error);
        }
        for (index, is_last) in chunk.choices() {
            if let Err(error) = choices.note(index, is_last) {
                return Meaning::Failed(None, error);
            }
        }
        Meaning::Chunk(chunk)
    }

    /// What the next event that is already here says.
    fn next_decoded(&mut self) -> Option<Meaning<M>> {
        loop {
            let event = match self.decoder.next_event() {
                Ok(event) => event?,
                Err(TooLong) => return Some(Meaning::Broken(too_long())),
            };
            if is_blank(&event) {
                continue;
            }
            let model = self.model.as_deref();
            if !event.is_bare {
                self.event_bytes = event.data.len();
                return Some(Self::understand(
                    &mut self.choices,
                    &mut self.identity,
                    &event,
                    model,
                ));
            }
            if let Some(error) = bare_error(&event, model) {
                return Some(Meaning::Failed(None, error));
            }
        }
    }

    /// The body has ended: what stood in it without its empty line, or nothing, or that it was cut.
    fn last(&mut self) -> Option<Result<M>> {
        loop {
            let event = match self.decoder.finish() {
                Ok(Some(event)) if is_blank(&event) => continue,
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(TooLong) => return Some(Err(too_long())),
            };
            let model = self.model.as_deref();
            if event.is_bare {
                match bare_error(&event, model) {
                    Some(error) => return Some(Err(error)),
                    None => continue,
                }
            }
            match Self::understand(&mut self.choices, &mut self.identity, &event, model) {
                Meaning::Chunk(chunk) if self.choices.are_complete() => return Some(Ok(chunk)),
                Meaning::Done => return None,
                Meaning::Failed(last, error) => return Some(self.fail(last, error)),
                // Half an event, or a chunk after which more was to come.
                Meaning::Chunk(_) | Meaning::Broken(_) => return Some(Err(cut())),
            }
        }
        if self.choices.are_complete() {
            None
        } else {
            Some(Err(cut()))
        }
    }

    /// The answer has failed: its last piece, if there is one, and the error after it.
    fn fail(&mut self, last: Option<M>, error: Error) -> Result<M> {
        let Some(last) = last else { return Err(error) };
        self.failure = Some(self.told(error));
        Ok(last)
    }

    /// A body that always has more to give never gets to the alarm; the clocks count all the same.
    fn late_while_busy(&self) -> Option<Late> {
        let is_past = |time: Instant| Instant::now() >= time;
        if self.deadline.is_some_and(is_past) {
            return Some(Late::Deadline);
        }
        let is_babble = self.is_waiting && self.frames_without_event > FRAMES_WITHOUT_EVENT_MAX;
        (is_babble && is_past(self.due.0)).then_some(self.due.1)
    }

    /// Sets when the next piece is due. The alarm is moved only to ring sooner: usually it is left
    /// to ring too early and set anew then, which costs less than moving it for every piece.
    fn expect(&mut self, due: (Instant, Late)) {
        self.due = due;
        if due.0 < self.alarm.deadline() {
            self.alarm.as_mut().reset(due.0);
        }
    }

    /// Wakes this task when the next piece is due.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<Late> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if Instant::now() >= self.due.0 {
                return Poll::Ready(self.due.1);
            }
            self.alarm.as_mut().reset(self.due.0);
        }
    }

    fn end(&mut self, item: Option<Result<M>>) -> Poll<Option<Result<M>>> {
        self.state = State::Ended;
        // What is held upstream is given back now, not when the caller gets round to dropping the
        // stream.
        self.body = None;
        Poll::Ready(item.map(|item| item.map_err(|error| self.told(error))))
    }
}

impl<M, B> Stream for Events<M, B>
where
    M: Chunk,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Item = Result<M>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.state {
                State::Open => match this.next_decoded() {
                    Some(Meaning::Chunk(chunk)) => {
                        this.has_begun = this.has_begun || chunk.has_begun();
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
                        this.expect((Instant::now() + END_OF_BODY_WAIT, Late::Idle));
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
                    if let Some(late) = this.late_while_busy() {
                        return this.end(Some(Err(late.error(this.clocks))));
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
                    if state == State::Open && this.has_begun && !this.is_waiting {
                        this.expect(this.clocks.rest(this.deadline));
                    }
                    this.is_waiting = true;
                    let late = ready!(this.poll_late(context));
                    let late = (state == State::Open).then(|| Err(late.error(this.clocks)));
                    return this.end(late);
                }
            }
        }
    }
}

/// The error that a line without the name of a field is, if it is one. What is longer than any
/// error of an API isn't read.
fn bare_error(line: &Event<'_>, model: Option<&str>) -> Option<Error> {
    if line.data.len() > error::BODY_BYTES_MAX {
        None
    } else {
        Error::from_event(line.data, model)
    }
}

/// Whether an event says nothing at all.
fn is_blank(event: &Event<'_>) -> bool {
    !event.is_error && event.data.trim_ascii().is_empty()
}

fn cut() -> Error {
    let message =
        "Featherless broke off before the answer was finished; it is not complete: try again";
    Error::new(ErrorCode::UpstreamStreamCut, message)
}

fn too_long() -> Error {
    let message = format!(
        "Featherless sent an event of more than {} bytes",
        super::sse::EVENT_BYTES_MAX
    );
    Error::new(ErrorCode::UpstreamBadAnswer, message)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use http_body::Frame;

    use super::super::clocks::Of;
    use super::*;
    use crate::proto::v1::StreamChatCompletionResponse;

    /// A body that always has one more comment.
    struct Babble;

    impl Body for Babble {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                b": still here\n\n",
            )))))
        }
    }

    #[tokio::test]
    async fn a_body_that_always_has_more_meets_its_clocks_all_the_same() {
        let short = Duration::from_millis(50);
        let clocks = Clocks {
            of: Of::Answer,
            first_token: short,
            idle: short,
        };
        for (deadline, code) in [
            (None, "first_token_timeout"),
            (Some(Instant::now()), "deadline_exceeded"),
        ] {
            let ask = Ask {
                deadline,
                ..Ask::default()
            };
            let mut events = Events::<StreamChatCompletionResponse, _>::new(
                Babble,
                clocks,
                Instant::now(),
                ask,
                None,
            );
            assert_eq!(events.next().await.unwrap().unwrap_err().code(), code);
            assert!(events.next().await.is_none());
        }
    }
}
