//! What can be seen of the scheduler from outside.

use std::time::Duration;

use super::request::{KeyId, PerPriority};

/// The scheduler at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueStatus {
    /// The units of the plan, or none if it has no bound.
    pub capacity: Option<u32>,
    /// The units that outsiders hold, as far as is known.
    pub outside: u32,
    /// The units held by requests that run.
    pub in_use: u32,
    /// The units of requests that were cancelled, until upstream has noticed.
    pub settling: u32,
    /// How many requests run.
    pub running: usize,
    /// How many wait.
    pub queued: PerPriority<usize>,
    /// How many wait that were passed over because they didn't fit.
    pub passed_over: usize,
    /// For how long the one that came first has been waiting.
    pub oldest: Option<Duration>,
    /// The median of the last 512 waits that ended. While requests wait, of their waits so far and
    /// of those that ended since the first of them came.
    pub wait_p50: Option<Duration>,
    /// The 99th percentile of the same.
    pub wait_p99: Option<Duration>,
    /// Every key that ever asked, in their order.
    pub keys: Vec<KeyStatus>,
}

/// One key at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeyStatus {
    /// Which.
    pub key: KeyId,
    /// Its share, against those of the other keys.
    pub weight: u32,
    /// The units its requests hold.
    pub in_use: u32,
    /// How many of its requests wait.
    pub queued: usize,
    /// The unit-seconds it was granted so far, those of requests that still run included.
    pub unit_seconds: f64,
}
