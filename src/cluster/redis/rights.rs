//! What the user of Redis must be allowed to do.

use std::sync::LazyLock;

use super::{
    link::Link,
    names::Names,
    problem::{Problem, ProblemKind},
    script::Script,
};

static CHECK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/check.lua")));

/// Uses each command that is needed, on keys that exist only for this.
///
/// # Errors
/// [`ProblemKind::AccessDenied`] if the user may not use one of them, or not these keys.
pub(super) async fn check(link: &Link, names: &Names) -> Result<(), Problem> {
    let keys = ["hash", "sorted", "text", "stream"].map(|kind| names.check(kind));
    let keys = keys.each_ref().map(String::as_str);
    let missing: Vec<String> = CHECK.run(link, &keys, &[]).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("the user may not use {}", missing.join(", "));
    Err(Problem::new(link.url(), ProblemKind::AccessDenied, &what))
}
