//! The timeout of tests, and the function that advances the clock.

use std::time::Duration;

/// The longest wait of a test for an event. It only ends a test that hangs, because no event takes
/// this long, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Advances the clock of this test's runtime. Afterwards the clock is not paused, and sockets
/// continue in real time.
pub async fn advance(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
