//! Gateways that do not talk to each other: each has a scheduler of its own.

use std::time::Duration;

use featherwire::admission::Settings;

use crate::{
    load::{Load, Request},
    policies::{Featherwire, Policy},
};

/// One scheduler for each gateway.
pub struct Alone {
    gateways: Vec<Featherwire>,
    /// The gateway of each request.
    callers: Vec<usize>,
    reads_feed: bool,
    /// The gateway that sends first, so that no gateway is always before the others.
    turn: usize,
}

impl Alone {
    /// Each gateway uses all units that are free, as it sees them in the account's feed.
    pub fn by_feed(load: &Load, requests: &[Request]) -> Self {
        Self::new(load, requests, true)
    }

    /// Each gateway has its part of the units for itself.
    pub fn by_share(load: &Load, requests: &[Request]) -> Self {
        let mut alone = Self::new(load, requests, false);
        for (rank, gateway) in (0..).zip(&mut alone.gateways) {
            let share = share(load, rank);
            gateway.leave_units(load.capacity - share, share);
        }
        alone
    }

    /// The requests that cost more than the share of their gateway, as a part of all.
    pub fn stuck(load: &Load, requests: &[Request]) -> f64 {
        let fits = |request: &&Request| request.cost() <= share(load, request.gateway as u32);
        1.0 - requests.iter().filter(fits).count() as f64 / requests.len() as f64
    }

    fn new(load: &Load, requests: &[Request], reads_feed: bool) -> Self {
        let headroom = Settings::default().headroom;
        let gateway = |_| Featherwire::new(load, headroom);
        Self {
            gateways: (0..load.gateways).map(gateway).collect(),
            callers: requests.iter().map(|request| request.gateway).collect(),
            reads_feed,
            turn: 0,
        }
    }
}

/// The fixed share of a gateway.
fn share(load: &Load, rank: u32) -> u32 {
    let gateways = load.gateways as u32;
    load.capacity / gateways + u32::from(rank < load.capacity % gateways)
}

impl Policy for Alone {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration) {
        self.gateways[request.gateway].arrive(id, request, now);
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        let count = self.gateways.len();
        (0..count).find_map(|_| {
            self.turn = (self.turn + 1) % count;
            self.gateways[self.turn].next(now)
        })
    }

    fn ended(&mut self, id: usize, now: Duration) {
        self.gateways[self.callers[id]].ended(id, now);
    }

    fn refused(&mut self, id: usize, active: u32, now: Duration) {
        self.gateways[self.callers[id]].refused(id, active, now);
    }

    fn readers(&self) -> usize {
        match self.reads_feed {
            true => self.gateways.len(),
            false => 1,
        }
    }

    fn outside(&mut self, gateway: usize, units: u32, now: Duration) {
        self.gateways[gateway].outside(0, units, now);
    }

    fn wake(&self, now: Duration) -> Option<Duration> {
        let gateways = self.gateways.iter();
        gateways.filter_map(|gateway| gateway.wake(now)).min()
    }

    fn wants_snapshot(&self, gateway: usize) -> bool {
        self.reads_feed && self.gateways[gateway].wants_snapshot(0)
    }

    fn requested_snapshot(
        &mut self,
        gateway: usize,
        units: u32,
        requested_at: Duration,
        now: Duration,
    ) {
        self.gateways[gateway].requested_snapshot(0, units, requested_at, now);
    }
}
