//! What the gateway does for one call, counted while it happens.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// The statistics of one call. Recording them is a store into memory.
#[derive(Debug)]
pub(super) struct CallStats {
    /// How many requests were sent upstream.
    pub(super) sent: AtomicU32,
    units: AtomicU32,
    waited_ms: AtomicU64,
    first_token_ms: AtomicU64,
}

/// No token has come.
const NO_TOKEN: u64 = u64::MAX;

impl Default for CallStats {
    fn default() -> Self {
        Self {
            sent: AtomicU32::new(0),
            units: AtomicU32::new(0),
            waited_ms: AtomicU64::new(0),
            first_token_ms: AtomicU64::new(NO_TOKEN),
        }
    }
}

impl CallStats {
    /// Records that the upstream answers, for which the call holds `units` units.
    pub(super) fn record_units(&self, units: u32) {
        self.units.store(units, Ordering::Relaxed);
    }

    /// Records that the first token came `after` this time from the arrival of the call.
    pub(super) fn record_first_token(&self, after: Duration) {
        self.first_token_ms
            .store(milliseconds(after), Ordering::Relaxed);
    }

    /// Adds a wait for units, and returns the sum of all waits in milliseconds.
    pub(super) fn add_wait(&self, wait: Duration) -> u64 {
        let wait = milliseconds(wait);
        self.waited_ms
            .fetch_add(wait, Ordering::Relaxed)
            .saturating_add(wait)
    }

    /// How many requests were sent upstream.
    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// The units that the answer holds.
    pub(super) fn units(&self) -> u32 {
        self.units.load(Ordering::Relaxed)
    }

    /// How long the call has waited for units so far, in milliseconds.
    pub(super) fn waited_ms(&self) -> u64 {
        self.waited_ms.load(Ordering::Relaxed)
    }

    /// When the first token came, in milliseconds after the arrival of the call.
    pub(super) fn first_token_ms(&self) -> Option<u64> {
        let first_token_ms = self.first_token_ms.load(Ordering::Relaxed);
        (first_token_ms != NO_TOKEN).then_some(first_token_ms)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NO_TOKEN)
}
