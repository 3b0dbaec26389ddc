//! A call that has ended: the one value from which the log line, the metrics and the spans are
//! made.

use std::{sync::Arc, time::Duration};

use crate::error::Refusal;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The answer was complete.
    Finished,
    /// The caller got an error.
    Failed,
    /// The caller left.
    Cancelled,
}

impl End {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Finished, Self::Failed, Self::Cancelled];

    /// The name in logs and labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
    /// Those of the answer that are reasoning.
    pub reasoning: u64,
    /// Those of the prompt that the upstream had in its cache.
    pub cached: u64,
}

/// What a service tells of a call at its end.
#[derive(Debug)]
pub struct CallEnd {
    /// How it ended.
    pub end: End,
    /// The error, if it failed.
    pub error: Option<Refusal>,
    /// From its arrival to its end.
    pub duration: Duration,
    /// The name of the caller's key.
    pub key: Arc<str>,
    /// The RPC, if models answer such calls.
    pub rpc: Option<&'static str>,
    /// What it asked of a model; `None` if it named none.
    pub model: Option<ModelEnd>,
}

/// What a call asked of a model, and what it got.
#[derive(Debug)]
pub struct ModelEnd {
    /// The model that was asked for, by its name upstream. Empty if no model has this name.
    pub asked: Arc<str>,
    /// The model that answered, or else the one that was asked for. Empty if no model has this
    /// name.
    pub model: Arc<str>,
    /// What was used.
    pub tokens: TokenCounts,
    /// Whether a model has begun to answer.
    pub has_answer: bool,
    /// The units that the last attempt held.
    pub units: u32,
    /// The units, multiplied by the time for which they were held, in milliseconds. Also of a call
    /// that its key is not charged for.
    pub unit_ms: u64,
    /// The wait for units, in milliseconds.
    pub waited_ms: u64,
    /// From the arrival to the first token of a stream, in milliseconds.
    pub first_token_ms: Option<u64>,
    /// The requests that were sent upstream.
    pub attempts: u32,
    /// Those of them that were sent to a model again.
    pub retries: u32,
    /// How many models failed before another one was asked.
    pub fallbacks: u32,
    /// How often upstream refused a request for want of units.
    pub refusals: u32,
    /// The bytes of the request, if they were counted.
    pub request_bytes: Option<u64>,
    /// The upstream's id of the answer, if the call failed or has a trace.
    pub upstream_request_id: Option<Box<str>>,
}

/// A call that has ended, as its views see it.
#[derive(Debug)]
pub(super) struct FinishedCall<'a> {
    /// One of [`DOORS`](super::door::DOORS).
    pub(super) door: &'static str,
    /// The name of the RPC; `None` if the request reached none.
    pub(super) rpc: Option<&'static str>,
    /// The name of the caller's key; `None` if the caller is not known.
    pub(super) key: Option<&'a str>,
    pub(super) end: End,
    pub(super) error: Option<&'a Refusal>,
    pub(super) duration: Duration,
    pub(super) model: Option<&'a ModelEnd>,
}
