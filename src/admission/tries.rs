//! How often one request is sent again after upstream refused it for want of units, and when.
//!
//! The queue's waits have a bound of their own. This one is for a request that the scheduler lets go again and again, and
//! upstream refuses each time.

use std::time::Duration;

/// A request that upstream has refused this often has failed.
const REFUSALS_MAX: u32 = 6;

/// How long a request of a model whose refusals are not believed steps aside, each time. After the last it has failed.
const ASIDES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The wait where nothing is known of the plan, so that nothing tells when units come free: doubled each time, from the
/// first to the last.
const BLIND_WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));

/// How long the waits of one request may be in all. With a longer one, be it by upstream's `Retry-After`, it has failed.
const WAITS_MAX: Duration = Duration::from_secs(30);

/// What a refusal is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It tells how full the account is. The queue then knows when the request may be sent again.
    Believed,
    /// The model is refused too often for its refusals to be about the account.
    NotBelieved,
    /// It may be true, but nothing is known of the plan.
    Blind,
}

/// What a refused request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// How long it stays out of the queue.
    pub(super) aside: Duration,
    /// Whether it has its old place in the queue then, rather than the last.
    pub(super) keeps_place: bool,
}

/// The refusals of one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tries {
    refusals: u32,
    asides: usize,
    waits: Duration,
}

impl Tries {
    /// How often the request was refused.
    pub(super) fn refusals(self) -> u32 {
        self.refusals
    }

    /// The request was refused, and upstream told it to come back after this time at the earliest. None if it has failed.
    pub(super) fn refused(&mut self, worth: Worth, told: Duration) -> Option<Next> {
        self.refusals += 1;
        if self.refusals >= REFUSALS_MAX {
            return None;
        }
        let wait = match worth {
            Worth::Believed => Duration::ZERO,
            Worth::NotBelieved => {
                let aside = ASIDES.get(self.asides).copied()?;
                self.asides += 1;
                aside
            }
            Worth::Blind => BLIND_WAITS.0.saturating_mul(1 << (self.refusals - 1)).min(BLIND_WAITS.1),
        };
        let aside = wait.max(told);
        self.waits = self.waits.saturating_add(aside);
        (self.waits <= WAITS_MAX).then_some(Next { aside, keeps_place: worth == Worth::Believed })
    }
}

#[cfg(test)]
mod tests {
    use super::{Worth::*, *};

    const NONE: Duration = Duration::ZERO;

    /// The waits, in seconds, until a request has failed that is refused each time, and is told this each time.
    fn waits(worth: &[Worth], told: Duration) -> Vec<u64> {
        let mut tries = Tries::default();
        let worth = worth.iter().chain(std::iter::repeat(worth.last().unwrap()));
        let nexts = worth.map_while(|&worth| {
            let next = tries.refused(worth, told)?;
            assert_eq!(next.keeps_place, worth == Believed);
            Some(next.aside.as_secs())
        });
        nexts.take(100).collect()
    }

    #[test]
    fn a_request_that_is_refused_each_time_has_failed_after_six_tries_whatever_a_refusal_is_worth() {
        assert_eq!(waits(&[Believed], NONE), [0; 5]);
        assert_eq!(waits(&[Believed, Believed, Believed, NotBelieved], NONE), [0, 0, 0, 1, 2]);
        assert_eq!(waits(&[Blind], NONE), [1, 2, 4, 8, 8]);
    }

    #[test]
    fn a_request_of_a_model_that_is_known_to_be_refused_has_failed_after_three() {
        assert_eq!(waits(&[NotBelieved], NONE), [1, 2]);
    }

    #[test]
    fn upstreams_own_wait_is_kept_within_a_bound_for_all_of_them() {
        let told = Duration::from_secs;
        assert_eq!(waits(&[Believed], told(2)), [2; 5]);
        assert_eq!(waits(&[NotBelieved], told(2)), [2, 2]);
        assert_eq!(waits(&[Blind], told(2)), [2, 2, 4, 8, 8]);
        assert_eq!(waits(&[Believed], told(12)), [12, 12]);
        assert_eq!(waits(&[Blind], told(30)), [30]);
        assert_eq!(waits(&[Believed], told(31)), [0; 0]);
    }
}
