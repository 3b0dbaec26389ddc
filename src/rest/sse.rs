//! A streamed answer as server-sent events, in OpenAI's manner: `data: {chunk}` for each, then `data: [DONE]`; or,
//! when it fails, `data: {"error":{…}}` and no `[DONE]`.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body::Frame;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    json,
};

/// Chunks that are ready at the same time go out together, up to about so many bytes.
const FRAME_BYTES: usize = 16 * 1024;

/// What one chunk usually takes, so that a frame of one chunk is one allocation.
const CHUNK_BYTES: usize = 512;

/// The body of a streamed REST answer. Dropping it drops the answer, and all that the answer holds.
#[derive(Debug)]
pub struct Events<S> {
    chunks: Option<S>,
}

impl<S> Events<S> {
    /// The body for these chunks.
    pub fn new(chunks: S) -> Self {
        Self { chunks: Some(chunks) }
    }
}

impl<S, M> http_body::Body for Events<S>
where
    S: Stream<Item = Result<M>> + Unpin,
    M: Serialize,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let slot = &mut self.get_mut().chunks;
        let mut out = Vec::new();
        while out.len() < FRAME_BYTES
            && let Some(chunks) = slot
        {
            let chunk = match chunks.poll_next_unpin(context) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(chunk) => chunk,
            };
            out.reserve(CHUNK_BYTES);
            let written = match chunk {
                Some(Ok(chunk)) => write(&chunk, &mut out),
                Some(Err(error)) => Err(error),
                None => {
                    out.extend_from_slice(b"data: [DONE]\n\n");
                    *slot = None;
                    break;
                }
            };
            if let Err(error) = written {
                // Strings and an Option of one: an error always serialises.
                let _ = write(&error.body(), &mut out);
                *slot = None;
            }
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(Frame::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_none()
    }
}

fn write(message: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
    let begin = out.len();
    out.extend_from_slice(b"data: ");
    if let Err(problem) = json::encode_answer(message, out) {
        out.truncate(begin);
        return Err(Error::internal(problem));
    }
    // JSON text that is passed on verbatim may have line ends between its tokens; in an event they would end the line.
    if memchr::memchr2(b'\n', b'\r', out.get(begin..).unwrap_or_default()).is_some() {
        let line_ends = out.iter_mut().skip(begin).filter(|byte| matches!(**byte, b'\n' | b'\r'));
        line_ends.for_each(|byte| *byte = b' ');
    }
    out.extend_from_slice(b"\n\n");
    Ok(())
}
