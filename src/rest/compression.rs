//! Content codings: compressed requests are read, and large answers are compressed for those who
//! ask. Streams never are: a compressor holds pieces back.

use axum::{body::Body, body::HttpBody, extract::Request, middleware::Next, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

use super::request::{Limit, too_large};
use crate::{
    coding::{COMPRESSED_MIN, Coding, Gzip, Undecodable},
    error::{Error, ErrorCode, Result},
    service::Call,
};

/// The codings of requests that are understood.
const UNDERSTOOD: &str = "gzip, deflate, zstd";

/// How many codings may lie one above the other.
const CODINGS_MAX: usize = 4;

/// Refuses requests in codings that are not understood, and compresses large JSON answers for
/// callers who take gzip.
pub async fn negotiate(request: Request, next: Next) -> Response {
    if let Err(error) = codings(request.headers()) {
        let mut response: Response = error.into_response();
        response.headers_mut().insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static(UNDERSTOOD),
        );
        return response;
    }
    let is_wanted = takes_gzip(request.headers());
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|media_type| media_type == "application/json");
    if !is_json || headers.contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    if response
        .body()
        .size_hint()
        .exact()
        .is_none_or(|bytes| bytes < COMPRESSED_MIN)
    {
        return response;
    }
    vary(&mut response);
    if !is_wanted {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // It is in memory already: its length is known.
    let Ok(body) = body.collect().await else {
        return Error::internal("an answer in memory broke").into_response();
    };
    head.headers
        .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(head, Body::new(Gzip::new(body.to_bytes())))
}

/// Says that the answer depends on what codings the caller takes.
pub fn vary(response: &mut Response) {
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("accept-encoding"));
}

/// Whether the caller takes answers that are compressed by gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
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

/// The codings of a request's body, the first applied first.
fn codings(headers: &HeaderMap) -> Result<Vec<Coding>> {
    let unsupported = || {
        let message = format!(
            "The body's Content-Encoding is not understood here: send {UNDERSTOOD}, or none"
        );
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

/// Undoes the codings of a request's body. What comes of each may be as large as a request, and no
/// larger.
///
/// # Errors
/// Invalid for data that can't be decoded, TooLarge, Unavailable if there is no room for it.
pub async fn decode(
    call: &Call,
    headers: &HeaderMap,
    mut body: Bytes,
    limit: Limit,
) -> Result<Bytes> {
    for coding in codings(headers)?.into_iter().rev() {
        let coded = body.len();
        body = decode_one(call, coding, &body, limit).await?;
        call.body()
            .into_iter()
            .for_each(|share| share.give_back(coded));
    }
    Ok(body)
}

async fn decode_one(call: &Call, coding: Coding, body: &[u8], limit: Limit) -> Result<Bytes> {
    let mut decoded = Vec::new();
    let take = |piece: &[u8]| {
        call.body().map_or(Ok(()), |share| share.add(piece.len()))?;
        decoded.extend_from_slice(piece);
        Ok(())
    };
    match coding.decode(body, limit.0, take).await {
        Ok(()) => Ok(decoded.into()),
        Err(Undecodable::Refused(error)) => Err(error),
        Err(Undecodable::TooLarge) => Err(too_large(limit)),
        Err(Undecodable::Broken(problem, source)) => {
            let name = coding.name();
            let message = format!(
                "The body can't be decoded as its Content-Encoding says ({name}): {problem}"
            );
            let error = Error::new(ErrorCode::InvalidContentEncoding, message);
            Err(source
                .into_iter()
                .fold(error, |error, source| error.with_source(source)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(
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
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
