//! How long each phase of an answer may take, and what to say when it takes longer.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Kind};

/// How long each phase of an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// From sending the request to the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle: Duration,
}

/// A feed has clocks of its own, whatever answers are allowed: upstream sends a snapshot every two seconds, so that one
/// that is silent for so long is lost.
pub(super) const FEED: Clocks = Clocks { first_token: FEED_SILENCE_MAX, idle: FEED_SILENCE_MAX };

const FEED_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Which clock ran out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    FirstToken,
    Idle,
    Deadline,
}

impl Clocks {
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
        if clocks == FEED {
            let message = format!("Featherless's feed was silent for {} s: watch again", FEED_SILENCE_MAX.as_secs());
            return Error::new(Kind::Timeout, "stream_stalled", message);
        }
        let hint = "Use a smaller model, fewer max_tokens, or a longer timeout";
        let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
        let (code, what) = match self {
            Self::FirstToken => {
                let limit = seconds(clocks.first_token);
                ("first_token_timeout", format!("Featherless sent nothing for {limit} (--first-token-timeout)"))
            }
            Self::Idle => {
                let limit = seconds(clocks.idle);
                ("stream_stalled", format!("The answer stopped for {limit} (--idle-timeout); it is not complete"))
            }
            Self::Deadline => {
                ("deadline_exceeded", "The caller's own deadline passed before the answer was complete".to_owned())
            }
        };
        Error::new(Kind::Timeout, code, format!("{what}. {hint}"))
    }
}
