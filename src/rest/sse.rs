//! A streamed answer as server-sent events, in OpenAI's manner: `data: {chunk}` for each, then
//! `data: [DONE]`; or, when it fails, `data: {"error":{…}}` and no `[DONE]`. Through silences it
//! sends comments.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture};
use http_body::Frame;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    error::{Error, Result},
    json,
    service::{QueuePosition, Reply},
};

/// Chunks that are ready at the same time go out together, up to about this many bytes.
const FRAME_BYTES: usize = 16 * 1024;

/// What one chunk usually takes, so that a frame of one chunk is one allocation.
const CHUNK_BYTES: usize = 512;

/// After so much silence a comment is sent, which says nothing: proxies cut connections that are
/// silent for a minute or so.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

const KEEPALIVE: &[u8] = b": waiting for the model\n\n";

/// The body of a streamed REST answer. Dropping it drops the answer, and all that the answer holds.
pub struct Events<S> {
    answer: State<S>,
    /// Rings after a silence; moved only when it rings, not for every chunk.
    alarm: Pin<Box<Sleep>>,
    spoke_at: Instant,
}

enum State<S> {
    /// The head has gone out, and the answer has not begun yet; perhaps it waits for units.
    Opening(BoxFuture<'static, Result<Reply<S>>>, QueuePosition),
    /// Chunks may come.
    Open(S),
    /// The end has been told.
    Over,
}

impl<S> Events<S> {
    /// The body for these chunks.
    pub fn new(chunks: S) -> Self {
        Self::after(State::Open(chunks), Instant::now())
    }

    /// The body of an answer that has let its caller wait for too long already: it speaks at once.
    pub fn opening(opening: BoxFuture<'static, Result<Reply<S>>>, position: QueuePosition) -> Self {
        let now = Instant::now();
        Self::after(
            State::Opening(opening, position),
            now.checked_sub(KEEPALIVE_INTERVAL).unwrap_or(now),
        )
    }

    /// A comment that says what is waited for.
    fn keepalive(&self) -> Bytes {
        match &self.answer {
            State::Opening(_, position) => match position.requests_ahead() {
                Some(ahead) => {
                    format!(": waiting for concurrency units, about {ahead} ahead\n\n").into()
                }
                None => Bytes::from_static(KEEPALIVE),
            },
            _ => Bytes::from_static(KEEPALIVE),
        }
    }

    fn after(answer: State<S>, spoke_at: Instant) -> Self {
        Self {
            answer,
            alarm: Box::pin(sleep_until(spoke_at + KEEPALIVE_INTERVAL)),
            spoke_at,
        }
    }

    /// Completes when there has been silence for the interval.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            let due = self.spoke_at + KEEPALIVE_INTERVAL;
            if Instant::now() >= due {
                self.spoke_at = Instant::now();
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(due);
        }
    }
}

impl<S, M> http_body::Body for Events<S>
where
    S: Stream<Item = Result<M>> + Unpin,
    M: Serialize,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut out = Vec::new();
        while out.len() < FRAME_BYTES {
            let item = match &mut this.answer {
                State::Opening(opening, _) => match opening.poll_unpin(context) {
                    Poll::Ready(Ok(Reply { answer, headers })) => {
                        comment(&headers, &mut out);
                        this.answer = State::Open(answer);
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Pending => Poll::Pending,
                },
                State::Open(chunks) => chunks.poll_next_unpin(context),
                State::Over => break,
            };
            let chunk = match item {
                Poll::Pending if out.is_empty() => {
                    ready!(this.poll_silence(context));
                    this.alarm
                        .as_mut()
                        .reset(this.spoke_at + KEEPALIVE_INTERVAL);
                    return Poll::Ready(Some(Ok(Frame::data(this.keepalive()))));
                }
                Poll::Pending => break,
                Poll::Ready(chunk) => chunk,
            };
            out.reserve(CHUNK_BYTES);
            let written = match chunk {
                Some(Ok(chunk)) => write(&chunk, &mut out),
                Some(Err(error)) => Err(error),
                None => {
                    out.extend_from_slice(b"data: [DONE]\n\n");
                    this.answer = State::Over;
                    break;
                }
            };
            if let Err(error) = written {
                // Strings and an Option of one: an error always serialises.
                let _ = write(&error.body(), &mut out);
                this.answer = State::Over;
            }
        }
        this.spoke_at = Instant::now();
        Poll::Ready((!out.is_empty()).then(|| Ok(Frame::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.answer, State::Over)
    }
}

/// What would have been headers, had the head not gone out before.
fn comment(headers: &http::HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        out.extend_from_slice(b": ");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        // A header's value has no line ends.
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    if !headers.is_empty() {
        out.push(b'\n');
    }
}

fn write(message: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    let begin = out.len();
    out.extend_from_slice(b"data: ");
    if let Err(problem) = json::encode_answer(message, out) {
        out.truncate(begin);
        return Err(Error::internal(problem));
    }
    one_line(out.get_mut(begin..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// Makes one line of JSON. An upstream's event may have several, and JSON text of it is passed on
/// as it is; a line break would end the event here. In JSON a line break is never part of a string,
/// so a space says the same.
fn one_line(json: &mut [u8]) {
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        json.iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .for_each(|byte| *byte = b' ');
    }
}

impl<S> fmt::Debug for Events<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("spoke_at", &self.spoke_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_answer_is_kept_alive_by_comments() {
        let (send, receive) = tokio::sync::mpsc::channel::<Result<i32>>(1);
        let mut body = Events::new(tokio_stream::wrappers::ReceiverStream::new(receive));
        let begun = Instant::now();
        for comments in 1..=3 {
            assert_eq!(
                body.frame().await.unwrap().unwrap().into_data().unwrap(),
                KEEPALIVE
            );
            assert_eq!(begun.elapsed(), KEEPALIVE_INTERVAL * comments);
        }
        tokio::time::advance(KEEPALIVE_INTERVAL / 2).await;
        send.send(Ok(7)).await.unwrap();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "data: 7\n\n"
        );
        let spoke_at = Instant::now();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            KEEPALIVE
        );
        assert_eq!(
            spoke_at.elapsed(),
            KEEPALIVE_INTERVAL,
            "counted from when something was said last"
        );
        drop(send);
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "data: [DONE]\n\n"
        );
        assert!(body.frame().await.is_none());
    }
}
