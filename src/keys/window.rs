//! The days, weeks and months of budgets, in UTC.

use super::{budget::BudgetPeriod, clock::UnixMs};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl BudgetPeriod {
    /// The number of the window that contains `at`. Later windows have larger numbers.
    pub fn window(self, at: UnixMs) -> i64 {
        let day = at.div_euclid(DAY_MS);
        match self {
            Self::Day => day,
            // The first day of Unix time was a Thursday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Month => month(day),
            Self::Total => 0,
        }
    }

    /// When the window after `window` begins. `None` if there is none.
    pub fn renews_at(self, window: i64) -> Option<UnixMs> {
        let day = match self {
            Self::Day => window + 1,
            Self::Week => (window + 1) * 7 - 3,
            Self::Month => first_day(window + 1),
            Self::Total => return None,
        };
        Some(day * DAY_MS)
    }
}

/// The days of a cycle of 400 years, after which the calendar repeats.
const CYCLE_DAYS: i64 = 146_097;

/// The days from 1 March of the year 0 to the first day of Unix time.
const EPOCH_DAYS: i64 = 719_468;

/// The number of the month that contains a day, both from the first of Unix time. The calculation
/// begins each year in March, so that the leap day is the last of a year.
fn month(day: i64) -> i64 {
    let days = day + EPOCH_DAYS;
    let (cycle, of_cycle) = (days.div_euclid(CYCLE_DAYS), days.rem_euclid(CYCLE_DAYS));
    let year_of_cycle =
        (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / (CYCLE_DAYS - 1)) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let year = cycle * 400 + year_of_cycle;
    // January 1970 is month 10 of the year that began in March 1969.
    (year - 1969) * 12 + month_from_march - 10
}

/// The first day of a month, both from the first of Unix time.
fn first_day(month: i64) -> i64 {
    let from_march = month + 10;
    let (year, month_from_march) = (from_march.div_euclid(12) + 1969, from_march.rem_euclid(12));
    let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month_from_march + 2) / 5;
    let of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + of_year;
    cycle * CYCLE_DAYS + of_cycle - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMs {
        let time = humantime::parse_rfc3339(text).unwrap();
        let since = time.duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    }

    #[test]
    fn a_window_ends_at_midnight_utc() {
        for (period, last, first) in [
            (
                BudgetPeriod::Day,
                "2026-11-28T23:59:59.999Z",
                "2026-11-29T00:00:00Z",
            ),
            // A Sunday and a Monday.
            (
                BudgetPeriod::Week,
                "2026-11-29T23:59:59.999Z",
                "2026-11-30T00:00:00Z",
            ),
            (
                BudgetPeriod::Week,
                "1970-01-04T23:59:59.999Z",
                "1970-01-05T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2026-11-30T23:59:59.999Z",
                "2026-12-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2026-12-31T23:59:59.999Z",
                "2027-01-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2028-02-29T23:59:59.999Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2100-02-28T23:59:59.999Z",
                "2100-03-01T00:00:00Z",
            ),
            (
                BudgetPeriod::Month,
                "2000-02-29T23:59:59.999Z",
                "2000-03-01T00:00:00Z",
            ),
        ] {
            let window = period.window(at(last));
            assert_eq!(period.window(at(first)), window + 1, "{first}");
            assert_eq!(period.renews_at(window), Some(at(first)), "{first}");
        }
        assert_eq!(BudgetPeriod::Total.window(at("2026-11-28T00:00:00Z")), 0);
        assert_eq!(BudgetPeriod::Total.renews_at(0), None);
    }

    #[test]
    fn every_day_of_two_centuries_is_in_the_month_of_its_date() {
        let mut before = BudgetPeriod::Month.window(0);
        assert_eq!(before, 0);
        for day in 1..73_000 {
            let time = std::time::UNIX_EPOCH
                + std::time::Duration::from_millis(u64::try_from(day * DAY_MS).unwrap());
            let date = humantime::format_rfc3339_seconds(time).to_string();
            let is_first = date.get(8..10) == Some("01");
            let month = BudgetPeriod::Month.window(day * DAY_MS);
            assert_eq!(month, before + i64::from(is_first), "{day}");
            if is_first {
                assert_eq!(BudgetPeriod::Month.renews_at(before), Some(day * DAY_MS));
            }
            before = month;
        }
    }
}
