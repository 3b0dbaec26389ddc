//! What the gateway does for one call, counted while it happens.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use super::usage::{TellsUsage, Usage};
use crate::{
    json::Chunk,
    ledger::{TokenSource, Tokens},
    telemetry::Observation,
    upstream::{SentRequests, StreamMessage},
};

/// The statistics of one call. Recording them is a store into memory.
#[derive(Debug)]
pub(super) struct CallStats {
    /// The requests that were sent upstream.
    pub(super) sent: SentRequests,
    /// Whether a model has begun to answer.
    has_answer: AtomicBool,
    units: AtomicU32,
    /// All waits for units that have ended.
    waited_ms: AtomicU64,
    /// Since when the call waits for units, in milliseconds after its arrival.
    waits_since_ms: AtomicU64,
    /// How long the present permit was waited for. `waited_ms` does not have it yet.
    permit_wait_ms: AtomicU64,
    first_token_ms: AtomicU64,
    /// Since when the units are held, in milliseconds after the arrival of the call.
    units_since_ms: AtomicU64,
    /// The units of earlier attempts, multiplied by the times for which they were held.
    unit_ms: AtomicU64,
    prompt_tokens: AtomicU32,
    completion_tokens: AtomicU32,
    /// How many chunks with a part of the answer came, and the bytes of their texts.
    chunks: AtomicU64,
    text_bytes: AtomicU64,
    reasoning_tokens: AtomicU32,
    cached_tokens: AtomicU32,
    /// The tokens of the prompt, as the gateway estimates them.
    prompt_estimate: AtomicU32,
    /// How often upstream refused a request for want of units.
    refusals: AtomicU32,
    /// How many models failed before another one was asked.
    fallbacks: AtomicU32,
    /// How many requests were sent to a model that had got one before.
    retries: AtomicU32,
}

/// No token has come, or the number is not known.
const NO_TOKEN: u64 = u64::MAX;

/// The call does not wait.
const NO_WAIT: u64 = u64::MAX;

/// No units are held.
const NOT_HELD: u64 = u64::MAX;

/// A number of tokens is not known.
const NO_TOKENS: u32 = u32::MAX;

/// The bytes of a token, for an answer that tells no usage.
const TOKEN_BYTES: u64 = 4;

impl Default for CallStats {
    fn default() -> Self {
        Self {
            sent: SentRequests::default(),
            has_answer: AtomicBool::new(false),
            units: AtomicU32::new(0),
            waited_ms: AtomicU64::new(0),
            waits_since_ms: AtomicU64::new(NO_WAIT),
            permit_wait_ms: AtomicU64::new(0),
            first_token_ms: AtomicU64::new(NO_TOKEN),
            units_since_ms: AtomicU64::new(NOT_HELD),
            unit_ms: AtomicU64::new(0),
            prompt_tokens: AtomicU32::new(NO_TOKENS),
            completion_tokens: AtomicU32::new(NO_TOKENS),
            chunks: AtomicU64::new(0),
            text_bytes: AtomicU64::new(0),
            reasoning_tokens: AtomicU32::new(0),
            cached_tokens: AtomicU32::new(0),
            prompt_estimate: AtomicU32::new(0),
            refusals: AtomicU32::new(0),
            fallbacks: AtomicU32::new(0),
            retries: AtomicU32::new(0),
        }
    }
}

impl CallStats {
    /// Those of a call that is observed so.
    pub(super) fn of(observation: Option<&Observation>) -> Self {
        Self {
            sent: SentRequests::of(observation),
            ..Self::default()
        }
    }

    /// Records that the call holds `units` units for a request, from `since` this time after its
    /// arrival.
    pub(super) fn hold_units(&self, units: u32, since: Duration) {
        self.units.store(units, Ordering::Relaxed);
        self.units_since_ms
            .store(milliseconds(since), Ordering::Relaxed);
    }

    /// Records that the call has given its units back, `now` after its arrival.
    pub(super) fn release_units(&self, now: Duration) {
        self.unit_ms.store(self.unit_ms(now), Ordering::Relaxed);
        self.units_since_ms.store(NOT_HELD, Ordering::Relaxed);
    }

    /// Records that a model has begun to answer.
    pub(super) fn record_answer(&self) {
        self.has_answer.store(true, Ordering::Relaxed);
    }

    /// Whether a model has begun to answer.
    pub(super) fn has_answer(&self) -> bool {
        self.has_answer.load(Ordering::Relaxed)
    }

    /// Records the usage that the upstream tells. A number that it does not tell stays as it is.
    pub(super) fn record_usage(&self, usage: Usage) {
        for (place, tokens) in [
            (&self.prompt_tokens, usage.prompt_tokens),
            (&self.completion_tokens, usage.completion_tokens),
            (&self.reasoning_tokens, usage.reasoning_tokens),
            (&self.cached_tokens, usage.cached_tokens),
        ] {
            if let Some(tokens) = tokens.and_then(|tokens| u32::try_from(tokens).ok()) {
                place.store(tokens, Ordering::Relaxed);
            }
        }
    }

    /// Counts a chunk of the answer, or records the usage in it. Returns whether it has only the
    /// usage.
    pub(super) fn note_chunk<M: StreamMessage + TellsUsage>(&self, chunk: &mut Chunk<M>) -> bool {
        if let Some(message) = chunk.complete() {
            if let Some(usage) = message.usage() {
                self.record_usage(usage);
            }
            if !message.has_content() {
                return message.is_usage_alone();
            }
        }
        self.count_chunk(chunk.text_bytes());
        false
    }

    /// Counts a chunk of the answer with a text of this length.
    fn count_chunk(&self, text_bytes: usize) {
        // Only the task of the call writes these.
        let add = |place: &AtomicU64, number: u64| {
            place.store(place.load(Ordering::Relaxed) + number, Ordering::Relaxed);
        };
        add(&self.chunks, 1);
        add(&self.text_bytes, text_bytes as u64);
    }

    /// Records the estimate of the prompt, for an answer that does not tell it.
    pub(super) fn record_prompt_estimate(&self, tokens: u64) {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.prompt_estimate.store(tokens, Ordering::Relaxed);
    }

    /// The tokens of the prompt and of the answer: what the upstream told, or else the estimate of
    /// the prompt, and the answer by its chunks.
    pub(super) fn tokens(&self) -> Tokens {
        let load = |place: &AtomicU32| place.load(Ordering::Relaxed);
        let known = |place: &AtomicU32| Some(load(place)).filter(|tokens| *tokens != NO_TOKENS);
        let (prompt, completion) = (known(&self.prompt_tokens), known(&self.completion_tokens));
        let counted = || {
            let chunks = self.chunks.load(Ordering::Relaxed);
            chunks.max(self.text_bytes.load(Ordering::Relaxed) / TOKEN_BYTES)
        };
        Tokens {
            source: if prompt.is_some() && completion.is_some() {
                TokenSource::Upstream
            } else {
                TokenSource::Counted
            },
            prompt: prompt.unwrap_or_else(|| load(&self.prompt_estimate)).into(),
            completion: completion.map_or_else(counted, u64::from),
            reasoning: load(&self.reasoning_tokens).into(),
            cached: load(&self.cached_tokens).into(),
        }
    }

    /// How long units were held in all attempts, multiplied by their number, in milliseconds, until
    /// `now` after the arrival of the call.
    pub(super) fn unit_ms(&self, now: Duration) -> u64 {
        let before = self.unit_ms.load(Ordering::Relaxed);
        // Nothing since a time that never comes.
        let held = milliseconds(now).saturating_sub(self.units_since_ms.load(Ordering::Relaxed));
        before.saturating_add(u64::from(self.units()).saturating_mul(held))
    }

    /// Records that the first token came `after` this time from the arrival of the call.
    pub(super) fn record_first_token(&self, after: Duration) {
        self.first_token_ms
            .store(milliseconds(after), Ordering::Relaxed);
    }

    /// Records that the call waits for units, from `since` this time after its arrival.
    pub(super) fn begin_wait(&self, since: Duration) {
        let since = milliseconds(since);
        self.waits_since_ms.store(since, Ordering::Relaxed);
    }

    /// Records that the call has got a permit, for which it has waited for this time. A call to
    /// [`add_wait`](Self::add_wait) follows, unless the caller leaves before.
    pub(super) fn end_wait(&self, permit_wait: Duration) {
        self.waits_since_ms.store(NO_WAIT, Ordering::Relaxed);
        let wait = milliseconds(permit_wait);
        self.permit_wait_ms.store(wait, Ordering::Relaxed);
    }

    /// How long the call has waited for units until `now` after its arrival, in milliseconds, also
    /// if it waits now.
    pub(super) fn waited_ms_until(&self, now: Duration) -> u64 {
        // Nothing since a time that never comes.
        let since = self.waits_since_ms.load(Ordering::Relaxed);
        self.waited_ms()
            .saturating_add(self.permit_wait_ms.load(Ordering::Relaxed))
            .saturating_add(milliseconds(now).saturating_sub(since))
    }

    /// Adds a wait for units, and returns the sum of all waits in milliseconds.
    pub(super) fn add_wait(&self, wait: Duration) -> u64 {
        self.end_wait(Duration::ZERO);
        let wait = milliseconds(wait);
        self.waited_ms
            .fetch_add(wait, Ordering::Relaxed)
            .saturating_add(wait)
    }

    /// Counts a refusal of upstream for want of units.
    pub(super) fn add_refusal(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a model that failed and that another one follows.
    pub(super) fn add_fallback(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the requests to one model, which got `sent` of them: those after the first.
    pub(super) fn add_sent(&self, sent: u32) {
        self.retries
            .fetch_add(sent.saturating_sub(1), Ordering::Relaxed);
    }

    /// How often upstream refused a request for want of units.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// How many models failed before another one was asked.
    pub(super) fn fallbacks(&self) -> u32 {
        self.fallbacks.load(Ordering::Relaxed)
    }

    /// How many requests were sent to a model that had got one before.
    pub(super) fn retries(&self) -> u32 {
        self.retries.load(Ordering::Relaxed)
    }

    /// The units that the last attempt held.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_all_attempts_count_and_those_between_them_do_not() {
        let stats = CallStats::default();
        let at = Duration::from_millis;
        assert_eq!(stats.unit_ms(at(1000)), 0);
        stats.hold_units(2, at(100));
        assert_eq!(stats.unit_ms(at(150)), 100);
        stats.release_units(at(200));
        assert_eq!(stats.unit_ms(at(5000)), 200);
        stats.hold_units(1, at(5000));
        assert_eq!((stats.unit_ms(at(5030)), stats.units()), (230, 1));
    }

    #[test]
    fn a_wait_counts_also_if_it_does_not_end() {
        let stats = CallStats::default();
        let at = Duration::from_millis;
        assert_eq!(stats.waited_ms_until(at(10)), 0);
        stats.begin_wait(at(100));
        assert_eq!(stats.waited_ms_until(at(150)), 50);
        stats.end_wait(at(60));
        assert_eq!(stats.waited_ms_until(at(500)), 60);
        stats.add_wait(at(60));
        assert_eq!(stats.waited_ms_until(at(500)), 60);
        stats.begin_wait(at(600));
        assert_eq!(stats.waited_ms_until(at(700)), 160);
        stats.add_wait(at(110));
        assert_eq!(stats.waited_ms_until(at(900)), 170);
    }
}
