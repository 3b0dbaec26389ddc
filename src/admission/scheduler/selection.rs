//! Which waiting request starts next.

use std::time::{Duration, Instant};

use super::{
    bypassed::bypass_limit,
    fair_queue::Candidate,
    state::{Availability, Reservation, Scheduler},
    work::Work,
};
use crate::admission::request::{KeyId, Priority, Ticket};

/// A candidate and its class.
type Choice = (Priority, Candidate);

impl Scheduler {
    /// Selects the request that starts now. Marks the request that is next in order as bypassed if
    /// a smaller one is selected instead.
    pub(super) fn select(&mut self, available: Availability, now: Instant) -> Option<Ticket> {
        let Availability { usable, free, .. } = available;
        if let Some((ticket, cost)) = self.bypassed.first_due(now, usable) {
            // If it does not fit, the free units are reserved for it.
            return (cost <= free).then_some(ticket);
        }
        let next = self.next_in_order(usable, usable)?;
        let (priority, candidate) = next;
        if let Some(ticket) = self.select_for_reservation(priority, free) {
            if candidate.cost > free {
                let limit = self.bypass_limit(priority, candidate.cost, usable);
                self.mark_bypassed(candidate.ticket, now + limit);
            }
            return Some(ticket);
        }
        if candidate.cost <= free {
            return Some(candidate.ticket);
        }
        let smaller = self.next_in_order(usable, free)?;
        let limit = self.bypass_limit(priority, candidate.cost, usable);
        if self.has_lagged_too_far(next, smaller, usable, limit) {
            self.mark_bypassed(candidate.ticket, now);
            return None;
        }
        self.mark_bypassed(candidate.ticket, now + limit);
        let (smaller_priority, smaller) = smaller;
        if smaller_priority != priority {
            let work = self.expected_work(smaller_priority, smaller.key, smaller.cost);
            self.queues.of_mut(priority).claims.record_bypass(work);
        }
        Some(smaller.ticket)
    }

    /// Whether a request would start if the units held back as headroom were known to be free.
    pub(super) fn is_blocked_by_headroom(&self, available: Availability, now: Instant) -> bool {
        let Availability { usable, held, free } = available;
        let free_without_headroom = usable.saturating_sub(held);
        free_without_headroom > free
            && match self.bypassed.first_due(now, usable) {
                Some((_, cost)) => cost <= free_without_headroom,
                None => self.next_in_order(usable, free_without_headroom).is_some(),
            }
    }

    /// The first request in order that costs at most `cost_max`, and its class. Classes with enough
    /// credit come first.
    pub(super) fn next_in_order(&self, usable: u32, cost_max: u32) -> Option<Choice> {
        let with_credit = Priority::ALL
            .into_iter()
            .filter(|&priority| self.has_credit(priority, usable));
        with_credit
            .chain(Priority::ALL)
            .find_map(|priority| Some((priority, self.queues.of(priority).first(cost_max)?)))
    }

    /// The expected work of a request of `key` that costs `cost`.
    pub(super) fn expected_work(&self, priority: Priority, key: KeyId, cost: u32) -> Work {
        let service_time = self
            .queues
            .of(priority)
            .service_time(key)
            .unwrap_or_else(|| self.stats.service_time());
        Work::new(cost, service_time)
    }

    /// How long smaller requests may bypass a request that costs `cost`.
    pub(super) fn bypass_limit(&self, priority: Priority, cost: u32, usable: u32) -> Duration {
        let service_time = self.stats.service_time();
        bypass_limit(&self.settings, priority, cost, usable, service_time)
    }

    /// Selects a request for the units of the last reservation: one of the class that is next, with
    /// at least the cost that was reserved, while these units are still free together. Its key may
    /// not be next yet. But to start the request later, units would have to be reserved again.
    fn select_for_reservation(&mut self, priority: Priority, free: u32) -> Option<Ticket> {
        let Reservation { cost, remaining } = self.reservation?;
        if free < cost {
            return None;
        }
        let candidate = self.queues.of(priority).first_within(cost..=free)?;
        let work = self.expected_work(priority, candidate.key, candidate.cost);
        if work > remaining {
            self.reservation = None;
            return None;
        }
        self.reservation = Some(Reservation {
            cost,
            remaining: remaining - work,
        });
        Some(candidate.ticket)
    }

    /// Whether `next` must not be bypassed by `smaller` any more: its key (if both are of one
    /// class) or its class lacks more work than all units do in the bypass `limit`.
    ///
    /// The limit alone does not ensure this. Requests that start when one of their own key has
    /// ended begin a new limit each time, while small requests share all other units. But if the
    /// key or the class holds so many units that only the end of one of its own requests makes
    /// room, a reservation would not help.
    fn has_lagged_too_far(
        &self,
        next: Choice,
        smaller: Choice,
        usable: u32,
        limit: Duration,
    ) -> bool {
        let ((priority, candidate), (smaller_priority, smaller)) = (next, smaller);
        let queue = self.queues.of(priority);
        let (lacking, held) = if priority == smaller_priority {
            (
                queue.deficit(candidate.key, smaller.key),
                queue.in_use_of(candidate.key),
            )
        } else {
            (queue.claims.current().bypassed, queue.in_use())
        };
        lacking > Work::new(usable, limit) && candidate.cost <= usable.saturating_sub(held)
    }

    /// Whether the class has enough credit for its next request. That request counts even if it
    /// does not fit now. Otherwise small requests would spend the credit before a large one.
    fn has_credit(&self, priority: Priority, usable: u32) -> bool {
        let queue = self.queues.of(priority);
        queue.first(usable).is_some_and(|next| {
            queue
                .claims
                .has_credit_for(self.expected_work(priority, next.key, next.cost))
        })
    }

    /// Records that a request was bypassed and is due at `due_at`, or earlier if it was bypassed
    /// before.
    fn mark_bypassed(&mut self, ticket: Ticket, due_at: Instant) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return;
        };
        let cost = waiting.request.cost;
        match waiting.due_at {
            Some(before) if before <= due_at => return,
            Some(before) => self.bypassed.remove(before, ticket, cost),
            None => {}
        }
        waiting.due_at = Some(due_at);
        self.bypassed.insert(due_at, ticket, cost);
    }
}
