//! How often one request is sent again after upstream refused it for want of units, and when.
//!
//! The queue's waits have a bound of their own. This one is for a request that the scheduler lets
//! go again and again, and upstream refuses each time.

use std::time::Duration;

/// A request that upstream has refused this often has failed.
const REFUSALS_MAX: u32 = 6;

/// How long the waits that upstream told one request may be in all. With a longer one, it has
/// failed.
const WAITS_MAX: Duration = Duration::from_secs(30);

/// The refusals of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RefusalBudget {
    refusals: u32,
    waits: Duration,
}

impl RefusalBudget {
    /// How often the request was refused.
    pub(super) fn refusals(self) -> u32 {
        self.refusals
    }

    /// The request was refused, and upstream told it to come back after this time at the earliest.
    /// None if it has failed, else that time.
    pub(super) fn refused(&mut self, told: Duration) -> Option<Duration> {
        self.refusals += 1;
        self.waits = self.waits.saturating_add(told);
        (self.refusals < REFUSALS_MAX && self.waits <= WAITS_MAX).then_some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_refused_each_time_has_failed_after_six_tries() {
        let refused = |told: u64| {
            let mut tries = RefusalBudget::default();
            std::iter::from_fn(|| tries.refused(Duration::from_secs(told)))
                .take(100)
                .count()
        };
        assert_eq!(
            [0, 2, 6, 12, 30, 31].map(refused),
            [5, 5, 5, 2, 1, 0],
            "or sooner, if upstream wants it to wait for long"
        );
    }
}
