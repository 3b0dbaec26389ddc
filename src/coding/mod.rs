//! Content codings: compresses and decompresses data piece by piece, so that other calls can run in
//! between. Decompression has a bound.
//!
//! The doors use different headers to name a coding. The codings are the same.
//!
//! - `accepted`: the coding that a caller accepts for an answer.
//! - `compressed`: the body of a compressed answer.
//! - `decoder`: the decoders; `zstd_frames` is that of zstd. It is safe Rust, because it reads what
//!   callers send. Encoding is the reference's C, which is several times faster and reads only the
//!   gateway's own answers.

mod accepted;
mod compressed;
mod decoder;
mod zstd_frames;

use std::io::{self, ErrorKind, Read};

use self::decoder::Decoder;
use crate::error::{self, Error};

pub use self::{
    accepted::Accepted,
    compressed::{Compressed, Effort},
};

/// How many bytes are decoded or compressed before other calls can run.
const PIECE_BYTES: usize = 64 * 1024;

/// The smallest answer that is compressed, in bytes, unless its caller accepts only compressed ones.
/// Compressing a smaller one takes more time than it saves.
pub const COMPRESSED_MIN: u64 = 16 * 1024;

/// A content coding. All of them work on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 as some clients send it.
    Deflate,
    /// RFC 8878.
    Zstd,
}

/// Why data cannot be decoded.
#[derive(Debug)]
pub enum Undecodable {
    /// The consumer refused a piece, or the memory that the decoder needs.
    Refused(Error),
    /// The decoded data is larger than the limit.
    TooLarge,
    /// The data is not in this coding, or not complete.
    Broken(&'static str, Option<io::Error>),
}

impl Coding {
    /// The coding with this `name` in headers, in any case.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Deflate, Self::Zstd]
            .into_iter()
            .find(|coding| name.eq_ignore_ascii_case(coding.name()))
    }

    /// Its name in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    /// Decodes `data` and gives each decoded piece to `take`. At most `bytes_max` and one piece are
    /// in memory. Before the decoder takes much memory of its own, `hold` is told how many bytes
    /// these are in all; it keeps them until the end.
    ///
    /// # Errors
    /// [`Undecodable`] says why.
    pub async fn decode(
        self,
        data: &[u8],
        bytes_max: usize,
        mut hold: impl FnMut(usize) -> error::Result<()>,
        mut take: impl FnMut(&[u8]) -> error::Result<()>,
    ) -> Result<(), Undecodable> {
        let mut decoder = Decoder::new(self, data, bytes_max);
        let (mut piece, mut bytes_left) = (Vec::new(), bytes_max);
        loop {
            hold(decoder.bytes_needed()).map_err(Undecodable::Refused)?;
            piece.clear();
            let read = (&mut decoder)
                .take(PIECE_BYTES as u64)
                .read_to_end(&mut piece);
            let is_over = match read {
                Ok(bytes) => bytes == 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => false,
                Err(error) => return Err(undecodable(error)),
            };
            bytes_left = bytes_left
                .checked_sub(piece.len())
                .ok_or(Undecodable::TooLarge)?;
            if is_over && decoder.has_more() {
                return Err(Undecodable::Broken("other bytes follow it", None));
            }
            if is_over {
                return Ok(());
            }
            take(&piece).map_err(Undecodable::Refused)?;
            tokio::task::yield_now().await;
        }
    }
}

/// Why a decoder failed.
fn undecodable(error: io::Error) -> Undecodable {
    match error.kind() {
        ErrorKind::FileTooLarge => Undecodable::TooLarge,
        ErrorKind::Unsupported => Undecodable::Broken("its window is over 8 MiB", None),
        _ => Undecodable::Broken("it is broken, or not complete", Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write, pin::pin};

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    #[tokio::test]
    async fn nothing_is_handed_over_beyond_the_bound() {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 16 * 1024 * 1024]).unwrap();
        let bomb = bomb.finish().unwrap();
        let mut bytes = 0;
        let count = |piece: &[u8]| {
            bytes += piece.len();
            Ok(())
        };
        let decoded = Coding::Gzip
            .decode(&bomb, 1024 * 1024, |_| Ok(()), count)
            .await;
        assert!(matches!(decoded, Err(Undecodable::TooLarge)), "{decoded:?}");
        assert!(bytes <= 1024 * 1024, "{bytes}");
    }

    #[tokio::test]
    async fn data_that_ends_too_early_or_too_late_is_broken() {
        let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&data).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&data).unwrap();
        for (coding, whole) in [
            (
                Coding::Gzip,
                Coding::Gzip.compress(Effort::Less, &data).unwrap(),
            ),
            (
                Coding::Zstd,
                Coding::Zstd.compress(Effort::Less, &data).unwrap(),
            ),
            (Coding::Deflate, deflate.finish().unwrap()),
            (Coding::Deflate, zlib.finish().unwrap()),
        ] {
            let decode = async |coded: &[u8]| {
                let mut decoded = Vec::new();
                let take = |piece: &[u8]| {
                    decoded.extend_from_slice(piece);
                    Ok(())
                };
                coding.decode(coded, data.len(), |_| Ok(()), take).await?;
                Ok::<_, Undecodable>(decoded)
            };
            assert!(decode(&whole).await.unwrap() == data, "{coding:?}");
            let longer = [&whole[..], b"\0x"].concat();
            let half = &whole[..whole.len() / 2];
            for bad in [&[][..], b"text", half, &whole[..whole.len() - 1], &longer] {
                let error = decode(bad).await.unwrap_err();
                let is_broken = matches!(error, Undecodable::Broken(..));
                assert!(is_broken, "{coding:?} {}: {error:?}", bad.len());
            }
        }
    }

    #[tokio::test]
    async fn other_tasks_run_while_parts_without_content_are_decoded() {
        let empty = Coding::Gzip.compress(Effort::Less, b"").unwrap();
        let parts = empty.repeat(10_000);
        let decoding = Coding::Gzip.decode(&parts, 1024, |_| Ok(()), |_| Ok(()));
        let stops = count_stops(decoding).await;
        assert!(stops >= parts.len() / (64 * 1024), "{stops}");
        let frames = Coding::Zstd
            .compress(Effort::Less, b"")
            .unwrap()
            .repeat(100);
        let stops = count_stops(Coding::Zstd.decode(&frames, 1024, |_| Ok(()), |_| Ok(()))).await;
        assert!(stops >= 100, "{stops}");
    }

    /// How often this yields before it is ready.
    async fn count_stops(decoding: impl Future<Output = Result<(), Undecodable>>) -> usize {
        let (mut decoding, mut stops) = (pin!(decoding), 0);
        let decoded = poll_fn(|context| {
            let polled = decoding.as_mut().poll(context);
            stops += usize::from(polled.is_pending());
            polled
        });
        decoded.await.unwrap();
        stops
    }
}
