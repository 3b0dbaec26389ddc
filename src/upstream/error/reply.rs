//! A reply that is not a success, as an error.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{shapes::ErrorBody, status::by_status};
use crate::error::{Error, REQUEST_ID_BYTES_MAX};

/// The longest wait that a `Retry-After` of Featherless may ask of a caller.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What OpenAI and Azure send beside `Retry-After`.
pub(super) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// A reply that is not a success.
///
/// ```
/// use featherwire::{error::{Error, Kind}, upstream::error::ErrorReply};
/// use http::{HeaderMap, StatusCode};
///
/// let error = Error::from(ErrorReply {
///     status: StatusCode::SERVICE_UNAVAILABLE,
///     headers: &HeaderMap::new(),
///     body: b"",
///     model: Some("org/model"),
/// });
/// assert_eq!((error.kind(), error.code()), (Kind::Unavailable, "no_capacity"));
/// ```
pub struct ErrorReply<'a> {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, or its beginning.
    pub body: &'a [u8],
    /// The requested model, if there is one. Some advice names it.
    pub model: Option<&'a str>,
}

impl From<ErrorReply<'_>> for Error {
    fn from(reply: ErrorReply<'_>) -> Self {
        let request_id =
            request_id(reply.headers).and_then(|id| id.to_str().ok().map(str::to_owned));
        let error = by_status(reply.status, &ErrorBody::parse(reply.body), reply.model);
        let error = match retry_after(reply.headers) {
            Some(wait) => error.with_upstream_retry_after(wait),
            None => error,
        };
        error
            .with_upstream_status(reply.status)
            .with_upstream_request_id(request_id)
    }
}

/// The `request-id` of a reply, if callers may see it. Upstream may send any bytes, but the
/// metadata of gRPC allows only printable ASCII. A shortened id would find nothing, so a long one
/// is dropped.
pub fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_printable =
        |id: &&HeaderValue| id.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    let is_of_length = |id: &&HeaderValue| (1..=REQUEST_ID_BYTES_MAX).contains(&id.len());
    headers
        .get("request-id")
        .filter(is_of_length)
        .filter(is_printable)
        .cloned()
}

/// How long the reply asks to wait: `retry-after-ms`, which is finer, else `Retry-After` in seconds
/// or as a date, which front ends may send.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0)
    };
    let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(RETRY_AFTER_MAX);
    let wait = match text(RETRY_AFTER_MS).and_then(number) {
        Some(milliseconds) => seconds(milliseconds / 1000.0),
        None => {
            let value = text(header::RETRY_AFTER)?;
            match number(value) {
                Some(number) => seconds(number),
                None => httpdate::parse_http_date(value)
                    .ok()?
                    .duration_since(SystemTime::now())
                    .unwrap_or_default(),
            }
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}
