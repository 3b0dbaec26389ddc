//! A streamed answer as server-sent events, as OpenAI sends them: `data: {chunk}` for each chunk,
//! then `data: [DONE]`. If the answer fails, `data: {"error":{…}}` and no `[DONE]`. While nothing
//! else is sent, there are comments.

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
    json::{self, Chunk, SingleText},
    service::{LateHeaders, QueuePosition, Reply},
};

/// Chunks that are ready at the same time are sent together, in frames of about this many bytes.
const FRAME_BYTES: usize = 16 * 1024;

/// The usual size of one chunk.
const CHUNK_BYTES: usize = 512;

/// Larger frames, in bytes, are sent in the buffer in which they were written. Smaller ones are
/// copied out of it, so that the next frame can use it again.
const COPIED_FRAME_BYTES_MAX: usize = 2 * 1024;

/// The interval of comments while nothing else is sent. Proxies close connections that are silent
/// for about a minute.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

const KEEPALIVE: &[u8] = b": waiting for the model\n\n";

/// The body of a streamed REST answer. Dropping it drops the answer, and all that the answer holds.
pub struct EventBody<S, M> {
    answer: State<S>,
    templates: json::TemplateWriter<M>,
    /// The next frame is written here. Empty between two frames.
    buffer: Vec<u8>,
    /// Fires after a silence. It is reset only when it fires, not for every chunk.
    alarm: Pin<Box<Sleep>>,
    spoke_at: Instant,
    /// How the call waits for units, for the comments.
    position: QueuePosition,
}

enum State<S> {
    /// The response head has been sent, and the answer has not started yet. It may wait for units.
    Starting(BoxFuture<'static, Result<Reply<S>>>),
    /// Messages tell how the call waits for units. These headers are known when the answer starts.
    Queued(S, LateHeaders),
    /// Chunks may follow.
    Open(S),
    /// The end has been sent.
    Over,
}

impl<S, M> EventBody<S, M> {
    /// The body of an answer that has started.
    pub fn new(chunks: S) -> Self {
        let position = QueuePosition::unwatched();
        Self::after(State::Open(chunks), position, Instant::now())
    }

    /// The body of an answer that has not started, and that tells how its call waits for units.
    pub fn queued(chunks: S, late_headers: LateHeaders, position: QueuePosition) -> Self {
        Self::after(
            State::Queued(chunks, late_headers),
            position,
            Instant::now(),
        )
    }

    /// The body of an answer that has not started for a long time. It begins with a comment, so
    /// that the connection is not silent.
    pub fn starting(
        starting: BoxFuture<'static, Result<Reply<S>>>,
        position: QueuePosition,
    ) -> Self {
        let now = Instant::now();
        Self::after(
            State::Starting(starting),
            position,
            now.checked_sub(KEEPALIVE_INTERVAL).unwrap_or(now),
        )
    }

    /// A comment with the reason for the wait.
    fn keepalive(&self) -> Bytes {
        match self.position.requests_ahead() {
            Some(ahead) => {
                format!(": waiting for concurrency units, about {ahead} ahead\n\n").into()
            }
            None => Bytes::from_static(KEEPALIVE),
        }
    }

    fn after(answer: State<S>, position: QueuePosition, spoke_at: Instant) -> Self {
        Self {
            answer,
            templates: json::TemplateWriter::default(),
            buffer: Vec::new(),
            alarm: Box::pin(sleep_until(spoke_at + KEEPALIVE_INTERVAL)),
            spoke_at,
            position,
        }
    }

    /// Completes when nothing has been sent for the interval.
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

impl<S, M> http_body::Body for EventBody<S, M>
where
    S: Stream<Item = Result<Chunk<M>>> + Unpin,
    M: Serialize + SingleText,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let out = &mut this.buffer;
        while out.len() < FRAME_BYTES {
            let item = match &mut this.answer {
                State::Starting(starting) => match starting.poll_unpin(context) {
                    Poll::Ready(Ok(reply)) => {
                        headers_comment(&reply.headers, out);
                        this.answer = match reply.late_headers.are_expected() {
                            true => State::Queued(reply.answer, reply.late_headers),
                            false => State::Open(reply.answer),
                        };
                        continue;
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Pending => Poll::Pending,
                },
                State::Queued(chunks, late_headers) => {
                    let item = chunks.poll_next_unpin(context);
                    if let Some(headers) = late_headers.get() {
                        headers_comment(headers, out);
                        this.answer = match std::mem::replace(&mut this.answer, State::Over) {
                            State::Queued(chunks, _) => State::Open(chunks),
                            other => other,
                        };
                    }
                    item
                }
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
                Some(Ok(chunk)) => write_event(out, |out| this.templates.write(chunk, out)),
                Some(Err(error)) => Err(error),
                None => {
                    out.extend_from_slice(b"data: [DONE]\n\n");
                    this.answer = State::Over;
                    break;
                }
            };
            if let Err(error) = written {
                // Strings and an `Option`: serialising an error cannot fail.
                let _ = write_event(out, |out| json::encode_answer(&error.body(), out));
                this.answer = State::Over;
            }
        }
        this.spoke_at = Instant::now();
        Poll::Ready(take_frame(&mut this.buffer).map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.answer, State::Over)
    }
}

/// The bytes in `buffer`, which is empty afterwards. `None` if it is empty.
fn take_frame(buffer: &mut Vec<u8>) -> Option<Bytes> {
    if buffer.is_empty() {
        return None;
    }
    if buffer.len() > COPIED_FRAME_BYTES_MAX {
        return Some(std::mem::take(buffer).into());
    }
    let bytes = Bytes::copy_from_slice(buffer);
    buffer.clear();
    Some(bytes)
}

/// The reply's headers as comments, because the head was sent before they were known.
fn headers_comment(headers: &http::HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        out.extend_from_slice(b": ");
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        // A header value has no line breaks.
        out.extend_from_slice(value.as_bytes());
        out.push(b'\n');
    }
    if !headers.is_empty() {
        out.push(b'\n');
    }
}

/// Appends one event. `write` appends its JSON.
fn write_event(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), json::JsonError>,
) -> Result<()> {
    let begin = out.len();
    out.extend_from_slice(b"data: ");
    if let Err(problem) = write(out) {
        out.truncate(begin);
        return Err(Error::internal(problem));
    }
    remove_line_breaks(out.get_mut(begin..).unwrap_or_default());
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// Replaces the line breaks in JSON by spaces. JSON text from an upstream event is passed on
/// unchanged and may have several lines, but a line break would end the event here. A JSON string
/// cannot contain a line break, so a space means the same.
fn remove_line_breaks(json: &mut [u8]) {
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        json.iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
            .for_each(|byte| *byte = b' ');
    }
}

impl<S, M> fmt::Debug for EventBody<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBody")
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
        let (send, receive) = tokio::sync::mpsc::channel::<Result<Chunk<i32>>>(1);
        let mut body = EventBody::new(tokio_stream::wrappers::ReceiverStream::new(receive));
        let begun = Instant::now();
        for comments in 1..=3 {
            assert_eq!(
                body.frame().await.unwrap().unwrap().into_data().unwrap(),
                KEEPALIVE
            );
            assert_eq!(begun.elapsed(), KEEPALIVE_INTERVAL * comments);
        }
        tokio::time::advance(KEEPALIVE_INTERVAL / 2).await;
        send.send(Ok(7.into())).await.unwrap();
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
            "the interval starts at the last bytes"
        );
        drop(send);
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "data: [DONE]\n\n"
        );
        assert!(body.frame().await.is_none());
    }
}
