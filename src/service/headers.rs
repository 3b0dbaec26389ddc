//! The gateway's own headers, and `grpc-timeout`. HTTP headers and gRPC metadata are the same here.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::validate;
use crate::{
    admission::Priority,
    error::{Error, Result},
    proto::v1::limits,
};

/// Request: the models that may answer in place of the one asked for, in order.
pub const FALLBACK: &str = "x-featherwire-fallback";

/// Request: the class in the queue for units.
pub const PRIORITY: &str = "x-featherwire-priority";

/// Request: whether a unary chat answer is streamed upstream and accumulated.
pub const UNARY_VIA_STREAM: &str = "x-featherwire-unary-via-stream";

/// Request: how long the caller waits for the answer, in milliseconds.
pub const TIMEOUT_MS: &str = "x-request-timeout-ms";

/// Response: the `request-id` of the upstream's response.
pub const UPSTREAM_REQUEST_ID: &str = "x-featherless-request-id";

/// Response: how long the call waited for units, in milliseconds.
pub const WAITED_MS: &str = "x-featherwire-waited-ms";

/// Response: the model that answers, if it is not the one asked for.
pub const MODEL: &str = "x-featherwire-model";

/// Response: the models that were tried before, each with the code of its error.
pub const TRIED: &str = "x-featherwire-tried";

/// Response: the largest number of tokens of each choice, if the gateway has set another number
/// than the request, because the budget of the key has no more left.
pub const MAX_TOKENS: &str = "x-featherwire-max-tokens";

/// The names as a header map looks them up: parsed once, not for each call.
mod names {
    use http::HeaderName;

    pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    pub(super) const FALLBACK: HeaderName = HeaderName::from_static(super::FALLBACK);
    pub(super) const PRIORITY: HeaderName = HeaderName::from_static(super::PRIORITY);
    pub(super) const UNARY_VIA_STREAM: HeaderName =
        HeaderName::from_static(super::UNARY_VIA_STREAM);
    pub(super) const TIMEOUT_MS: HeaderName = HeaderName::from_static(super::TIMEOUT_MS);
    pub(super) const UPSTREAM_REQUEST_ID: HeaderName =
        HeaderName::from_static(super::UPSTREAM_REQUEST_ID);
    pub(super) const WAITED_MS: HeaderName = HeaderName::from_static(super::WAITED_MS);
    pub(super) const MODEL: HeaderName = HeaderName::from_static(super::MODEL);
    pub(super) const TRIED: HeaderName = HeaderName::from_static(super::TRIED);
}

/// The longest deadline that is kept. A longer one is treated as none.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// How many fallbacks one call may name.
const FALLBACKS_MAX: usize = limits::GATEWAY_OPTIONS_FALLBACKS.max;

/// What the headers of one request ask for. `None` where a header is absent.
#[derive(Debug, Default)]
pub(super) struct RequestHeaders {
    /// The shorter of `grpc-timeout` and [`TIMEOUT_MS`].
    pub(super) timeout: Option<Duration>,
    /// The value of [`TIMEOUT_MS`] alone.
    pub(super) header_timeout: Option<Duration>,
    pub(super) unary_via_stream: Option<bool>,
    /// Empty for `none`.
    pub(super) fallbacks: Option<Vec<String>>,
    pub(super) priority: Option<Priority>,
}

impl RequestHeaders {
    /// Parses the headers of a request.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value that is not valid for its header.
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self> {
        let header_timeout = timeout_ms(headers)?;
        Ok(Self {
            timeout: sooner(grpc_timeout_in(headers)?, header_timeout),
            header_timeout,
            unary_via_stream: headers
                .get(names::UNARY_VIA_STREAM)
                .map(boolean)
                .transpose()?,
            fallbacks: fallbacks(headers)?,
            priority: headers.get(names::PRIORITY).map(priority).transpose()?,
        })
    }
}

/// What the response headers tell of a call that has an answer.
pub(super) struct ResponseHeaders<'a, T> {
    /// The value of [`UPSTREAM_REQUEST_ID`].
    pub(super) upstream_request_id: Option<&'a HeaderValue>,
    /// The value of [`WAITED_MS`].
    pub(super) waited_ms: u64,
    /// The value of [`MODEL`].
    pub(super) model: Option<&'a str>,
    /// The models and the error codes of [`TRIED`].
    pub(super) tried: T,
}

impl<'a, T: Iterator<Item = (&'a str, &'a str)>> ResponseHeaders<'a, T> {
    /// The headers. A value that cannot be a header is left out.
    pub(super) fn into_map(self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = self.upstream_request_id {
            headers.insert(names::UPSTREAM_REQUEST_ID, id.clone());
        }
        let waited_ms = match self.waited_ms {
            // Most calls do not wait.
            0 => HeaderValue::from_static("0"),
            waited_ms => waited_ms.into(),
        };
        headers.insert(names::WAITED_MS, waited_ms);
        let tried: Vec<_> = self
            .tried
            .map(|(model, code)| format!("{model}={code}"))
            .collect();
        let tried = (!tried.is_empty()).then(|| tried.join(", "));
        let texts = [(names::MODEL, self.model), (names::TRIED, tried.as_deref())];
        for (name, text) in texts {
            if let Some(Ok(value)) = text.map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        }
        headers
    }
}

/// How long the caller waits: the shorter of `grpc-timeout` and [`TIMEOUT_MS`]. `None` for a year
/// or longer.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value that is not valid for its header.
///
/// ```
/// # use featherwire::service::headers::timeout;
/// # use http::{HeaderMap, HeaderValue};
/// # use std::time::Duration;
/// let mut headers = HeaderMap::new();
/// headers.insert("grpc-timeout", HeaderValue::from_static("2S"));
/// headers.insert("x-request-timeout-ms", HeaderValue::from_static("50"));
/// assert_eq!(timeout(&headers).unwrap(), Some(Duration::from_millis(50)));
/// ```
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>> {
    Ok(sooner(grpc_timeout_in(headers)?, timeout_ms(headers)?))
}

fn sooner(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    let timeout = one.into_iter().chain(other).min();
    timeout.filter(|timeout| *timeout < TIMEOUT_MAX)
}

fn grpc_timeout_in(headers: &HeaderMap) -> Result<Option<Duration>> {
    let timeout = headers.get(names::GRPC_TIMEOUT).map(|value| {
        grpc_timeout(value).ok_or_else(|| {
            Error::invalid(
                "grpc-timeout",
                "expected up to 8 digits and one of H M S m u n",
            )
        })
    });
    timeout.transpose()
}

fn timeout_ms(headers: &HeaderMap) -> Result<Option<Duration>> {
    let timeout = headers.get(names::TIMEOUT_MS).map(|value| {
        milliseconds(value)
            .ok_or_else(|| Error::invalid(TIMEOUT_MS, "expected a positive number of milliseconds"))
    });
    timeout.transpose()
}

fn priority(value: &HeaderValue) -> Result<Priority> {
    match value.as_bytes() {
        b"interactive" => Ok(Priority::Interactive),
        b"default" => Ok(Priority::Default),
        b"batch" => Ok(Priority::Batch),
        _ => Err(Error::invalid(
            PRIORITY,
            "expected interactive, default or batch",
        )),
    }
}

/// Model ids, separated by commas; or `none`, which also turns off the configured fallbacks.
fn fallbacks(headers: &HeaderMap) -> Result<Option<Vec<String>>> {
    let invalid = |problem: &str| Error::invalid(FALLBACK, problem);
    let mut fallbacks = None::<Vec<String>>;
    for value in headers.get_all(names::FALLBACK) {
        let value = value
            .to_str()
            .map_err(|_| invalid("expected model ids in ASCII, with commas between them"))?;
        let list = fallbacks.get_or_insert_default();
        if value.trim() == "none" {
            continue;
        }
        for id in value.split(',').map(str::trim) {
            validate::model(id)
                .map_err(|_| invalid("expected model ids with commas between them, or none"))?;
            list.push(id.to_owned());
        }
        if list.len() > FALLBACKS_MAX {
            return Err(invalid(&format!("at most {FALLBACKS_MAX} models")));
        }
    }
    Ok(fallbacks)
}

/// `TimeoutValue TimeoutUnit` of the gRPC over HTTP/2 specification.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || !digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn boolean(value: &HeaderValue) -> Result<bool> {
    match value.as_bytes() {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(Error::invalid(UNARY_VIA_STREAM, "expected true or false")),
    }
}

fn milliseconds(value: &HeaderValue) -> Option<Duration> {
    let milliseconds: u64 = value.to_str().ok()?.trim().parse().ok()?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_as_the_specification_says() {
        let read = |text: &'static str| grpc_timeout(&HeaderValue::from_static(text));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            read("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "-1S",
            "+1S",
            "123456789n",
            "1.5S",
            " 1S",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
