//! The scheduler's settings and their defaults.

use std::time::Duration;

use super::request::PerPriority;

/// How the scheduler decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How many requests may wait. A request that can start at once is not counted. Default:
    /// 10,000.
    pub queue_limit: usize,
    /// How many requests of one key may wait, if there are others
    /// ([`PermitRequest::is_only_key`](super::PermitRequest::is_only_key)). It keeps one key from
    /// filling the queue. Default: no separate limit.
    pub queue_limit_per_key: usize,
    /// The shortest time after its first bypass at which a request is due. Default: 10 s, 30 s and
    /// 120 s by class. [`Settings::reserved_share`] makes it longer where reserving units is
    /// expensive.
    pub bypass_limit: PerPriority<Duration>,
    /// The longest time after its first bypass at which a request is due. Default: 20 minutes. On
    /// a plan of four units with requests of one minute, a shorter limit costs much throughput.
    /// Set it below the longest wait in the queue, so that a request is due before its wait ends.
    pub bypass_limit_max: Duration,
    /// The part of the plan's unit-seconds, from 0 to 1, that reserving units for due requests may
    /// waste. Default: 0.03. A smaller share gives longer bypass limits. Reserving wastes units
    /// because a request of four units on a plan of four starts only when all other requests have
    /// ended; the units that become free first stay idle until then.
    pub reserved_share: f64,
    /// How much work may reuse a reservation after the due request has ended: a part, from 0 to 1,
    /// of what all units do in one bypass limit. Default: 0.25. A larger share needs fewer
    /// reservations, but small requests wait longer.
    pub reservation_reuse_share: f64,
    /// The credit that a waiting class accrues: a part, from 0 to 1, of the work that other classes
    /// start. Default: 0 for interactive, which is first anyway, 0.2 for default and 0.05 for
    /// batch.
    pub credit_share: PerPriority<f64>,
    /// While other processes use the account, this many of the last free units are given out only
    /// if upstream has just reported them free, or a request of the gateway has just released them.
    /// A request then waits for the next snapshot at most; the units do not stay idle. Default: 4,
    /// the cost of the largest models. 0 disables it. It about halves upstream's refusals, which
    /// callers do not see anyway, and costs some throughput: docs/scheduler.md has figures.
    pub headroom: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_limit: 10_000,
            queue_limit_per_key: usize::MAX,
            bypass_limit: PerPriority {
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
