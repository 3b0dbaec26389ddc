//! Moves everything on that can move now: starts requests, ends waits, and returns parked requests
//! to the queue.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    capacity_probe::ProbeTarget,
    errors::Rejection,
    state::{State, TrackedRequest},
};
use crate::admission::request::Ticket;

/// Upstream refuses at once. So a probe that was not refused within this time counts as admitted,
/// even if its answer has not begun, and requests that wait for the probe need not wait for it.
const ADMITTED_AFTER: Duration = Duration::from_secs(2);

impl State {
    /// Starts the requests that may start, and ends the waits that have lasted too long. Returns
    /// when to call it next if nothing else happens.
    pub(super) fn advance(&mut self, queue_timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        self.expire_external_usage(now);
        self.end_expired_waits(queue_timeout, now);
        let silent_probe_at = self.admit_silent_probes(now);
        self.return_parked(now);
        self.scheduler.end_cooldowns(now.into_std());
        if !self.is_held {
            while let Some(ticket) = self.scheduler.start(now.into_std()) {
                self.start(ticket, now);
            }
            self.start_probe(now);
            if !self.is_held_beyond_share
                && let Some(ticket) = self.scheduler.start_beyond_share(now.into_std())
            {
                self.start(ticket, now);
            }
        }
        // A probe that has just started is not known to `admit_silent_probes` yet.
        let silent_probe_at =
            silent_probe_at.or_else(|| self.has_probe().then_some(now + ADMITTED_AFTER));
        let std_now = now.into_std();
        let scheduled = [
            self.scheduler.next_wake(std_now),
            self.backoff.next_wake(),
            self.probe.next_wake(std_now),
        ];
        let next_return = self.returns.first().map(|&(at, _)| at);
        scheduled
            .into_iter()
            .flatten()
            .map(Instant::from_std)
            .chain(
                [self.usage_expires_at, next_return, silent_probe_at]
                    .into_iter()
                    .flatten(),
            )
            .min()
    }

    /// Starts a request that has just come into the queue, if no other one waits and its units are
    /// free. It needs no waiter then. What else [`advance`](Self::advance) does is of no concern to
    /// this request, and the driver does it in time.
    pub(super) fn start_alone(
        &mut self,
        ticket: Ticket,
        model: &Arc<str>,
        cost: u32,
        now: Instant,
    ) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        self.expire_external_usage(now);
        let started = self.scheduler.start(now.into_std());
        debug_assert!(started.is_none_or(|started| started == ticket));
        if started != Some(ticket) {
            return false;
        }
        let running = TrackedRequest {
            model: Arc::clone(model),
            cost,
            started_at: now,
        };
        self.running.insert(ticket, running);
        true
    }

    /// Records that upstream admitted a running request: its units were free. Returns `true` if
    /// other requests may start now.
    pub(super) fn mark_admitted(&mut self, ticket: Ticket, model: &str, now: Instant) -> bool {
        let parked = self.backoff.end(model);
        for &ticket in &parked {
            self.scheduler.unpark(ticket, now.into_std());
        }
        let probed = self.probe.succeed(ticket, now.into_std());
        match probed {
            Some(ProbeTarget::ExternalUsage) => self.forget_refusals(0),
            Some(ProbeTarget::Limit) if self.plan.bounds().capacity.is_none() => {
                self.raise_guessed_limit(now);
            }
            Some(ProbeTarget::Limit) | None => {}
        }
        probed.is_some() || !parked.is_empty()
    }

    /// Doubles the limit after a probe beyond it was admitted, so that not every further unit needs
    /// a probe.
    fn raise_guessed_limit(&mut self, now: Instant) {
        let limit = self
            .scheduler
            .units()
            .unwrap_or_default()
            .saturating_mul(2)
            .max(self.scheduler.held());
        self.refusal_limit = self.refusal_limit.map(|before| before.max(limit));
        self.scheduler.set_capacity_from_refusal(Some(limit));
        self.update_estimated_costs(now);
    }

    fn end_expired_waits(&mut self, queue_timeout: Duration, now: Instant) {
        for ticket in self.scheduler.expire(now.into_std()) {
            if let Some(pending) = self.take_pending(ticket) {
                let rejection = Rejection::WaitEnded {
                    by_caller_deadline: pending.has_caller_deadline,
                    queue_timeout,
                };
                self.answer(ticket, pending, Err(rejection));
            }
        }
    }

    fn has_probe(&self) -> bool {
        self.probe.running().is_some() || self.backoff.probes().next().is_some()
    }

    /// Marks probes as admitted that upstream has not refused within [`ADMITTED_AFTER`]. Returns
    /// when the next probe reaches that time.
    fn admit_silent_probes(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let probes: Vec<_> = self
            .probe
            .running()
            .into_iter()
            .chain(self.backoff.probes())
            .collect();
        for ticket in probes {
            let Some(tracked) = self.running.get(&ticket) else {
                continue;
            };
            let admitted_at = tracked.started_at + ADMITTED_AFTER;
            let model = Arc::clone(&tracked.model);
            if admitted_at <= now {
                self.mark_admitted(ticket, &model, now);
            } else {
                next = next.into_iter().chain([admitted_at]).min();
            }
        }
        next
    }

    /// Returns parked requests to the queue whose time has come, and the probes of models that back
    /// off.
    fn return_parked(&mut self, now: Instant) {
        let std_now = now.into_std();
        while let Some(&(at, ticket)) = self.returns.first()
            && at <= now
        {
            self.returns.pop_first();
            let Some(pending) = self.pending.get_mut(&ticket) else {
                continue;
            };
            pending.returns_at = None;
            let model = &pending.tracked.model;
            if self.backoff.is_backing_off(model, std_now) {
                self.backoff.add_new_member(model, ticket);
            } else {
                self.scheduler.unpark(ticket, std_now);
            }
        }
        while let Some(ticket) = self.backoff.select_probe(std_now) {
            self.scheduler.unpark(ticket, std_now);
        }
    }

    fn start_probe(&mut self, now: Instant) {
        let std_now = now.into_std();
        let Some(target) = self.probe.due(std_now) else {
            return;
        };
        let beyond_limit = target == ProbeTarget::Limit;
        if let Some(ticket) = self.scheduler.start_probe(std_now, beyond_limit) {
            self.probe.start(ticket, target);
            self.start(ticket, now);
        }
    }

    /// Moves a pending request that the scheduler has started to the running ones, and tells its
    /// waiter.
    fn start(&mut self, ticket: Ticket, now: Instant) {
        let Some(pending) = self.pending.remove(&ticket) else {
            return;
        };
        self.with_estimated_cost.remove(&ticket);
        let running = TrackedRequest {
            started_at: now,
            ..pending.tracked.clone()
        };
        let cost = running.cost;
        self.running.insert(ticket, running);
        self.answer(ticket, pending, Ok(cost));
    }
}
