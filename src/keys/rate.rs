//! How often a key may call: the generic cell rate algorithm, in one atomic number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::error::RateState;

/// The time of the limit, in nanoseconds.
const MINUTE_NS: u64 = 60_000_000_000;

/// The calls of one key in the last minute.
///
/// Each call moves a time forward by the part of a minute that the limit allows it. As long as this
/// time is less than a minute ahead, calls pass. So a key that was idle may use its whole limit at
/// once, and then one more call for each such part.
#[derive(Debug)]
pub(super) struct Rate {
    since: Instant,
    /// In nanoseconds after `since`.
    used_until_ns: AtomicU64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            used_until_ns: AtomicU64::new(0),
        }
    }

    /// Counts a call at `now`, if `limit` calls in a minute allow it.
    ///
    /// # Errors
    /// The limit is reached. Nothing is counted.
    pub(super) fn take(&self, limit: u32, now: Instant) -> Result<RateState, RateState> {
        let now_ns = nanoseconds(now.saturating_duration_since(self.since));
        let part_ns = MINUTE_NS / u64::from(limit.max(1));
        let state = |used_until_ns: u64| {
            let ahead_ns = used_until_ns.saturating_sub(now_ns);
            let remaining = MINUTE_NS.saturating_sub(ahead_ns) / part_ns.max(1);
            RateState {
                limit,
                remaining: u32::try_from(remaining).unwrap_or(limit).min(limit),
                reset: Duration::from_nanos(ahead_ns),
                retry_after: Duration::from_nanos((ahead_ns + part_ns).saturating_sub(MINUTE_NS)),
            }
        };
        let next = |used_until_ns: u64| {
            let next = used_until_ns.max(now_ns) + part_ns;
            (next - now_ns <= MINUTE_NS).then_some(next)
        };
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        match self.used_until_ns.fetch_update(order.0, order.1, next) {
            Ok(before) => Ok(state(before.max(now_ns) + part_ns)),
            Err(before) => Err(state(before)),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_whole_minute_may_be_used_at_once_and_then_comes_back_part_by_part() {
        let rate = Rate::new();
        let at = |seconds: u64| rate.since + Duration::from_secs(seconds);
        for remaining in [3, 2, 1, 0] {
            assert_eq!(rate.take(4, at(100)).unwrap().remaining, remaining);
        }
        let refused = rate.take(4, at(100)).unwrap_err();
        assert_eq!(refused.remaining, 0);
        assert_eq!(refused.retry_after, Duration::from_secs(15));
        assert_eq!(refused.reset, Duration::from_secs(60));
        assert!(rate.take(4, at(114)).is_err());
        assert!(rate.take(4, at(115)).is_ok() && rate.take(4, at(115)).is_err());
        assert_eq!(rate.take(4, at(1000)).unwrap().remaining, 3);
        // A clock that seems to go back gives nothing away.
        assert!(rate.take(4, at(0)).is_err());
    }

    #[test]
    fn another_limit_counts_what_was_used_before() {
        let rate = Rate::new();
        let now = rate.since + Duration::from_secs(1);
        for _ in 0..30 {
            rate.take(60, now).unwrap();
        }
        assert!(rate.take(2, now).is_ok());
        assert!(rate.take(2, now).is_err());
    }

    #[test]
    fn callers_that_race_get_no_more_than_the_limit() {
        let rate = Rate::new();
        let now = rate.since;
        let passed: usize = thread::scope(|scope| {
            let take = || (0..1000).filter(|_| rate.take(500, now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(passed, 500);
    }
}
