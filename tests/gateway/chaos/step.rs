//! The time limit of a step, and the id of the calls.

use std::{future::Future, time::Duration};

/// The request id of the calls under test.
pub const ID: &str = "chaos";

/// Longer than any step of a cell takes on a busy machine, and shorter than every timeout of the
/// gateway except the one under test.
pub const BOUND: Duration = Duration::from_secs(60);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, future)
        .await
        .unwrap_or_else(|_| panic!("not within {BOUND:?}: {what}"))
}
