//! At most one line of the log a minute about what may happen at each call, or at each connection.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(60);

/// When the last line was written.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Option<Instant>);

impl Throttle {
    /// Before the first line.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Whether a line is written now. If so, the next one is a minute later at the earliest.
    pub(crate) fn lets_through(&mut self) -> bool {
        let now = Instant::now();
        let is_early = |last: Instant| now.saturating_duration_since(last) < INTERVAL;
        if self.0.is_some_and(is_early) {
            return false;
        }
        self.0 = Some(now);
        true
    }
}
