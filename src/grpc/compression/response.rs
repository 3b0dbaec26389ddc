//! Compresses the large messages of answers, for callers who accept that. The other messages are not
//! worth it: chunks of chats are small, records of an export too, and each message is compressed
//! alone. Binary embeddings become only 5 to 8 % smaller.

use std::future::Future;

use axum::{body::Body, response::Response};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::encoding::{self, ENCODING};
use crate::{
    coding::{COMPRESSED_MIN, Coding, Compressed, Effort},
    grpc::message_scanner::{PREFIX_BYTES, Prefix},
    offload,
};

/// Passes a request of a unary method to `next`, and compresses a large answer.
pub(in crate::grpc) async fn compress<B, F: Future<Output = Response>>(
    request: Request<B>,
    next: impl FnOnce(Request<B>) -> F,
) -> Response {
    let accepted = encoding::accepted(request.headers());
    let response = next(request).await;
    let body = response.body();
    // An error is only a head. A body in its place, even an empty one, is no error to some clients.
    if body.is_end_stream() {
        return response;
    }
    let bytes_min = body.size_hint().lower();
    match accepted {
        // Some bodies know their size, others say 0.
        Some(coding) if bytes_min == 0 || bytes_min >= COMPRESSED_MIN => {
            // In memory of its own, because it is rare.
            Box::pin(compress_first(coding, response)).await
        }
        _ => response,
    }
}

async fn compress_first(coding: Coding, response: Response) -> Response {
    let (mut head, mut body) = response.into_parts();
    // The message is already encoded and is one frame. An error has no message.
    let mut first = body.frame().await;
    if let Some(Ok(frame)) = &mut first
        && let Some(data) = frame.data_mut()
        && let Some(compressed) = compressed(coding, data).await
    {
        *data = compressed;
        let coding = HeaderValue::from_static(coding.name());
        head.headers.insert(ENCODING, coding);
    }
    let frames = stream::iter(first).chain(BodyStream::new(body));
    Response::from_parts(head, Body::new(StreamBody::new(frames)))
}

/// A frame with its message compressed. `None` if the message is small or compression does not make
/// it smaller.
async fn compressed(coding: Coding, frame: &Bytes) -> Option<Bytes> {
    let Prefix { flag, length } = Prefix::read(*frame.first_chunk()?);
    let message = frame.slice(PREFIX_BYTES..);
    if flag != 0 || message.len() != length || (length as u64) < COMPRESSED_MIN {
        return None;
    }
    let mut compressed = BytesMut::zeroed(PREFIX_BYTES);
    let mut body = Compressed::new(coding, message).ok()?;
    while let Some(piece) = body.frame().await {
        compressed.extend_from_slice(piece.ok()?.data_ref()?);
    }
    let length = compressed.len().checked_sub(PREFIX_BYTES)?;
    *compressed.first_chunk_mut()? = Prefix { flag: 1, length }.write();
    (compressed.len() < frame.len()).then(|| compressed.freeze())
}

/// Passes a request of a method that streams its answer to `next`, and compresses each large message
/// of the answer.
pub(in crate::grpc) async fn compress_stream<B, F: Future<Output = Response>>(
    request: Request<B>,
    next: impl FnOnce(Request<B>) -> F,
) -> Response {
    let accepted = encoding::accepted(request.headers());
    let mut response = next(request).await;
    let Some(coding) = accepted else {
        return response;
    };
    let name = HeaderValue::from_static(coding.name());
    response.headers_mut().insert(ENCODING, name);
    response.map(|body| {
        Body::new(body.map_frame(move |frame| frame.map_data(|data| compress_large(coding, data))))
    })
}

/// The messages in `data` with the large ones compressed. Each message is compressed alone, so that
/// none waits for the next one. `data` has only complete messages; otherwise it is not changed.
pub(in crate::grpc) fn compress_large(coding: Coding, data: Bytes) -> Bytes {
    // Most frames have many small messages, and need no copy.
    if !has_large(&data) {
        return data;
    }
    let packed = offload::run_in_place(data.len(), || {
        let (mut rest, mut out) = (&data[..], Vec::with_capacity(data.len()));
        while !rest.is_empty() {
            let prefix = Prefix::read(*rest.first_chunk()?);
            let message = rest.get(PREFIX_BYTES..PREFIX_BYTES.checked_add(prefix.length)?)?;
            rest.advance(PREFIX_BYTES + message.len());
            let packed = match is_large(prefix) {
                true => coding.compress(Effort::Less, message).ok(),
                false => None,
            };
            let packed = packed.filter(|packed| packed.len() < message.len());
            let (flag, sent) = match &packed {
                Some(packed) => (1, &packed[..]),
                None => (prefix.flag, message),
            };
            let length = sent.len();
            out.extend_from_slice(&Prefix { flag, length }.write());
            out.extend_from_slice(sent);
        }
        Some(out)
    });
    packed.map_or(data, Bytes::from)
}

/// Whether a message in `data` is large.
fn has_large(mut data: &[u8]) -> bool {
    while let Some(prefix) = data.first_chunk().copied().map(Prefix::read) {
        if is_large(prefix) {
            return true;
        }
        let bytes = PREFIX_BYTES.saturating_add(prefix.length);
        data = data.get(bytes..).unwrap_or_default();
    }
    false
}

/// Whether the message after this prefix is worth compressing.
fn is_large(Prefix { flag, length }: Prefix) -> bool {
    flag == 0 && length as u64 >= COMPRESSED_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = message.len();
        [&Prefix { flag, length }.write()[..], message].concat()
    }

    #[test]
    fn only_large_messages_of_a_stream_are_compressed() {
        let (small, large) = (vec![1; 1000], vec![2; 20_000]);
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(20_000)
            .collect();
        let data = [
            frame(0, &small),
            frame(0, &large),
            frame(2, &large),
            frame(0, &noise),
            frame(0, b""),
        ];
        for coding in [Coding::Gzip, Coding::Zstd] {
            let packed = coding.compress(Effort::Less, &large).unwrap();
            let mut expected = data.clone();
            expected[1] = frame(1, &packed);
            let read = compress_large(coding, data.concat().into());
            assert!(read == expected.concat(), "{coding:?}");
            let cut = Bytes::from(data.concat()[..21_500].to_vec());
            assert!(compress_large(coding, cut.clone()) == cut);
            let many = Bytes::from([frame(0, &small), frame(2, &large)].concat().repeat(50));
            let passed = compress_large(coding, many.clone());
            assert_eq!(passed.as_ptr(), many.as_ptr(), "nothing is copied");
        }
    }
}
