//! How long each phase of an answer may take, and the error when it takes longer.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorCode};

/// How long each phase of an answer, or of a feed, may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// What the gateway waits for.
    pub(super) purpose: Purpose,
    /// From sending the request to the first message of the answer.
    pub(super) first_token: Duration,
    /// Between two messages.
    pub(super) idle: Duration,
}

/// What the gateway waits for. It decides what an error says: the lengths do not tell it, because
/// they may be equal by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An answer.
    Answer,
    /// The answer of a model that has a fallback. Its first token has a shorter timeout.
    AnswerBeforeFallback,
    /// Snapshots that upstream sends all the time.
    Feed,
}

/// The timeouts of a feed, whatever those of answers are. Upstream sends a snapshot every two
/// seconds, so a feed that is silent for this long is lost.
pub(super) const FEED: Timeouts = Timeouts {
    purpose: Purpose::Feed,
    first_token: FEED_SILENCE_MAX,
    idle: FEED_SILENCE_MAX,
};

const FEED_SILENCE_MAX: Duration = Duration::from_secs(10);

/// The timeout that expired.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expired {
    FirstToken,
    Idle,
    Deadline,
}

impl Timeouts {
    /// The timeouts for a model that has a fallback: its first token is due within `first_token`,
    /// if that is shorter.
    pub(super) fn before_fallback(self, first_token: Option<Duration>) -> Self {
        match first_token {
            Some(first_token) if first_token < self.first_token => Self {
                purpose: Purpose::AnswerBeforeFallback,
                first_token,
                ..self
            },
            _ => self,
        }
    }

    /// When the first message of an answer is due, and by which timeout.
    pub(super) fn first(&self, sent: Instant, deadline: Option<Instant>) -> (Instant, Expired) {
        earlier((sent + self.first_token, Expired::FirstToken), deadline)
    }

    /// When the next message is due, counted from now, and by which timeout.
    pub(super) fn next(&self, deadline: Option<Instant>) -> (Instant, Expired) {
        earlier((Instant::now() + self.idle, Expired::Idle), deadline)
    }
}

fn earlier(due: (Instant, Expired), deadline: Option<Instant>) -> (Instant, Expired) {
    match deadline {
        Some(deadline) if deadline < due.0 => (deadline, Expired::Deadline),
        _ => due,
    }
}

impl Expired {
    /// The error for a caller. `timeouts` are those that were applied.
    pub(super) fn error(self, timeouts: Timeouts) -> Error {
        if timeouts.purpose == Purpose::Feed {
            let message = format!(
                "Featherless's feed was silent for {} s: watch again",
                timeouts.idle.as_secs()
            );
            return Error::new(ErrorCode::StreamStalled, message);
        }
        let hint = "Use a smaller model, fewer max_tokens, or a longer timeout";
        match self {
            Self::Deadline => Error::deadline_exceeded("the answer was complete"),
            Self::FirstToken => {
                let option = match timeouts.purpose {
                    Purpose::AnswerBeforeFallback => "--fallback-first-token-timeout",
                    Purpose::Answer | Purpose::Feed => "--first-token-timeout",
                };
                let message = format!(
                    "Featherless sent nothing for {} s ({option}). {hint}",
                    timeouts.first_token.as_secs_f64()
                );
                Error::new(ErrorCode::FirstTokenTimeout, message)
            }
            Self::Idle => {
                let message = format!(
                    "The answer stopped for {} s (--idle-timeout); it is incomplete. {hint}",
                    timeouts.idle.as_secs_f64()
                );
                Error::new(ErrorCode::StreamStalled, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_as_long_as_the_feeds_still_belong_to_an_answer() {
        let timeouts = Timeouts {
            purpose: Purpose::Answer,
            ..FEED
        };
        let error = |expired: Expired, timeouts: Timeouts| expired.error(timeouts);
        assert_eq!(
            error(Expired::FirstToken, timeouts).code(),
            "first_token_timeout"
        );
        assert!(
            error(Expired::FirstToken, timeouts)
                .message()
                .contains("10 s (--first-token-timeout)")
        );
        assert!(
            error(Expired::Idle, timeouts)
                .message()
                .contains("10 s (--idle-timeout)")
        );
        assert_eq!(
            error(Expired::Deadline, timeouts).code(),
            "deadline_exceeded"
        );
        assert!(error(Expired::FirstToken, FEED).message().contains("feed"));
    }

    #[test]
    fn the_shorter_first_token_timeout_counts_and_is_named() {
        let second = Duration::from_secs(1);
        let timeouts = Timeouts {
            purpose: Purpose::Answer,
            first_token: second * 5,
            idle: second,
        };
        let shorter = timeouts.before_fallback(Some(second * 2));
        assert_eq!((shorter.first_token, shorter.idle), (second * 2, second));
        assert!(
            Expired::FirstToken
                .error(shorter)
                .message()
                .contains("2 s (--fallback-first-token-timeout)")
        );
        for longer in [Some(second * 7), Some(second * 5), None] {
            let timeouts = timeouts.before_fallback(longer);
            assert_eq!(timeouts.first_token, second * 5);
            assert!(
                Expired::FirstToken
                    .error(timeouts)
                    .message()
                    .contains("5 s (--first-token-timeout)")
            );
        }
    }
}
