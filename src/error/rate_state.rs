//! The state of a caller's limits for a minute, as response headers tell it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// How many calls or tokens a key may use in a minute, and how many are left. The headers are those
/// of OpenAI's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// The limit.
    pub limit: u64,
    /// This gateway's share of the limit, while it cannot count together with others that share it.
    pub share: Option<u64>,
    /// How many are left now, of the share if there is one.
    pub remaining: u64,
    /// When all are left again.
    pub reset: Duration,
    /// When a call like the refused one passes.
    pub retry_after: Duration,
}

/// What a limit for a minute counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateUnit {
    /// Calls.
    Requests,
    /// Tokens of prompts and answers.
    Tokens,
}

/// Response: the limits, what is left of them, and when all of it is left again, such as `1m0s` or
/// `250ms`.
pub const HEADERS: [HeaderName; 6] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

impl RateState {
    /// The same state of a share as a state of the whole `limit`.
    pub fn as_share_of(self, limit: u64) -> Self {
        let share = (self.limit < limit).then_some(self.limit);
        Self {
            limit,
            share,
            ..self
        }
    }

    /// The limit by which this gateway has counted: the share, if there is one.
    pub fn counted_limit(&self) -> u64 {
        self.share.unwrap_or(self.limit)
    }

    /// Adds the headers that tell the state of the limit of `unit`.
    pub fn add_to(&self, unit: RateUnit, headers: &mut HeaderMap) {
        let [limit, remaining, reset, of_tokens @ ..] = HEADERS;
        let [limit, remaining, reset] = match unit {
            RateUnit::Requests => [limit, remaining, reset],
            RateUnit::Tokens => of_tokens,
        };
        headers.insert(limit, self.limit.into());
        headers.insert(remaining, self.remaining.into());
        if let Ok(text) = HeaderValue::from_str(&text(self.reset)) {
            headers.insert(reset, text);
        }
    }

    /// The time until a call like the refused one passes, for people.
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
