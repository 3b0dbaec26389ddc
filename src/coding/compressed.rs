//! Compressed answers.

use std::{
    io::{self, Write},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body::{Body, Frame};

use super::{Coding, PIECE_BYTES};

/// How much time to spend on compressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For an answer to one caller. With zstd, JSON becomes smaller than with gzip, in a quarter of
    /// its time.
    Less,
    /// For an answer that many callers get.
    More,
}

impl Effort {
    fn of_gzip(self) -> Compression {
        match self {
            Self::Less => Compression::fast(),
            Self::More => Compression::default(),
        }
    }

    fn of_zstd(self) -> i32 {
        match self {
            Self::Less => 1,
            Self::More => 6,
        }
    }
}

/// A body that is compressed while it is sent, piece by piece.
pub struct Compressed {
    rest: Bytes,
    /// `None` after the end.
    encoder: Option<Encoder>,
    /// Other tasks could run since the last piece.
    has_yielded: bool,
}

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Compressed {
    /// A body with `data`. Compresses with gzip unless the coding is zstd.
    ///
    /// # Errors
    /// If there is no memory for the encoder.
    pub fn new(coding: Coding, data: Bytes) -> io::Result<Self> {
        Ok(Self {
            encoder: Some(Encoder::new(coding, Effort::Less, data.len())?),
            rest: data,
            has_yielded: true,
        })
    }

    /// Compresses one more piece. The encoder may keep its output for later.
    fn advance(&mut self) -> io::Result<Vec<u8>> {
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(Vec::new());
        };
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        let out = encoder.write(&piece)?;
        if self.rest.is_empty() {
            return encoder.finish();
        }
        let compressed = mem::take(out);
        self.encoder = Some(encoder);
        Ok(compressed)
    }
}

impl Encoder {
    /// An encoder for a text of `bytes` bytes.
    fn new(coding: Coding, effort: Effort, bytes: usize) -> io::Result<Self> {
        Ok(match coding {
            Coding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), effort.of_zstd())?;
                // Some decoders need the size to allocate their output.
                encoder.set_pledged_src_size(Some(bytes as u64))?;
                Self::Zstd(encoder)
            }
            Coding::Gzip | Coding::Deflate => {
                Self::Gzip(GzEncoder::new(Vec::new(), effort.of_gzip()))
            }
        })
    }

    fn write(&mut self, data: &[u8]) -> io::Result<&mut Vec<u8>> {
        match self {
            Self::Gzip(encoder) => {
                encoder.write_all(data)?;
                Ok(encoder.get_mut())
            }
            Self::Zstd(encoder) => {
                encoder.write_all(data)?;
                Ok(encoder.get_mut())
            }
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Coding {
    /// `data` in this coding.
    ///
    /// # Errors
    /// If there is no memory for the encoder.
    pub fn compress(self, effort: Effort, data: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = Encoder::new(self, effort, data.len())?;
        encoder.write(data)?;
        encoder.finish()
    }
}

impl Body for Compressed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.encoder.is_none() {
            return Poll::Ready(None);
        }
        if mem::replace(&mut this.has_yielded, false) {
            let compressed = this.advance()?;
            if !compressed.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(compressed.into()))));
            }
        }
        this.has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.encoder.is_none()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_compressed_piece_by_piece_and_whole() {
        let text: String = (0..50_000).map(|number| format!("{number} ")).collect();
        for coding in [Coding::Gzip, Coding::Zstd] {
            let body = Compressed::new(coding, Bytes::from(text.clone())).unwrap();
            let pieces = body.collect().await.unwrap().to_bytes();
            let whole = coding.compress(Effort::More, text.as_bytes()).unwrap();
            for compressed in [&pieces[..], &whole] {
                assert!(compressed.len() < text.len() / 2, "{coding:?}");
                let mut read = Vec::new();
                let take = |piece: &[u8]| {
                    read.extend_from_slice(piece);
                    Ok(())
                };
                let decoding = coding.decode(compressed, text.len(), |_| Ok(()), take);
                decoding.await.unwrap();
                assert!(read == text.as_bytes(), "{coding:?}");
            }
        }
    }
}
