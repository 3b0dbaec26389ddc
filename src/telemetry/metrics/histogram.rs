//! A histogram that calls share without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bounds of the buckets of a kind of value, and its unit.
#[derive(Debug)]
pub(super) struct Scale {
    /// The upper bounds, in the unit in which values are recorded.
    bounds: &'static [u64],
    /// How many of these units are one unit of the metric.
    per_unit: f64,
}

/// Microseconds, as seconds: from 10 ms, doubled up to 1310.72 s. Answers take minutes.
pub(super) const DURATION: Scale = Scale {
    bounds: &[
        10_000,
        20_000,
        40_000,
        80_000,
        160_000,
        320_000,
        640_000,
        1_280_000,
        2_560_000,
        5_120_000,
        10_240_000,
        20_480_000,
        40_960_000,
        81_920_000,
        163_840_000,
        327_680_000,
        655_360_000,
        1_310_720_000,
    ],
    per_unit: 1e6,
};

/// Microseconds, as seconds, for the first token.
pub(super) const FIRST_TOKEN: Scale = Scale {
    bounds: &[
        1_000,
        5_000,
        10_000,
        20_000,
        40_000,
        60_000,
        80_000,
        100_000,
        250_000,
        500_000,
        750_000,
        1_000_000,
        2_500_000,
        5_000_000,
        7_500_000,
        10_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
        300_000_000,
        600_000_000,
    ],
    per_unit: 1e6,
};

/// Microseconds, as seconds, for each token after the first.
pub(super) const OUTPUT_TOKEN: Scale = Scale {
    bounds: &[
        2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000,
        500_000, 750_000, 1_000_000, 2_500_000,
    ],
    per_unit: 1e6,
};

/// Milliseconds, as seconds, for the wait for units.
pub(super) const WAIT: Scale = Scale {
    bounds: &[
        1, 10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000,
        600_000,
    ],
    per_unit: 1e3,
};

/// Tokens: powers of 4.
pub(super) const TOKENS: Scale = Scale {
    bounds: &[
        1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216,
        67_108_864,
    ],
    per_unit: 1.0,
};

/// Bytes of requests: powers of 4 from 256 B to 64 MiB.
pub(super) const BYTES: Scale = Scale {
    bounds: &[
        256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
    ],
    per_unit: 1.0,
};

/// Counts values in buckets.
#[derive(Debug)]
pub(super) struct Histogram {
    scale: &'static Scale,
    /// One for each bound, and one for larger values.
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(scale: &'static Scale) -> Self {
        let buckets = scale.bounds.len() + 1;
        Self {
            scale,
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value, in the unit of the scale's bounds.
    pub(super) fn record(&self, value: u64) {
        let place = self.scale.bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(value, Ordering::Relaxed);
        }
    }
}

/// The counts of one histogram, or of several together.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    scale: &'static Scale,
    buckets: Vec<u64>,
    sum: u64,
}

impl Counts {
    pub(super) fn new(scale: &'static Scale) -> Self {
        Self {
            scale,
            buckets: vec![0; scale.bounds.len() + 1],
            sum: 0,
        }
    }

    /// Adds the counts of a histogram with the same scale.
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.load(Ordering::Relaxed);
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
    }

    /// How many values were counted.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The sum of the values, in the unit of the metric.
    #[expect(clippy::cast_precision_loss, reason = "sums for people and graphs")]
    pub(super) fn sum(&self) -> f64 {
        self.sum as f64 / self.scale.per_unit
    }

    /// Each bucket with its upper bound in the unit of the metric. The last one has no bound.
    #[expect(clippy::cast_precision_loss, reason = "all bounds are exact")]
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.scale.bounds.iter();
        bounds
            .map(|bound| *bound as f64 / self.scale.per_unit)
            .chain([f64::INFINITY])
            .zip(self.buckets.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_fits() {
        let histogram = Histogram::new(&WAIT);
        for value in [0, 1, 2, 600_000, 600_001] {
            histogram.record(value);
        }
        let mut counts = Counts::new(&WAIT);
        counts.add(&histogram);
        let buckets = counts.buckets();
        assert_eq!(buckets[0], (0.001, 2));
        assert_eq!(buckets[1], (0.01, 1));
        assert_eq!(buckets[14], (600.0, 1));
        assert_eq!(buckets[15], (f64::INFINITY, 1));
        assert_eq!((counts.count(), counts.sum()), (5, 1200.004));
    }

    #[test]
    fn bounds_are_in_order() {
        for scale in [DURATION, FIRST_TOKEN, OUTPUT_TOKEN, WAIT, TOKENS, BYTES] {
            assert!(scale.bounds.is_sorted_by(|a, b| a < b));
        }
    }
}
