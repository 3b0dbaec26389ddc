//! Probes: a request that starts although its units may not be free, to learn the present limits.
//!
//! What refusals said about other processes becomes outdated, and a limit that only refusals name
//! may have grown. If that knowledge were dropped all at once, all waiting requests would be sent
//! and refused at once. So one request at a time finds out.

use std::time::{Duration, Instant};

use crate::admission::request::Ticket;

/// The first and the longest backoff between probes while no limit is known. It doubles each time.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// A limit that only a refusal named is probed after this time.
const LIMIT_PROBED_AFTER: Duration = Duration::from_secs(60);

/// What a probe finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeTarget {
    /// The external usage that a refusal showed.
    ExternalUsage,
    /// The limit that a refusal named, or that was guessed from a refusal.
    Limit,
}

/// The running probe, and when the next ones are due.
#[derive(Debug)]
pub(super) struct CapacityProbe {
    running: Option<(Ticket, ProbeTarget)>,
    external_usage_at: Option<Instant>,
    limit_at: Option<Instant>,
    backoff: Duration,
}

impl Default for CapacityProbe {
    fn default() -> Self {
        Self {
            running: None,
            external_usage_at: None,
            limit_at: None,
            backoff: BACKOFF.0,
        }
    }
}

impl CapacityProbe {
    /// What is to be probed now. `None` while a probe runs.
    pub(super) fn due(&self, now: Instant) -> Option<ProbeTarget> {
        let is_due = |at: Option<Instant>| self.running.is_none() && at.is_some_and(|at| at <= now);
        if is_due(self.limit_at) {
            Some(ProbeTarget::Limit)
        } else if is_due(self.external_usage_at) {
            Some(ProbeTarget::ExternalUsage)
        } else {
            None
        }
    }

    /// When the next probe is due that is not due yet.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        [self.limit_at, self.external_usage_at]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// The request that is the running probe.
    pub(super) fn running(&self) -> Option<Ticket> {
        self.running.map(|(ticket, _)| ticket)
    }

    /// `ticket` starts as a probe.
    pub(super) fn start(&mut self, ticket: Ticket, target: ProbeTarget) {
        self.running = Some((ticket, target));
    }

    /// Upstream admitted `ticket`. Returns what it probed, if it was the probe.
    pub(super) fn succeed(&mut self, ticket: Ticket, now: Instant) -> Option<ProbeTarget> {
        let (_, target) = self.running.take_if(|(running, _)| *running == ticket)?;
        match target {
            ProbeTarget::ExternalUsage => self.external_usage_at = None,
            ProbeTarget::Limit => {
                (self.limit_at, self.backoff) = (Some(now + BACKOFF.0), BACKOFF.0);
            }
        }
        Some(target)
    }

    /// `ticket` has ended without a usable result. If it was the probe, another request may probe.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.running.take_if(|(running, _)| *running == ticket);
    }

    /// Schedules a probe of the external usage; `None` if it is known.
    pub(super) fn schedule_external_usage(&mut self, at: Option<Instant>) {
        self.external_usage_at = at;
    }

    /// A refusal named a limit, and no other source does.
    pub(super) fn limit_from_refusal(&mut self, now: Instant) {
        (self.limit_at, self.backoff) = (Some(now + LIMIT_PROBED_AFTER), BACKOFF.0);
    }

    /// The limit is known: no probe is needed.
    pub(super) fn limit_known(&mut self) {
        (self.limit_at, self.backoff) = (None, BACKOFF.0);
    }

    /// A refusal came while no limit is known. `is_new` if the request was sent after the previous
    /// refusal had come; only such a refusal doubles the backoff.
    pub(super) fn refused_without_limit(
        &mut self,
        is_new: bool,
        retry_after: Duration,
        now: Instant,
    ) {
        let wait = if is_new {
            self.backoff.max(retry_after)
        } else {
            retry_after
        };
        self.limit_at = self.limit_at.max(Some(now + wait));
        if is_new {
            self.backoff = (self.backoff * 2).min(BACKOFF.1);
        }
    }

    /// The time until the next probe while no limit is known.
    pub(super) fn backoff(&self) -> Duration {
        self.backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_request_at_a_time_probes_and_the_backoff_doubles_until_one_is_admitted() {
        let (mut probe, mut now) = (CapacityProbe::default(), Instant::now());
        assert_eq!(probe.due(now), None);
        for wait in [1, 2, 4, 8, 8] {
            probe.refused_without_limit(true, Duration::ZERO, now);
            probe.refused_without_limit(false, Duration::ZERO, now);
            assert_eq!(
                (probe.due(now), probe.next_wake(now)),
                (None, Some(now + SECOND * wait))
            );
            now += SECOND * wait;
            assert_eq!(
                (probe.due(now), probe.next_wake(now)),
                (Some(ProbeTarget::Limit), None)
            );
            probe.start(Ticket(1), ProbeTarget::Limit);
            assert_eq!(probe.due(now), None);
            probe.cancel(Ticket(2));
            assert_eq!(
                probe.due(now),
                None,
                "the end of another request says nothing"
            );
            probe.cancel(Ticket(1));
        }
        probe.start(Ticket(1), ProbeTarget::Limit);
        assert_eq!(probe.succeed(Ticket(2), now), None);
        assert_eq!(probe.succeed(Ticket(1), now), Some(ProbeTarget::Limit));
        assert_eq!(probe.next_wake(now), Some(now + SECOND));
    }

    #[test]
    fn a_limit_from_a_refusal_is_kept_for_a_minute_and_retry_after_is_obeyed() {
        let (mut probe, now) = (CapacityProbe::default(), Instant::now());
        probe.limit_from_refusal(now);
        assert_eq!(probe.next_wake(now), Some(now + LIMIT_PROBED_AFTER));
        probe.limit_known();
        probe.schedule_external_usage(Some(now));
        assert_eq!(
            (probe.due(now), probe.next_wake(now)),
            (Some(ProbeTarget::ExternalUsage), None)
        );
        probe.start(Ticket(1), ProbeTarget::ExternalUsage);
        assert_eq!(
            probe.succeed(Ticket(1), now),
            Some(ProbeTarget::ExternalUsage)
        );
        assert_eq!((probe.due(now), probe.next_wake(now)), (None, None));
        probe.refused_without_limit(true, SECOND * 20, now);
        assert_eq!(probe.next_wake(now), Some(now + SECOND * 20));
    }
}
