//! A snapshot of the queue, for monitoring.

use std::time::Duration;

use super::request::{KeyId, PerPriority};

/// The state of the scheduler at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStatus {
    /// The units of the plan; `None` if no limit is known.
    pub capacity: Option<u32>,
    /// The units that other processes of the account hold, as far as the gateway knows.
    pub external_units: u32,
    /// The units that running requests hold.
    pub in_use: u32,
    /// The units of cancelled requests that upstream may still count.
    pub cooldown_units: u32,
    /// The number of running requests.
    pub running: usize,
    /// The number of waiting requests in each class.
    pub queued: PerPriority<usize>,
    /// The number of waiting requests that smaller requests have bypassed.
    pub bypassed: usize,
    /// How long the oldest waiting request has waited.
    pub oldest: Option<Duration>,
    /// The median of the last 512 finished waits. While requests wait, it is the median of their
    /// waits so far and of the waits that finished after the oldest of them arrived.
    pub wait_p50: Option<Duration>,
    /// The 99th percentile of the same waits.
    pub wait_p99: Option<Duration>,
    /// Every key that has sent a request, ordered by key.
    pub keys: Vec<KeyStatus>,
}

/// The state of one key at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyStatus {
    /// The key.
    pub key: KeyId,
    /// Its weight relative to other keys.
    pub weight: u32,
    /// The units that its running requests hold.
    pub in_use: u32,
    /// The number of its waiting requests.
    pub queued: usize,
    /// The unit-seconds that its requests have used, including requests that still run.
    pub unit_seconds: f64,
}
