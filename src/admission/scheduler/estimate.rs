//! Estimates for a waiting request: how many requests are ahead of it, and how long it will wait.

use std::time::{Duration, Instant};

use super::state::Scheduler;
use crate::admission::request::{KeyId, PermitRequest, Priority, Ticket};

impl Scheduler {
    /// The estimated number of requests that start before this one, if no more requests come. It
    /// counts the requests of its own key exactly, other keys by their weights, and all requests of
    /// higher classes. `None` if it does not wait.
    ///
    /// It takes one step for each 128 tickets since the oldest request of the key, and up to 128
    /// more: one or two microseconds with 10,000 waiting requests.
    pub fn requests_ahead(&self, ticket: Ticket) -> Option<usize> {
        let request = self
            .waiting
            .get(&ticket)
            .or_else(|| self.parked.get(&ticket))?
            .request;
        let queue = self.queues.of(request.priority);
        let own = queue.own_requests_ahead(request.caller.key, ticket);
        Some(self.estimate_requests_ahead(&request, own))
    }

    /// The estimated rest of the wait. `None` if the request does not wait, or if too few requests
    /// have ended for an estimate.
    pub fn estimated_wait(&self, ticket: Ticket, now: Instant) -> Option<Duration> {
        let request = self.waiting.get(&ticket)?.request;
        let wait = self.estimate_wait(request.cost, self.requests_ahead(ticket)?, now);
        self.stats.is_reliable().then_some(wait)
    }

    /// How many requests of `key` wait, in the queue and parked.
    pub(super) fn queued_of(&self, key: KeyId) -> usize {
        let parked = self.accounts.get(&key).map_or(0, |account| account.parked);
        parked
            + Priority::ALL
                .iter()
                .map(|&priority| self.queues.of(priority).queued_of(key))
                .sum::<usize>()
    }

    /// The estimated number of requests that start before `request`, which has `own` requests of
    /// its key and class ahead of it.
    pub(super) fn estimate_requests_ahead(&self, request: &PermitRequest, own: usize) -> usize {
        let in_higher_classes: usize = Priority::ALL
            .into_iter()
            .take_while(|&priority| priority < request.priority)
            .map(|priority| self.queues.of(priority).queued())
            .sum();
        let in_class = self
            .queues
            .of(request.priority)
            .requests_ahead(request.caller, own);
        // Higher classes start no more than it takes to give this class credit for all of these.
        let share = *self.settings.credit_share.of(request.priority);
        let most = if share > 0.0 {
            ((in_class + 1) as f64 / share).ceil() as usize
        } else {
            usize::MAX
        };
        in_higher_classes.min(most).saturating_add(in_class)
    }

    /// The estimated wait of a request that costs `cost` and has `ahead` requests ahead of it: the
    /// time until enough units become free for all of them.
    pub(super) fn estimate_wait(&self, cost: u32, ahead: usize, now: Instant) -> Duration {
        let available = self.availability(now);
        let units_ahead = self.waiting_units * ahead as u64 / self.waiting.len().max(1) as u64;
        let missing = (units_ahead + u64::from(cost)).saturating_sub(u64::from(available.free));
        self.stats.time_to_free(missing, available.usable)
    }
}
