//! The questions about usage and their answers, for administrators and for callers about
//! themselves.

use std::ops::Range;

use prost_types::{Duration, Timestamp};

use super::times::{self, timestamp};
use crate::{
    error::{Error, Result},
    keys::{
        KeysError,
        clock::{UnixMs, now},
        of_query,
    },
    ledger::{Grain, Grouping, Sums, UsageError, UsageRow},
    proto::v1::{self, UsageGroup},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The time of a question that names none.
pub(in crate::service) const LAST_WEEK_MS: i64 = 7 * DAY_MS;

/// The fields of a question for its time.
#[derive(Clone, Debug)]
pub(in crate::service) struct Span {
    pub(in crate::service) start_time: Option<Timestamp>,
    pub(in crate::service) end_time: Option<Timestamp>,
    pub(in crate::service) since: Option<Duration>,
}

impl Span {
    /// The time, which begins `default_ms` ago if nothing is set, and ends now or before.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a time that cannot be, or that ends
    /// before it begins.
    pub(in crate::service) fn range(self, default_ms: i64) -> Result<Range<UnixMs>> {
        // What ends in this millisecond is included.
        let end_of_now = now().saturating_add(1);
        let start = match (self.start_time, self.since) {
            (Some(_), Some(_)) => {
                let problem = "start_time is set too: set one of them";
                return Err(Error::invalid("since", problem));
            }
            (Some(at), None) => times::time("start_time", at)?,
            (None, Some(since)) => now().saturating_sub(times::length_ms("since", since)?),
            (None, None) => now().saturating_sub(default_ms),
        };
        let end = self
            .end_time
            .map(|at| times::time("end_time", at))
            .transpose()?;
        let end = end.unwrap_or(end_of_now);
        if end <= start {
            return Err(Error::invalid(
                "end_time",
                "expected a time after start_time",
            ));
        }
        Ok(start.max(0)..end)
    }
}

/// The grouping of a question. `default` if it names none.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for an unknown group, or for hours and days.
pub(in crate::service) fn grouping(by: &[i32], default: Grouping) -> Result<Grouping> {
    if by.is_empty() {
        return Ok(default);
    }
    let mut grouping = Grouping::default();
    for group in by {
        let grain = match UsageGroup::try_from(*group) {
            Ok(UsageGroup::Key) => {
                grouping.by_key = true;
                continue;
            }
            Ok(UsageGroup::Model) => {
                grouping.by_model = true;
                continue;
            }
            Ok(UsageGroup::Account) => {
                grouping.by_account = true;
                continue;
            }
            Ok(UsageGroup::Hour) => Grain::Hour,
            Ok(UsageGroup::Day) => Grain::Day,
            Ok(UsageGroup::Unspecified) | Err(_) => {
                let problem = "expected USAGE_GROUP_KEY, USAGE_GROUP_MODEL, USAGE_GROUP_ACCOUNT, \
                               USAGE_GROUP_HOUR or USAGE_GROUP_DAY";
                return Err(Error::invalid("by", problem));
            }
        };
        if grouping.by_time.is_some_and(|other| other != grain) {
            return Err(Error::invalid("by", "expected hours or days, and not both"));
        }
        grouping.by_time = Some(grain);
    }
    Ok(grouping)
}

/// What the caller is told.
impl From<UsageError> for Error {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::TooManyGroups => Self::invalid("by", error),
            UsageError::Store(error) => of_query(KeysError::Store(error)),
        }
    }
}

/// The rows of an answer, and their sum.
pub(crate) fn rows(rows: &[UsageRow]) -> (Vec<v1::UsageRow>, v1::UsageRow) {
    let mut total = Sums::default();
    rows.iter().for_each(|row| total.merge(&row.sums));
    (rows.iter().map(row).collect(), sums(&total))
}

fn row(row: &UsageRow) -> v1::UsageRow {
    v1::UsageRow {
        key: row.key_name.clone().unwrap_or_default(),
        key_id: row.key_id.map(|id| id.to_string()).unwrap_or_default(),
        model: row.model.clone().unwrap_or_default(),
        account: row.account.clone().unwrap_or_default(),
        start_time: row.start.map(timestamp),
        ..sums(&row.sums)
    }
}

fn sums(sums: &Sums) -> v1::UsageRow {
    let duration = |part: f64| sums.durations.percentile(part).map(number);
    let first_token = |part: f64| sums.first_tokens.percentile(part).map(number);
    v1::UsageRow {
        calls: number(sums.calls),
        failed: number(sums.failed),
        cancelled: number(sums.cancelled),
        counted: number(sums.counted),
        prompt_tokens: number(sums.prompt_tokens),
        completion_tokens: number(sums.completion_tokens),
        reasoning_tokens: number(sums.reasoning_tokens),
        cached_tokens: number(sums.cached_tokens),
        unit_seconds: seconds(sums.unit_ms),
        waited_ms: number(sums.waited_ms),
        duration_p50_ms: duration(0.5),
        duration_p90_ms: duration(0.9),
        duration_p95_ms: duration(0.95),
        duration_p99_ms: duration(0.99),
        first_token_p50_ms: first_token(0.5),
        first_token_p90_ms: first_token(0.9),
        first_token_p95_ms: first_token(0.95),
        first_token_p99_ms: first_token(0.99),
        ..v1::UsageRow::default()
    }
}

/// Milliseconds in seconds.
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_time_in_one_way() {
        let second = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let span = |start_time, end_time, since: Option<i64>| {
            let since = since.map(|seconds| Duration { seconds, nanos: 0 });
            Span {
                start_time,
                end_time,
                since,
            }
            .range(LAST_WEEK_MS)
        };
        assert_eq!(span(second(5), second(7), None).unwrap(), 5000..7000);
        let week = span(None, None, None).unwrap();
        assert_eq!(week.end - week.start, LAST_WEEK_MS + 1);
        let day = span(None, None, Some(86_400)).unwrap();
        assert_eq!(day.end - day.start, DAY_MS + 1);
        for (bad, param) in [
            (span(second(7), second(5), None), "end_time"),
            (span(second(-7), None, None), "start_time"),
            (span(second(5), None, Some(5)), "since"),
            (span(None, None, Some(-5)), "since"),
        ] {
            assert_eq!(bad.unwrap_err().param(), Some(param));
        }
    }

    #[test]
    fn groups_are_keys_models_and_one_grain_of_time() {
        let by = |groups: &[UsageGroup]| {
            let groups: Vec<i32> = groups.iter().map(|group| *group as i32).collect();
            grouping(&groups, Grouping::default())
        };
        let both = by(&[UsageGroup::Key, UsageGroup::Day]).unwrap();
        assert_eq!(
            (both.by_key, both.by_model, both.by_time),
            (true, false, Some(Grain::Day))
        );
        assert!(by(&[UsageGroup::Hour, UsageGroup::Day]).is_err());
        assert!(by(&[UsageGroup::Unspecified]).is_err());
    }
}
