//! An error inside a successful reply: in an event of a stream, in a unary answer, or in a choice.
//! The status was 200, so only the words tell what the error means.

use http::StatusCode;

use super::{
    quoting,
    shapes::ErrorBody,
    status::{by_status, is_about_model},
};
use crate::error::{Error, ErrorCode};

/// The status that a code or a type means: first the codes of Featherless, then the words that
/// engines and gateways share. The ending `_error` makes no difference.
const MEANINGS: [(StatusCode, &[&str]); 10] = [
    (
        StatusCode::TOO_MANY_REQUESTS,
        &[
            "concurrency_limit_exceeded",
            "rate_limit",
            "rate_limit_exceeded",
            "rate_limited",
            "too_many_requests",
            "resource_exhausted",
            "throttling",
        ],
    ),
    (
        StatusCode::UNAUTHORIZED,
        &[
            "unauthorized",
            "authentication",
            "unauthenticated",
            "invalid_api_key",
        ],
    ),
    (
        StatusCode::FORBIDDEN,
        &[
            "model_not_on_plan",
            "permission",
            "permission_denied",
            "forbidden",
            "access_denied",
        ],
    ),
    (StatusCode::NOT_FOUND, &["model_not_found", "not_found"]),
    (
        StatusCode::PAYMENT_REQUIRED,
        &[
            "billing",
            "payment_required",
            "insufficient_quota",
            "insufficient_credits",
        ],
    ),
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        &["request_too_large", "payload_too_large"],
    ),
    (
        StatusCode::BAD_REQUEST,
        &[
            "model_not_ready",
            "invalid_request",
            "bad_request",
            "invalid_argument",
            "validation",
            "unprocessable_entity",
        ],
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        &[
            "overloaded",
            "engine_overloaded",
            "server_overloaded",
            "service_unavailable",
            "unavailable",
            "no_capacity",
        ],
    ),
    (
        StatusCode::GATEWAY_TIMEOUT,
        &[
            "timeout",
            "timed_out",
            "request_timeout",
            "gateway_timeout",
            "deadline_exceeded",
        ],
    ),
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        &[
            "api",
            "server",
            "internal",
            "internal_server",
            "completions",
        ],
    ),
];

/// The error in a successful reply's `data`, which is an event of a stream or a unary answer.
/// `None` if it is an answer and not an error.
pub fn from_event(data: &[u8], model: Option<&str>) -> Option<Error> {
    ErrorBody::parse_success(data).map(|body| broken_off(&body, model))
}

/// The error in an event that is named `error`, whatever its `data` is.
pub fn from_error_event(data: &[u8], model: Option<&str>) -> Error {
    broken_off(&ErrorBody::parse(data), model)
}

/// The error that a choice ended with, if it did. `reason` is its `finish_reason` if that means
/// failure. `error` is the JSON text of its error.
pub fn from_failed_choice(
    reason: Option<&str>,
    error: Option<&str>,
    model: Option<&str>,
) -> Option<Error> {
    let mut body = error.and_then(ErrorBody::parse_member);
    if let Some(reason) = reason {
        let body = body.get_or_insert_default();
        if body.message.is_none() {
            body.message = quoting::quotable(reason)
                .map(|reason| format!("the reason that it gives is \"{reason}\""));
        }
    }
    body.map(|body| broken_off(&body, model))
}

/// What an error means that came after a status of success.
fn broken_off(body: &ErrorBody, model: Option<&str>) -> Error {
    let status = implied_status(body);
    let quote = body.quote().unwrap_or("it does not say why".into());
    match status.as_u16() {
        404 if !is_about_model(body) => {
            let error = Error::new(
                ErrorCode::NotFound,
                format!("Featherless did not find what the request names: {quote}"),
            );
            body.code
                .iter()
                .fold(error, |error, code| error.with_foreign_code(code))
        }
        400..=406 | 408..=498 | 503 | 504 | 522 | 524 | 529 | 598 | 599 => {
            return by_status(status, body, model);
        }
        _ => Error::new(
            ErrorCode::UpstreamStreamFailed,
            format!(
                "Featherless broke off the answer: {quote}. The part that came is incomplete: try \
                 again, or use another model"
            ),
        ),
    }
    .with_source(format!(
        "upstream status 200, then an error with status {}",
        status.as_u16()
    ))
}

/// The status that the error would have had before the reply began. A refusal is not a breakdown.
fn implied_status(body: &ErrorBody) -> StatusCode {
    body.status
        .or_else(|| body.code.as_deref().and_then(status_of_word))
        .or_else(|| body.r#type.as_deref().and_then(status_of_word))
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn status_of_word(word: &str) -> Option<StatusCode> {
    let word = word
        .strip_suffix("_error")
        .or_else(|| word.strip_suffix("_exception"))
        .unwrap_or(word);
    if word.starts_with("model_gated") {
        return Some(StatusCode::FORBIDDEN);
    }
    if word.starts_with("content_") || word.starts_with("context_") {
        return Some(StatusCode::BAD_REQUEST);
    }
    MEANINGS
        .iter()
        .find(|(_, words)| words.contains(&word))
        .map(|(status, _)| *status)
}
