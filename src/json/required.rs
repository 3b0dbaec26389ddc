//! What OpenAI requires of an answer, and an upstream left out, is put in where its true value is
//! known. What the tables in `build/json_rules.rs` say happens here, once for every door: when an
//! answer is read.

use crate::proto::v1::{ChatChoice, ChatChunkChoice, EmbeddingUsage, Usage};

/// A message of an answer that has such members.
pub(crate) trait Complete {
    /// Puts them in. What is there stays as it is, also if it is of an unexpected type and
    /// therefore in `extra`.
    fn complete(&mut self);
}

impl Complete for ChatChoice {
    fn complete(&mut self) {
        if self.extra.contains_key("message") {
            return;
        }
        let message = self.message.get_or_insert_default();
        if message.role.is_empty() && !message.extra.contains_key("role") {
            "assistant".clone_into(&mut message.role);
        }
        // Here an unset content is null, so there is no need to keep that one.
        if message
            .extra
            .get("content")
            .is_some_and(|content| content == "null")
        {
            message.extra.remove("content");
        }
    }
}

impl Complete for ChatChunkChoice {
    fn complete(&mut self) {
        if !self.extra.contains_key("delta") {
            self.delta.get_or_insert_default();
        }
    }
}

impl Complete for Usage {
    fn complete(&mut self) {
        if let (None, Some(prompt), Some(completion)) = (
            self.total_tokens,
            self.prompt_tokens,
            self.completion_tokens,
        ) && !self.extra.contains_key("total_tokens")
        {
            self.total_tokens = prompt.checked_add(completion);
        }
    }
}

impl Complete for EmbeddingUsage {
    fn complete(&mut self) {
        if self.total_tokens.is_none() && !self.extra.contains_key("total_tokens") {
            self.total_tokens = self.prompt_tokens;
        }
    }
}
