//! The simplest queue for units: first come, first served.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use crate::cluster::{
    message::{Again, End, Units},
    queue::{Arrival, Lost, Outcome, Queue},
};

/// How long it takes until a snapshot of the account says that the units of a lost member are free.
pub(super) const FEED: Duration = Duration::from_secs(2);

/// How long the units of a cancelled request are kept back.
const COOLDOWN: Duration = Duration::from_millis(250);

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

impl Fifo {
    fn insert(&mut self, ticket: u64, cost: u32, since: Instant) {
        let at = self
            .waiting
            .partition_point(|(_, _, other)| *other <= since);
        self.waiting.insert(at, (ticket, cost, since));
    }
}

impl Queue for Fifo {
    type Request = u32;
    type Refusal = ();
    type Ticket = u64;
    type Error = Late;

    fn enqueue(&mut self, _: Instant, arrival: Arrival<u32>) -> Result<u64, Late> {
        self.next += 1;
        let from = arrival.pause_until.unwrap_or(arrival.since);
        self.insert(self.next, arrival.request, from);
        Ok(self.next)
    }

    fn adopt(&mut self, _: Instant, started_at: Instant, cost: u32, _: u32) -> u64 {
        self.next += 1;
        self.running.insert(self.next, (cost, started_at));
        self.next
    }

    fn advance(&mut self, now: Instant, may_start: bool) -> Vec<Outcome<u64, Late>> {
        self.cooling.retain(|(until, _)| *until > now);
        let mut started = Vec::new();
        while may_start
            && let Some(&(ticket, cost, since)) = self.waiting.front()
            && since <= now
        {
            let used = self.external
                + self.running.values().map(|(cost, _)| cost).sum::<u32>()
                + self.cooling.iter().map(|(_, cost)| cost).sum::<u32>()
                + self.abandoned.iter().map(|(_, cost)| cost).sum::<u32>();
            if used + cost > self.capacity {
                break;
            }
            self.waiting.pop_front();
            self.running.insert(ticket, (cost, since));
            let units = Units {
                cost,
                tell_admitted: ticket % 2 == 0,
            };
            started.push(Outcome::Started(ticket, units));
        }
        started
    }

    fn put_back(&mut self, _: Instant, ticket: u64) {
        let (cost, since) = self.running.remove(&ticket).expect("it runs");
        self.insert(ticket, cost, since);
    }

    fn wait_again(
        &mut self,
        _: Instant,
        ticket: u64,
        arrival: Arrival<u32>,
        _: Again<()>,
    ) -> Result<(), Late> {
        let (cost, _) = self.running.remove(&ticket).expect("it runs");
        let from = arrival.pause_until.unwrap_or(arrival.since);
        self.insert(ticket, cost, from);
        Ok(())
    }

    fn admitted(&mut self, _: Instant, ticket: u64) {
        assert!(self.running.contains_key(&ticket), "it runs");
    }

    fn remove(&mut self, _: Instant, ticket: u64) {
        let before = self.waiting.len();
        self.waiting.retain(|(other, ..)| *other != ticket);
        assert_eq!(before, self.waiting.len() + 1, "it waits");
    }

    fn end(&mut self, now: Instant, ticket: u64, end: End) {
        let (cost, _) = self.running.remove(&ticket).expect("it runs");
        if end == End::Cancelled {
            self.cooling.push((now + COOLDOWN, cost));
        }
    }

    fn abandon(&mut self, now: Instant, ticket: u64) {
        let (cost, _) = self.running.remove(&ticket).expect("it runs");
        self.abandoned.push((now + FEED, cost));
    }

    fn units_of(&self, ticket: u64) -> u32 {
        self.running.get(&ticket).map_or(0, |&(cost, _)| cost)
    }

    fn requests_ahead(&self, ticket: u64) -> Option<u32> {
        let mut first = self.waiting.iter().take(8);
        let place = first.position(|(other, ..)| *other == ticket)?;
        u32::try_from(place).ok()
    }

    fn leave_to_lost(&mut self, _: Instant, _: Lost) -> bool {
        // In the simulation a silent member starts nothing.
        false
    }
}
