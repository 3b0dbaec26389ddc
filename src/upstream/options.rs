//! The options of one request, besides its body.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::error::Error;

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
}

impl SentRequests {
    /// How many were sent.
    pub fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    /// Whether a model may work, or may have worked, on the last one.
    pub fn may_be_read(&self) -> bool {
        self.may_be_read.load(Ordering::Relaxed)
    }

    /// Counts a request that is sent now.
    pub(super) fn add(&self) {
        self.number.fetch_add(1, Ordering::Relaxed);
        self.may_be_read.store(true, Ordering::Relaxed);
    }

    /// Records that the last request failed with `error`.
    pub fn record_error(&self, error: &Error) {
        if error.is_refusal_upstream() {
            self.may_be_read.store(false, Ordering::Relaxed);
        }
    }
}
