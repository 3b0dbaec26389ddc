//! Accumulates the chunks of a streamed chat answer into the unary answer. Pure: chunks in, an
//! answer out. Its size is limited by the size of the stream.
//!
//! - Text of each kind (content, refusal, both spellings of reasoning, arguments, transcripts) is
//!   joined in order. So are the halves of a character that was split into two JSON escapes; a half
//!   without its other half becomes U+FFFD.
//! - Text is not replaced by a value of another type: such a value counts only if there is no text.
//!   Text between content parts becomes text parts.
//! - `tool_calls.rs` says which delta continues which tool call.
//! - Lists (log probabilities, annotations, parts) are joined.
//! - The first finish reason that is not empty counts. Each part of `usage` is the last one
//!   received; a total that was the sum of its parts remains the sum.
//! - The first `id`, `created` and `model` that are not empty count. Of all other members the last
//!   value that is not null counts.
//! - Members that the contract does not name follow the same rules. Lists are joined. Text in a
//!   delta, or in a part of one, is joined too, unless it is the same in each delta. Other text,
//!   numbers, booleans and objects are not joined: the last one counts. A list in the chunk itself
//!   that is the same in each chunk is not joined. A value that cannot be joined to a text or a
//!   list does not replace it.
//! - A choice's `text`, which some engines send in place of a delta, is joined like the text of a
//!   delta.
//! - What only streams have is left out: the `index` of tool calls, and `obfuscation`.

mod members;
mod message;
mod text;
mod tool_calls;
mod usage;

use std::collections::BTreeMap;

use self::{
    members::{last, remove_if_set, take},
    message::MessageAccumulator,
    text::{Location, TextMember, UnknownMembers},
    usage::add_usage,
};
use crate::{
    json,
    proto::bounds::STRUCTURE_BYTES_MAX,
    proto::v1::{
        ChatChoice, ChatChunkChoice, ChatMessage, CreateChatCompletionResponse, Logprobs,
        StreamChatCompletionResponse, TokenLogprob,
    },
};

/// Accumulates one answer.
#[derive(Debug, Default)]
pub struct ChatAccumulator {
    /// The answer without its choices.
    answer: CreateChatCompletionResponse,
    unknown: UnknownMembers,
    choices: BTreeMap<i32, Choice>,
    /// What the choices take in memory besides their texts, in bytes.
    structure_bytes: usize,
}

impl ChatAccumulator {
    /// Adds the next chunk.
    pub fn add(&mut self, chunk: StreamChatCompletionResponse) {
        let answer = &mut self.answer;
        if answer.id.is_empty() {
            answer.id = chunk.id;
        }
        if answer.created == 0 {
            answer.created = chunk.created;
        }
        if answer.model.is_empty() {
            answer.model = chunk.model;
        }
        add_usage(&mut answer.usage, chunk.usage);
        last(&mut answer.service_tier, chunk.service_tier);
        last(&mut answer.system_fingerprint, chunk.system_fingerprint);
        last(&mut answer.moderation, chunk.moderation);
        self.unknown.add(chunk.extra, Location::Chunk);
        for choice in chunk.choices {
            let known = self.choices.entry(choice.index).or_default();
            let before = known.structure_bytes();
            known.add(choice);
            let added = known.structure_bytes().saturating_sub(before);
            self.structure_bytes = self.structure_bytes.saturating_add(added);
        }
    }

    /// Whether the chunks together take more memory than an answer may.
    pub fn is_too_large(&self) -> bool {
        self.structure_bytes
            .saturating_add(self.unknown.structure_bytes())
            > STRUCTURE_BYTES_MAX
    }

    /// The answer, after the last chunk.
    pub fn finish(self) -> CreateChatCompletionResponse {
        let mut extra = self.unknown.finish();
        let mut answer = self.answer;
        answer.choices = self
            .choices
            .into_iter()
            .map(|(index, choice)| choice.finish(index))
            .collect();
        remove_if_set((!answer.id.is_empty()).then_some(&()), "id", &mut extra);
        remove_if_set((answer.created != 0).then_some(&()), "created", &mut extra);
        remove_if_set(
            (!answer.model.is_empty()).then_some(&()),
            "model",
            &mut extra,
        );
        remove_if_set(answer.choices.first(), "choices", &mut extra);
        remove_if_set(answer.usage.as_ref(), "usage", &mut extra);
        remove_if_set(answer.service_tier.as_ref(), "service_tier", &mut extra);
        remove_if_set(
            answer.system_fingerprint.as_ref(),
            "system_fingerprint",
            &mut extra,
        );
        extra.remove("obfuscation");
        // A chunk and an answer have different values of `object`.
        extra.remove("object");
        // A chunk has no fields for these.
        take(&mut extra, "metadata", &mut answer.metadata);
        answer.extra = extra;
        answer
    }
}

/// One choice.
#[derive(Debug, Default)]
struct Choice {
    has_begun: bool,
    finish_reason: Option<String>,
    logprobs: Option<LogprobsAccumulator>,
    message: MessageAccumulator,
    /// The member `text`, which some engines send in place of a delta.
    text: TextMember,
    unknown: UnknownMembers,
}

impl Choice {
    /// What the choice takes in memory besides its texts, in bytes; 0 before its first chunk.
    fn structure_bytes(&self) -> usize {
        let tokens = self
            .logprobs
            .as_ref()
            .map_or(0, |sum| sum.content.len() + sum.refusal.len());
        let bytes = [
            if self.has_begun { size_of::<Self>() } else { 0 },
            tokens.saturating_mul(size_of::<TokenLogprob>()),
            self.message.structure_bytes(),
            self.unknown.structure_bytes(),
        ];
        bytes.into_iter().fold(0, usize::saturating_add)
    }

    fn add(&mut self, piece: ChatChunkChoice) {
        let ChatChunkChoice {
            index: _,
            delta,
            finish_reason,
            logprobs,
            mut extra,
        } = piece;
        self.has_begun = true;
        if self.finish_reason.as_ref().is_none_or(String::is_empty) {
            last(&mut self.finish_reason, finish_reason);
        }
        if let Some(piece) = logprobs {
            let known = self.logprobs.get_or_insert_default();
            known.content.extend(piece.content);
            known.refusal.extend(piece.refusal);
            known.unknown.add(piece.extra, Location::Choice);
        }
        self.text.add(None, "text", &mut extra);
        self.unknown.add(extra, Location::Choice);
        if let Some(delta) = delta {
            self.message.add(delta);
        }
    }

    fn finish(self, index: i32) -> ChatChoice {
        let mut extra = self.unknown.finish();
        if let Some(text) = self.text.finish("text", &mut extra) {
            extra.insert(
                "text".to_owned(),
                serde_json::Value::String(text).to_string(),
            );
        }
        let logprobs = self.logprobs.map(LogprobsAccumulator::finish).map(Box::new);
        remove_if_set(self.finish_reason.as_ref(), "finish_reason", &mut extra);
        remove_if_set(logprobs.as_ref(), "logprobs", &mut extra);
        let mut message = self.message.finish();
        // Some engines send a complete message instead of deltas, or after them.
        let whole = extra
            .remove("message")
            .and_then(|json| json::decode_answer(json.as_bytes()).ok());
        if let Some(whole) = whole
            && message
                == (ChatMessage {
                    role: message.role.clone(),
                    ..ChatMessage::default()
                })
        {
            message = whole;
        }
        if message.role.is_empty() && !message.extra.contains_key("role") {
            "assistant".clone_into(&mut message.role);
        }
        ChatChoice {
            index,
            message: Some(message),
            finish_reason: self.finish_reason,
            logprobs,
            extra,
        }
    }
}

#[derive(Debug, Default)]
struct LogprobsAccumulator {
    content: Vec<TokenLogprob>,
    refusal: Vec<TokenLogprob>,
    unknown: UnknownMembers,
}

impl LogprobsAccumulator {
    fn finish(self) -> Logprobs {
        let mut extra = self.unknown.finish();
        remove_if_set(self.content.first(), "content", &mut extra);
        remove_if_set(self.refusal.first(), "refusal", &mut extra);
        Logprobs {
            content: self.content,
            refusal: self.refusal,
            extra,
        }
    }
}

#[cfg(test)]
mod tests;
