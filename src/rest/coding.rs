//! Content codings: compressed requests are read, and large answers are compressed for those who ask. Streams never are:
//! a compressor holds pieces back.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use flate2::{Compression, read::DeflateDecoder, read::MultiGzDecoder, read::ZlibDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::BodyExt;
use ruzstd::decoding::StreamingDecoder;

use super::body::{Limit, too_large};
use crate::{
    error::{Error, Kind, Result},
    service::Call,
};

/// The codings of requests that are understood.
const UNDERSTOOD: &str = "gzip, deflate, zstd";

/// How many codings may lie one above the other.
const CODINGS_MAX: usize = 4;

/// The largest window of zstd that is taken, in bytes: RFC 9659 has this limit for HTTP.
const ZSTD_WINDOW_MAX: u64 = 8 * 1024 * 1024;

/// How much is decoded or compressed at once, in bytes, before other calls get their turn.
const PIECE_BYTES: usize = 64 * 1024;

/// The smallest answer that is compressed, in bytes: below it, time is lost and not won.
pub const COMPRESSED_MIN: u64 = 16 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum Coding {
    Gzip,
    Deflate,
    Zstd,
}

/// Refuses requests in codings that are not understood, and compresses large JSON answers for callers who take gzip.
pub async fn negotiate(request: Request, next: Next) -> Response {
    if let Err(error) = codings(request.headers()) {
        let mut response: Response = error.into_response();
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(UNDERSTOOD));
        return response;
    }
    let is_wanted = takes_gzip(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|media_type| media_type == "application/json");
    if !is_json || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    if response.body().size_hint().exact().is_none_or(|bytes| bytes < COMPRESSED_MIN) {
        return response;
    }
    vary(&mut response);
    if !is_wanted {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // It is in memory already: its length is known.
    let Ok(body) = body.collect().await else { return Error::internal("an answer in memory broke").into_response() };
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::new(Gzip::new(body.to_bytes())))
}

/// Says that the answer depends on what codings the caller takes.
pub fn vary(response: &mut Response) {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
}

/// Whether the caller takes answers that are compressed by gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut gzip, mut any) = (None, None);
    for item in values.flat_map(|value| value.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let is_taken = quality.is_none_or(|quality| quality.parse().is_ok_and(|quality: f32| quality > 0.0));
        match () {
            () if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => gzip = Some(is_taken),
            () if name == "*" => any = Some(is_taken),
            () => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// The codings of a request's body, the first applied first.
fn codings(headers: &HeaderMap) -> Result<Vec<Coding>> {
    let unsupported = || {
        let message = format!("The body's Content-Encoding is not understood here: send {UNDERSTOOD}, or none");
        Error::new(Kind::WrongMediaType, "unsupported_content_encoding", message)
    };
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| unsupported())?.split(',') {
            codings.extend(match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => None,
                "gzip" | "x-gzip" => Some(Coding::Gzip),
                "deflate" => Some(Coding::Deflate),
                "zstd" => Some(Coding::Zstd),
                _ => return Err(unsupported()),
            });
        }
    }
    if codings.len() > CODINGS_MAX { Err(unsupported()) } else { Ok(codings) }
}

/// Undoes the codings of a request's body. What comes of each may be as large as a request, and no larger.
///
/// # Errors
/// Invalid for data that can't be decoded, TooLarge, Unavailable if there is no room for it.
pub async fn decode(call: &Call, headers: &HeaderMap, mut body: Bytes, limit: Limit) -> Result<Bytes> {
    for coding in codings(headers)?.into_iter().rev() {
        let coded = body.len();
        body = decode_one(call, coding, &body, limit).await?;
        call.body().into_iter().for_each(|share| share.give_back(coded));
    }
    Ok(body)
}

async fn decode_one(call: &Call, coding: Coding, body: &[u8], limit: Limit) -> Result<Bytes> {
    let broken = |problem: &str| {
        let name = match coding {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Zstd => "zstd",
        };
        let message = format!("The body can't be decoded as its Content-Encoding says ({name}): {problem}");
        Error::new(Kind::Invalid, "invalid_content_encoding", message)
    };
    if coding == Coding::Zstd {
        match zstd_window(body) {
            Some((window, true)) if window > limit.0 as u64 => return Err(too_large(limit)),
            Some((window, false)) if window > ZSTD_WINDOW_MAX => return Err(broken("its window is over 8 MiB")),
            _ => {}
        }
    }
    let mut decoder: Box<dyn Read + Send + '_> = match coding {
        Coding::Gzip => Box::new(MultiGzDecoder::new(body)),
        Coding::Deflate if is_zlib(body) => Box::new(ZlibDecoder::new(body)),
        Coding::Deflate => Box::new(DeflateDecoder::new(body)),
        Coding::Zstd => {
            Box::new(StreamingDecoder::new(body).map_err(|error| broken("it is not zstd").with_source(error))?)
        }
    };
    let mut decoded = Vec::new();
    loop {
        let read = (&mut decoder).take(PIECE_BYTES as u64).read_to_end(&mut decoded);
        match read.map_err(|error| broken("it is broken, or not complete").with_source(error))? {
            0 => return Ok(decoded.into()),
            _ if decoded.len() > limit.0 => return Err(too_large(limit)),
            more => {
                call.body().map_or(Ok(()), |share| share.add(more))?;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// HTTP's `deflate` has zlib's two bytes before it; some clients leave them out.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]) % 31 == 0)
}

/// What a zstd frame needs in memory by its own word, and whether that is its content's size (RFC 8878, section 3.1.1).
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
    let size = size.iter().rev().fold(0_u64, |size, byte| size << 8 | u64::from(*byte));
    // Two bytes count from 256.
    Some((if size_bytes == 2 { size + 256 } else { size }, true))
}

/// A body that is compressed while it is sent, piece by piece.
struct Gzip {
    rest: Bytes,
    /// None after the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Others have had their turn since the last piece.
    has_yielded: bool,
}

impl Gzip {
    fn new(rest: Bytes) -> Self {
        Self { rest, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())), has_yielded: true }
    }

    /// Compresses one piece more. The compressor may keep what comes of it.
    fn advance(&mut self) -> io::Result<Vec<u8>> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(Vec::new()) };
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

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.encoder.is_none() {
            return Poll::Ready(None);
        }
        if mem::replace(&mut this.has_yielded, false) {
            // Nothing can fail that writes to memory.
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
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for value in ["gzip", "GZIP", "deflate, gzip;q=0.5", "br, x-gzip", "*", "gzip;q=1, *;q=0"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "identity", "gzip;q=0", "gzip; q=0.0, *", "*;q=0", "gzipped"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_zstd_frame_says_what_it_needs() {
        let frame = |bytes: &[u8]| zstd_window(&[&[0x28, 0xb5, 0x2f, 0xfd], bytes].concat());
        assert_eq!(frame(&[0, 13 << 3]), Some((8 * 1024 * 1024, false)));
        assert_eq!(frame(&[0, 13 << 3 | 1]), Some((9 * 1024 * 1024, false)));
        assert_eq!(frame(&[0x20, 7]), Some((7, true)));
        assert_eq!(frame(&[0x60, 1, 0]), Some((257, true)));
        assert_eq!(frame(&[0xe0, 0, 0, 0, 0, 1, 0, 0, 0]), Some((1 << 32, true)));
        assert_eq!(frame(&[0x20]), None);
        assert_eq!(zstd_window(b"{}"), None);
    }

    #[tokio::test]
    async fn an_answer_is_compressed_piece_by_piece_and_whole() {
        let text: String = (0..50_000).map(|number| format!("{number} ")).collect();
        let compressed = Gzip::new(Bytes::from(text.clone())).collect().await.unwrap().to_bytes();
        assert!(compressed.len() < text.len() / 2);
        let mut read = String::new();
        MultiGzDecoder::new(&compressed[..]).read_to_string(&mut read).unwrap();
        assert!(read == text);
    }
}
