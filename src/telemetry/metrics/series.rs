//! What is counted for calls with the same labels.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::histogram::{self, Histogram};
use crate::telemetry::finished::{End, FinishedCall, TokenCounts};

/// What is counted for one combination of labels.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) duration: Histogram,
    /// The same, without the wait for units, if a request was sent.
    pub(super) upstream_duration: Histogram,
    pub(super) first_token: Histogram,
    /// The same, without the wait for units.
    pub(super) upstream_first_token: Histogram,
    pub(super) output_token: Histogram,
    pub(super) wait: Histogram,
    pub(super) prompt_tokens: Histogram,
    pub(super) completion_tokens: Histogram,
    pub(super) tokens: TokenSums,
    pub(super) unit_ms: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) fallbacks: AtomicU64,
    pub(super) refusals: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct TokenSums {
    prompt: AtomicU64,
    completion: AtomicU64,
    reasoning: AtomicU64,
    cached: AtomicU64,
}

impl Series {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            duration: Histogram::new(&histogram::DURATION),
            upstream_duration: Histogram::new(&histogram::DURATION),
            first_token: Histogram::new(&histogram::FIRST_TOKEN),
            upstream_first_token: Histogram::new(&histogram::FIRST_TOKEN),
            output_token: Histogram::new(&histogram::OUTPUT_TOKEN),
            wait: Histogram::new(&histogram::WAIT),
            prompt_tokens: Histogram::new(&histogram::TOKENS),
            completion_tokens: Histogram::new(&histogram::TOKENS),
            tokens: TokenSums::default(),
            unit_ms: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        })
    }

    pub(super) fn record(&self, call: &FinishedCall<'_>) {
        self.duration.record(micros(call.duration));
        let Some(model) = call.model else { return };
        let waited = model.waited_ms.saturating_mul(1000);
        if model.attempts > 0 || waited > 0 {
            self.wait.record(model.waited_ms);
        }
        if model.attempts > 0 {
            let duration = micros(call.duration).saturating_sub(waited);
            self.upstream_duration.record(duration);
        }
        if let Some(first_token_ms) = model.first_token_ms {
            let first_token = first_token_ms.saturating_mul(1000);
            self.first_token.record(first_token);
            let without_wait = first_token.saturating_sub(waited);
            self.upstream_first_token.record(without_wait);
            let rest = model.tokens.completion.saturating_sub(1);
            let time = micros(call.duration).saturating_sub(first_token);
            if let Some(each) = time.checked_div(rest)
                && call.end == End::Finished
            {
                self.output_token.record(each);
            }
        }
        if model.tokens.prompt > 0 || model.tokens.completion > 0 {
            self.prompt_tokens.record(model.tokens.prompt);
            self.completion_tokens.record(model.tokens.completion);
            self.tokens.add(&model.tokens);
        }
        for (sum, value) in [
            (&self.unit_ms, model.unit_ms),
            (&self.retries, u64::from(model.retries)),
            (&self.fallbacks, u64::from(model.fallbacks)),
            (&self.refusals, u64::from(model.refusals)),
        ] {
            if value > 0 {
                sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }
}

impl TokenSums {
    pub(super) fn add(&self, tokens: &TokenCounts) {
        for (sum, value) in [
            (&self.prompt, tokens.prompt),
            (&self.completion, tokens.completion),
            (&self.reasoning, tokens.reasoning),
            (&self.cached, tokens.cached),
        ] {
            if value > 0 {
                sum.fetch_add(value, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn by_kind(&self) -> [(&'static str, u64); 4] {
        [
            ("prompt", &self.prompt),
            ("completion", &self.completion),
            ("reasoning", &self.reasoning),
            ("cached", &self.cached),
        ]
        .map(|(kind, sum)| (kind, sum.load(Ordering::Relaxed)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
