//! What OpenAI requires of an answer, and an upstream left out, is put in where its true value is known. What the tables in
//! `build/json_rules.rs` say happens here, once for every door: when an answer is read.

use super::UNPLACED;
use crate::proto::v1::{
    ChatChoice, ChatChunkChoice, CompletionChoice, CreateChatCompletionResponse, CreateCompletionResponse,
    CreateEmbeddingResponse, Embedding, EmbeddingUsage, StreamChatCompletionResponse, StreamCompletionResponse,
    ToolCall, Usage,
};

/// A message of an answer that has such members.
pub(crate) trait Complete {
    /// Puts them in. What is there stays as it is, also if it is of an unexpected type and therefore in `extra`.
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
        // A delta may leave the type out, a whole call may not.
        message.tool_calls.iter_mut().for_each(name_type);
        // Here an unset content is null, so there is no need to keep that one.
        if message.extra.get("content").is_some_and(|content| content == "null") {
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
        if let (None, Some(prompt), Some(completion)) = (self.total_tokens, self.prompt_tokens, self.completion_tokens)
            && !self.extra.contains_key("total_tokens")
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

/// Puts in the type of a tool call that is one of a function.
fn name_type(call: &mut ToolCall) {
    if call.function.is_some() && call.r#type.as_ref().is_none_or(String::is_empty) && !call.extra.contains_key("type")
    {
        call.r#type = Some("function".to_owned());
    }
}

/// Puts in the places that the items of a list don't tell: those in the list.
fn place<'a>(indexes: impl Iterator<Item = &'a mut i32>) {
    for (place, index) in indexes.enumerate().filter(|(_, index)| **index == UNPLACED) {
        *index = i32::try_from(place).unwrap_or(i32::MAX);
    }
}

impl Complete for CreateChatCompletionResponse {
    fn complete(&mut self) {
        place(self.choices.iter_mut().map(|ChatChoice { index, .. }| index));
    }
}

impl Complete for StreamChatCompletionResponse {
    fn complete(&mut self) {
        place(self.choices.iter_mut().map(|ChatChunkChoice { index, .. }| index));
    }
}

impl Complete for CreateCompletionResponse {
    fn complete(&mut self) {
        place(self.choices.iter_mut().map(|CompletionChoice { index, .. }| index));
    }
}

impl Complete for StreamCompletionResponse {
    fn complete(&mut self) {
        place(self.choices.iter_mut().map(|CompletionChoice { index, .. }| index));
    }
}

impl Complete for CreateEmbeddingResponse {
    fn complete(&mut self) {
        place(self.data.iter_mut().map(|Embedding { index, .. }| index));
    }
}
