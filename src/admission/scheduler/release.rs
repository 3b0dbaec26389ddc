//! How running requests end: for good, for a while, or as if they had never started.

use std::time::{Duration, Instant};

use super::{
    state::{RunningRequest, Scheduler, WaitingRequest},
    work::Work,
};
use crate::admission::request::{PermitRequest, Priority, Ticket};

impl Scheduler {
    /// Ends a running request. Its units are free after `cooldown`: zero if upstream has finished
    /// the request, or the time that upstream needs to notice a cancelled one. Returns `false` if
    /// the request does not run, so units are never freed twice.
    pub fn release(&mut self, ticket: Ticket, now: Instant, cooldown: Duration) -> bool {
        let Some((waiting, held)) = self.free_units(ticket, now, cooldown) else {
            return false;
        };
        let PermitRequest {
            caller,
            priority,
            cost,
            ..
        } = waiting.request;
        let queue = self.queues.of_mut(priority);
        queue.record_service(caller.key, cost, held);
        self.stats.record_service(cost, held);
        true
    }

    /// Ends a running request for a while, like [`Self::release`], and parks it: it will need its
    /// units again, and keeps its position. It waits until `deadline` at most. Returns `false` if
    /// it does not run.
    pub fn pause(
        &mut self,
        ticket: Ticket,
        now: Instant,
        cooldown: Duration,
        deadline: Option<Instant>,
    ) -> bool {
        let Some((waiting, _)) = self.free_units(ticket, now, cooldown) else {
            return false;
        };
        self.must_recheck_costs = true;
        let request = PermitRequest {
            deadline,
            ..waiting.request
        };
        let waiting = WaitingRequest {
            request,
            has_run: true,
            ..waiting
        };
        self.insert_parked(ticket, waiting);
        true
    }

    /// Puts a running request back into the queue, because upstream refused it. It waits before all
    /// requests of the same key, class and cost that came after it. Its age and the time at which
    /// it is due do not change. It is charged nothing. Returns `false` if it does not run.
    ///
    /// Before the next [`Self::start`], take over what upstream said about the units
    /// ([`Self::set_external_usage_from_refusal`], [`Self::set_capacity`]). Otherwise the request
    /// starts again at once.
    pub fn requeue(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.end_cooldowns(now);
        let usable = self.usable();
        let Some(running) = self.take_running(ticket, now) else {
            return false;
        };
        let PermitRequest {
            caller, priority, ..
        } = running.waiting.request;
        for other in Priority::ALL {
            let queue = self.queues.of_mut(other);
            if other == priority {
                queue.settle_charge(caller.key, running.charged, Work::default(), usable);
            } else {
                queue.claims.refund(*running.accruals.of(other));
            }
        }
        self.reservation = None;
        self.must_recheck_costs = true;
        let waiting = WaitingRequest {
            has_run: true,
            ..running.waiting
        };
        self.insert_waiting_or_hold_back(ticket, waiting, now);
        // After the insertion, because a class without waiting requests has no claims.
        let queue = self.queues.of_mut(priority);
        queue.claims.restore(running.claims_before);
        true
    }

    /// Frees the units of a running request and charges its key for the actual work. Returns the
    /// request, and for how long it held the units.
    fn free_units(
        &mut self,
        ticket: Ticket,
        now: Instant,
        cooldown: Duration,
    ) -> Option<(WaitingRequest, Duration)> {
        self.end_cooldowns(now);
        let usable = self.usable();
        let running = self.take_running(ticket, now)?;
        let PermitRequest {
            caller,
            priority,
            cost,
            ..
        } = running.waiting.request;
        let key = caller.key;
        let held = now.saturating_duration_since(running.started) + cooldown;
        let queue = self.queues.of_mut(priority);
        let mut contended = queue
            .contended_time(key)
            .saturating_sub(running.contended_before);
        if queue.is_contended(key) {
            contended += cooldown;
        }
        let actual = Work::new(cost, contended.min(held));
        queue.settle_charge(key, running.charged, actual, usable);
        if let Some(account) = self.accounts.get_mut(&key) {
            account.finished_work = account.finished_work + Work::new(cost, held);
        }
        if cooldown.is_zero() {
            self.headroom.record_release(cost, now);
        } else {
            self.cooldown.push(now + cooldown, ticket, cost);
        }
        Some((running.waiting, held))
    }

    fn take_running(&mut self, ticket: Ticket, now: Instant) -> Option<RunningRequest> {
        let running = self.running.remove(&ticket)?;
        let PermitRequest {
            caller,
            priority,
            cost,
            ..
        } = running.waiting.request;
        self.in_use = self.in_use.saturating_sub(cost);
        let queue = self.queues.of_mut(priority);
        queue.count_contended_time(now);
        queue.release_units(caller.key, cost);
        if let Some(account) = self.accounts.get_mut(&caller.key) {
            account.in_use = account.in_use.saturating_sub(cost);
        }
        Some(running)
    }
}
