//! Compressed bodies: requests are decompressed, and large answers are compressed for callers who
//! accept it. Streams are not compressed, because a compressor would hold back chunks.

use std::future::Future;

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

use super::limit::BodyLimit;
use crate::{
    coding::{Accepted, COMPRESSED_MIN, Coding, Compressed, Undecodable},
    error::{Error, ErrorCode, Result},
    service::{Call, inflight_bytes::ScratchBytes},
};

/// The codings of requests that the gateway accepts.
const ACCEPTED: &str = "gzip, deflate, zstd";

/// The largest number of codings of one body, one applied after the other.
const CODINGS_MAX: usize = 4;

/// Refuses requests with codings that the gateway does not accept. Passes others to `next`, and
/// compresses large JSON answers for callers who accept that.
pub(crate) async fn negotiate<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    if let Err(error) = codings(request.headers()) {
        let mut response: Response = error.into_response();
        response
            .headers_mut()
            .insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        return response;
    }
    let accepted = Accepted::of_http(request.headers());
    let mut response = next(request).await;
    let headers = response.headers_mut();
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type == "application/json");
    if !is_json || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let Some(bytes) = response.body().size_hint().exact() else {
        return response;
    };
    let coding = accepted.coding(usize::try_from(bytes).unwrap_or(usize::MAX));
    if coding.is_some() || bytes >= COMPRESSED_MIN {
        vary(&mut response);
    }
    match coding {
        // In memory of its own, because it is rare.
        Some(coding) => Box::pin(compressed(coding, response)).await,
        None => response,
    }
}

async fn compressed(coding: Coding, response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    // The body is already in memory, so its length is known.
    let Ok(body) = body.collect().await else {
        return Error::internal("reading an answer from memory failed").into_response();
    };
    let body = body.to_bytes();
    let Ok(compressed) = Compressed::new(coding, body.clone()) else {
        return Response::from_parts(head, body.into());
    };
    let coding = HeaderValue::from_static(coding.name());
    head.headers.insert(header::CONTENT_ENCODING, coding);
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::new(compressed))
}

/// Adds the header that says that the answer depends on `Accept-Encoding`.
pub(super) fn vary(response: &mut Response) {
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
}

/// The codings of a request body, in the order in which they were applied.
fn codings(headers: &HeaderMap) -> Result<Vec<Coding>> {
    let unsupported = || {
        let message =
            format!("The body's Content-Encoding is not supported: send {ACCEPTED}, or none");
        Error::new(ErrorCode::UnsupportedContentEncoding, message)
    };
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| unsupported())?.split(',') {
            codings.extend(match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => None,
                "x-gzip" => Some(Coding::Gzip),
                name => Some(Coding::named(name).ok_or_else(unsupported)?),
            });
        }
    }
    if codings.len() > CODINGS_MAX {
        Err(unsupported())
    } else {
        Ok(codings)
    }
}

/// Decompresses a request body. The output of each coding may be as large as a request.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for data that cannot be decompressed;
/// [`Kind::TooLarge`](crate::error::Kind::TooLarge) beyond `limit`;
/// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if all requests in memory reach their
/// limit.
pub(super) async fn decompress(
    call: &Call,
    headers: &HeaderMap,
    mut body: Bytes,
    limit: BodyLimit,
) -> Result<Bytes> {
    for coding in codings(headers)?.into_iter().rev() {
        let coded = body.len();
        body = decompress_one(call, coding, &body, limit).await?;
        call.body()
            .into_iter()
            .for_each(|share| share.subtract(coded));
    }
    Ok(body)
}

async fn decompress_one(
    call: &Call,
    coding: Coding,
    body: &[u8],
    limit: BodyLimit,
) -> Result<Bytes> {
    let mut decoded = Vec::new();
    let mut scratch = ScratchBytes::of(call.body());
    let hold = |bytes| scratch.grow_to(bytes);
    let take = |piece: &[u8]| {
        call.body().map_or(Ok(()), |share| share.add(piece.len()))?;
        decoded.extend_from_slice(piece);
        Ok(())
    };
    match coding.decode(body, limit.0, hold, take).await {
        Ok(()) => Ok(decoded.into()),
        Err(Undecodable::Refused(error)) => Err(error),
        Err(Undecodable::TooLarge) => Err(limit.exceeded()),
        Err(Undecodable::Broken(problem, source)) => {
            let name = coding.name();
            let message = format!(
                "The body cannot be decompressed as {name}, its Content-Encoding: {problem}"
            );
            let error = Error::new(ErrorCode::InvalidContentEncoding, message);
            Err(source
                .into_iter()
                .fold(error, |error, source| error.with_source(source)))
        }
    }
}
