//! The scheduler's status, for monitoring.

use std::{collections::BTreeMap, time::Instant};

use super::{
    state::{KeyAccount, Scheduler},
    work::Work,
};
use crate::admission::{
    request::{KeyId, PerPriority, Priority},
    status::{KeyStatus, QueueStatus},
};

impl Scheduler {
    /// The status at `now`. It takes one step for each key and each running request, and sorts the
    /// last 512 waits and the waits of the waiting requests.
    pub fn status(&self, now: Instant) -> QueueStatus {
        let mut arrivals: Vec<_> = self
            .waiting
            .values()
            .chain(self.parked.values())
            .map(|waiting| waiting.arrived)
            .collect();
        arrivals.sort_unstable();
        let oldest = arrivals
            .first()
            .map(|&arrived| now.saturating_duration_since(arrived));
        let waits = self.stats.recent_waits(now, arrivals.into_iter());
        let capacity = self.units();
        let external_units = self.headroom.seen_units();
        QueueStatus {
            capacity,
            // A refusal can name more units than the plan has.
            external_units: external_units.min(capacity.unwrap_or(u32::MAX)),
            in_use: self.in_use,
            cooldown_units: self.cooldown.units(),
            running: self.running.len(),
            queued: self.queued(),
            bypassed: self.bypassed.len(),
            oldest,
            wait_p50: waits.percentile(50),
            wait_p99: waits.percentile(99),
            keys: self.key_statuses(now),
        }
    }

    /// The number of waiting requests of each class, in the queue and parked.
    fn queued(&self) -> PerPriority<usize> {
        let mut queued = PerPriority::default();
        for priority in Priority::ALL {
            *queued.of_mut(priority) = self.queues.of(priority).queued();
        }
        for parked in self.parked.values() {
            *queued.of_mut(parked.request.priority) += 1;
        }
        queued
    }

    fn key_statuses(&self, now: Instant) -> Vec<KeyStatus> {
        let mut work: BTreeMap<_, _> = self
            .accounts
            .iter()
            .map(|(&key, account)| (key, account.finished_work))
            .collect();
        for running in self.running.values() {
            let request = running.waiting.request;
            let held = now.saturating_duration_since(running.started);
            let work = work.entry(request.caller.key).or_default();
            *work = *work + Work::new(request.cost, held);
        }
        let status = |(&key, account): (&KeyId, &KeyAccount)| KeyStatus {
            key,
            weight: account.weight,
            in_use: account.in_use,
            queued: self.queued_of(key),
            unit_seconds: work
                .get(&key)
                .copied()
                .unwrap_or_default()
                .as_unit_seconds(),
        };
        self.accounts.iter().map(status).collect()
    }
}
