//! How much a key may use in a minute: the generic cell rate algorithm, in one atomic number.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::error::RateState;

/// The time of the limit, in nanoseconds.
pub(super) const MINUTE_NS: u64 = 60_000_000_000;

/// The longest time for which one call can use up a limit, in nanoseconds: a day.
const PART_NS_MAX: u64 = 24 * 60 * MINUTE_NS;

/// The calls, or the tokens, of one key in the last minute.
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

    /// Counts `amount` at `now`, if a `limit` in a minute allows it.
    ///
    /// # Errors
    /// The limit is reached. Nothing is counted.
    pub(super) fn take(
        &self,
        limit: u64,
        amount: u64,
        now: Instant,
    ) -> Result<RateState, RateState> {
        let now_ns = nanoseconds(now.saturating_duration_since(self.since));
        let part_ns = part(limit, amount);
        let state = |used_until_ns: u64| {
            let ahead_ns = used_until_ns.saturating_sub(now_ns);
            state(limit, ahead_ns, part_ns)
        };
        let next = |used_until_ns: u64| {
            let next = used_until_ns.max(now_ns).saturating_add(part_ns);
            (next - now_ns <= MINUTE_NS).then_some(next)
        };
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        match self.used_until_ns.fetch_update(order.0, order.1, next) {
            Ok(before) => Ok(state(before.max(now_ns).saturating_add(part_ns))),
            Err(before) => Err(state(before)),
        }
    }

    /// Takes over how much is used, as it is known elsewhere: the time is `ahead_ns` ahead of `now`.
    pub(super) fn set_ahead(&self, ahead_ns: u64, now: Instant) {
        let now_ns = nanoseconds(now.saturating_duration_since(self.since));
        let until = now_ns.saturating_add(ahead_ns);
        self.used_until_ns.store(until, Ordering::Relaxed);
    }

    /// What a `limit` in a minute leaves at `now`. Counts nothing.
    #[cfg(test)]
    fn look(&self, limit: u64, now: Instant) -> RateState {
        match self.take(limit, 0, now) {
            Ok(state) | Err(state) => state,
        }
    }

    /// Corrects what was counted for a call: it has `used` another amount than it has `taken` that
    /// long `ago`. What it has used above that is taken from the calls that follow. What it has not
    /// used is given back, as far as it still counts: a part of the limit comes back with the time,
    /// and must not come back twice.
    pub(super) fn settle(&self, limit: u64, taken: u64, used: u64, ago: Duration) {
        let (owed_ns, free_ns) = correction(limit, taken, used, ago);
        let next = |until: u64| Some(until.saturating_add(owed_ns).saturating_sub(free_ns));
        let order = (Ordering::Relaxed, Ordering::Relaxed);
        // The update always has a value.
        let _ = self.used_until_ns.fetch_update(order.0, order.1, next);
    }
}

/// How much a call owes, and how much is free, in nanoseconds, if it has `used` another amount than
/// it has `taken` that long `ago`. One of them is 0.
pub(super) fn correction(limit: u64, taken: u64, used: u64, ago: Duration) -> (u64, u64) {
    let (taken_ns, used_ns) = (part(limit, taken), part(limit, used));
    let owed_ns = used_ns.saturating_sub(taken_ns);
    // If the call had taken `used`, this would be free by now as well.
    let free_ns = taken_ns.saturating_sub(used_ns.max(nanoseconds(ago)));
    (owed_ns, free_ns)
}

/// The state of a limit whose time is `ahead_ns` ahead, for calls like one with `part_ns`.
pub(super) fn state(limit: u64, ahead_ns: u64, part_ns: u64) -> RateState {
    let free_ns = u128::from(MINUTE_NS.saturating_sub(ahead_ns));
    let remaining = free_ns * u128::from(limit) / u128::from(MINUTE_NS);
    let until = ahead_ns.saturating_add(part_ns).saturating_sub(MINUTE_NS);
    RateState {
        limit,
        share: None,
        remaining: u64::try_from(remaining).unwrap_or(limit).min(limit),
        reset: Duration::from_nanos(ahead_ns),
        retry_after: Duration::from_nanos(until),
    }
}

/// The part of a minute that a limit allows an amount, in nanoseconds. At most a day, so that no
/// sum overflows.
pub(super) fn part(limit: u64, amount: u64) -> u64 {
    let part_ns = u128::from(MINUTE_NS) * u128::from(amount) / u128::from(limit.max(1));
    u64::try_from(part_ns)
        .unwrap_or(PART_NS_MAX)
        .min(PART_NS_MAX)
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
            assert_eq!(rate.take(4, 1, at(100)).unwrap().remaining, remaining);
        }
        let refused = rate.take(4, 1, at(100)).unwrap_err();
        assert_eq!(refused.remaining, 0);
        assert_eq!(refused.retry_after, Duration::from_secs(15));
        assert_eq!(refused.reset, Duration::from_secs(60));
        assert!(rate.take(4, 1, at(114)).is_err());
        assert!(rate.take(4, 1, at(115)).is_ok() && rate.take(4, 1, at(115)).is_err());
        assert_eq!(rate.take(4, 1, at(1000)).unwrap().remaining, 3);
        // A clock that seems to go back gives nothing away.
        assert!(rate.take(4, 1, at(0)).is_err());
    }

    #[test]
    fn another_limit_counts_what_was_used_before() {
        let rate = Rate::new();
        let now = rate.since + Duration::from_secs(1);
        for _ in 0..30 {
            rate.take(60, 1, now).unwrap();
        }
        assert!(rate.take(2, 1, now).is_ok());
        assert!(rate.take(2, 1, now).is_err());
    }

    #[test]
    fn callers_that_race_get_no_more_than_the_limit() {
        let rate = Rate::new();
        let now = rate.since;
        let passed: usize = thread::scope(|scope| {
            let take = || (0..1000).filter(|_| rate.take(500, 1, now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).sum()
        });
        assert_eq!(passed, 500);
    }

    #[test]
    fn what_a_call_has_not_used_is_free_again_and_what_it_used_above_is_owed() {
        let rate = Rate::new();
        let now = rate.since;
        assert_eq!(rate.take(600, 500, now).unwrap().remaining, 100);
        assert!(rate.take(600, 101, now).is_err());
        rate.settle(600, 500, 100, Duration::ZERO);
        assert_eq!(rate.take(600, 500, now).unwrap().remaining, 0);
        rate.settle(600, 500, 800, Duration::ZERO);
        // 900 of 600 tokens: half a minute is owed, and one more token needs a tenth of a second.
        let refused = rate.take(600, 1, now).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_millis(30_100));
        // No amount overflows.
        rate.settle(1, 0, u64::MAX, Duration::ZERO);
        assert!(rate.take(1, u64::MAX, now).is_err());
    }

    #[test]
    fn what_has_come_back_with_the_time_does_not_come_back_again() {
        // Ten are used, and ten come back in each second.
        for (after, free) in [(0, 590), (1, 600), (30, 600), (60, 600), (600, 600)] {
            let rate = Rate::new();
            let ago = Duration::from_secs(after);
            rate.take(600, 600, rate.since).unwrap();
            rate.settle(600, 600, 10, ago);
            let now = rate.since + ago;
            assert_eq!(rate.look(600, now).remaining, free, "after {after} s");
        }
        // Another call has taken what has come back in the meantime.
        let rate = Rate::new();
        rate.take(600, 600, rate.since).unwrap();
        let now = rate.since + Duration::from_secs(60);
        rate.take(600, 600, now).unwrap();
        rate.settle(600, 600, 10, Duration::from_secs(60));
        assert!(rate.take(600, 1, now).is_err());
    }
}
