//! What the ledger keeps of one call.

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::UnixMs;

/// What the ledger keeps of one call of a model. Never what was asked or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When the call ended. [`arrived_at`](Self::arrived_at) tells when it arrived.
    pub ended_at: UnixMs,
    /// A UUIDv7. Of two calls of one gateway, the one that ended later has the larger id.
    pub id: Uuid,
    /// The caller's key. A key that is not in the database has a [fixed id](super::fixed_id).
    pub key_id: Uuid,
    /// The name of the key at the time of the call.
    pub key_name: Arc<str>,
    /// The protocol of the call.
    pub door: Door,
    /// What was called.
    pub rpc: Rpc,
    /// The model, as the caller wrote it. Empty if the request was refused before it was read.
    pub model_asked: Arc<str>,
    /// The model that answered, or else the one that was asked for, if the catalogue has it.
    /// Otherwise empty. Sums of calls by model use this name.
    pub model: Arc<str>,
    /// The account that was asked last: if the call was answered, it answered. Empty if the gateway has one
    /// account, or if none was asked.
    pub account: Arc<str>,
    /// How the call ended.
    pub ending: Ending,
    /// The code of the error, if it failed.
    pub error_code: Option<Box<str>>,
    /// What it used.
    pub tokens: Tokens,
    /// The units that the last attempt held. 0 if the call cost nothing.
    pub units: u32,
    /// The units, multiplied by the time for which they were held, in milliseconds.
    pub unit_ms: u64,
    /// How long the call waited for units, in milliseconds.
    pub waited_ms: u64,
    /// When the first token came, in milliseconds after the arrival. `None` for a complete answer.
    pub first_token_ms: Option<u64>,
    /// How long the call took, in milliseconds.
    pub duration_ms: u64,
    /// How many requests were sent upstream.
    pub attempts: u32,
    /// The id of the call in logs and in the header `x-request-id`.
    pub request_id: Option<Box<str>>,
    /// The upstream's id of the answer.
    pub upstream_request_id: Option<Box<str>>,
}

/// The tokens of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: u64,
    /// Of the answer.
    pub completion: u64,
    /// Those of the answer that are reasoning, if the upstream tells it.
    pub reasoning: u64,
    /// Those of the prompt that the upstream had in its cache, if it tells it.
    pub cached: u64,
    /// Who has counted them.
    pub source: TokenSource,
}

impl Record {
    /// When the call arrived.
    pub fn arrived_at(&self) -> UnixMs {
        let duration = i64::try_from(self.duration_ms).unwrap_or(i64::MAX);
        self.ended_at.saturating_sub(duration)
    }

    /// The model that answered, or that may have worked on a call which was cut. `None` if there is
    /// none.
    pub fn model_answered(&self) -> Option<&str> {
        let has_answer = match self.ending {
            Ending::Finished => true,
            // Only an answer costs something.
            Ending::Failed => self.tokens.source != TokenSource::None,
            Ending::Cancelled => self.units > 0,
        };
        has_answer.then_some(&*self.model)
    }
}

/// Declares an enum whose values have a name in the database, and a number in files.
macro_rules! named {
    (
        $(#[$doc:meta])* $type:ident { $($(#[$value_doc:meta])* $value:ident = $name:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$value_doc])* $value,)*
        }

        impl $type {
            /// All values. The place of a value is its number, which must not change.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// The name for programs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }

            /// The value with this name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$value),)*
                    _ => None,
                }
            }

            /// The value with this number.
            pub(super) fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }

            /// The number of the value.
            pub(super) const fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

named! {
    /// The protocol of a call.
    Door {
        /// gRPC over HTTP/2.
        Grpc = "grpc",
        /// gRPC-Web.
        GrpcWeb = "grpc-web",
        /// JSON over HTTP.
        Rest = "rest",
        /// Connect.
        Connect = "connect",
    }
}

named! {
    /// A method that a model answers.
    Rpc {
        /// A complete chat answer.
        CreateChatCompletion = "CreateChatCompletion",
        /// A streamed chat answer.
        StreamChatCompletion = "StreamChatCompletion",
        /// A complete text completion.
        CreateCompletion = "CreateCompletion",
        /// A streamed text completion.
        StreamCompletion = "StreamCompletion",
        /// Embeddings.
        CreateEmbedding = "CreateEmbedding",
    }
}

named! {
    /// How a call ended.
    Ending {
        /// The answer was complete.
        Finished = "finished",
        /// With an error.
        Failed = "failed",
        /// The caller left.
        Cancelled = "cancelled",
    }
}

named! {
    /// Who has counted the tokens of a call.
    #[derive(Default)]
    TokenSource {
        /// There are none: the call cost nothing.
        #[default]
        None = "none",
        /// The upstream, in its answer.
        Upstream = "upstream",
        /// The gateway, at least in part, because the answer did not tell them.
        Counted = "counted",
    }
}
