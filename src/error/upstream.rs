//! The error that an upstream's reply means, by the upstream's documentation and by what people
//! have seen of it.
//!
//! The status decides the kind, so that callers retry what can be retried and nothing else. The
//! body refines that where it has something to say: [`shapes`] reads it by means of [`values`],
//! [`words`] makes its words fit to be quoted. In a stream, or in an answer that calls itself a
//! success, there is no such status: there the error's own words tell which status it would have
//! had.
//!
//! | status | kind | what it means for the caller |
//! |---|---|---|
//! | 400, 422 | Invalid | the request is wrong: not ready, a context that is too short, or a bad field |
//! | 401 | Misconfigured | the gateway's own key was rejected |
//! | 402, 403, 451 | Forbidden | the account may not do this |
//! | 404, 410 | NotFound | of a model. Of anything else, 404 is a base URL that is wrong: Upstream |
//! | 407, 511 | Upstream | a proxy on the way asks for authentication |
//! | 408, 504, 522, 524, 598, 599 | Timeout | the upstream took too long |
//! | 413, 414 | TooLarge | the request is too large |
//! | 429 | Saturated | try again later |
//! | 499 | Upstream | the upstream gave the request up by itself |
//! | any other 4xx | Invalid | the request is refused: the same request again would be refused again |
//! | 503, 529 | Unavailable | there is no capacity |
//! | any other 5xx | Upstream | the upstream is broken |
//! | 3xx | Upstream | a redirect, which the API never sends: the base URL is wrong |

mod shapes;
mod values;
mod words;

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Error, ErrorCode, throttle};
use shapes::Said;

/// How much of an upstream's error body is read. What is longer is no API error.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The longest wait that an upstream's `Retry-After` may ask of a caller.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What OpenAI and Azure send beside `Retry-After`.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The longest `request-id` that is passed on, in bytes: heads have limits, the callers' ones too.
pub(super) const REQUEST_ID_BYTES_MAX: usize = 256;

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

/// What engines say of a request that is longer than the model's context, in lower case.
const TOO_LONG: [&str; 5] = [
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "`max_new_tokens` must be",
];

/// What an error's code or type means where there is no status: codes of Featherless's first, then
/// words that engines and gateways share. A type's last part, `_error`, makes no difference.
#[rustfmt::skip]
const MEANINGS: [(StatusCode, &[&str]); 10] = [
    (StatusCode::TOO_MANY_REQUESTS,     &["concurrency_limit_exceeded", "rate_limit", "rate_limit_exceeded", "rate_limited", "too_many_requests", "resource_exhausted", "throttling"]),
    (StatusCode::UNAUTHORIZED,          &["unauthorized", "authentication", "unauthenticated", "invalid_api_key"]),
    (StatusCode::FORBIDDEN,             &["model_not_on_plan", "permission", "permission_denied", "forbidden", "access_denied"]),
    (StatusCode::NOT_FOUND,             &["model_not_found", "not_found"]),
    (StatusCode::PAYMENT_REQUIRED,      &["billing", "payment_required", "insufficient_quota", "insufficient_credits"]),
    (StatusCode::PAYLOAD_TOO_LARGE,     &["request_too_large", "payload_too_large"]),
    (StatusCode::BAD_REQUEST,           &["model_not_ready", "invalid_request", "bad_request", "invalid_argument", "validation", "unprocessable_entity"]),
    (StatusCode::SERVICE_UNAVAILABLE,   &["overloaded", "engine_overloaded", "server_overloaded", "service_unavailable", "unavailable", "no_capacity"]),
    (StatusCode::GATEWAY_TIMEOUT,       &["timeout", "timed_out", "request_timeout", "gateway_timeout", "deadline_exceeded"]),
    (StatusCode::INTERNAL_SERVER_ERROR, &["api", "server", "internal", "internal_server", "completions"]),
];

impl Said {
    fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// The status that an error would have had if it had come in time: a refusal is no breakdown.
    fn meant_status(&self) -> StatusCode {
        let word_means = |word: &str| {
            let word = word
                .strip_suffix("_error")
                .or_else(|| word.strip_suffix("_exception"))
                .unwrap_or(word);
            match word {
                _ if word.starts_with("model_gated") => Some(StatusCode::FORBIDDEN),
                _ if word.starts_with("content_") || word.starts_with("context_") => {
                    Some(StatusCode::BAD_REQUEST)
                }
                _ => MEANINGS
                    .iter()
                    .find(|(_, words)| words.contains(&word))
                    .map(|(status, _)| *status),
            }
        };
        self.status
            .or_else(|| self.code.as_deref().and_then(word_means))
            .or_else(|| self.r#type.as_deref().and_then(word_means))
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The message, in the length in which it is quoted.
    fn quote(&self) -> Option<Cow<'_, str>> {
        self.message.as_deref().map(words::shortened)
    }

    /// A sentence that quotes the message, to follow another one; nothing if there is none.
    fn quoted(&self) -> String {
        self.quote()
            .map(|message| format!(". Featherless says: {message}"))
            .unwrap_or_default()
    }
}

impl From<Reply<'_>> for Error {
    fn from(reply: Reply<'_>) -> Self {
        let request_id =
            request_id(reply.headers).and_then(|id| id.to_str().ok().map(str::to_owned));
        let error = meaning(reply.status, &Said::by_body(reply.body), reply.model);
        let error = match retry_after(reply.headers) {
            Some(wait) => error.with_told_retry_after(wait),
            None => error,
        };
        error
            .with_upstream_status(reply.status)
            .with_upstream_request_id(request_id)
    }
}

/// The `request-id` of an upstream's reply, if it can be passed on: it may have any bytes, and
/// metadata of gRPC only printable ASCII. Half an id finds nothing, so it is told whole or not at
/// all.
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

impl Error {
    /// The error that a success is, if it is one rather than an answer: an event of a stream, or a
    /// whole answer. Its status was 200, so only the words tell what it means.
    pub fn from_event(data: &[u8], model: Option<&str>) -> Option<Self> {
        Said::by_success(data).map(|said| broken_off(&said, model))
    }

    /// The error that an event is which calls itself one, whatever it has in it.
    pub fn from_error_event(data: &[u8], model: Option<&str>) -> Self {
        broken_off(&Said::by_body(data), model)
    }

    /// The error that a choice ended with, if it did: `reason` is its reason if that means failure,
    /// `error` is the JSON text of what it says of an error.
    pub fn from_failed_choice(
        reason: Option<&str>,
        error: Option<&str>,
        model: Option<&str>,
    ) -> Option<Self> {
        let mut said = error.and_then(Said::by_member);
        if let Some(reason) = reason {
            let said = said.get_or_insert_default();
            if said.message.is_none() {
                said.message = words::quotable(reason)
                    .map(|reason| format!("the reason that it gives is \"{reason}\""));
            }
        }
        said.map(|said| broken_off(&said, model))
    }
}

/// What an error means that came after a status of success.
fn broken_off(said: &Said, model: Option<&str>) -> Error {
    let status = said.meant_status();
    let message = said.quote().unwrap_or("it does not say why".into());
    match status.as_u16() {
        404 if !is_about_model(said) => {
            let error = Error::new(
                ErrorCode::NotFound,
                format!("Featherless has not found what the request names: {message}"),
            );
            said.code
                .iter()
                .fold(error, |error, code| error.with_foreign_code(code))
        }
        400..=406 | 408..=498 | 503 | 504 | 522 | 524 | 529 | 598 | 599 => {
            return meaning(status, said, model);
        }
        _ => Error::new(
            ErrorCode::UpstreamStreamFailed,
            format!(
                "Featherless broke the answer off: {message}. What came before is not complete: \
                 try again, or use another model"
            ),
        ),
    }
    .with_source(format!(
        "upstream status 200, then an error with status {}",
        status.as_u16()
    ))
}

/// Whether an error of a thing that isn't there is about a model.
fn is_about_model(said: &Said) -> bool {
    let says_model = || {
        said.message
            .as_deref()
            .is_some_and(|message| message.to_ascii_lowercase().contains("model"))
    };
    said.code() == "model_not_found" || (said.code() != "unknown_path" && says_model())
}

/// What a status means, refined by what is said beside it.
fn meaning(status: StatusCode, said: &Said, model: Option<&str>) -> Error {
    let (quote, code) = (said.quote(), said.code());
    let message = quote.as_deref().unwrap_or("(no message)");
    let model = model.unwrap_or("this model");
    let lower = message.to_ascii_lowercase();
    let says = |what: &str| lower.contains(what);
    match status.as_u16() {
        400 if says("not ready for inference") || code == "model_not_ready" => Error::new(
            ErrorCode::ModelNotReady,
            format!(
                "{model} is cold or still loading at Featherless, which takes from 5 minutes to \
                 an hour: try again later, or use a model that is warm. Featherless says: \
                 {message}"
            ),
        ),
        400 | 422
            if code == "context_length_exceeded" || TOO_LONG.iter().any(|words| says(words)) =>
        {
            Error::new(
                ErrorCode::ContextLengthExceeded,
                format!(
                    "{}. Shorten the messages, lower max_tokens, or use a model with a larger \
                     context",
                    quote
                        .as_deref()
                        .unwrap_or("The request is longer than the model's context")
                ),
            )
            .with_param("messages")
        }
        401 => Error::new(
            ErrorCode::FeatherlessApiKeyRejected,
            "Featherless rejected the gateway's API key: the gateway's owner must set a valid \
             FEATHERLESS_API_KEY",
        )
        .with_help("https://featherless.ai/account/api-keys"),
        402 => Error::new(
            ErrorCode::PaymentRequired,
            format!("Featherless asks for payment{}", said.quoted()),
        )
        .with_help("https://featherless.ai/account/subscription"),
        403 if says("api access") => Error::new(
            ErrorCode::PlanWithoutApiAccess,
            "The Featherless account's plan has no API access: change the plan, or use another \
             account's key",
        )
        .with_help("https://featherless.ai/account/subscription"),
        403 if code.contains("model_gated") || says("gated model") || says("model is gated") => {
            Error::new(
                ErrorCode::ModelGated,
                format!(
                    "{model} is gated: accept its licence on its Hugging Face page, with the \
                     account linked to Featherless"
                ),
            )
            .with_help(format!("https://huggingface.co/{model}"))
        }
        403 if code == "model_not_on_plan" || says("plan") => Error::new(
            ErrorCode::ModelNotOnPlan,
            format!(
                "{model} is not part of the Featherless account's plan: change the plan, or use a \
                 smaller model"
            ),
        )
        .with_help("https://featherless.ai/account/subscription"),
        403 | 451 => Error::new(
            ErrorCode::Forbidden,
            match &quote {
                Some(message) => format!(
                    "Featherless refused access (status {}): {message}",
                    status.as_u16()
                ),
                None => format!(
                    "Featherless refused access (status {}) and does not say why: check the \
                     account's plan and key, and whether a proxy or a firewall stands in between",
                    status.as_u16()
                ),
            },
        ),
        404 | 410 if is_about_model(said) => Error::new(
            ErrorCode::ModelNotFound,
            format!(
                "Featherless has no model {model}. Ids are case-sensitive; GET /v1/models?q=… or \
                 `featherwire models --search …` finds them"
            ),
        )
        .with_param("model"),
        404 => Error::new(
            ErrorCode::UpstreamBadAnswer,
            format!(
                "The upstream has no such path (status 404): check FEATHERLESS_BASE_URL{}",
                said.quoted()
            ),
        ),
        407 | 511 => Error::new(
            ErrorCode::UpstreamBadAnswer,
            format!(
                "A proxy between the gateway and Featherless asks for authentication (status {}): \
                 the gateway's owner must check its proxy settings",
                status.as_u16()
            ),
        ),
        408 | 504 | 522 | 524 | 598 | 599 => Error::new(
            ErrorCode::UpstreamTimeout,
            format!(
                "Featherless took too long and its front end gave up (status {}): stream the \
                 answer, lower max_tokens, or use a smaller model{}",
                status.as_u16(),
                said.quoted()
            ),
        ),
        413 | 414 => Error::new(
            ErrorCode::RequestTooLarge,
            format!(
                "Featherless finds the request too large: shorten it{}",
                said.quoted()
            ),
        ),
        429 if *said == Said::default() => throttle::rate_limited(),
        429 => throttle::refused(code, said.message.as_deref().unwrap_or_default(), message),
        503 | 529 => Error::new(
            ErrorCode::NoCapacity,
            format!(
                "Featherless has no capacity for {model} right now: try again, or use another \
                 model{}",
                said.quoted()
            ),
        ),
        499 => Error::new(
            ErrorCode::UpstreamError,
            format!(
                "Featherless gave the request up before it was answered (status 499): try again{}",
                said.quoted()
            ),
        ),
        400..=499 => {
            // These two are so common that their numbers would only be noise.
            let number = match status.as_u16() {
                400 | 422 if quote.is_some() => String::new(),
                number => format!(" (status {number})"),
            };
            let message = match &quote {
                Some(message) => format!("Featherless refused the request{number}: {message}"),
                None => format!(
                    "Featherless refused the request{number} and does not say why: check its \
                     fields and values"
                ),
            };
            let mut error = Error::new(ErrorCode::UpstreamRefused, message);
            if !code.is_empty() {
                error = error.with_foreign_code(code);
            }
            said.param
                .iter()
                .fold(error, |error, param| error.with_param(param))
        }
        500 => Error::new(
            ErrorCode::UpstreamError,
            match &quote {
                Some(message) => {
                    format!("Featherless failed inside: {message}. Try again, or use another model")
                }
                None => "Featherless failed inside (status 500): try again, or use another model"
                    .to_owned(),
            },
        ),
        501..=599 => Error::new(
            ErrorCode::UpstreamError,
            format!(
                "Featherless or its front end is out of order (status {}): try again, or use \
                 another model{}",
                status.as_u16(),
                said.quoted()
            ),
        ),
        // Not `status` itself, which prints numbers that it has no name for as such.
        300..=399 => Error::new(
            ErrorCode::UpstreamRedirect,
            format!(
                "The upstream answered with a redirect (status {}), which its API never does: \
                 check FEATHERLESS_BASE_URL",
                status.as_u16()
            ),
        ),
        number => Error::new(
            ErrorCode::UpstreamBadAnswer,
            format!(
                "The upstream answered with status {number}, which its API never does: check \
                 FEATHERLESS_BASE_URL"
            ),
        ),
    }
    .with_source(format!("upstream status {status}"))
}

/// `retry-after-ms`, which is finer, or else both forms of `Retry-After`: seconds, and the date
/// that front ends may send.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
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

#[cfg(test)]
mod tests;
