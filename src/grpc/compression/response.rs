//! Answers that are compressed: large ones that are text and come whole, which are those of
//! `ModelService`. A stream's pieces are small and must leave at once, a chat's answer is seldom
//! large, and the numbers of embeddings hardly shrink.

use axum::{body::Body, extract::Request, middleware::Next, response::Response};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http_body_util::{BodyExt, BodyStream, StreamBody};

use super::{ENCODING, takes_gzip};
use crate::{
    coding::{COMPRESSED_MIN, Coding, Gzip},
    grpc::prefixes::{PREFIX_BYTES, Prefix},
};

/// Compresses the message of an answer that is large enough, for a caller who takes that.
pub(crate) async fn compress(request: Request, next: Next) -> Response {
    let is_wanted = takes_gzip(request.headers());
    let response = next.run(request).await;
    if !is_wanted {
        return response;
    }
    let (mut head, mut body) = response.into_parts();
    // The message is made by now, and comes in one piece. An error has none.
    let mut first = body.frame().await;
    if let Some(Ok(frame)) = &mut first
        && let Some(data) = frame.data_mut()
        && let Some(packed) = packed(data).await
    {
        *data = packed;
        head.headers
            .insert(ENCODING, HeaderValue::from_static(Coding::Gzip.name()));
    }
    let frames = stream::iter(first).chain(BodyStream::new(body));
    Response::from_parts(head, Body::new(StreamBody::new(frames)))
}

/// A whole frame with its message compressed. None if that is not worth it.
async fn packed(frame: &Bytes) -> Option<Bytes> {
    let Prefix { flag, length } = Prefix::read(*frame.first_chunk()?);
    let message = frame.slice(PREFIX_BYTES..);
    if flag != 0 || message.len() != length || (length as u64) < COMPRESSED_MIN {
        return None;
    }
    let mut packed = BytesMut::from(&[1, 0, 0, 0, 0][..]);
    let mut gzip = Gzip::new(message);
    while let Some(piece) = gzip.frame().await {
        packed.extend_from_slice(piece.ok()?.data_ref()?);
    }
    let length = u32::try_from(packed.len().checked_sub(PREFIX_BYTES)?).ok()?;
    packed
        .get_mut(1..PREFIX_BYTES)?
        .copy_from_slice(&length.to_be_bytes());
    (packed.len() < frame.len()).then(|| packed.freeze())
}
