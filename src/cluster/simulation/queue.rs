//! The simplest queue for units: first come, first served.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::cluster::leader::Queue;

/// How long it takes until a snapshot of the account says that the units of a lost member are free.
pub(super) const FEED: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Late;

/// First come, first served.
#[derive(Clone, Debug)]
pub(super) struct Fifo {
    capacity: u32,
    external: u32,
    next: u64,
    pub(super) waiting: VecDeque<(u64, u32, Instant)>,
    pub(super) running: BTreeMap<u64, (u32, Instant)>,
    cooling: Vec<(Instant, u32)>,
    /// Units of lost members, until a snapshot that was taken so late.
    abandoned: Vec<(Instant, u32)>,
}

impl Fifo {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            capacity,
            external: 0,
            next: 0,
            waiting: VecDeque::new(),
            running: BTreeMap::new(),
            cooling: Vec::new(),
            abandoned: Vec::new(),
        }
    }

    pub(super) fn snapshot(&mut self, now: Instant, external: u32) {
        self.external = external;
        self.abandoned.retain(|(until, _)| *until > now);
    }
}

impl Queue for Fifo {
    type Request = u32;
    type Ticket = u64;
    type Error = Late;

    fn enqueue(&mut self, _: Instant, arrived_at: Instant, cost: u32) -> Result<u64, Late> {
        self.next += 1;
        let at = self
            .waiting
            .partition_point(|(_, _, other)| *other <= arrived_at);
        self.waiting.insert(at, (self.next, cost, arrived_at));
        Ok(self.next)
    }

    fn adopt(&mut self, started_at: Instant, cost: u32) -> u64 {
        self.next += 1;
        self.running.insert(self.next, (cost, started_at));
        self.next
    }

    fn start(&mut self, now: Instant) -> Option<u64> {
        self.cooling.retain(|(until, _)| *until > now);
        let used = self.external
            + self.running.values().map(|(cost, _)| cost).sum::<u32>()
            + self.cooling.iter().map(|(_, cost)| cost).sum::<u32>()
            + self.abandoned.iter().map(|(_, cost)| cost).sum::<u32>();
        let &(ticket, cost, arrived_at) = self.waiting.front()?;
        if used + cost > self.capacity {
            return None;
        }
        self.waiting.pop_front();
        self.running.insert(ticket, (cost, arrived_at));
        Some(ticket)
    }

    fn requeue(&mut self, _: Instant, ticket: u64) {
        let (cost, arrived_at) = self.running.remove(&ticket).expect("it runs");
        let at = self
            .waiting
            .partition_point(|(_, _, other)| *other < arrived_at);
        self.waiting.insert(at, (ticket, cost, arrived_at));
    }

    fn remove(&mut self, _: Instant, ticket: u64) {
        let before = self.waiting.len();
        self.waiting.retain(|(other, ..)| *other != ticket);
        assert_eq!(before, self.waiting.len() + 1, "it waits");
    }

    fn release(&mut self, now: Instant, ticket: u64, cooldown: Duration) {
        let (cost, _) = self.running.remove(&ticket).expect("it runs");
        self.cooling.push((now + cooldown, cost));
    }

    fn abandon(&mut self, now: Instant, ticket: u64) {
        let (cost, _) = self.running.remove(&ticket).expect("it runs");
        self.abandoned.push((now + FEED, cost));
    }

    fn take_expired(&mut self, _: Instant) -> Vec<(u64, Late)> {
        Vec::new()
    }
}
