//! What the gateway does for one call, counted while it happens.

use super::usage::Usage;
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
    /// When the units were granted, in milliseconds after the arrival of the call.
    units_since_ms: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    /// How many chunks with a part of the answer came, and the bytes of their texts.
    chunks: AtomicU64,
    text_bytes: AtomicU64,
}

/// No token has come, or the number is not known.
const NO_TOKEN: u64 = u64::MAX;

/// The bytes of a token, for an answer that tells no usage.
const TOKEN_BYTES: u64 = 4;

impl Default for CallStats {
    fn default() -> Self {
        Self {
            sent: AtomicU32::new(0),
            units: AtomicU32::new(0),
            waited_ms: AtomicU64::new(0),
            first_token_ms: AtomicU64::new(NO_TOKEN),
            units_since_ms: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(NO_TOKEN),
            completion_tokens: AtomicU64::new(NO_TOKEN),
            chunks: AtomicU64::new(0),
            text_bytes: AtomicU64::new(0),
        }
    }
}

impl CallStats {
    /// Records that the upstream answers, for which the call holds `units` units. It got them
    /// `since` this time from the arrival of the call.
    pub(super) fn record_units(&self, units: u32, since: Duration) {
        self.units.store(units, Ordering::Relaxed);
        self.units_since_ms
            .store(milliseconds(since), Ordering::Relaxed);
    }

    /// Records the usage that the upstream tells. A number that it does not tell stays as it is.
    pub(super) fn record_usage(&self, usage: Usage) {
        for (place, tokens) in [
            (&self.prompt_tokens, usage.prompt_tokens),
            (&self.completion_tokens, usage.completion_tokens),
        ] {
            if let Some(tokens) = tokens.and_then(|tokens| u64::try_from(tokens).ok()) {
                place.store(tokens, Ordering::Relaxed);
            }
        }
    }

    /// Counts a chunk of the answer with a text of this length.
    pub(super) fn count_chunk(&self, text_bytes: usize) {
        // Only the task of the call writes these.
        let add = |place: &AtomicU64, number: u64| {
            place.store(place.load(Ordering::Relaxed) + number, Ordering::Relaxed);
        };
        add(&self.chunks, 1);
        add(&self.text_bytes, text_bytes as u64);
    }

    /// The tokens of the prompt and of the answer: what the upstream told, or else this estimate of
    /// the prompt, and the answer by its chunks.
    pub(super) fn tokens(&self, prompt_estimate: u64) -> u64 {
        let known = |place: &AtomicU64| {
            let tokens = place.load(Ordering::Relaxed);
            (tokens != NO_TOKEN).then_some(tokens)
        };
        let counted = || {
            let chunks = self.chunks.load(Ordering::Relaxed);
            chunks.max(self.text_bytes.load(Ordering::Relaxed) / TOKEN_BYTES)
        };
        known(&self.prompt_tokens)
            .unwrap_or(prompt_estimate)
            .saturating_add(known(&self.completion_tokens).unwrap_or_else(counted))
    }

    /// How long the units are held, multiplied by their number, in milliseconds, if the call ends
    /// `now` after its arrival.
    pub(super) fn unit_ms(&self, now: Duration) -> u64 {
        let since = self.units_since_ms.load(Ordering::Relaxed);
        u64::from(self.units()).saturating_mul(milliseconds(now).saturating_sub(since))
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
