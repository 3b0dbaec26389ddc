//! How long requests take: what is expected of the next ones, and about when a waiter will start.

use std::{
    collections::VecDeque,
    ops::{Add, Sub},
    time::{Duration, Instant},
};

/// What a request is expected to take before any has ended.
const SERVICE_GUESS: Duration = Duration::from_secs(10);

/// How many of the last waits are remembered.
const WAITS_MAX: usize = 512;

/// An estimate that is backed by fewer ended requests than this is nobody's reason to be refused.
const ENDED_MIN: u32 = 20;

/// How fast a mean forgets: it is about that of the last so many units.
const MEMORY_UNITS: f64 = 100.0;

/// Unit-seconds, counted in unit-nanoseconds: what a request takes of the plan. 64 bits hold five
/// years of 100 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Work(u64);

impl Work {
    pub(super) const fn unit_seconds(unit_seconds: u64) -> Self {
        Self(unit_seconds * 1_000_000_000)
    }

    pub(super) fn of(cost: u32, held: Duration) -> Self {
        let nanos = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        Self(nanos.saturating_mul(u64::from(cost)))
    }

    pub(super) fn times(per_weight: u64, weight: u32) -> Self {
        Self(per_weight.saturating_mul(u64::from(weight)))
    }

    pub(super) fn per(self, weight: u32) -> u64 {
        self.0 / u64::from(weight.max(1))
    }

    pub(super) fn share(self, share: f64) -> Self {
        Self((self.0 as f64 * share) as u64)
    }

    pub(super) fn as_unit_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Work {
    type Output = Self;

    /// Never less than nothing.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// How long a unit is held, on the average of late.
#[derive(Debug, Default)]
pub(super) struct ServiceTime {
    unit_seconds: f64,
    units: f64,
    ended: u32,
}

impl ServiceTime {
    pub(super) fn observe(&mut self, cost: u32, held: Duration) {
        let cost = f64::from(cost);
        let kept = (1.0 - cost / MEMORY_UNITS).max(0.0);
        self.unit_seconds = self.unit_seconds * kept + cost * held.as_secs_f64();
        self.units = self.units * kept + cost;
        self.ended = self.ended.saturating_add(1);
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        (self.units > 0.0).then(|| seconds(self.unit_seconds / self.units))
    }
}

/// What all requests together are like.
#[derive(Debug, Default)]
pub(super) struct ServiceStats {
    service: ServiceTime,
    /// When each ended, and how long it was.
    waits: VecDeque<(Instant, Duration)>,
}

impl ServiceStats {
    pub(super) fn ended(&mut self, cost: u32, held: Duration) {
        self.service.observe(cost, held);
    }

    pub(super) fn waited(&mut self, now: Instant, wait: Duration) {
        if self.waits.len() == WAITS_MAX {
            self.waits.pop_front();
        }
        self.waits.push_back((now, wait));
    }

    pub(super) fn service(&self) -> Duration {
        self.service.mean().unwrap_or(SERVICE_GUESS)
    }

    /// Whether enough has been seen to refuse somebody for it.
    pub(super) fn is_known(&self) -> bool {
        self.service.ended >= ENDED_MIN
    }

    /// How long it takes until so many of these units have been given back, all of them being held.
    pub(super) fn until_freed(&self, units: u64, of: u32) -> Duration {
        seconds(self.service().as_secs_f64() * units as f64 / f64::from(of.max(1)))
    }

    /// The waits of late: the last 512 that ended. While requests wait, which arrived at the times
    /// `waiting` in ascending order, their waits so far count too, and of the others only those
    /// that ended since the first of them arrived: older ones tell of calmer times.
    pub(super) fn waits(&self, now: Instant, waiting: impl Iterator<Item = Instant>) -> WaitTimes {
        let mut waiting = waiting.peekable();
        let since = waiting.peek().copied();
        let ended = self
            .waits
            .iter()
            .filter(|(end, _)| since.is_none_or(|since| *end > since))
            .map(|(_, wait)| *wait);
        let mut waits: Vec<_> = ended
            .chain(waiting.map(|arrived| now.saturating_duration_since(arrived)))
            .collect();
        waits.sort_unstable();
        WaitTimes(waits)
    }
}

/// Waits, the shortest first.
#[derive(Debug)]
pub(super) struct WaitTimes(Vec<Duration>);

impl WaitTimes {
    /// The wait that so many of 100 didn't exceed.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        self.0
            .get((self.0.len() * percent / 100).min(self.0.len().checked_sub(1)?))
            .copied()
    }
}

/// The float may be anything: what is no duration is the longest one that is of any use here, a
/// day.
fn seconds(seconds: f64) -> Duration {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    Duration::try_from_secs_f64(seconds).map_or(DAY, |wait| wait.min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_mean_is_by_units_and_forgets() {
        let mut service = ServiceTime::default();
        assert_eq!(service.mean(), None);
        service.observe(1, SECOND);
        service.observe(4, SECOND * 6);
        let mean = service.mean().unwrap().as_secs_f64();
        assert!(
            (mean - 5.0).abs() < 0.1,
            "{mean}: a unit of the big one counts like one of the small one"
        );
        for _ in 0..500 {
            service.observe(1, SECOND * 2);
        }
        let mean = service.mean().unwrap().as_secs_f64();
        assert!((mean - 2.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn waits_are_told_of_late_only() {
        let mut pace = ServiceStats::default();
        let now = Instant::now();
        let percentile =
            |pace: &ServiceStats, percent| pace.waits(now, std::iter::empty()).percentile(percent);
        assert_eq!(percentile(&pace, 50), None);
        (0..WAITS_MAX).for_each(|_| pace.waited(now, SECOND * 9));
        (0..WAITS_MAX as u32).for_each(|wait| pace.waited(now, SECOND * wait));
        assert_eq!(percentile(&pace, 50), Some(SECOND * 256));
        assert_eq!(percentile(&pace, 99), Some(SECOND * 506));
        assert_eq!(percentile(&pace, 100), Some(SECOND * 511));
    }
}
