//! The requests of one priority class: weighted fair queueing over the keys.
//!
//! Each key has a *virtual time*: the work that its requests were charged for, divided by the key's
//! weight. The key with the smallest virtual time is next. So the waiting keys get work in
//! proportion to their weights, however large or long their requests are. A key is charged only for
//! the time in which another key wants units too.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::{
    claims::{ClassClaims, CreditAccrual},
    key_queue::KeyQueue,
    service_time::ServiceTime,
    work::Work,
};
use crate::admission::request::{Caller, KeyId, Ticket};

/// Work done before delays a key by at most what all units do in this time.
const DEBT_MAX: Duration = Duration::from_secs(120);

/// The waiting requests of one class, and the order of its keys.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    /// Few: one for each gateway key.
    flows: BTreeMap<KeyId, Flow>,
    /// For each cost, the ranks of the keys that have a waiting request of this cost.
    ranks: BTreeMap<u32, BTreeSet<Rank>>,
    /// The confirmed virtual time of the last key that was next. A key that was idle starts from
    /// here.
    virtual_time: u64,
    queued: usize,
    /// The sum of the weights of the keys with waiting requests.
    weight: u64,
    /// The units that running requests of this class hold.
    in_use: u32,
    /// The keys with waiting or running requests.
    active: BTreeSet<KeyId>,
    /// Until when `contended` is counted.
    counted_until: Option<Instant>,
    /// For how long, in all, requests have been waiting in this class.
    contended: Duration,
    pub(super) claims: ClassClaims,
}

/// One key's requests in this class.
#[derive(Debug)]
struct Flow {
    rank: Rank,
    weight: u32,
    queue: KeyQueue,
    in_use: u32,
    /// The expected work of running requests. It is charged already; the actual work may differ.
    provisional: Work,
    /// How much of [`FairQueue::contended`] passed while no other key was active.
    uncontended: Duration,
    service_time: ServiceTime,
}

impl Flow {
    fn new(rank: Rank, weight: u32) -> Self {
        Self {
            rank,
            weight,
            queue: KeyQueue::default(),
            in_use: 0,
            provisional: Work::default(),
            uncontended: Duration::ZERO,
            service_time: ServiceTime::default(),
        }
    }

    /// The virtual time without provisional charges.
    fn confirmed_virtual_time(&self) -> u64 {
        self.rank
            .virtual_time
            .saturating_sub(self.provisional.per_weight(self.weight))
    }
}

/// The position of a key in the order of the class: the smallest rank is next. At the same virtual
/// time, it is the key that has waited for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Unit-nanoseconds per weight.
    virtual_time: u64,
    waiting_since: Ticket,
    key: KeyId,
}

/// A waiting request that may start next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: KeyId,
    pub(super) ticket: Ticket,
    pub(super) cost: u32,
}

impl FairQueue {
    /// The number of waiting requests.
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// The number of waiting requests of `key`.
    pub(super) fn queued_of(&self, key: KeyId) -> usize {
        self.flows.get(&key).map_or(0, |flow| flow.queue.len())
    }

    pub(super) fn push(&mut self, caller: Caller, ticket: Ticket, cost: u32, now: Instant) {
        if self.queued == 0 {
            self.claims.begin_waiting(now);
        }
        let Caller { key, weight } = caller;
        let virtual_time = self.virtual_time;
        let rank = Rank {
            virtual_time,
            waiting_since: ticket,
            key,
        };
        let flow = self
            .flows
            .entry(key)
            .or_insert_with(|| Flow::new(rank, weight));
        if flow.queue.len() == 0 {
            flow.rank = Rank {
                virtual_time: flow.rank.virtual_time.max(virtual_time),
                ..rank
            };
            self.weight += u64::from(weight);
        } else {
            self.weight = self.weight - u64::from(flow.weight) + u64::from(weight);
        }
        flow.weight = weight;
        flow.queue.push(ticket, cost);
        self.active.insert(key);
        self.ranks.entry(cost).or_default().insert(flow.rank);
        self.queued += 1;
    }

    pub(super) fn remove(&mut self, key: KeyId, ticket: Ticket, cost: u32) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        flow.queue.remove(ticket, cost);
        if !flow.queue.has_cost(cost)
            && let Some(ranks) = self.ranks.get_mut(&cost)
        {
            ranks.remove(&flow.rank);
            if ranks.is_empty() {
                self.ranks.remove(&cost);
            }
        }
        if flow.queue.len() == 0 {
            self.weight -= u64::from(flow.weight);
            if flow.in_use == 0 {
                self.active.remove(&key);
            }
        }
        self.queued -= 1;
    }

    /// Records that a request was removed without being started.
    pub(super) fn record_cancelled(&mut self, now: Instant) {
        if self.queued == 0 {
            self.claims.record_cancelled(now);
        }
    }

    /// Counts the units of a request that starts. Call it after [`Self::remove`].
    pub(super) fn acquire_units(&mut self, key: KeyId, cost: u32) {
        if self.queued == 0 {
            self.claims.reset();
        }
        self.in_use = self.in_use.saturating_add(cost);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.in_use = flow.in_use.saturating_add(cost);
            self.active.insert(key);
        }
    }

    /// Counts the units of a request that has ended.
    pub(super) fn release_units(&mut self, key: KeyId, cost: u32) {
        self.in_use = self.in_use.saturating_sub(cost);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.in_use = flow.in_use.saturating_sub(cost);
            if flow.in_use == 0 && flow.queue.len() == 0 {
                self.active.remove(&key);
            }
        }
    }

    /// Counts contended time up to `now`. Call it before a request is added, removed, started or
    /// ended.
    pub(super) fn count_contended_time(&mut self, now: Instant) {
        let since = self.counted_until.replace(now).filter(|since| *since < now);
        let Some(since) = since.filter(|_| self.queued > 0) else {
            return;
        };
        let passed = now.saturating_duration_since(since);
        self.contended += passed;
        if self.active.len() == 1
            && let Some(flow) = self.active.first().and_then(|key| self.flows.get_mut(key))
        {
            flow.uncontended += passed;
        }
    }

    /// For how long, in all, requests have been waiting in this class while a key other than `key`
    /// was active.
    pub(super) fn contended_time(&self, key: KeyId) -> Duration {
        self.flows.get(&key).map_or(self.contended, |flow| {
            self.contended.saturating_sub(flow.uncontended)
        })
    }

    /// Whether requests are waiting in this class and a key other than `key` is active.
    pub(super) fn is_contended(&self, key: KeyId) -> bool {
        self.queued > 0 && self.active.iter().take(2).any(|&other| other != key)
    }

    /// The units that running requests of this class hold.
    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The units that running requests of `key` hold in this class.
    pub(super) fn in_use_of(&self, key: KeyId) -> u32 {
        self.flows.get(&key).map_or(0, |flow| flow.in_use)
    }

    /// The work that `key` needs to reach the virtual time of `other`.
    pub(super) fn deficit(&self, key: KeyId, other: KeyId) -> Work {
        match (self.flows.get(&key), self.flows.get(&other)) {
            (Some(flow), Some(other)) => {
                let behind = other
                    .rank
                    .virtual_time
                    .saturating_sub(flow.rank.virtual_time);
                Work::from_virtual_time(behind, flow.weight)
            }
            _ => Work::default(),
        }
    }

    /// The first request in order that costs at most `cost_max`.
    pub(super) fn first(&self, cost_max: u32) -> Option<Candidate> {
        self.first_within(0..=cost_max)
    }

    /// The first request in order with a cost in `costs`.
    pub(super) fn first_within(&self, costs: RangeInclusive<u32>) -> Option<Candidate> {
        let rank = self
            .ranks
            .range(costs.clone())
            .filter_map(|(_, ranks)| ranks.first())
            .min()?;
        let (ticket, cost) = self.flows.get(&rank.key)?.queue.first_within(costs)?;
        Some(Candidate {
            key: rank.key,
            ticket,
            cost,
        })
    }

    /// Charges `key` for the expected `work` of a request. Call it before removing the request.
    ///
    /// `cost_max` is the cost that can run at all at present. Requests above it wait for other
    /// processes to end; they must not hold back the class's virtual time.
    pub(super) fn charge(&mut self, key: KeyId, work: Work, cost_max: u32) {
        let first = self
            .ranks
            .range(..=cost_max)
            .filter_map(|(_, ranks)| ranks.first())
            .min();
        let confirmed = first
            .and_then(|rank| self.flows.get(&rank.key))
            .map_or(0, Flow::confirmed_virtual_time);
        self.virtual_time = self.virtual_time.max(confirmed);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.provisional = flow.provisional + work;
        }
        self.set_virtual_time(key, |virtual_time, weight| {
            virtual_time.saturating_add(work.per_weight(weight))
        });
    }

    /// Replaces the charge for the expected work, `charged`, by one for the actual work. Debt is
    /// bounded by [`DEBT_MAX`] of `usable` units.
    pub(super) fn settle_charge(&mut self, key: KeyId, charged: Work, actual: Work, usable: u32) {
        let (now, debt_max) = (self.virtual_time, Work::new(usable, DEBT_MAX));
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.provisional = flow.provisional - charged;
        }
        self.set_virtual_time(key, |virtual_time, weight| {
            let settled = virtual_time
                .saturating_add(actual.per_weight(weight))
                .saturating_sub(charged.per_weight(weight));
            let latest = now.saturating_add(debt_max.per_weight(weight));
            settled.min(latest.max(virtual_time))
        });
    }

    /// Sets the virtual time of `key` to the result of `change`, which gets the present virtual
    /// time and the weight.
    fn set_virtual_time(&mut self, key: KeyId, change: impl FnOnce(u64, u32) -> u64) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        let rank = Rank {
            virtual_time: change(flow.rank.virtual_time, flow.weight),
            ..flow.rank
        };
        for cost in flow.queue.costs() {
            if let Some(ranks) = self.ranks.get_mut(&cost) {
                ranks.remove(&flow.rank);
                ranks.insert(rank);
            }
        }
        flow.rank = rank;
    }

    /// The mean service time of `key`'s requests, if any has ended.
    pub(super) fn service_time(&self, key: KeyId) -> Option<Duration> {
        self.flows.get(&key)?.service_time.mean()
    }

    /// Records that a request of `key` held `cost` units for `held`.
    pub(super) fn record_service(&mut self, key: KeyId, cost: u32, held: Duration) {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.service_time.record(cost, held);
        }
    }

    /// Accrues credit for `work` that another class starts: the part `share` of it, if requests
    /// wait here. Returns by how much the credit grew.
    pub(super) fn accrue_credit(&mut self, work: Work, share: f64) -> CreditAccrual {
        let due = if self.queued > 0 {
            work.share(share)
        } else {
            Work::default()
        };
        self.claims.accrue(due)
    }

    /// The greatest cost of the waiting requests.
    pub(super) fn cost_max(&self) -> Option<u32> {
        self.ranks.last_key_value().map(|(&cost, _)| cost)
    }

    /// The estimated number of requests of this class that start before a request of `caller` with
    /// `own` requests of the same key ahead of it. Other keys start as many as their weights give
    /// them in that time, and no more than are waiting.
    pub(super) fn requests_ahead(&self, caller: Caller, own: usize) -> usize {
        let Caller { key, weight } = caller;
        let others = self.queued - self.queued_of(key);
        let own_weight = self
            .flows
            .get(&key)
            .filter(|flow| flow.queue.len() > 0)
            .map_or(0, |flow| flow.weight);
        let starts_of_others = (own as u64 + 1).saturating_mul(self.weight - u64::from(own_weight))
            / u64::from(weight.max(1));
        own + others.min(usize::try_from(starts_of_others).unwrap_or(usize::MAX))
    }

    /// How many requests of the same key came before `ticket`.
    pub(super) fn own_requests_ahead(&self, key: KeyId, ticket: Ticket) -> usize {
        self.flows
            .get(&key)
            .map_or(0, |flow| flow.queue.requests_ahead(ticket))
    }
}
