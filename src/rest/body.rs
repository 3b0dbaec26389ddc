//! A request's body, from bytes to a message, or to the reason why not.

use axum::body::{Body, HttpBody};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::coding;
use crate::{
    error::{Error, Kind, Result},
    json,
    service::Call,
};

/// The largest body, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub usize);

/// Reads a JSON body.
///
/// # Errors
/// Wrong media type, too large, too slow, cut, or whatever is wrong with the JSON, with the path of the bad member.
pub async fn read<M: DeserializeOwned>(call: &Call, headers: &HeaderMap, body: Body, limit: Limit) -> Result<M> {
    if !is_json(headers) {
        // A browser sends other media types across origins without asking first: insisting on this one means that no
        // web page can use an open gateway behind its user's back.
        let message = "The body must be JSON and say so: send the header Content-Type: application/json";
        return Err(Error::new(Kind::WrongMediaType, "unsupported_media_type", message));
    }
    if body.size_hint().lower() > limit.0 as u64 {
        // Who asks whether to continue is told before sending it.
        return Err(too_large(limit));
    }
    let body = call.receive(Limited::new(body, limit.0).collect()).await?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large(limit);
        }
        Error::new(Kind::Invalid, "incomplete_body", "The request's body broke off before its end").with_source(error)
    })?;
    let body = call.receive(coding::decode(headers, body.to_bytes(), limit)).await??;
    json::decode_request(&body).map_err(|bad| match bad.path {
        Some(path) => Error::invalid(path, bad.problem),
        None => Error::new(Kind::Invalid, "invalid_json", format!("The body: {}", bad.problem)),
    })
}

/// The request is too large, as it was sent or as it was before it was compressed.
pub fn too_large(limit: Limit) -> Error {
    let message = format!("The request is larger than {} bytes: send less, or raise --max-request-bytes", limit.0);
    Error::new(Kind::TooLarge, "request_too_large", message)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
