//! When a request is sent though units for it are not known to be free: one at a time, to learn
//! what nobody tells.
//!
//! What refusals said of others grows old, and a limit that only refusals tell of may have grown.
//! Were it forgotten all at once, all who wait would be sent, and refused, at once.

use std::time::{Duration, Instant};

use crate::admission::request::Ticket;

/// The waits where nothing tells of a limit: doubled each time, from the first to the last.
const BLIND_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// How long a limit that only a refusal told is kept without a trial.
const LIMIT_TRIED_AFTER: Duration = Duration::from_secs(60);

/// What a trial is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeTarget {
    /// What others hold by a refusal.
    Outside,
    /// The limit that refusals told, or let us guess.
    Limit,
}

/// The trial there is, and when the next ones are.
#[derive(Debug)]
pub(super) struct CapacityProbe {
    running: Option<(Ticket, ProbeTarget)>,
    outside_at: Option<Instant>,
    limit_at: Option<Instant>,
    blind_wait: Duration,
}

impl Default for CapacityProbe {
    fn default() -> Self {
        Self {
            running: None,
            outside_at: None,
            limit_at: None,
            blind_wait: BLIND_WAITS.0,
        }
    }
}

impl CapacityProbe {
    /// What is to be tried now.
    pub(super) fn due(&self, now: Instant) -> Option<ProbeTarget> {
        let is_due = |at: Option<Instant>| self.running.is_none() && at.is_some_and(|at| at <= now);
        match () {
            () if is_due(self.limit_at) => Some(ProbeTarget::Limit),
            () if is_due(self.outside_at) => Some(ProbeTarget::Outside),
            () => None,
        }
    }

    /// When something is to be tried that isn't yet.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let times = [self.limit_at, self.outside_at].into_iter().flatten();
        times.filter(|at| *at > now).min()
    }

    /// The request that tries something.
    pub(super) fn running(&self) -> Option<Ticket> {
        self.running.map(|(ticket, _)| ticket)
    }

    /// This request tries it.
    pub(super) fn begin(&mut self, ticket: Ticket, trial: ProbeTarget) {
        self.running = Some((ticket, trial));
    }

    /// This one has been let in. What that was a trial of, if it was one.
    pub(super) fn let_in(&mut self, ticket: Ticket, now: Instant) -> Option<ProbeTarget> {
        let (_, trial) = self.running.take_if(|(running, _)| *running == ticket)?;
        match trial {
            ProbeTarget::Outside => self.outside_at = None,
            ProbeTarget::Limit => {
                (self.limit_at, self.blind_wait) = (Some(now + BLIND_WAITS.0), BLIND_WAITS.0)
            }
        }
        Some(trial)
    }

    /// This one has told nothing, or nothing that is believed. If it was a trial, another one may
    /// try.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.running.take_if(|(running, _)| *running == ticket);
    }

    /// What refusals said of others is to be tried now, or was told.
    pub(super) fn try_outside(&mut self, at: Option<Instant>) {
        self.outside_at = at;
    }

    /// A refusal told of a limit, and nobody else does.
    pub(super) fn limit_told(&mut self, now: Instant) {
        (self.limit_at, self.blind_wait) = (Some(now + LIMIT_TRIED_AFTER), BLIND_WAITS.0);
    }

    /// The limit is told.
    pub(super) fn limit_known(&mut self) {
        (self.limit_at, self.blind_wait) = (None, BLIND_WAITS.0);
    }

    /// A refusal came where nothing tells of a limit; upstream told to wait for so long. It is news
    /// if the request was sent after the last refusal had come.
    pub(super) fn refused_blindly(&mut self, is_news: bool, told: Duration, now: Instant) {
        let wait = if is_news {
            self.blind_wait.max(told)
        } else {
            told
        };
        self.limit_at = self.limit_at.max(Some(now + wait));
        if is_news {
            self.blind_wait = (self.blind_wait * 2).min(BLIND_WAITS.1);
        }
    }

    /// The wait before the next trial where nothing tells of a limit.
    pub(super) fn blind_wait(&self) -> Duration {
        self.blind_wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_at_a_time_tries_and_waits_double_until_one_is_let_in() {
        let (mut trials, mut now) = (CapacityProbe::default(), Instant::now());
        assert_eq!(trials.due(now), None);
        for wait in [1, 2, 4, 8, 8] {
            trials.refused_blindly(true, Duration::ZERO, now);
            trials.refused_blindly(false, Duration::ZERO, now);
            assert_eq!(
                (trials.due(now), trials.next_wake(now)),
                (None, Some(now + SECOND * wait))
            );
            now += SECOND * wait;
            assert_eq!(
                (trials.due(now), trials.next_wake(now)),
                (Some(ProbeTarget::Limit), None)
            );
            trials.begin(Ticket(1), ProbeTarget::Limit);
            assert_eq!(trials.due(now), None);
            trials.leave(Ticket(2));
            assert_eq!(trials.due(now), None, "another one's end says nothing");
            trials.leave(Ticket(1));
        }
        trials.begin(Ticket(1), ProbeTarget::Limit);
        assert_eq!(trials.let_in(Ticket(2), now), None);
        assert_eq!(trials.let_in(Ticket(1), now), Some(ProbeTarget::Limit));
        assert_eq!(trials.next_wake(now), Some(now + SECOND));
    }

    #[test]
    fn a_limit_that_was_told_is_kept_for_a_minute_and_upstreams_own_wait_too() {
        let (mut trials, now) = (CapacityProbe::default(), Instant::now());
        trials.limit_told(now);
        assert_eq!(trials.next_wake(now), Some(now + LIMIT_TRIED_AFTER));
        trials.limit_known();
        trials.try_outside(Some(now));
        assert_eq!(
            (trials.due(now), trials.next_wake(now)),
            (Some(ProbeTarget::Outside), None)
        );
        trials.begin(Ticket(1), ProbeTarget::Outside);
        assert_eq!(trials.let_in(Ticket(1), now), Some(ProbeTarget::Outside));
        assert_eq!((trials.due(now), trials.next_wake(now)), (None, None));
        trials.refused_blindly(true, SECOND * 20, now);
        assert_eq!(trials.next_wake(now), Some(now + SECOND * 20));
    }
}
