//! Members that OpenAI requires of an answer: those that the upstream left out are filled in where
//! their true value is known. This happens when an answer is read, and so once for both protocols.
//! `build/json_rules.rs` has the list of them.

use crate::proto::v1::{ChatChoice, ChatChunkChoice, EmbeddingUsage, Usage};

/// A message with such members.
pub(crate) trait FillRequired {
    /// Fills them in. A member that is there stays as it is, also in `extra`, where it is of an
    /// unexpected type.
    fn fill_required(&mut self);
}

impl FillRequired for ChatChoice {
    fn fill_required(&mut self) {
        if self.extra.contains_key("message") {
            return;
        }
        let message = self.message.get_or_insert_default();
        if message.role.is_empty() && !message.extra.contains_key("role") {
            "assistant".clone_into(&mut message.role);
        }
        // In this place an unset content is written as null, so `extra` need not keep one.
        if message
            .extra
            .get("content")
            .is_some_and(|content| content == "null")
        {
            message.extra.remove("content");
        }
    }
}

impl FillRequired for ChatChunkChoice {
    fn fill_required(&mut self) {
        if !self.extra.contains_key("delta") {
            self.delta.get_or_insert_default();
        }
    }
}

impl FillRequired for Usage {
    fn fill_required(&mut self) {
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

impl FillRequired for EmbeddingUsage {
    fn fill_required(&mut self) {
        if self.total_tokens.is_none() && !self.extra.contains_key("total_tokens") {
            self.total_tokens = self.prompt_tokens;
        }
    }
}
