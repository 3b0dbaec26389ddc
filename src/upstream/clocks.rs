//! How long each phase of an answer may take, and what to say when it takes longer.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorCode};

/// How long each phase of an answer, or of a feed, may take.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// What is waited for.
    pub of: Of,
    /// From sending the request to the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle: Duration,
}

/// What is waited for. It decides what a caller is told when a clock rings; lengths don't: they may
/// be equal by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// An answer.
    Answer,
    /// The answer of a model that has a fallback, so that its first token is waited for less long.
    AnswerBeforeFallback,
    /// What upstream sends all the time.
    Feed,
}

/// A feed has clocks of its own, whatever answers are allowed: upstream sends a snapshot every two
/// seconds, so that one that is silent for so long is lost.
pub(super) const FEED: Clocks = Clocks {
    of: Of::Feed,
    first_token: FEED_SILENCE_MAX,
    idle: FEED_SILENCE_MAX,
};

const FEED_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Which clock ran out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    FirstToken,
    Idle,
    Deadline,
}

impl Clocks {
    /// The same clocks for a model that has a fallback: its first token is due within this time, if
    /// that is sooner.
    pub(super) fn before_fallback(self, first_token: Option<Duration>) -> Self {
        match first_token {
            Some(first_token) if first_token < self.first_token => Self {
                of: Of::AnswerBeforeFallback,
                first_token,
                ..self
            },
            _ => self,
        }
    }

    /// When the first piece of an answer is due, and by which clock.
    pub(super) fn first(&self, sent: Instant, deadline: Option<Instant>) -> (Instant, Late) {
        earlier((sent + self.first_token, Late::FirstToken), deadline)
    }

    /// When the next piece is due, counted from now.
    pub(super) fn rest(&self, deadline: Option<Instant>) -> (Instant, Late) {
        earlier((Instant::now() + self.idle, Late::Idle), deadline)
    }
}

fn earlier(clock: (Instant, Late), deadline: Option<Instant>) -> (Instant, Late) {
    match deadline {
        Some(deadline) if deadline < clock.0 => (deadline, Late::Deadline),
        _ => clock,
    }
}

impl Late {
    pub(super) fn error(self, clocks: Clocks) -> Error {
        if clocks.of == Of::Feed {
            let message = format!(
                "Featherless's feed was silent for {} s: watch again",
                clocks.idle.as_secs()
            );
            return Error::new(ErrorCode::StreamStalled, message);
        }
        let hint = "Use a smaller model, fewer max_tokens, or a longer timeout";
        let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
        let (code, what) = match self {
            Self::Deadline => return Error::deadline_exceeded("the answer was complete"),
            Self::FirstToken => {
                let limit = seconds(clocks.first_token);
                let option = match clocks.of {
                    Of::AnswerBeforeFallback => "--fallback-first-token-timeout",
                    Of::Answer | Of::Feed => "--first-token-timeout",
                };
                (
                    ErrorCode::FirstTokenTimeout,
                    format!("Featherless sent nothing for {limit} ({option})"),
                )
            }
            Self::Idle => {
                let limit = seconds(clocks.idle);
                (
                    ErrorCode::StreamStalled,
                    format!("The answer stopped for {limit} (--idle-timeout); it is not complete"),
                )
            }
        };
        Error::new(code, format!("{what}. {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_as_long_as_the_feeds_are_still_an_answers() {
        let clocks = Clocks {
            of: Of::Answer,
            ..FEED
        };
        let told = |late: Late, clocks: Clocks| late.error(clocks);
        assert_eq!(told(Late::FirstToken, clocks).code(), "first_token_timeout");
        assert!(
            told(Late::FirstToken, clocks)
                .message()
                .contains("10 s (--first-token-timeout)")
        );
        assert!(
            told(Late::Idle, clocks)
                .message()
                .contains("10 s (--idle-timeout)")
        );
        assert_eq!(told(Late::Deadline, clocks).code(), "deadline_exceeded");
        assert!(told(Late::FirstToken, FEED).message().contains("feed"));
    }

    #[test]
    fn the_shorter_first_token_clock_counts_and_is_named() {
        let second = Duration::from_secs(1);
        let clocks = Clocks {
            of: Of::Answer,
            first_token: second * 5,
            idle: second,
        };
        let shorter = clocks.before_fallback(Some(second * 2));
        assert_eq!((shorter.first_token, shorter.idle), (second * 2, second));
        assert!(
            Late::FirstToken
                .error(shorter)
                .message()
                .contains("2 s (--fallback-first-token-timeout)")
        );
        for longer in [Some(second * 7), Some(second * 5), None] {
            let clocks = clocks.before_fallback(longer);
            assert_eq!(clocks.first_token, second * 5);
            assert!(
                Late::FirstToken
                    .error(clocks)
                    .message()
                    .contains("5 s (--first-token-timeout)")
            );
        }
    }
}
