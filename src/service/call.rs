//! What comes with a request besides its message: from gRPC metadata and HTTP headers, which are the same thing.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::{
    error::{Error, Kind, Result},
    telemetry,
};

/// The longest deadline that is kept; a longer one is as good as none.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

const UNARY_VIA_STREAM: &str = "x-featherwire-unary-via-stream";

/// How long a request's body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// A request's body took too long.
pub fn body_timeout() -> Error {
    Error::new(
        Kind::Timeout,
        "request_timeout",
        "The request's body took too long to arrive: send it faster, or allow more time",
    )
}

/// One call of one caller.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When the caller stops waiting: from `grpc-timeout`, or `x-request-timeout-ms`.
    pub deadline: Option<Instant>,
    /// Whether a unary chat answer shall be streamed upstream and added up: from `x-featherwire-unary-via-stream`.
    pub unary_via_stream: Option<bool>,
    /// The call's id in logs: `x-request-id`.
    pub request_id: Option<HeaderValue>,
}

impl Call {
    /// Reads the headers or metadata of a call that arrived now.
    ///
    /// # Errors
    /// Invalid, if a header of ours has a value that isn't one of its own.
    pub fn new(headers: &HeaderMap) -> Result<Self> {
        let grpc = headers.get("grpc-timeout").map(|value| {
            grpc_timeout(value)
                .ok_or_else(|| Error::invalid("grpc-timeout", "expected up to 8 digits and one of H M S m u n"))
        });
        let rest = headers.get("x-request-timeout-ms").map(|value| {
            milliseconds(value)
                .ok_or_else(|| Error::invalid("x-request-timeout-ms", "expected a positive number of milliseconds"))
        });
        let timeout = [grpc.transpose()?, rest.transpose()?].into_iter().flatten().min();
        Ok(Self {
            deadline: timeout.filter(|timeout| *timeout < DEADLINE_MAX).map(|timeout| Instant::now() + timeout),
            unary_via_stream: headers.get(UNARY_VIA_STREAM).map(boolean).transpose()?,
            request_id: headers.get(telemetry::REQUEST_ID).cloned(),
        })
    }

    /// Waits for a request's body, until the caller's deadline or for [`BODY_TIMEOUT`].
    ///
    /// # Errors
    /// Timeout.
    pub async fn receive<T>(&self, body: impl Future<Output = T>) -> Result<T> {
        let limit = Instant::now() + BODY_TIMEOUT;
        let limit = self.deadline.map_or(limit, |deadline| deadline.min(limit));
        tokio::time::timeout_at(limit, body).await.map_err(|_| body_timeout())
    }

    /// The result as it is; a failure is logged on the way, with its cause, which the caller doesn't get to see.
    pub(super) fn logged<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.log(error);
        }
        result
    }

    pub(super) fn log(&self, error: &Error) {
        let cause = error.cause();
        let id = self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
        let upstream_id = error.upstream_request_id().unwrap_or_default();
        match error.kind() {
            // The caller's own doing, and told to the caller. Messages may quote the upstream, so they stay out.
            Kind::Invalid | Kind::NotFound | Kind::Unauthenticated | Kind::TooLarge | Kind::Cancelled => {
                tracing::debug!(id, upstream_id, code = error.code(), cause, "refused");
            }
            Kind::Internal => tracing::error!(id, upstream_id, code = error.code(), cause, "failed"),
            _ => tracing::warn!(id, upstream_id, code = error.code(), cause, "failed"),
        }
    }
}

/// `TimeoutValue TimeoutUnit` of the gRPC over HTTP/2 specification.
fn grpc_timeout(value: &HeaderValue) -> Option<Duration> {
    const DIGITS_MAX: usize = 8;
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
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
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "123456789n", "1.5S", " 1S"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn the_sooner_of_two_timeouts_counts_and_a_bad_one_is_refused() {
        let mut headers = HeaderMap::new();
        assert!(Call::new(&headers).unwrap().deadline.is_none());
        headers.insert("grpc-timeout", HeaderValue::from_static("1H"));
        headers.insert("x-request-timeout-ms", HeaderValue::from_static("50"));
        let deadline = Call::new(&headers).unwrap().deadline.unwrap();
        assert!(deadline <= Instant::now() + Duration::from_millis(50));
        headers.insert("x-request-timeout-ms", HeaderValue::from_static("soon"));
        assert_eq!(Call::new(&headers).unwrap_err().param(), Some("x-request-timeout-ms"));
    }
}
