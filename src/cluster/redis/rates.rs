//! Limits for a minute, which all gateways of a cluster share: the generic cell rate algorithm, by
//! the clock of Redis. `Rate` of the keys describes it; what is a limit is decided there.

use std::sync::LazyLock;

use super::{link::Link, names::Names, problem::Problem, script::Script};

/// The farthest that a time can be ahead, in nanoseconds: a day.
pub const AHEAD_MAX_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// The largest number of limits that are corrected at once. Redis does nothing else in that time.
pub const CORRECTIONS_MAX: usize = 500;

static ADVANCE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/advance.lua")));

static CORRECT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/correct.lua")));

/// What became of an attempt to move a time forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Whether it was moved.
    pub fits: bool,
    /// How far ahead of now it is, in nanoseconds.
    pub ahead_ns: u64,
}

pub(super) async fn advance(
    link: &Link,
    names: &Names,
    name: &str,
    part_ns: u64,
    most_ns: u64,
) -> Result<Advance, Problem> {
    let (part, most) = (part_ns.to_string(), most_ns.to_string());
    let arguments = [part.as_bytes(), most.as_bytes()];
    let (fits, ahead_ns) = ADVANCE.run(link, &[&names.rate(name)], &arguments).await?;
    Ok(Advance { fits, ahead_ns })
}

pub(super) async fn correct(
    link: &Link,
    names: &Names,
    corrections: &[(String, i64)],
) -> Result<(), Problem> {
    let most = AHEAD_MAX_NS.to_string();
    let keys = corrections.iter().map(|(name, _)| names.rate(name));
    let keys: Vec<_> = keys.collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let numbers = corrections.iter().map(|(_, by_ns)| by_ns.to_string());
    let numbers: Vec<_> = numbers.collect();
    let mut arguments = vec![most.as_bytes()];
    arguments.extend(numbers.iter().map(String::as_bytes));
    CORRECT.run(link, &keys, &arguments).await
}
