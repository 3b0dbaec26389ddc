//! How often one request is sent again after upstream refused it for lack of units.
//!
//! The wait in the queue has its own limit. This one is for a request that the scheduler starts
//! again and again, and that upstream refuses each time.

use std::time::Duration;

/// A request fails at this many refusals.
const REFUSALS_MAX: u32 = 6;

/// A request fails when the sum of upstream's `Retry-After` times exceeds this.
const RETRY_AFTER_SUM_MAX: Duration = Duration::from_secs(30);

/// The refusals of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RefusalBudget {
    /// How often the request was refused.
    pub(super) refusals: u32,
    /// The sum of upstream's `Retry-After` times.
    pub(super) retry_after_sum: Duration,
}

impl RefusalBudget {
    /// Counts a refusal with this `retry_after`.
    pub(super) fn spend(&mut self, retry_after: Duration) {
        self.refusals += 1;
        self.retry_after_sum = self.retry_after_sum.saturating_add(retry_after);
    }

    /// Whether the request may be sent again.
    pub(super) fn may_retry(self) -> bool {
        self.refusals < REFUSALS_MAX && self.retry_after_sum <= RETRY_AFTER_SUM_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_fails_at_six_refusals_or_sooner_if_upstream_wants_long_waits() {
        let sent_again = |retry_after: u64| {
            let mut budget = RefusalBudget::default();
            (0..100)
                .take_while(|_| {
                    budget.spend(Duration::from_secs(retry_after));
                    budget.may_retry()
                })
                .count()
        };
        assert_eq!([0, 2, 6, 12, 30, 31].map(sent_again), [5, 5, 5, 2, 1, 0]);
    }
}
