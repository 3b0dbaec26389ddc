//! The options of one request, besides its body.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::Error,
    telemetry::{CallTrace, ContextHeaders, Observation, TraceEvent},
};

/// The options of one request, besides its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions<'a> {
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The requested model, for advice in errors.
    pub model: Option<&'a str>,
    /// How many choices a streamed answer must have. 0 means 1.
    pub choices: usize,
    /// The largest streamed answer, in bytes. `None` means no limit.
    pub bytes_max: Option<usize>,
    /// How long to wait for the first token, if that is less than the configured time.
    pub first_token_max: Option<Duration>,
    /// Send the request once only, whatever the result is.
    pub no_retries: bool,
    /// Where the requests that are sent are counted.
    pub sent: Option<&'a SentRequests>,
}

/// The requests that are sent upstream for one call.
#[derive(Debug, Default)]
pub struct SentRequests {
    number: AtomicU32,
    /// Whether a model may work, or may have worked, on the last one.
    may_be_read: AtomicBool,
    /// Has the trace of the call, if there is one.
    traced: Option<Observation>,
}

impl SentRequests {
    /// Those of a call that is observed so.
    pub fn of(observation: Option<&Observation>) -> Self {
        let is_traced = |it: &&Observation| it.trace().is_some();
        Self {
            traced: observation.filter(is_traced).cloned(),
            ..Self::default()
        }
    }

    /// The trace of the call, if something is to be noted for it.
    pub fn trace(&self) -> Option<&CallTrace> {
        self.traced.as_ref()?.trace()
    }

    /// How many were sent.
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Whether a model may work, or may have worked, on the last one.
    pub fn may_be_read(&self) -> bool {
        self.may_be_read.load(Ordering::Relaxed)
    }

    /// Counts a request for `model` that is sent now. Returns the headers that pass its trace on.
    pub(super) fn add(&self, model: Option<&str>) -> Option<Box<ContextHeaders>> {
        self.number.fetch_add(1, Ordering::Relaxed);
        self.may_be_read.store(true, Ordering::Relaxed);
        self.trace()?.begin_attempt(model)
    }

    /// Notes that a request is sent again after `error` and this `wait`.
    pub(super) fn note_retry(&self, error: &Error, wait: Duration) {
        if let Some(trace) = self.trace() {
            trace.add_event(|| TraceEvent::retry(error, wait));
        }
    }

    /// Records that the last request failed with `error`.
    pub fn record_error(&self, error: &Error) {
        if let Some(trace) = self.trace() {
            trace.fail_attempt(error);
        }
        if error.is_refusal_upstream() {
            self.may_be_read.store(false, Ordering::Relaxed);
        }
    }
}
