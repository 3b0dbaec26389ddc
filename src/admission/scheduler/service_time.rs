//! How long requests hold their units, and how long they wait. The estimates of waits and of the
//! cost of new requests come from here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The assumed service time before any request has ended.
const INITIAL_SERVICE_TIME: Duration = Duration::from_secs(10);

/// How many finished waits are kept.
const WAITS_MAX: usize = 512;

/// The scheduler rejects a request because of its estimated wait only after this many requests
/// have ended.
const RELIABLE_AFTER_REQUESTS: u32 = 20;

/// The weight of old observations: the mean covers about this many units.
const MEMORY_UNITS: f64 = 100.0;

/// An estimate that is infinite or not a number counts as one day, longer than any useful wait.
const ESTIMATE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The mean time for which a unit is held: a moving average, weighted by units.
#[derive(Debug, Default)]
pub(super) struct ServiceTime {
    unit_seconds: f64,
    units: f64,
    requests: u32,
}

impl ServiceTime {
    /// Adds a request that held `cost` units for `held`.
    pub(super) fn record(&mut self, cost: u32, held: Duration) {
        let cost = f64::from(cost);
        let decay = (1.0 - cost / MEMORY_UNITS).max(0.0);
        self.unit_seconds = self.unit_seconds * decay + cost * held.as_secs_f64();
        self.units = self.units * decay + cost;
        self.requests = self.requests.saturating_add(1);
    }

    pub(super) fn mean(&self) -> Option<Duration> {
        (self.units > 0.0).then(|| duration(self.unit_seconds / self.units))
    }
}

/// The service time and the waits of all requests.
#[derive(Debug, Default)]
pub(super) struct ServiceStats {
    service_time: ServiceTime,
    /// When each wait ended, and how long it was.
    waits: VecDeque<(Instant, Duration)>,
}

impl ServiceStats {
    /// Adds a request that held `cost` units for `held`.
    pub(super) fn record_service(&mut self, cost: u32, held: Duration) {
        self.service_time.record(cost, held);
    }

    /// Adds a wait that ended at `now`.
    pub(super) fn record_wait(&mut self, now: Instant, wait: Duration) {
        if self.waits.len() == WAITS_MAX {
            self.waits.pop_front();
        }
        self.waits.push_back((now, wait));
    }

    /// The mean service time, or an assumption if no request has ended.
    pub(super) fn service_time(&self) -> Duration {
        self.service_time.mean().unwrap_or(INITIAL_SERVICE_TIME)
    }

    /// Whether enough requests have ended to reject a request because of an estimate.
    pub(super) fn is_reliable(&self) -> bool {
        self.service_time.requests >= RELIABLE_AFTER_REQUESTS
    }

    /// The estimated time until `units` units become free, if all `capacity` units are in use.
    pub(super) fn time_to_free(&self, units: u64, capacity: u32) -> Duration {
        let service_seconds = self.service_time().as_secs_f64();
        duration(service_seconds * units as f64 / f64::from(capacity.max(1)))
    }

    /// The recent waits. `waiting` are the arrival times of the waiting requests, in ascending
    /// order.
    ///
    /// While requests wait, the waits so far of these requests count too, and older waits count
    /// only if they ended after the first of these requests arrived. Otherwise waits from a quiet
    /// time would hide that requests wait now.
    pub(super) fn recent_waits(
        &self,
        now: Instant,
        waiting: impl Iterator<Item = Instant>,
    ) -> WaitTimes {
        let mut waiting = waiting.peekable();
        let since = waiting.peek().copied();
        let finished = self
            .waits
            .iter()
            .filter(|(end, _)| since.is_none_or(|since| *end > since))
            .map(|(_, wait)| *wait);
        let mut waits: Vec<_> = finished
            .chain(waiting.map(|arrived| now.saturating_duration_since(arrived)))
            .collect();
        waits.sort_unstable();
        WaitTimes(waits)
    }
}

/// Wait times in ascending order.
#[derive(Debug)]
pub(super) struct WaitTimes(Vec<Duration>);

impl WaitTimes {
    /// The wait that `percent` percent of the requests did not exceed.
    pub(super) fn percentile(&self, percent: usize) -> Option<Duration> {
        self.0
            .get((self.0.len() * percent / 100).min(self.0.len().checked_sub(1)?))
            .copied()
    }
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(ESTIMATE_MAX, |time| time.min(ESTIMATE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_mean_is_weighted_by_units_and_forgets_old_requests() {
        let mut service = ServiceTime::default();
        assert_eq!(service.mean(), None);
        service.record(1, SECOND);
        service.record(4, SECOND * 6);
        let mean = service.mean().unwrap().as_secs_f64();
        assert!(
            (mean - 5.0).abs() < 0.1,
            "{mean}: each unit of the large request counts as one of the small request"
        );
        for _ in 0..500 {
            service.record(1, SECOND * 2);
        }
        let mean = service.mean().unwrap().as_secs_f64();
        assert!((mean - 2.0).abs() < 0.1, "{mean}");
    }

    #[test]
    fn only_recent_waits_are_reported() {
        let mut stats = ServiceStats::default();
        let now = Instant::now();
        let percentile = |stats: &ServiceStats, percent| {
            stats
                .recent_waits(now, std::iter::empty())
                .percentile(percent)
        };
        assert_eq!(percentile(&stats, 50), None);
        (0..WAITS_MAX).for_each(|_| stats.record_wait(now, SECOND * 9));
        (0..WAITS_MAX as u32).for_each(|wait| stats.record_wait(now, SECOND * wait));
        assert_eq!(percentile(&stats, 50), Some(SECOND * 256));
        assert_eq!(percentile(&stats, 99), Some(SECOND * 506));
        assert_eq!(percentile(&stats, 100), Some(SECOND * 511));
    }
}
