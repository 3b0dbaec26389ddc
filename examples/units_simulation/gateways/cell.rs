//! One cell of the table: a number of gateways, a number of units, and the same requests for every
//! policy.

use std::time::Duration;

use featherwire::admission::{Priority, Settings};

use super::{alone::Alone, cluster::Cluster};
use crate::{
    load::{Key, Load, Request, requests},
    policies::{Featherwire, Policy},
    world::{Report, World},
};

/// Two keys with equal demand. The first one calls one gateway only.
const KEYS: [Key; 2] = [
    ("pinned", 1, Priority::Default, 0.5),
    ("spread", 1, Priority::Default, 0.5),
];

const REQUESTS: usize = 6_000;

/// The requests, and what one queue does with them that knows everything at once: the oracle.
pub struct Cell {
    load: Load,
    requests: Vec<Request>,
    oracle: Report,
}

/// What a policy does.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The work, as a part of that of the oracle.
    pub of_oracle: f64,
    /// Refusals of upstream, as a part of the requests.
    pub refused: f64,
    /// The part of the unit-seconds that the pinned key got.
    pub pinned: f64,
    /// The requests that never start, as a part of all.
    pub stuck: f64,
    /// For each start: how long after its cause. In order of length, and for the cluster only.
    pub delays: Vec<Duration>,
}

impl Cell {
    /// 133 % of the capacity is requested, 10 s for each request on average.
    pub fn new(gateways: usize, capacity: u32, seed: u64) -> Self {
        let load = Load {
            keys: &KEYS,
            requests: REQUESTS,
            seed,
            gateways,
            ..Load::of_one(capacity, 10.0, 1.33, 0.0)
        };
        let requests = requests(&load);
        let mut oracle = Featherwire::new(&load, Settings::default().headroom);
        let oracle = World::new(load, &requests).run(&mut oracle);
        Self {
            load,
            requests,
            oracle,
        }
    }

    /// One queue for all gateways.
    pub fn cluster(&self) -> Outcome {
        let mut cluster = Cluster::new(&self.load);
        let outcome = self.run(&mut cluster);
        let mut delays = cluster.delays;
        delays.sort_unstable();
        Outcome { delays, ..outcome }
    }

    /// A fixed share for each gateway.
    pub fn share(&self) -> Outcome {
        Outcome {
            stuck: Alone::stuck(&self.load, &self.requests),
            ..self.run(&mut Alone::by_share(&self.load, &self.requests))
        }
    }

    /// Each gateway by the account's feed.
    pub fn feed(&self) -> Outcome {
        self.run(&mut Alone::by_feed(&self.load, &self.requests))
    }

    fn run(&self, policy: &mut dyn Policy) -> Outcome {
        let report = World::new(self.load, &self.requests).run(policy);
        let granted: f64 = report.granted.iter().sum();
        Outcome {
            of_oracle: report.busy / self.oracle.busy,
            refused: report.refused as f64 / self.requests.len() as f64,
            pinned: report.granted[0] / granted,
            stuck: 0.0,
            delays: Vec::new(),
        }
    }
}

/// A value that a part of `percent` of the sorted values does not exceed.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_with_one_queue_use_the_units_of_one_gateway_without_refusals_and_fairly() {
        let cell = Cell::new(4, 32, 1);
        let outcome = cell.cluster();
        assert!(outcome.of_oracle >= 0.95, "{}", outcome.of_oracle);
        assert_eq!(outcome.refused, 0.0);
        assert!(
            (0.475..=0.525).contains(&outcome.pinned),
            "{} of one half",
            outcome.pinned
        );
        let delay = percentile(&outcome.delays, 99);
        assert!(
            delay <= Duration::from_millis(10),
            "two messages of 5 ms each, but it is {delay:?}"
        );
    }
}
