//! Compresses the large answers of `ModelService`. Other answers are not worth it: the chunks of a
//! stream are small and must be sent at once, chat answers are rarely large, and the numbers of
//! embeddings compress badly.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use tonic::body::Body;

use super::encoding::{ENCODING, accepts_gzip};
use crate::{
    coding::{COMPRESSED_MIN, Coding, Gzip},
    grpc::{
        message_scanner::{PREFIX_BYTES, Prefix},
        services::TonicAnswer,
    },
};

/// Passes a request to `next`, and compresses the message of a large answer for a caller who
/// accepts gzip.
pub(in crate::grpc) async fn compress<B>(
    request: Request<B>,
    next: impl FnOnce(Request<B>) -> TonicAnswer,
) -> Result<Response<Body>, Infallible> {
    let is_accepted = accepts_gzip(request.headers());
    let response = next(request).await?;
    if !is_accepted {
        return Ok(response);
    }
    let (mut head, mut body) = response.into_parts();
    // The message is already encoded and is one frame. An error has no message.
    let mut first = body.frame().await;
    if let Some(Ok(frame)) = &mut first
        && let Some(data) = frame.data_mut()
        && let Some(compressed) = compressed(data).await
    {
        *data = compressed;
        head.headers
            .insert(ENCODING, HeaderValue::from_static(Coding::Gzip.name()));
    }
    let frames = stream::iter(first).chain(BodyStream::new(body));
    Ok(Response::from_parts(
        head,
        Body::new(StreamBody::new(frames)),
    ))
}

/// A frame with its message compressed. `None` if the message is small or compression does not make
/// it smaller.
async fn compressed(frame: &Bytes) -> Option<Bytes> {
    let Prefix { flag, length } = Prefix::read(*frame.first_chunk()?);
    let message = frame.slice(PREFIX_BYTES..);
    if flag != 0 || message.len() != length || (length as u64) < COMPRESSED_MIN {
        return None;
    }
    let mut compressed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
    let mut gzip = Gzip::new(message);
    while let Some(piece) = gzip.frame().await {
        compressed.extend_from_slice(piece.ok()?.data_ref()?);
    }
    let length = u32::try_from(compressed.len().checked_sub(PREFIX_BYTES)?).ok()?;
    compressed
        .get_mut(1..PREFIX_BYTES)?
        .copy_from_slice(&length.to_be_bytes());
    (compressed.len() < frame.len()).then(|| compressed.freeze())
}
