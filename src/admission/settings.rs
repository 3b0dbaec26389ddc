//! What the scheduler may be told, and what it does unless told.

use std::time::Duration;

use super::request::PerPriority;

/// How the scheduler decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many may wait. One that can start at once is not counted. 10,000 unless told.
    pub queue_limit: usize,
    /// How many of one key may wait, so that no key can fill the queue for the others. No bound of
    /// its own unless told.
    pub queue_limit_per_key: usize,
    /// How long after it was first passed over a waiter is due, at least: 10 s, 30 s, 120 s unless
    /// told. Where keeping units is dear, it is longer (see [`Settings::reserved_share`]), but never
    /// longer than [`Settings::bypass_limit_max`].
    pub passed_over: PerPriority<Duration>,
    /// How long after it was first passed over a waiter is due at the latest. 20 minutes unless
    /// told: on four units, less would cost much where requests take a minute each. Nobody should
    /// be due only when it has waited in vain, so that it ought to be less than the longest wait.
    pub bypass_limit_max: Duration,
    /// The part of the plan's unit-seconds, from 0 to 1, that may be lost by keeping units for
    /// those who are due. The smaller, the longer the patience: on a plan of four units, a request
    /// of four has to wait until everything else has ended, and what ends first is idle until then.
    /// 0.03 unless told.
    pub reserved_share: f64,
    /// How much may follow out of turn into room that was kept, by others that cost as much: as a
    /// part of what all units do in one patience, from 0 to 1. The more, the fewer times units are
    /// kept; and the longer small ones wait meanwhile. 0.25 unless told.
    pub reservation_reuse_share: f64,
    /// What a class is owed of what the others are granted while it waits, from 0 to 1: nothing for
    /// interactive (it is first anyhow), 0.2 for default and 0.05 for batch unless told.
    pub credit_share: PerPriority<f64>,
    /// While other processes use the account, how many of the last units are started on only when
    /// the upstream has just said that they are free, or when a request of ours has just given them
    /// back. It is a matter of waiting for up to one snapshot, not of leaving units idle for good.
    /// It about halves the refusals by upstream, which no caller sees anyhow, and costs some speed:
    /// docs/scheduler.md has figures. 0 turns it off; 4, what the dearest models cost, unless told.
    pub headroom: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_limit: 10_000,
            queue_limit_per_key: usize::MAX,
            passed_over: PerPriority {
                interactive: Duration::from_secs(10),
                default: Duration::from_secs(30),
                batch: Duration::from_secs(120),
            },
            bypass_limit_max: Duration::from_secs(1200),
            reserved_share: 0.03,
            reservation_reuse_share: 0.25,
            credit_share: PerPriority {
                interactive: 0.0,
                default: 0.2,
                batch: 0.05,
            },
            headroom: 4,
        }
    }
}
