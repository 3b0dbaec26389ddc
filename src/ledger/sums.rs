//! Sums of calls, as the table `featherwire_usage` has them.

use std::fmt::Write as _;

use super::{
    histogram::{COLUMNS, Histogram},
    record::{Ending, Record, TokenSource},
};

/// Sums of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// How many calls ended.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that their caller left.
    pub cancelled: u64,
    /// Those whose tokens the gateway has counted, because the answer did not tell them.
    pub counted: u64,
    /// The tokens of prompts.
    pub prompt_tokens: u64,
    /// The tokens of answers.
    pub completion_tokens: u64,
    /// Those of the answers that are reasoning.
    pub reasoning_tokens: u64,
    /// Those of the prompts that the upstream had in its cache.
    pub cached_tokens: u64,
    /// Units, multiplied by the time for which they were held, in milliseconds.
    pub unit_ms: u64,
    /// The time that calls waited for units, in milliseconds.
    pub waited_ms: u64,
    /// How long the calls took that finished.
    pub durations: Histogram,
    /// When their first token came, after their arrival. Complete answers are not counted.
    pub first_tokens: Histogram,
}

/// The columns of the sums that are not histograms, in the order of [`Sums::counters`].
const COUNTERS: [&str; 10] = [
    "calls",
    "failed",
    "cancelled",
    "counted",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "unit_ms",
    "waited_ms",
];

/// How many columns the sums have.
pub(super) const SUM_COLUMNS: usize = COUNTERS.len() + 2 * COLUMNS;

impl Sums {
    /// The names of the columns, in the order of [`values`](Self::values).
    pub(super) fn columns() -> impl Iterator<Item = String> {
        let histogram = |name: &'static str| {
            (0..COLUMNS).map(move |number| {
                let mut column = String::from(name);
                // Writing to a String can't fail.
                let _ = write!(column, "_{number}");
                column
            })
        };
        COUNTERS
            .into_iter()
            .map(str::to_owned)
            .chain(histogram("duration"))
            .chain(histogram("first_token"))
    }

    /// The values of all columns.
    pub(super) fn values(&self) -> impl Iterator<Item = i64> {
        let histograms = self.durations.0.into_iter().chain(self.first_tokens.0);
        self.counters()
            .into_iter()
            .chain(histograms)
            .map(|value| i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// The sums with these values of all columns. Missing values are 0.
    pub(super) fn from_values(values: impl IntoIterator<Item = i64>) -> Self {
        let mut sums = Self::default();
        let mut values = values
            .into_iter()
            .map(|value| u64::try_from(value).unwrap_or_default());
        for (place, value) in sums.counters_mut().into_iter().zip(values.by_ref()) {
            *place = value;
        }
        let histograms = sums.durations.0.iter_mut();
        for (place, value) in histograms.chain(&mut sums.first_tokens.0).zip(values) {
            *place = value;
        }
        sums
    }

    /// Adds a call.
    pub(super) fn add(&mut self, record: &Record) {
        let tokens = &record.tokens;
        let counted = u64::from(tokens.source == TokenSource::Counted);
        let (failed, cancelled) = match record.ending {
            Ending::Finished => {
                self.durations.add(record.duration_ms);
                record
                    .first_token_ms
                    .iter()
                    .for_each(|ms| self.first_tokens.add(*ms));
                (0, 0)
            }
            Ending::Failed => (1, 0),
            Ending::Cancelled => (0, 1),
        };
        let added = [
            1,
            failed,
            cancelled,
            counted,
            tokens.prompt,
            tokens.completion,
            tokens.reasoning,
            tokens.cached,
            record.unit_ms,
            record.waited_ms,
        ];
        for (place, added) in self.counters_mut().into_iter().zip(added) {
            *place = place.saturating_add(added);
        }
    }

    /// Adds the sums of other calls.
    pub fn merge(&mut self, other: &Self) {
        for (place, added) in self.counters_mut().into_iter().zip(other.counters()) {
            *place = place.saturating_add(added);
        }
        self.durations.merge(&other.durations);
        self.first_tokens.merge(&other.first_tokens);
    }

    fn counters(&self) -> [u64; COUNTERS.len()] {
        [
            self.calls,
            self.failed,
            self.cancelled,
            self.counted,
            self.prompt_tokens,
            self.completion_tokens,
            self.reasoning_tokens,
            self.cached_tokens,
            self.unit_ms,
            self.waited_ms,
        ]
    }

    fn counters_mut(&mut self) -> [&mut u64; COUNTERS.len()] {
        [
            &mut self.calls,
            &mut self.failed,
            &mut self.cancelled,
            &mut self.counted,
            &mut self.prompt_tokens,
            &mut self.completion_tokens,
            &mut self.reasoning_tokens,
            &mut self.cached_tokens,
            &mut self.unit_ms,
            &mut self.waited_ms,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_column_has_a_value() {
        let values: Vec<_> = (1..=SUM_COLUMNS).map(|value| value as i64).collect();
        let sums = Sums::from_values(values.clone());
        assert_eq!((sums.calls, sums.waited_ms), (1, 10));
        assert_eq!(sums.values().collect::<Vec<_>>(), values);
        let columns: Vec<_> = Sums::columns().collect();
        assert_eq!(columns.len(), SUM_COLUMNS);
        assert_eq!(columns[10], "duration_0");
        assert_eq!(columns[SUM_COLUMNS - 1], "first_token_21");
        let mut twice = sums;
        twice.merge(&sums);
        let doubled: Vec<_> = values.iter().map(|value| 2 * value).collect();
        assert_eq!(twice.values().collect::<Vec<_>>(), doubled);
    }
}
