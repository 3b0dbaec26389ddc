//! How long tests wait, and how they move the clock.

use std::time::Duration;

/// How long a test waits for an event. It only ends a test that hangs: no event takes this long,
/// even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Moves the clock of this test's runtime forward. It isn't paused afterwards, and sockets go on in
/// real time.
pub async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
