//! Until when the leases of this gateway hold.
//!
//! The database gives the leases of a gateway to others if it does not hear from it. A gateway that
//! cannot reach the database does not learn that, so it stops giving out what it has leased before.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Until when the leases of this gateway hold. Before the first exchange there are none.
#[derive(Debug)]
pub(super) struct Fence {
    epoch: Instant,
    /// In milliseconds after `epoch`.
    until_ms: AtomicU64,
}

impl Default for Fence {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            until_ms: AtomicU64::new(0),
        }
    }
}

impl Fence {
    /// Says that leases hold until then.
    pub(super) fn move_to(&self, until: Instant) {
        self.until_ms.store(self.ms(until), Ordering::Relaxed);
    }

    /// Whether leases hold now. A process that was stopped for some time knows it at once, because
    /// this needs no timer.
    pub(super) fn holds(&self) -> bool {
        self.ms(Instant::now()) < self.until_ms.load(Ordering::Relaxed)
    }

    fn ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
