//! Seconds, hours and days in UTC, and the rows of the sums that a range of time needs.

use std::ops::Range;

use crate::clock::UnixMs;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// The second in which a call ended, in Unix time.
pub(super) const fn second_of(ended_at: UnixMs) -> i64 {
    ended_at.div_euclid(1000)
}

/// How many hours a row of sums is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grain {
    /// One hour.
    Hour,
    /// One day in UTC.
    Day,
}

impl Grain {
    pub(super) const ALL: [Self; 2] = [Self::Hour, Self::Day];

    /// The number in the database.
    pub(super) const fn hours(self) -> i64 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }

    /// Its length in milliseconds.
    pub const fn ms(self) -> i64 {
        self.hours() * HOUR_MS
    }

    /// The beginning of the hour or the day that contains `at`.
    pub const fn start(self, at: UnixMs) -> UnixMs {
        at.div_euclid(self.ms()).saturating_mul(self.ms())
    }

    /// The end of the hour or the day before `at`, if `at` is not its beginning.
    fn end(self, at: UnixMs) -> UnixMs {
        let start = self.start(at);
        if start == at {
            at
        } else {
            start.saturating_add(self.ms())
        }
    }
}

/// The rows that a range of time needs: those of its whole days, and those of the hours at its
/// edges. An hour that is in the range in part counts as a whole. `now` tells which day has no
/// later hours yet.
pub(super) fn rows(
    range: Range<UnixMs>,
    smallest: Grain,
    now: UnixMs,
) -> Vec<(Grain, Range<UnixMs>)> {
    let from = Grain::Hour.start(range.start);
    let until = Grain::Hour.end(range.end);
    let first_day = Grain::Day.end(from);
    // The rest of today is empty. So the row of the day is that of its hours.
    let days_end = if until > now {
        Grain::Day.end(until)
    } else {
        Grain::Day.start(until)
    };
    let spans = if smallest == Grain::Hour || first_day >= days_end {
        vec![(Grain::Hour, from..until)]
    } else {
        vec![
            (Grain::Hour, from..first_day),
            (Grain::Day, first_day..days_end),
            (Grain::Hour, days_end..until),
        ]
    };
    let is_used = |(_, span): &(Grain, Range<UnixMs>)| !span.is_empty();
    spans.into_iter().filter(is_used).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * HOUR_MS;

    #[test]
    fn whole_days_have_one_row_and_the_edges_have_hours() {
        let (day, hour) = (DAY_MS, HOUR_MS);
        let now = 20 * day;
        let range = 2 * day - 2 * hour + 5..5 * day + hour + 1;
        let expected = vec![
            (Grain::Hour, 2 * day - 2 * hour..2 * day),
            (Grain::Day, 2 * day..5 * day),
            (Grain::Hour, 5 * day..5 * day + 2 * hour),
        ];
        assert_eq!(rows(range.clone(), Grain::Day, now), expected);
        let hours = vec![(Grain::Hour, 2 * day - 2 * hour..5 * day + 2 * hour)];
        assert_eq!(rows(range, Grain::Hour, now), hours);
        let short = day + 1..day + 2;
        let one = vec![(Grain::Hour, day..day + hour)];
        assert_eq!(rows(short, Grain::Day, now), one);
    }

    #[test]
    fn today_is_a_whole_day_if_the_range_has_its_present() {
        let now = 5 * DAY_MS + 3 * HOUR_MS + 7;
        let today = vec![(Grain::Day, 4 * DAY_MS..6 * DAY_MS)];
        assert_eq!(rows(4 * DAY_MS..now + 1, Grain::Day, now), today);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_has_no_rows() {
        let backwards = Range {
            start: 9 * DAY_MS,
            end: DAY_MS,
        };
        assert_eq!(rows(backwards, Grain::Day, 0), vec![]);
    }
}
