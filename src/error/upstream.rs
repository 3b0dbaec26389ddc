//! The error that an upstream's reply means, by the upstream's documentation and by what people have seen of it.
//!
//! Three shapes are understood: OpenAI's `{"error":{…}}`, the account endpoints' `{"statusCode","message","code"}`,
//! and a bare `{"error":"…"}`, which also comes inside a stream that began well.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, value::RawValue};

use super::{Error, Kind, throttle};
use crate::json;

/// How much of an upstream's error body is read. What is longer is no API error.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// How much of an upstream's own message is passed on, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// The longest wait that an upstream's `Retry-After` may ask of a caller.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The longest `request-id` that is passed on.
const REQUEST_ID_BYTES_MAX: usize = 256;

/// A reply that is no success.
pub struct Reply<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, or the beginning of it.
    pub body: &'a [u8],
    /// The model that was asked for, if any: part of some advice.
    pub model: Option<&'a str>,
}

/// What an error reply says, whatever its shape.
#[derive(Default)]
struct Members {
    message: Option<String>,
    r#type: Option<String>,
    param: Option<String>,
    code: Option<String>,
    /// A number where the code should be: some engines put the status there.
    status: Option<u64>,
}

/// The members of an object, unread. Of two with the same name the last counts, as everywhere in JSON here.
fn object(body: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    json::peek(std::str::from_utf8(body).ok()?).ok()
}

/// Reads an error reply. An account's error may have a bare `error` beside its `message`, which then says more.
fn members(body: &[u8]) -> Option<Members> {
    let body = object(body)?;
    let read = |name| body.get(name).and_then(|value| serde_json::from_str::<Value>(value.get()).ok());
    let (error, message, code) = (read("error"), read("message"), read("code"));
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let members = match error {
        Some(Value::Object(error)) => Members {
            message: text(error.get("message")),
            r#type: text(error.get("type")),
            param: text(error.get("param")),
            code: text(error.get("code")),
            status: error.get("code").and_then(Value::as_u64),
        },
        error => Members {
            message: text(message.as_ref()).or_else(|| text(error.as_ref())),
            code: text(code.as_ref()),
            ..Members::default()
        },
    };
    (members.message.is_some() || members.code.is_some() || members.status.is_some()).then_some(members)
}

impl Members {
    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// The status that an error would have had if it had come in time: a refusal is no breakdown.
    fn meant_status(&self) -> StatusCode {
        match (self.code(), self.r#type.as_deref()) {
            (throttle::UNITS_CODE, _) => StatusCode::TOO_MANY_REQUESTS,
            ("unauthorized", _) => StatusCode::UNAUTHORIZED,
            ("model_not_found", _) => StatusCode::NOT_FOUND,
            (code, _) if code.starts_with("model_gated") || code == "model_not_on_plan" => StatusCode::FORBIDDEN,
            (code, _) if code.starts_with("content_") || code.starts_with("context_") => StatusCode::BAD_REQUEST,
            (_, Some("invalid_request_error")) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Reply<'_>> for Error {
    fn from(reply: Reply<'_>) -> Self {
        let request_id = reply.headers.get("request-id").and_then(|id| id.to_str().ok());
        let request_id = request_id.filter(|id| id.len() <= REQUEST_ID_BYTES_MAX).map(str::to_owned);
        let error = match members(reply.body) {
            Some(members) => from_members(reply.status, &members, reply.model),
            None => from_status(reply.status),
        };
        let error = match retry_after(reply.headers) {
            Some(wait) => error.with_told_retry_after(wait),
            None => error,
        };
        error.with_upstream_status(reply.status).with_upstream_request_id(request_id)
    }
}

impl Error {
    /// The error that an event of a stream is, if it is one rather than a chunk. Its status was 200, so only the
    /// words tell what it means.
    pub fn from_event(data: &[u8], model: Option<&str>) -> Option<Self> {
        object(data)?.get("error").filter(|error| error.get() != "null")?;
        let members = members(data).unwrap_or_default();
        let status = match members.status.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok()) {
            Some(status) => status,
            None => members.meant_status(),
        };
        Some(match status {
            StatusCode::INTERNAL_SERVER_ERROR => Self::new(
                Kind::Upstream,
                "upstream_stream_failed",
                format!(
                    "Featherless broke the answer off: {}. Whatever came before is not complete: try again, or use another model",
                    words(&members)
                ),
            ),
            status => from_members(status, &members, model),
        })
    }
}

fn from_members(status: StatusCode, members: &Members, model: Option<&str>) -> Error {
    let (message, code) = (words(members), members.code());
    let model = model.unwrap_or("this model");
    let lower = message.to_ascii_lowercase();
    let says = |what: &str| lower.contains(what);
    match status.as_u16() {
        400 if says("not ready for inference") || code == "model_not_ready" => Error::new(
            Kind::NotReady,
            "model_not_ready",
            format!(
                "{model} is cold or still loading at Featherless, which takes from 5 minutes to an hour: \
                 try again later, or use a model that is warm. Featherless says: {message}"
            ),
        ),
        400 | 422 if code == "context_length_exceeded" || says("maximum context length") => Error::new(
            Kind::Invalid,
            "context_length_exceeded",
            format!("{message}. Shorten the messages, lower max_tokens, or use a model with a larger context"),
        )
        .with_param("messages"),
        400 | 422 => {
            let code = if code.is_empty() { "upstream_refused" } else { code };
            let error = Error::new(Kind::Invalid, code.to_owned(), format!("Featherless refused the request: {message}"));
            members.param.iter().fold(error, |error, param| error.with_param(param))
        }
        403 if says("api access") => Error::new(
            Kind::Forbidden,
            "plan_without_api_access",
            "The Featherless account's plan has no API access: change the plan, or use another account's key",
        )
        .with_help("https://featherless.ai/account/subscription"),
        403 if code.contains("model_gated") || says("gated model") || says("model is gated") => Error::new(
            Kind::Forbidden,
            "model_gated",
            format!("{model} is gated: accept its licence on its Hugging Face page, with the account linked to Featherless"),
        )
        .with_help(format!("https://huggingface.co/{model}")),
        403 if code == "model_not_on_plan" || says("plan") => Error::new(
            Kind::Forbidden,
            "model_not_on_plan",
            format!("{model} is not part of the Featherless account's plan: change the plan, or use a smaller model"),
        )
        .with_help("https://featherless.ai/account/subscription"),
        403 => Error::new(Kind::Forbidden, "forbidden", format!("Featherless refused access: {message}")),
        404 if code == "model_not_found" || (says("model") && code != "unknown_path") => Error::new(
            Kind::NotFound,
            "model_not_found",
            format!("Featherless has no model {model}. Ids are case-sensitive; GET /v1/models?q=… or `featherwire models --search …` finds them"),
        )
        .with_param("model"),
        404 => Error::new(
            Kind::Upstream,
            "upstream_bad_answer",
            format!("The upstream has no such path: check FEATHERLESS_BASE_URL. It says: {message}"),
        ),
        429 => throttle::refused(code, members.message.as_deref().unwrap_or_default(), &message),
        503 => Error::new(
            Kind::Unavailable,
            "no_capacity",
            format!("Featherless has no capacity for {model} right now: try again, or use another model. Featherless says: {message}"),
        ),
        500 => Error::new(Kind::Upstream, "upstream_error", format!("Featherless failed inside: {message}. Try again, or use another model")),
        401 | 408 | 413 | 504 | 522 | 524 => from_status(status),
        402 => Error::new(Kind::Forbidden, "payment_required", format!("Featherless asks for payment: {message}"))
            .with_help("https://featherless.ai/account/subscription"),
        400..=499 => {
            let code = if code.is_empty() { "upstream_refused" } else { code };
            Error::new(Kind::Invalid, code.to_owned(), format!("Featherless refused the request (status {}): {message}", status.as_u16()))
        }
        _ => from_status(status),
    }
    .with_source(format!("upstream status {status}"))
}

/// An error told by the status alone: the body isn't an API error. A page of a CDN is never passed on.
fn from_status(status: StatusCode) -> Error {
    // Not `status` itself, which prints numbers that it has no name for as such.
    let code = status.as_u16();
    match code {
        401 => Error::new(
            Kind::Misconfigured,
            "featherless_api_key_rejected",
            "Featherless rejected the gateway's API key: the gateway's owner must set a valid FEATHERLESS_API_KEY",
        )
        .with_help("https://featherless.ai/account/api-keys"),
        408 | 504 | 522 | 524 => Error::new(
            Kind::Timeout,
            "upstream_timeout",
            format!(
                "Featherless took too long and its front end gave up (status {code}): \
                 stream the answer, lower max_tokens, or use a smaller model"
            ),
        ),
        413 => Error::new(Kind::TooLarge, "request_too_large", "Featherless finds the request too large: shorten it"),
        429 => throttle::rate_limited(),
        503 => Error::new(Kind::Unavailable, "no_capacity", "Featherless is not available right now: try again"),
        300..=399 => Error::new(
            Kind::Upstream,
            "upstream_redirect",
            format!("The upstream answered with a redirect (status {code}), which its API never does: check FEATHERLESS_BASE_URL"),
        ),
        _ => Error::new(
            Kind::Upstream,
            "upstream_bad_answer",
            format!("The upstream answered with status {code} and no error that its API has: try again, and check FEATHERLESS_BASE_URL"),
        ),
    }
    .with_source(format!("upstream status {status}"))
}

/// The upstream's own words, shortened to a bound and without their full stop.
fn words(members: &Members) -> String {
    let message = members.message.as_deref().unwrap_or("(no message)").trim();
    if message.starts_with('<') {
        return "(a web page)".to_owned();
    }
    message.chars().take(MESSAGE_CHARS_MAX).collect::<String>().trim_end_matches('.').to_owned()
}

/// Both forms of `Retry-After`: seconds, and the date that front ends may send.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the fuzz targets found.
    #[test]
    fn an_event_is_an_error_if_it_is_an_object_whose_last_error_is_one() {
        let message = |event: &str| Error::from_event(event.as_bytes(), None).map(|error| error.message().to_owned());
        assert!(message(r#"{"error":"first","error":"second"}"#).unwrap().contains("second"));
        assert!(message(r#"{"error":null,"error":{"message":"second","code":1e999}}"#).is_some());
        for event in [r#"{"error":"first","error":null}"#, r#"["error"]"#, r#"{"choices":[]}"#, "error"] {
            assert_eq!(message(event), None, "{event}");
        }
    }

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let wait = |value: &str| retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]));
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("99999999"), Some(RETRY_AFTER_MAX));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(30));
        assert!((28..=30).contains(&wait(&date).unwrap().as_secs()));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO), "it is over");
        assert_eq!(wait("soon"), None);
    }
}
