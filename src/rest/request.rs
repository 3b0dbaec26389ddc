//! A request's body, from bytes to a message, or to the reason why not.

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::compression;
use crate::{
    error::{Error, ErrorCode, Result},
    json, offload,
    service::Call,
};

/// The largest body, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub usize);

/// Reads a JSON body.
///
/// # Errors
/// Wrong media type, too large, too slow, cut, no room for it, or whatever is wrong with the JSON,
/// with the path of the bad member.
pub async fn read<M: DeserializeOwned + Send + 'static>(
    call: &Call,
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
) -> Result<M> {
    if !is_json(headers) {
        // A browser sends other media types across origins without asking first: insisting on this
        // one means that no web page can use an open gateway behind its user's back.
        let message =
            "The body must be JSON and say so: send the header Content-Type: application/json";
        return Err(Error::new(ErrorCode::UnsupportedMediaType, message));
    }
    if body.size_hint().lower() > limit.0 as u64 {
        // Who asks whether to continue is told before sending it.
        return Err(too_large(limit));
    }
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    call.body().map_or(Ok(()), |share| share.expect(expected))?;
    let body = call.receive(collect(body, expected, limit)).await??;
    let body = call
        .receive(compression::decode(call, headers, body, limit))
        .await??;
    let decoded = offload::run(body.len(), move || json::decode_request(&body));
    call.receive(decoded).await??.map_err(|bad| match bad.path {
        Some(path) => Error::invalid(path, bad.problem),
        None if bad.is_too_large => Error::invalid("request", bad.problem),
        None => Error::new(ErrorCode::InvalidJson, format!("The body: {}", bad.problem)),
    })
}

/// Collects a body as it arrives: this many bytes, as far as its head tells.
async fn collect(mut body: Body, expected: usize, limit: Limit) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > limit.0 {
            return Err(too_large(limit));
        }
        if whole.is_empty() {
            if body.is_end_stream() {
                return Ok(data);
            }
            // Memory that nothing is written to takes no room.
            whole.reserve(expected.max(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Why a body did not come to its end.
fn broken(error: axum::Error) -> Error {
    let causes = std::iter::successors(
        Some(&error as &(dyn std::error::Error + 'static)),
        |cause| cause.source(),
    );
    let ours = causes
        .filter_map(|cause| cause.downcast_ref::<Error>())
        .next()
        .cloned();
    ours.unwrap_or_else(|| {
        Error::new(
            ErrorCode::IncompleteBody,
            "The request's body broke off before its end",
        )
        .with_source(error)
    })
}

/// The request is too large, as it was sent or as it was before it was compressed.
pub fn too_large(limit: Limit) -> Error {
    let message = format!(
        "The request is larger than {} bytes: send less, or raise --max-request-bytes",
        limit.0
    );
    Error::new(ErrorCode::RequestTooLarge, message)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
