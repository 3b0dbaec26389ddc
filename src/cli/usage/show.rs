//! Usage as a table, as JSON and as CSV.

use std::fmt::Write as _;

use serde::Serialize;

use crate::{
    cli::{
        failure::Failure,
        ledger::{rfc3339, short_number, short_time, shortened},
    },
    ledger::{Sums, UsageRow},
};

/// One row. Members that do not belong to the grouping are left out.
#[derive(Serialize)]
struct RowJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    calls: u64,
    failed: u64,
    cancelled: u64,
    counted: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    reasoning_tokens: u64,
    cached_tokens: u64,
    unit_seconds: f64,
    waited_seconds: f64,
    duration_p50_ms: Option<u64>,
    duration_p95_ms: Option<u64>,
    duration_p99_ms: Option<u64>,
    first_token_p50_ms: Option<u64>,
    first_token_p95_ms: Option<u64>,
    first_token_p99_ms: Option<u64>,
}

impl<'a> RowJson<'a> {
    fn new(row: &'a UsageRow) -> Self {
        let sums = &row.sums;
        let (durations, first_tokens) = (&sums.durations, &sums.first_tokens);
        Self {
            key: row.key_name.as_deref(),
            key_id: row.key_id.map(|id| id.to_string()),
            model: row.model.as_deref(),
            start: row.start.map(rfc3339),
            calls: sums.calls,
            failed: sums.failed,
            cancelled: sums.cancelled,
            counted: sums.counted,
            prompt_tokens: sums.prompt_tokens,
            completion_tokens: sums.completion_tokens,
            reasoning_tokens: sums.reasoning_tokens,
            cached_tokens: sums.cached_tokens,
            unit_seconds: seconds(sums.unit_ms),
            waited_seconds: seconds(sums.waited_ms),
            duration_p50_ms: durations.percentile(0.5),
            duration_p95_ms: durations.percentile(0.95),
            duration_p99_ms: durations.percentile(0.99),
            first_token_p50_ms: first_tokens.percentile(0.5),
            first_token_p95_ms: first_tokens.percentile(0.95),
            first_token_p99_ms: first_tokens.percentile(0.99),
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A list of objects.
///
/// # Errors
/// None that can happen.
pub(super) fn json(rows: &[UsageRow]) -> Result<String, Failure> {
    let rows: Vec<_> = rows.iter().map(RowJson::new).collect();
    Ok(serde_json::to_string_pretty(&rows)? + "\n")
}

/// The same members as columns, after a line with their names.
pub(super) fn csv(rows: &[UsageRow]) -> String {
    let mut csv = String::new();
    let is_number = |name: &String| !["key", "key_id", "model", "start"].contains(&name.as_str());
    for (number, row) in rows.iter().enumerate() {
        let values = serde_json::to_value(RowJson::new(row)).unwrap_or_default();
        let Some(members) = values.as_object() else {
            continue;
        };
        let mut members: Vec<_> = members.iter().collect();
        members.sort_by_key(|(name, _)| is_number(name));
        if number == 0 {
            let names: Vec<_> = members.iter().map(|(name, _)| name.as_str()).collect();
            let _ = writeln!(csv, "{}", names.join(","));
        }
        let fields: Vec<_> = members.iter().map(|(_, value)| field(value)).collect();
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

/// The widest table.
const COLUMNS: usize = 79;

/// What the columns of numbers take, with the spaces before them.
const NUMBERS: usize = 50;

/// The widest bar, and the widest name. Without a bar, both fit.
const BAR_MAX: usize = 20;
const NAME_MAX: usize = COLUMNS - NUMBERS;

/// A table of at most 79 columns. The bar compares unit times.
pub(super) fn table(rows: &[UsageRow]) -> String {
    let mut total = Sums::default();
    let mut named: Vec<_> = rows
        .iter()
        .map(|row| (shortened(&name(row), NAME_MAX), row.sums))
        .collect();
    for row in rows {
        total.merge(&row.sums);
    }
    let is_by_time = rows.first().is_some_and(|row| row.start.is_some());
    if !is_by_time {
        named.sort_by_key(|(_, sums)| std::cmp::Reverse((sums.unit_ms, sums.calls)));
    }
    let longest = |named: &[(String, Sums)]| {
        let lengths = named.iter().map(|(name, _)| name.chars().count());
        lengths.max().unwrap_or_default().max("total".len())
    };
    let width = longest(&named);
    let bar_width = (COLUMNS - NUMBERS).saturating_sub(width + 2).min(BAR_MAX);
    let largest = named.iter().map(|(_, sums)| sums.unit_ms).max();
    let largest = largest.unwrap_or_default().max(1);
    let mut table = String::new();
    // Writing to a String can't fail.
    let _ = writeln!(
        table,
        "{:width$}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}  {:>6}",
        "", "CALLS", "FAILED", "PROMPT", "ANSWER", "UNITTIME", "P95"
    );
    let mut line = |name: &str, sums: &Sums, bar: usize| {
        let p95 = sums.durations.percentile(0.95);
        let text = format!(
            "{name:width$}  {:>6}  {:>6}  {:>7}  {:>7}  {:>8}  {:>6}  {}",
            short_number(sums.calls),
            short_number(sums.failed),
            short_number(sums.prompt_tokens),
            short_number(sums.completion_tokens),
            short_time(sums.unit_ms),
            p95.map_or("-".to_owned(), short_time),
            "#".repeat(bar)
        );
        let _ = writeln!(table, "{}", text.trim_end());
    };
    for (name, sums) in &named {
        let part = u128::from(sums.unit_ms) * bar_width as u128 / u128::from(largest);
        line(name, sums, usize::try_from(part).unwrap_or_default());
    }
    line("total", &total, 0);
    table
}

fn name(row: &UsageRow) -> String {
    let name = row.key_name.clone().or_else(|| row.model.clone());
    match name {
        Some(name) if name.is_empty() => "(no model)".to_owned(),
        Some(name) => name,
        None => {
            let start = row.start.map(rfc3339).unwrap_or_default();
            // Without the seconds, and a day without its time.
            let start = start.get(..16).unwrap_or_default().replace('T', " ");
            start
                .strip_suffix(" 00:00")
                .map_or(start.clone(), str::to_owned)
        }
    }
}
