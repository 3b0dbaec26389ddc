//! Content codings: compresses and decompresses data piece by piece, so that other calls can run in
//! between. Decompression has a bound.
//!
//! The doors use different headers to name a coding. The codings are the same.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{
    Compression, read::DeflateDecoder, read::MultiGzDecoder, read::ZlibDecoder, write::GzEncoder,
};
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use ruzstd::decoding::StreamingDecoder;

use crate::error::{self, Error};

/// The largest accepted window of zstd, in bytes: the limit of RFC 9659 for HTTP.
const ZSTD_WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// How many bytes are decoded or compressed before other calls can run.
const PIECE_BYTES: usize = 64 * 1024;

/// The smallest answer that is compressed, in bytes. Compressing a smaller one takes more time than
/// it saves.
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
    /// The consumer refused a piece.
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
    /// in memory.
    ///
    /// # Errors
    /// [`Undecodable`] says why.
    pub async fn decode(
        self,
        data: &[u8],
        bytes_max: usize,
        mut take: impl FnMut(&[u8]) -> error::Result<()>,
    ) -> Result<(), Undecodable> {
        let mut decoder = self.decoder(data, bytes_max)?;
        let (mut piece, mut bytes_left) = (Vec::new(), bytes_max);
        loop {
            piece.clear();
            let read = (&mut decoder)
                .take(PIECE_BYTES as u64)
                .read_to_end(&mut piece);
            match read.map_err(|error| {
                Undecodable::Broken("it is broken, or not complete", Some(error))
            })? {
                0 => return Ok(()),
                bytes => bytes_left = bytes_left.checked_sub(bytes).ok_or(Undecodable::TooLarge)?,
            }
            take(&piece).map_err(Undecodable::Refused)?;
            tokio::task::yield_now().await;
        }
    }

    fn decoder(
        self,
        data: &[u8],
        bytes_max: usize,
    ) -> Result<Box<dyn Read + Send + '_>, Undecodable> {
        if self == Self::Zstd {
            match zstd_window(data) {
                Some((window, true)) if window > bytes_max as u64 => {
                    return Err(Undecodable::TooLarge);
                }
                Some((window, false)) if window > ZSTD_WINDOW_MAX => {
                    return Err(Undecodable::Broken("its window is over 8 MiB", None));
                }
                _ => {}
            }
        }
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(data)),
            Self::Deflate if is_zlib(data) => Box::new(ZlibDecoder::new(data)),
            Self::Deflate => Box::new(DeflateDecoder::new(data)),
            Self::Zstd => {
                let broken =
                    |error| Undecodable::Broken("it is not zstd", Some(io::Error::other(error)));
                Box::new(StreamingDecoder::new(data).map_err(broken)?)
            }
        })
    }
}

/// The `deflate` of HTTP begins with the two bytes of zlib. Some clients leave them out.
fn is_zlib(data: &[u8]) -> bool {
    let [first, second, ..] = data else {
        return false;
    };
    first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0
}

/// The memory that a zstd `frame` says it needs, in bytes, and whether that is the size of its
/// content (RFC 8878, section 3.1.1).
fn zstd_window(frame: &[u8]) -> Option<(u64, bool)> {
    const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let (&descriptor, rest) = frame.strip_prefix(&MAGIC)?.split_first()?;
    let is_single = descriptor & 0b0010_0000 != 0;
    if !is_single {
        let window = *rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some((base + base / 8 * u64::from(window & 7), false));
    }
    let dictionary_bytes = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied()?;
    let size_bytes = [1, 2, 4, 8].get(usize::from(descriptor >> 6)).copied()?;
    let size = rest.get(dictionary_bytes..dictionary_bytes + size_bytes)?;
    let size = size
        .iter()
        .rev()
        .fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    // Two bytes count from 256.
    Some((if size_bytes == 2 { size + 256 } else { size }, true))
}

/// Whether a caller with these headers accepts a body that is compressed by gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let is_taken =
            quality.is_none_or(|quality| quality.parse().is_ok_and(|quality: f32| quality > 0.0));
        match () {
            () if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(is_taken)
            }
            () if name == "*" => any = Some(is_taken),
            () => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// A body that is compressed with gzip while it is sent, piece by piece.
pub struct Gzip {
    rest: Bytes,
    /// `None` after the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Other tasks could run since the last piece.
    has_yielded: bool,
}

impl Gzip {
    /// A body with the data `rest`.
    pub fn new(rest: Bytes) -> Self {
        Self {
            rest,
            encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
            has_yielded: true,
        }
    }

    /// Compresses one more piece. The compressor may keep its output for later.
    fn advance(&mut self) -> io::Result<Vec<u8>> {
        let Some(mut encoder) = self.encoder.take() else {
            return Ok(Vec::new());
        };
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        encoder.write_all(&piece)?;
        if self.rest.is_empty() {
            return encoder.finish();
        }
        let compressed = mem::take(encoder.get_mut());
        self.encoder = Some(encoder);
        Ok(compressed)
    }
}

impl Body for Gzip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.encoder.is_none() {
            return Poll::Ready(None);
        }
        if mem::replace(&mut this.has_yielded, false) {
            // Writing to memory does not fail.
            let compressed = this.advance().unwrap_or_default();
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
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn a_zstd_frame_says_what_it_needs() {
        let frame = |bytes: &[u8]| zstd_window(&[&[0x28, 0xb5, 0x2f, 0xfd], bytes].concat());
        assert_eq!(frame(&[0, 13 << 3]), Some((8 * 1024 * 1024, false)));
        assert_eq!(frame(&[0, 13 << 3 | 1]), Some((9 * 1024 * 1024, false)));
        assert_eq!(frame(&[0x20, 7]), Some((7, true)));
        assert_eq!(frame(&[0x60, 1, 0]), Some((257, true)));
        assert_eq!(
            frame(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]),
            Some((1 << 32, true))
        );
        assert_eq!(frame(&[0x20]), None);
        assert_eq!(zstd_window(b"{}"), None);
    }

    #[tokio::test]
    async fn an_answer_is_compressed_piece_by_piece_and_whole() {
        let text: String = (0..50_000).map(|number| format!("{number} ")).collect();
        let compressed = Gzip::new(Bytes::from(text.clone()))
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert!(compressed.len() < text.len() / 2);
        let mut read = String::new();
        MultiGzDecoder::new(&compressed[..])
            .read_to_string(&mut read)
            .unwrap();
        assert!(read == text);
    }

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
        let decoded = Coding::Gzip.decode(&bomb, 1024 * 1024, count).await;
        assert!(matches!(decoded, Err(Undecodable::TooLarge)), "{decoded:?}");
        assert!(bytes <= 1024 * 1024, "{bytes}");
    }

    #[test]
    fn gzip_is_only_for_callers_who_accept_it() {
        let takes = |value: &'static str| {
            accepts_gzip(&HeaderMap::from_iter([(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        for value in [
            "gzip",
            "GZIP",
            "deflate, gzip;q=0.5",
            "br, x-gzip",
            "*",
            "gzip;q=1, *;q=0",
        ] {
            assert!(takes(value), "{value}");
        }
        for value in [
            "",
            "br",
            "identity",
            "gzip;q=0",
            "gzip; q=0.0, *",
            "*;q=0",
            "gzipped",
        ] {
            assert!(!takes(value), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
