//! The usage that an answer tells, in tokens.

use crate::proto::v1::{
    CreateChatCompletionResponse, CreateCompletionResponse, CreateEmbeddingResponse,
    StreamChatCompletionResponse, StreamCompletionResponse,
};

/// The usage of an answer, as far as it tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub(super) prompt_tokens: Option<i32>,
    pub(super) completion_tokens: Option<i32>,
    pub(super) reasoning_tokens: Option<i32>,
    pub(super) cached_tokens: Option<i32>,
}

/// A message that can tell the usage.
pub trait TellsUsage {
    /// The usage, if this message tells it.
    fn usage(&self) -> Option<Usage>;

    /// Whether it has no part of the answer, only the usage.
    fn is_usage_alone(&self) -> bool {
        false
    }
}

macro_rules! of_text {
    ($($message:ty),*) => {
        $(impl TellsUsage for $message {
            fn usage(&self) -> Option<Usage> {
                self.usage.as_ref().map(|usage| Usage {
                    prompt_tokens: usage.prompt_tokens,
                    completion_tokens: usage.completion_tokens,
                    reasoning_tokens: usage
                        .completion_tokens_details
                        .as_ref()
                        .and_then(|details| details.reasoning_tokens),
                    cached_tokens: usage
                        .prompt_tokens_details
                        .as_ref()
                        .and_then(|details| details.cached_tokens),
                })
            }

            fn is_usage_alone(&self) -> bool {
                self.choices.is_empty() && self.usage.is_some()
            }
        })*
    };
}

of_text!(
    CreateChatCompletionResponse,
    StreamChatCompletionResponse,
    CreateCompletionResponse,
    StreamCompletionResponse
);

impl TellsUsage for CreateEmbeddingResponse {
    fn usage(&self) -> Option<Usage> {
        self.usage.as_ref().map(|usage| Usage {
            prompt_tokens: usage.prompt_tokens.or(usage.total_tokens),
            completion_tokens: Some(0),
            ..Usage::default()
        })
    }
}
