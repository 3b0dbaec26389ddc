//! The state of a caller's limit of calls, as response headers tell it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How many calls a key may make in a minute, and how many are left. The headers are those of
/// OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// The limit.
    pub limit: u32,
    /// How many calls are left now.
    pub remaining: u32,
    /// When all calls are left again.
    pub reset: Duration,
    /// When one more call is left.
    pub retry_after: Duration,
}

/// Response: the largest number of calls in a minute.
pub const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-requests");

/// Response: how many calls are left.
pub const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-requests");

/// Response: when all calls are left again, such as `1m0s` or `250ms`.
pub const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-requests");

impl RateState {
    /// Adds the headers that tell the state.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, self.limit.into());
        headers.insert(REMAINING, self.remaining.into());
        if let Ok(reset) = HeaderValue::from_str(&text(self.reset)) {
            headers.insert(RESET, reset);
        }
    }

    /// The time until one more call is left, for people.
    pub fn retry_after_text(&self) -> String {
        text(self.retry_after)
    }
}

/// A time as OpenAI's API writes it: `6m0s`, `12s`, `250ms`. It is rounded up.
fn text(time: Duration) -> String {
    let milliseconds = time.as_nanos().div_ceil(1_000_000);
    if milliseconds < 1000 {
        return format!("{milliseconds}ms");
    }
    let seconds = milliseconds.div_ceil(1000);
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_openai_does() {
        for (nanoseconds, expected) in [
            (0, "0ms"),
            (1, "1ms"),
            (250_000_000, "250ms"),
            (1_000_000_000, "1s"),
            (1_000_000_001, "2s"),
            (360_000_000_000, "6m0s"),
        ] {
            assert_eq!(text(Duration::from_nanos(nanoseconds)), expected);
        }
    }
}
