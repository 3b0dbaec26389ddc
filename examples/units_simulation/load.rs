//! The load: the keys and models, and the requests of each.

use std::time::Duration;

use featherwire::admission::Priority;

pub const REQUESTS: usize = 40_000;
const SEED: u64 = 42;

/// A key: its name, its weight, its class, and its part of all requests.
pub type Key = (&'static str, u32, Priority, f64);

/// The keys that call one gateway.
pub const KEYS: [Key; 5] = [
    ("app", 1, Priority::Interactive, 0.25),
    ("tools", 1, Priority::Interactive, 0.10),
    ("team a", 2, Priority::Default, 0.20),
    ("team b", 1, Priority::Default, 0.20),
    ("night", 1, Priority::Batch, 0.25),
];
pub const MODELS: [(&str, u32, f64); 3] =
    [("small", 1, 0.60), ("medium", 2, 0.25), ("large", 4, 0.15)];
const COST_MEAN: f64 = 0.60 + 0.50 + 0.60;

#[derive(Clone, Copy)]
pub struct Load {
    pub capacity: u32,
    pub service: f64,
    /// The requested unit-seconds in proportion to the capacity.
    pub offered: f64,
    pub external_per_minute: f64,
    pub keys: &'static [Key],
    pub requests: usize,
    pub seed: u64,
    /// The gateways of the account. The first key calls only the first of them, as a client of gRPC
    /// does that keeps its connection. The requests of the others are spread.
    pub gateways: usize,
}

impl Load {
    /// A load of one gateway.
    pub fn of_one(capacity: u32, service: f64, offered: f64, external_per_minute: f64) -> Self {
        Self {
            capacity,
            service,
            offered,
            external_per_minute,
            keys: &KEYS,
            requests: REQUESTS,
            seed: SEED,
            gateways: 1,
        }
    }
}

#[derive(Clone, Copy)]
pub struct Request {
    pub at: Duration,
    pub key: usize,
    pub model: usize,
    pub service: Duration,
    pub gateway: usize,
}

impl Request {
    pub fn cost(&self) -> u32 {
        MODELS[self.model].1
    }
}

/// Half of the requests arrive singly, half in bursts of ten on average.
pub fn requests(load: &Load) -> Vec<Request> {
    let mut rng = fastrand::Rng::with_seed(load.seed);
    let mut balancer = fastrand::Rng::with_seed(load.seed);
    let gap = COST_MEAN * load.service / (f64::from(load.capacity) * load.offered);
    let (mut at, mut requests) = (0.0, Vec::with_capacity(load.requests));
    while requests.len() < load.requests {
        // One of eleven arrivals is a burst.
        let burst = if rng.f64() < 1.0 / 11.0 {
            rng.usize(5..=15)
        } else {
            1
        };
        at += exponential(&mut rng, gap * 20.0 / 11.0);
        let key = pick(&mut rng, load.keys.iter().map(|key| key.3));
        for _ in 0..burst {
            let model = pick(&mut rng, MODELS.iter().map(|model| model.2));
            let service = Duration::from_secs_f64(exponential(&mut rng, load.service).max(0.05));
            requests.push(Request {
                at: Duration::from_secs_f64(at),
                key,
                model,
                service,
                gateway: match key {
                    0 => 0,
                    _ => balancer.usize(..load.gateways),
                },
            });
        }
    }
    requests
}

pub fn exponential(rng: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}

pub fn pick(rng: &mut fastrand::Rng, parts: impl Iterator<Item = f64>) -> usize {
    let mut left = rng.f64();
    let mut last = 0;
    for (index, part) in parts.enumerate() {
        last = index;
        left -= part;
        if left < 0.0 {
            break;
        }
    }
    last
}
