//! The body of a streamed answer: its chunks, and the trailers with the status.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body::{Body as HttpBody, Frame};
use prost::Message;

use super::{
    message, response,
    surrogates::{SplitSurrogates, TextChunk},
};
use crate::{
    error::{Error, Result},
    json::{Chunk, RepeatBuffer, SingleText},
    service::LateHeaders,
};

/// Chunks that are ready at the same time are sent together, in frames of about this many bytes.
const FRAME_BYTES: usize = 32 * 1024;

/// The first buffer of a stream, in bytes: enough for several chunks. It grows, and is used again
/// when its frames are sent.
const BUFFER_BYTES: usize = 2 * 1024;

/// The body of a streamed answer. Dropping it drops the answer, and all that the answer holds.
#[derive(Debug)]
pub(super) struct StreamBody<S, M> {
    state: State<S>,
    repeats: RepeatBuffer<M>,
    surrogates: SplitSurrogates,
    /// Headers that the head of the response does not have. The trailers have them.
    late_headers: LateHeaders,
    /// The next frame is written here. Empty between two frames.
    buffer: BytesMut,
}

#[derive(Debug)]
enum State<S> {
    /// Chunks may follow.
    Open(S),
    /// Only the trailers follow: those of this error, or of a complete answer.
    Ended(Option<Error>),
    /// The trailers have been sent.
    Over,
}

impl<S, M: TextChunk + SingleText + Message> StreamBody<S, M> {
    pub(super) fn new(answer: S, late_headers: LateHeaders) -> Self {
        Self {
            state: State::Open(answer),
            repeats: RepeatBuffer::default(),
            surrogates: SplitSurrogates::default(),
            late_headers,
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
        }
    }

    /// Appends a chunk to the next frame. Its texts become valid UTF-8, as protobuf needs.
    fn add(&mut self, chunk: Chunk<M>) -> Result<()> {
        match chunk {
            Chunk::Repeat(repeat) if self.surrogates.may_pass(repeat.like()) => {
                message::append(self.repeats.complete(repeat), &mut self.buffer)
            }
            chunk => {
                let chunk = self.surrogates.complete(chunk.into_message());
                message::append(&chunk, &mut self.buffer)
            }
        }
    }
}

impl<S, M> HttpBody for StreamBody<S, M>
where
    S: Stream<Item = Result<Chunk<M>>> + Unpin,
    M: TextChunk + SingleText + Message,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        while let State::Open(answer) = &mut this.state
            && this.buffer.len() < FRAME_BYTES
        {
            let added = match answer.poll_next_unpin(context) {
                Poll::Ready(Some(chunk)) => chunk.and_then(|chunk| this.add(chunk)),
                Poll::Ready(None) => {
                    this.state = State::Ended(None);
                    break;
                }
                Poll::Pending if this.buffer.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            };
            if let Err(error) = added {
                this.state = State::Ended(Some(error));
            }
        }
        if !this.buffer.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(this.buffer.split().freeze()))));
        }
        Poll::Ready(match std::mem::replace(&mut this.state, State::Over) {
            State::Ended(error) => {
                let mut trailers = response::trailers(error);
                trailers.extend(this.late_headers.get().cloned().unwrap_or_default());
                Some(Ok(Frame::trailers(trailers)))
            }
            State::Open(_) | State::Over => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http::HeaderMap;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        error::ErrorCode,
        grpc::message_scanner::{PREFIX_BYTES, Prefix},
        proto::v1::{CompletionChoice, StreamCompletionResponse},
    };

    type Item = Result<Chunk<StreamCompletionResponse>>;

    fn chunk(text: &str) -> StreamCompletionResponse {
        StreamCompletionResponse {
            choices: vec![CompletionChoice {
                text: text.to_owned(),
                ..CompletionChoice::default()
            }],
            ..StreamCompletionResponse::default()
        }
    }

    /// The texts in a frame of data.
    fn texts(frame: Frame<Bytes>) -> Vec<String> {
        let (mut data, mut texts) = (frame.into_data().unwrap(), Vec::new());
        while !data.is_empty() {
            let Prefix { flag, length } = Prefix::read(*data.first_chunk().unwrap());
            assert_eq!(flag, 0);
            let message = data.split_to(PREFIX_BYTES + length).split_off(PREFIX_BYTES);
            let chunk = StreamCompletionResponse::decode(message).unwrap();
            texts.push(
                chunk
                    .choices
                    .into_iter()
                    .map(|choice| choice.text)
                    .collect(),
            );
        }
        texts
    }

    /// The texts in each frame, and the trailers.
    async fn sent(items: Vec<Item>) -> (Vec<Vec<String>>, HeaderMap) {
        let mut body = StreamBody::new(stream::iter(items), LateHeaders::default());
        let mut frames = Vec::new();
        loop {
            assert!(!body.is_end_stream());
            let frame = body.frame().await.unwrap().unwrap();
            if frame.is_trailers() {
                assert!(body.is_end_stream() && body.frame().await.is_none());
                return (frames, frame.into_trailers().unwrap());
            }
            frames.push(texts(frame));
        }
    }

    #[tokio::test]
    async fn chunks_that_are_ready_share_a_frame_and_the_status_follows() {
        let chunks = ["a", "b", "c"].map(|text| Ok(chunk(text).into()));
        let (frames, trailers) = sent(chunks.into()).await;
        assert_eq!(frames, [["a", "b", "c"]]);
        assert_eq!(
            (trailers.len(), &trailers["grpc-status"]),
            (1, &"0".parse().unwrap())
        );
        let (frames, trailers) = sent(Vec::new()).await;
        assert_eq!(
            (frames.len(), &trailers["grpc-status"]),
            (0, &"0".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn a_frame_has_a_limit() {
        let long = "x".repeat(FRAME_BYTES / 2 + 1);
        let chunks = (0..3).map(|_| Ok(chunk(&long).into())).collect();
        let (frames, _) = sent(chunks).await;
        assert_eq!(frames.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    }

    #[tokio::test]
    async fn an_error_follows_the_chunks_before_it() {
        let error = Error::new(ErrorCode::QueueFull, "full");
        let chunks = vec![Ok(chunk("a").into()), Err(error), Ok(chunk("b").into())];
        let (frames, trailers) = sent(chunks).await;
        assert_eq!(frames, [["a"]]);
        assert_eq!(trailers["grpc-message"], "full");
        assert_ne!(trailers["grpc-status"], "0");
        assert!(trailers.contains_key("grpc-status-details-bin"));
    }

    #[tokio::test]
    async fn no_chunk_waits_for_the_next_one() {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Item>();
        let chunks = stream::poll_fn(move |context| receiver.poll_recv(context));
        let mut body = StreamBody::new(chunks, LateHeaders::default());
        for text in ["a", "b"] {
            assert!(body.frame().now_or_never().is_none(), "nothing to send");
            sender.send(Ok(chunk(text).into())).unwrap();
            let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
            assert_eq!(texts(frame), [text]);
        }
    }
}
