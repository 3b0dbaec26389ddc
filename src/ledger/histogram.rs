//! Histograms of times, and percentiles of them.
//!
//! A class has the times up to a bound, and each bound is √2 times the one before, from 1 ms on.
//! Two classes share a column of the database: sums over many rows cost a time for each column.
//! Adding two columns adds both classes.

/// How many classes a histogram has. The last one has all times of more than half an hour.
pub(super) const CLASSES: usize = 2 * COLUMNS;

/// How many columns of the database a histogram has.
pub(super) const COLUMNS: usize = 22;

/// The bits of the first class of a column.
const CLASS_BITS: u32 = 32;

/// The counts of a histogram, as columns of the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram(pub(super) [u64; COLUMNS]);

impl Histogram {
    /// Counts a time.
    pub(super) fn add(&mut self, ms: u64) {
        let class = class(ms);
        if let Some(column) = self.0.get_mut(class / 2) {
            *column = column.saturating_add(1 << (CLASS_BITS * (class % 2) as u32));
        }
    }

    /// Adds the counts of `other`.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = own.saturating_add(other);
        }
    }

    /// The time in milliseconds that a part of the times does not exceed, such as 0.95 of them. It
    /// is exact to its class, within which it is estimated. `None` without times.
    pub fn percentile(&self, part: f64) -> Option<u64> {
        let total: u64 = self.classes().sum();
        if total == 0 {
            return None;
        }
        let rank = (part.clamp(0.0, 1.0) * total as f64).max(1.0);
        let mut before = 0;
        for (class, count) in self.classes().enumerate() {
            if count > 0 && (before + count) as f64 >= rank {
                let within = (rank - before as f64) / count as f64;
                // The classes are equal in the logarithm of the time.
                let exponent = (class as f64 - 1.0 + within) / 2.0;
                return Some(exponent.exp2().round() as u64);
            }
            before += count;
        }
        None
    }

    fn classes(&self) -> impl Iterator<Item = u64> {
        self.0
            .into_iter()
            .flat_map(|column| [column & u64::from(u32::MAX), column >> CLASS_BITS])
    }
}

/// The class of a time in milliseconds: the smallest whose bound is at least the time.
fn class(ms: u64) -> usize {
    // The bound of class C is 2^(C / 2), so its square is 2^C.
    let square = u128::from(ms.max(1)).pow(2);
    let class = u128::BITS - (square - 1).leading_zeros();
    (class as usize).min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_ends_at_its_bound() {
        for (ms, expected) in [
            (0, 0),
            (1, 0),
            (2, 2),
            (3, 4),
            (4, 4),
            (5, 5),
            (6, 6),
            (1000, 20),
            (1024, 20),
            (1025, 21),
            (1448, 21),
            (1449, 22),
            (1 << 21, 42),
            (u64::MAX, 43),
        ] {
            assert_eq!(class(ms), expected, "{ms}");
        }
    }

    #[test]
    fn a_percentile_is_within_the_class_of_its_time() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for ms in 1..=1000 {
            histogram.add(ms);
        }
        for (part, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (0.0, 1.0)] {
            let found = histogram.percentile(part).unwrap() as f64;
            let ratio = found / expected;
            assert!((0.8..1.25).contains(&ratio), "{part}: {found}");
        }
    }

    #[test]
    fn sums_of_columns_keep_both_classes() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        for _ in 0..1000 {
            one.add(5);
            other.add(6);
            other.add(4);
        }
        one.merge(&other);
        let counts: Vec<_> = one.classes().collect();
        assert_eq!(counts[4..7], [1000; 3]);
        assert_eq!(counts.iter().sum::<u64>(), 3000);
    }
}
