//! Usage as a table, as JSON and as CSV.

use std::fmt::Write as _;

use prost_types::Timestamp;
use serde::Serialize;

use super::By;
use crate::{
    cli::{
        columns::{self, all_shortened, longest},
        failure::Failure,
        ledger::{ms, number, rfc3339, short_number, short_time, unix_ms},
    },
    proto::v1::UsageRow,
};

/// One row. Members that do not belong to the grouping are left out.
#[derive(Serialize)]
struct RowJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    calls: i64,
    failed: i64,
    cancelled: i64,
    counted: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    cached_tokens: i64,
    unit_seconds: f64,
    waited_seconds: f64,
    duration_p50_ms: Option<i64>,
    duration_p95_ms: Option<i64>,
    duration_p99_ms: Option<i64>,
    first_token_p50_ms: Option<i64>,
    first_token_p95_ms: Option<i64>,
    first_token_p99_ms: Option<i64>,
}

impl<'a> RowJson<'a> {
    fn new(row: &'a UsageRow, by: By) -> Self {
        let is_by_key = by == By::Key;
        Self {
            key: is_by_key.then_some(&*row.key),
            key_id: is_by_key.then_some(&*row.key_id),
            model: (by == By::Model).then_some(&*row.model),
            account: (by == By::Account).then_some(&*row.account),
            start: row.start_time.map(|at| rfc3339(unix_ms(at))),
            calls: row.calls,
            failed: row.failed,
            cancelled: row.cancelled,
            counted: row.counted,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            reasoning_tokens: row.reasoning_tokens,
            cached_tokens: row.cached_tokens,
            unit_seconds: row.unit_seconds,
            waited_seconds: row.waited_ms as f64 / 1000.0,
            duration_p50_ms: row.duration_p50_ms,
            duration_p95_ms: row.duration_p95_ms,
            duration_p99_ms: row.duration_p99_ms,
            first_token_p50_ms: row.first_token_p50_ms,
            first_token_p95_ms: row.first_token_p95_ms,
            first_token_p99_ms: row.first_token_p99_ms,
        }
    }
}

/// A list of objects.
///
/// # Errors
/// None that can happen.
pub(super) fn json(rows: &[UsageRow], by: By) -> Result<String, Failure> {
    let rows: Vec<_> = rows.iter().map(|row| RowJson::new(row, by)).collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

/// The same members as columns, after a line with their names.
pub(super) fn csv(rows: &[UsageRow], by: By) -> String {
    let mut csv = String::new();
    let texts = ["key", "key_id", "model", "account", "start"];
    let is_number = |name: &String| !texts.contains(&name.as_str());
    // It has the members of all rows.
    let first = UsageRow {
        start_time: matches!(by, By::Day | By::Hour).then(Timestamp::default),
        ..UsageRow::default()
    };
    for (number, row) in std::iter::once(&first).chain(rows).enumerate() {
        let values = serde_json::to_value(RowJson::new(row, by)).unwrap_or_default();
        let Some(members) = values.as_object() else {
            continue;
        };
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|(name, _)| is_number(name));
        let fields: Vec<_> = match number {
            0 => members.iter().map(|(name, _)| (*name).clone()).collect(),
            _ => members.iter().map(|(_, value)| field(value)).collect(),
        };
        // Writing to a String can't fail.
        let _ = writeln!(csv, "{}", fields.join(","));
    }
    csv
}

/// A value as RFC 4180 has it.
fn field(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the columns of numbers take, with the spaces before them.
const NUMBERS: usize = 52;

/// The widest bar.
const BAR_MAX: usize = 20;

/// A table, for a terminal of this number of columns. The last column stays empty. `None`: no
/// terminal, and names are not shortened. The bar compares unit times.
pub(super) fn table(rows: &[UsageRow], total: &UsageRow, by: By, columns: Option<usize>) -> String {
    // For the name and the bar. Without a bar, the longest name fits.
    let room = columns.unwrap_or(columns::MIN) - 1 - NUMBERS;
    let names: Vec<_> = rows.iter().map(|row| name(row, by)).collect();
    let name_max = columns.map_or(usize::MAX, |_| room);
    let mut named: Vec<_> = all_shortened(&names, name_max)
        .into_iter()
        .zip(rows)
        .collect();
    if matches!(by, By::Key | By::Model | By::Account) {
        named.sort_by_key(|(_, row)| std::cmp::Reverse((ms(row.unit_seconds), row.calls)));
    }
    let width = longest(named.iter().map(|(name, _)| name.as_str())).max("total".len());
    let bar_width = room.saturating_sub(width + 2).min(BAR_MAX);
    let largest = named.iter().map(|(_, row)| ms(row.unit_seconds)).max();
    let largest = largest.unwrap_or_default().max(1);
    let mut table = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        table,
        "{:width$}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}  {:>6}",
        "", "CALLS", "FAILED", "PROMPT", "ANSWER", "UNITTIME", "P95"
    );
    let mut line = |name: &str, row: &UsageRow, bar: usize| {
        let p95 = row.duration_p95_ms.map(number);
        let text = format!(
            "{name:width$}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}  {:>6}  {}",
            short_number(number(row.calls)),
            short_number(number(row.failed)),
            short_number(number(row.prompt_tokens)),
            short_number(number(row.completion_tokens)),
            short_time(ms(row.unit_seconds)),
            p95.map_or("-".to_owned(), short_time),
            "#".repeat(bar)
        );
        let _ = writeln!(table, "{}", text.trim_end());
    };
    for (name, row) in &named {
        let unit_ms = u128::from(ms(row.unit_seconds));
        let part = unit_ms * bar_width as u128 / u128::from(largest);
        line(name, row, usize::try_from(part).unwrap_or_default());
    }
    line("total", total, 0);
    table
}

fn name(row: &UsageRow, by: By) -> String {
    match by {
        By::Key => row.key.clone(),
        By::Model if row.model.is_empty() => "(no model)".to_owned(),
        By::Model => row.model.clone(),
        By::Account if row.account.is_empty() => "(no account)".to_owned(),
        By::Account => row.account.clone(),
        By::Day | By::Hour => {
            let start = row.start_time.map(unix_ms).map(rfc3339).unwrap_or_default();
            // Without the seconds, and a day without its time.
            let start = start.get(..16).unwrap_or_default().replace('T', " ");
            start
                .strip_suffix(" 00:00")
                .map_or(start.clone(), str::to_owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row with the longest numbers.
    fn row(name: &str, day: i64) -> UsageRow {
        UsageRow {
            key: name.to_owned(),
            key_id: "an-id".to_owned(),
            model: name.to_owned(),
            account: name.to_owned(),
            start_time: Some(Timestamp {
                seconds: day * 86_400,
                nanos: 0,
            }),
            calls: 999_999,
            failed: 999_999,
            prompt_tokens: 999_999_999_999_999,
            completion_tokens: 999_999_999,
            unit_seconds: 9_999.0 * 3600.0,
            duration_p95_ms: Some(599_999),
            ..UsageRow::default()
        }
    }

    #[test]
    fn a_table_fits_a_terminal_and_is_whole_elsewhere() {
        for by in [By::Key, By::Model, By::Account, By::Day, By::Hour] {
            for name_chars in [1, 5, 7, 12, 24, 25, 26, 27, 28, 60, 100] {
                let name = "n".repeat(name_chars);
                let rows = [row(&name, 1), row("b", 2)];
                for columns in [80, 81, 100, 132] {
                    let table = table(&rows, &row("", 0), by, Some(columns));
                    let widest = longest(table.lines());
                    assert!(widest < columns, "{by:?} {name_chars}: {widest}\n{table}");
                    assert_eq!(table.lines().count(), 4);
                    if matches!(by, By::Key | By::Model | By::Account) {
                        assert_eq!(table.contains(&name), name_chars < columns - NUMBERS);
                    }
                }
                let whole = table(&rows, &row("", 0), by, None);
                assert!(whole.contains(&name) || matches!(by, By::Day | By::Hour));
            }
        }
    }

    #[test]
    fn csv_without_rows_has_the_names_of_its_columns() {
        for by in [By::Key, By::Model, By::Account, By::Day, By::Hour] {
            let some = csv(&[row("app", 1)], by);
            let none = csv(&[], by);
            assert_eq!(
                none.lines().collect::<Vec<_>>(),
                [some.lines().next().unwrap()]
            );
            assert_eq!(some.lines().count(), 2, "{some}");
        }
        assert!(csv(&[], By::Key).starts_with("key,key_id,"));
        assert!(csv(&[], By::Day).starts_with("start,"));
    }
}
