//! What a request would meet in the queue, for those who choose among several accounts.

use std::time::Duration;

use super::{request::Priority, status::QueueStatus};

/// How long units are held, if nothing is known about it.
const WAIT_DEFAULT: Duration = Duration::from_secs(1);

/// What a request would meet if it came into the queue now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The units of the plan; `None` if no limit is known.
    pub capacity: Option<u32>,
    /// Whether the plan is known, or at least a limit that a refusal has told. Otherwise requests
    /// start at once until upstream refuses one, so all others of these values are a guess.
    pub is_limit_known: bool,
    /// Whether the plan has as many units as the request costs.
    pub is_within_plan: bool,
    /// Whether the request would start at once.
    pub starts_now: bool,
    /// The units that are free. Without a limit: all that a number can hold, minus those in use.
    pub free: u32,
    /// The estimated wait, if it would not start at once.
    pub wait: Duration,
}

impl Outlook {
    /// What a request that costs `cost` would meet in a queue of which only the status is known,
    /// because another gateway of the cluster has it.
    pub(super) fn of_status(status: &QueueStatus, cost: u32) -> Self {
        let taken = [status.external_units, status.in_use, status.cooldown_units];
        let taken = taken.into_iter().fold(0, u32::saturating_add);
        let free = status.capacity.unwrap_or(u32::MAX).saturating_sub(taken);
        let queued = Priority::ALL.iter().map(|class| *status.queued.of(*class));
        let queued = u32::try_from(queued.sum::<usize>()).unwrap_or(u32::MAX);
        let starts_now = cost <= free && queued == 0;
        let wait = match starts_now {
            true => Duration::ZERO,
            false => {
                let one = status.wait_p50.unwrap_or_default().max(WAIT_DEFAULT);
                one.saturating_mul(queued.saturating_add(1)) / status.capacity.unwrap_or(1).max(1)
            }
        };
        Self {
            capacity: status.capacity,
            is_limit_known: status.capacity.is_some(),
            is_within_plan: status.capacity.is_none_or(|capacity| cost <= capacity),
            starts_now,
            free,
            wait,
        }
    }
}
