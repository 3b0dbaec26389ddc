//! What can be told of the queue from outside: its view, who is ahead, about how long it takes, and
//! who needn't join it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Account, Scheduler, service_time::Work};
use crate::admission::{
    request::{EnqueueError, KeyId, PerPriority, PermitRequest, Priority, Ticket},
    status::{KeyStatus, QueueStatus},
};

/// A request is refused as too late only if even this part of its estimated wait were too long. The
/// estimate is an average: about half of those who wait are faster, and a wrong refusal costs an
/// answer, a wrong place in the queue costs nothing.
const TOO_LATE_PART: u32 = 2;

/// The shortest and the longest time after which somebody is told to come again when the queue is
/// full.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl Scheduler {
    /// About how many will start before this one, if nobody else comes: of its own queue exactly,
    /// of the other keys' what their weights give them, of the classes above all. None if it
    /// doesn't wait.
    ///
    /// It takes a step for each 128 tickets drawn since the oldest of its own queue, and up to 128
    /// more: one or two microseconds with 10,000 waiting.
    pub fn ahead(&self, ticket: Ticket) -> Option<usize> {
        let ask = self
            .waiting
            .get(&ticket)
            .or_else(|| self.aside.get(&ticket))?
            .ask;
        let own = self.classes.of(ask.priority).own_ahead(ask.key, ticket);
        Some(self.ahead_of(&ask, own))
    }

    /// About how long this one still has to wait. None if it doesn't wait, or if too little was
    /// seen to tell.
    pub fn estimate(&self, ticket: Ticket, now: Instant) -> Option<Duration> {
        let ask = self.waiting.get(&ticket)?.ask;
        let wait = self.wait_of(ask.cost, self.ahead(ticket)?, now);
        self.pace.is_known().then_some(wait)
    }

    /// All there is to see. It takes a step for each key and each request that runs, and sorts the
    /// last 512 waits and those that last.
    pub fn view(&self, now: Instant) -> QueueStatus {
        let mut arrived: Vec<_> = self
            .waiting
            .values()
            .chain(self.aside.values())
            .map(|waiter| waiter.arrived)
            .collect();
        arrived.sort_unstable();
        let oldest = arrived
            .first()
            .map(|&arrived| now.saturating_duration_since(arrived));
        let waits = self.pace.waits(now, arrived.into_iter());
        QueueStatus {
            capacity: self.units(),
            // A refusal may have told of more than there are.
            outside: self.guard.outside().min(self.units().unwrap_or(u32::MAX)),
            in_use: self.in_use,
            settling: self.settling.units(),
            running: self.running.len(),
            queued: self.queued(),
            passed_over: self.passed_over.len(),
            oldest,
            wait_p50: waits.percentile(50),
            wait_p99: waits.percentile(99),
            keys: self.keys(now),
        }
    }

    /// How many wait of each class, in the queue and aside.
    fn queued(&self) -> PerPriority<usize> {
        let mut queued = PerPriority::default();
        for priority in Priority::ALL {
            *queued.of_mut(priority) = self.classes.of(priority).queued();
        }
        self.aside
            .values()
            .for_each(|waiter| *queued.of_mut(waiter.ask.priority) += 1);
        queued
    }

    fn keys(&self, now: Instant) -> Vec<KeyStatus> {
        let mut granted: BTreeMap<_, _> = self
            .accounts
            .iter()
            .map(|(&key, account)| (key, account.granted))
            .collect();
        for running in self.running.values() {
            let so_far = Work::of(
                running.waiter.ask.cost,
                now.saturating_duration_since(running.started),
            );
            let granted = granted.entry(running.waiter.ask.key).or_default();
            *granted = *granted + so_far;
        }
        let view = |(&key, account): (&KeyId, &Account)| KeyStatus {
            key,
            weight: account.weight,
            in_use: account.in_use,
            queued: self.queued_of(key),
            unit_seconds: granted
                .get(&key)
                .copied()
                .unwrap_or_default()
                .as_unit_seconds(),
        };
        self.accounts.iter().map(view).collect()
    }

    /// How many of this key wait, in the queue and aside.
    fn queued_of(&self, key: KeyId) -> usize {
        let aside = self.accounts.get(&key).map_or(0, |account| account.aside);
        aside
            + Priority::ALL
                .iter()
                .map(|&priority| self.classes.of(priority).queued_of(key))
                .sum::<usize>()
    }

    /// Whether one that comes now starts at the next call. Nobody else can be waiting for what is
    /// free, but one it is kept for.
    pub(super) fn would_start(&mut self, now: Instant, cost: u32) -> bool {
        self.settle(now);
        let room = self.room(now);
        cost <= room.free && self.passed_over.first_due(now, room.whole).is_none()
    }

    pub(super) fn admit(&self, now: Instant, ask: &PermitRequest) -> Result<(), EnqueueError> {
        let limit = self.settings.queue_limit;
        if self.waiting_in_all() >= limit
            || self.queued_of(ask.key) >= self.settings.queue_limit_per_key
        {
            let retry_after = self
                .wait_of(1, 0, now)
                .clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
            return Err(EnqueueError::QueueFull { limit, retry_after });
        }
        let Some(deadline) = ask.deadline else {
            return Ok(());
        };
        let own = self.classes.of(ask.priority).queued_of(ask.key);
        let wait = self.wait_of(ask.cost, self.ahead_of(ask, own), now);
        let clearly_late = self.pace.is_known() && now + wait / TOO_LATE_PART > deadline;
        if deadline <= now || clearly_late {
            Err(EnqueueError::TooLate { wait })
        } else {
            Ok(())
        }
    }

    fn ahead_of(&self, ask: &PermitRequest, own: usize) -> usize {
        let above = Priority::ALL
            .into_iter()
            .take_while(|&priority| priority < ask.priority);
        let above: usize = above
            .map(|priority| self.classes.of(priority).queued())
            .sum();
        let ahead = self
            .classes
            .of(ask.priority)
            .ahead(ask.key, ask.weight, own);
        // Of those above, no more than it takes until what is owed to this class has brought all of
        // these on.
        let share = *self.settings.credit_share.of(ask.priority);
        let most = if share > 0.0 {
            ((ahead + 1) as f64 / share).ceil() as usize
        } else {
            usize::MAX
        };
        above.min(most).saturating_add(ahead)
    }

    /// About how long one waits that costs so much and has so many before it: until as many units
    /// have been given back as all of them together lack.
    fn wait_of(&self, cost: u32, ahead: usize, now: Instant) -> Duration {
        let room = self.room(now);
        let before = self.waiting_units * ahead as u64 / self.waiting.len().max(1) as u64;
        let lacking = (before + u64::from(cost)).saturating_sub(u64::from(room.free));
        self.pace.until_freed(lacking, room.whole)
    }
}
