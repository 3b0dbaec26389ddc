//! The options of one request, besides its body.

use std::{sync::atomic::AtomicU32, time::Duration};

use tokio::time::Instant;

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
    /// A counter to increase for each request that is sent.
    pub sent: Option<&'a AtomicU32>,
}
