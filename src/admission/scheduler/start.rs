//! How requests start.

use std::time::{Duration, Instant};

use super::{
    claims::CreditAccrual,
    enqueue::with_positive_weight,
    state::{Reservation, RunningRequest, Scheduler, WaitingRequest},
    work::Work,
};
use crate::admission::request::{PerPriority, PermitRequest, Priority, Ticket};

/// When a request starts, its key is charged for at most this much time; the rest is charged when
/// it ends. A key's service time so far says little about its next requests.
const CHARGED_AT_START_MAX: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Starts the next request, if one may start now, and returns it. It holds its units until
    /// [`Self::release`].
    pub fn start(&mut self, now: Instant) -> Option<Ticket> {
        self.end_cooldowns(now);
        self.admit_held_back(now);
        if self.waiting.is_empty() {
            self.headroom.set_snapshot_wanted(false, now);
            return None;
        }
        let available = self.availability(now);
        let Some(ticket) = self.select(available, now) else {
            let is_snapshot_wanted = self.is_blocked_by_headroom(available, now)
                || (self.headroom.is_from_refusal() && !self.waiting.is_empty())
                || self.has_request_above_unconfirmed_capacity()
                || self.has_request_beyond_share();
            self.headroom.set_snapshot_wanted(is_snapshot_wanted, now);
            return None;
        };
        self.start_request(ticket, now);
        Some(ticket)
    }

    /// Starts the next request in order although its units may not be free: upstream's answer will
    /// tell. It still fits into the plan beside the gateway's own requests. If only refusals tell
    /// the plan's limit and `beyond_limit` is set, it may exceed that limit.
    pub fn start_probe(&mut self, now: Instant, beyond_limit: bool) -> Option<Ticket> {
        self.end_cooldowns(now);
        let limit = self
            .capacity
            .or(self.refusal_capacity.filter(|_| !beyond_limit));
        let cost_max = limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.held()));
        let due = self
            .bypassed
            .first_due(now, cost_max)
            .map(|(ticket, _)| ticket);
        let ticket = due.or_else(|| Some(self.next_in_order(cost_max, cost_max)?.1.ticket))?;
        self.start_request(ticket, now);
        Some(ticket)
    }

    /// Starts a request that costs more than is left to this process ([`Self::leave_units`]), if a
    /// snapshot that describes the present and the two before it show that all its units are free.
    pub fn start_beyond_share(&mut self, now: Instant) -> Option<Ticket> {
        let units = self.units()?;
        let used = self.headroom.steady_units(now)?.saturating_add(self.held());
        let ticket = self.first_beyond_share(units.saturating_sub(used))?;
        self.start_request(ticket, now);
        Some(ticket)
    }

    /// The first request that costs more than is left to this process, and at most `cost_max`.
    fn first_beyond_share(&self, cost_max: u32) -> Option<Ticket> {
        let share = self.headroom.share()?;
        if cost_max <= share {
            return None;
        }
        let mut queues = Priority::ALL.iter().map(|&class| self.queues.of(class));
        let costs = share.saturating_add(1)..=cost_max;
        let first = queues.find_map(|queue| queue.first_within(costs.clone()))?;
        Some(first.ticket)
    }

    /// Whether a request of this cost could start now if a snapshot showed that its units are free.
    pub fn is_headroom_in_the_way(&self, cost: u32, now: Instant) -> bool {
        let available = self.availability(now);
        let free = available.usable.saturating_sub(available.held);
        (available.free.saturating_add(1)..=free).contains(&cost)
    }

    /// Whether a request waits that can start only if a snapshot shows that its units are free.
    fn has_request_beyond_share(&self) -> bool {
        let units = self.units();
        units.is_some_and(|units| self.first_beyond_share(units).is_some())
    }

    /// Adds a request that has been running since `started_at`, under another scheduler of the
    /// account. It holds its units, whether they are free or not.
    pub fn adopt(&mut self, now: Instant, started_at: Instant, request: PermitRequest) -> Ticket {
        self.end_cooldowns(now);
        let (ticket, waiting) = self.new_waiting(started_at, with_positive_weight(request));
        let waiting = WaitingRequest {
            has_run: true,
            ..waiting
        };
        self.insert_waiting(ticket, waiting, now);
        self.start_request(ticket, now);
        if let Some(running) = self.running.get_mut(&ticket) {
            running.started = started_at;
        }
        ticket
    }

    /// Whether a new snapshot could let a request start. The last [`Self::start`] returned `None`
    /// because of headroom, a refusal, or a capacity that only one message has named.
    pub fn wants_snapshot(&self) -> bool {
        self.headroom.is_snapshot_wanted()
    }

    /// When the passing of time alone next changes something: a cooldown ends, a deadline passes,
    /// or headroom ends because no snapshot comes. A request that becomes due does not start by
    /// that alone.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let headroom_end = self
            .headroom
            .ends_at(now, self.settings.headroom)
            .filter(|_| !self.waiting.is_empty());
        [self.cooldown.next_end(), deadline, headroom_end]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether a request waits only because one message, which may be a mistake, named a plan that
    /// is too small for it.
    fn has_request_above_unconfirmed_capacity(&self) -> bool {
        let (Some(capacity), None) = (self.capacity, self.confirmed_capacity) else {
            return false;
        };
        Priority::ALL.iter().any(|&priority| {
            self.queues
                .of(priority)
                .cost_max()
                .is_some_and(|cost| cost > capacity)
        })
    }

    fn start_request(&mut self, ticket: Ticket, now: Instant) {
        let Some(request) = self.waiting.get(&ticket).map(|waiting| waiting.request) else {
            return;
        };
        let PermitRequest {
            caller,
            priority,
            cost,
            ..
        } = request;
        let key = caller.key;
        let expected = self.expected_work(priority, key, cost);
        let charged = expected.min(Work::new(cost, CHARGED_AT_START_MAX));
        let usable = self.usable();
        let queue = self.queues.of_mut(priority);
        queue.count_contended_time(now);
        let claims_before = queue.claims.current();
        queue.charge(key, charged, usable);
        let Some(waiting) = self.take_waiting(ticket, now) else {
            return;
        };
        let queue = self.queues.of_mut(priority);
        queue.acquire_units(key, cost);
        if waiting.due_at.is_some_and(|due_at| due_at <= now) {
            queue.claims.repay_bypass(expected);
            let in_one_limit = Work::new(usable, self.bypass_limit(priority, cost, usable));
            self.reservation = Some(Reservation {
                cost,
                remaining: in_one_limit.share(self.settings.reservation_reuse_share),
            });
        }
        let accruals = self.move_credit(priority, expected);
        self.in_use = self.in_use.saturating_add(cost);
        self.headroom.record_start(cost);
        if let Some(account) = self.accounts.get_mut(&key) {
            account.in_use = account.in_use.saturating_add(cost);
        }
        if !waiting.has_run {
            let wait = now.saturating_duration_since(waiting.arrived);
            self.stats.record_wait(now, wait);
        }
        let running = RunningRequest {
            waiting,
            started: now,
            accruals,
            charged,
            contended_before: self.queues.of(priority).contended_time(key),
            claims_before,
        };
        self.running.insert(ticket, running);
    }

    /// The class `priority` spends credit on `work`, and the other classes accrue credit for it.
    fn move_credit(&mut self, priority: Priority, work: Work) -> PerPriority<CreditAccrual> {
        let mut accruals = PerPriority::<CreditAccrual>::default();
        for other in Priority::ALL {
            let queue = self.queues.of_mut(other);
            if other == priority {
                queue.claims.spend(work);
            } else {
                let share = *self.settings.credit_share.of(other);
                *accruals.of_mut(other) = queue.accrue_credit(work, share);
            }
        }
        accruals
    }
}
