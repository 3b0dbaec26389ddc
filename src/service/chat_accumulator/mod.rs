//! A streamed chat answer added up to the unary one. Pure: chunks in, an answer out. Its size is
//! bounded by the size of the stream.
//!
//! - Text of each kind (content, refusal, both spellings of reasoning, arguments, transcripts) is
//!   joined in order, and so are the halves of a character that was cut into two JSON escapes. A
//!   half without its other half becomes U+FFFD.
//! - A text stays what it is when a piece of another type comes: such a piece counts only where
//!   there is no text at all. Content in parts among content in text makes text parts of the text.
//! - Which pieces belong to which tool call, `tool_calls.rs` says.
//! - Lists (log probabilities, annotations, parts) are joined.
//! - Of the reasons to finish, the first one that isn't empty counts. Of `usage`, each part is the
//!   last one that came; a total that was the sum of its parts stays the sum.
//! - The `id`, `created` and `model` are the first ones that aren't empty. Of all other members,
//!   the last value but null counts.
//! - Members that the contract doesn't name follow the same rules. Lists are joined. A text in a
//!   delta, or in a part of one, is joined too, unless it is the same in every piece. A text
//!   elsewhere, a number, a boolean or an object isn't joined: the last one counts. A list in the
//!   chunk itself that is the same in every chunk isn't joined. What can't be joined to a text or a
//!   list does not replace it.
//! - A choice's `text`, which some engines write in place of a delta, is text like that of a delta.
//! - What only streams have is left out: the `index` of tool calls, `obfuscation`.

mod text;
mod tool_calls;

use std::collections::BTreeMap;

use prost::Message;

use self::{
    text::{Place, TextMember, Unknown, prefer, readable},
    tool_calls::{Function, ToolCalls},
};
use crate::{
    json,
    proto::bounds::STRUCTURE_BYTES_MAX,
    proto::v1::{
        ChatAnnotation, ChatAudio, ChatChoice, ChatChunkChoice, ChatDelta, ChatMessage,
        ContentPart, CreateChatCompletionResponse, Logprobs, StreamChatCompletionResponse,
        TokenLogprob, Usage, limits,
    },
};

/// How many tool calls a piece may have whose list is no list of objects: as many as any other
/// piece.
const TOOL_CALLS_MAX: usize = limits::CHAT_DELTA_TOOL_CALLS.max;

/// Adds up one answer.
#[derive(Debug, Default)]
pub struct ChatAccumulator {
    /// All but the choices.
    answer: CreateChatCompletionResponse,
    unknown: Unknown,
    choices: BTreeMap<i32, Choice>,
    /// What the choices take, in bytes, besides their texts.
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
        self.unknown.add(chunk.extra, Place::Chunk);
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

    /// The answer that the chunks add up to.
    pub fn finish(self) -> CreateChatCompletionResponse {
        let mut extra = self.unknown.finish();
        let mut answer = self.answer;
        answer.choices = self
            .choices
            .into_iter()
            .map(|(index, choice)| choice.finish(index))
            .collect();
        prefer((!answer.id.is_empty()).then_some(&()), "id", &mut extra);
        prefer((answer.created != 0).then_some(&()), "created", &mut extra);
        prefer(
            (!answer.model.is_empty()).then_some(&()),
            "model",
            &mut extra,
        );
        prefer(answer.choices.first(), "choices", &mut extra);
        prefer(answer.usage.as_ref(), "usage", &mut extra);
        prefer(answer.service_tier.as_ref(), "service_tier", &mut extra);
        prefer(
            answer.system_fingerprint.as_ref(),
            "system_fingerprint",
            &mut extra,
        );
        extra.remove("obfuscation");
        // What a chunk is called is not what the answer is called.
        extra.remove("object");
        // A chunk has no field for these.
        take(&mut extra, "metadata", &mut answer.metadata);
        answer.extra = extra;
        answer
    }
}

/// One choice, as far as it has come.
#[derive(Debug, Default)]
struct Choice {
    has_begun: bool,
    finish_reason: Option<String>,
    logprobs: Option<LogprobsSum>,
    message: MessageSum,
    /// What some engines write in place of a delta.
    text: TextMember,
    unknown: Unknown,
}

impl Choice {
    /// What the choice takes, in bytes, besides its texts; none before its first piece.
    fn structure_bytes(&self) -> usize {
        let tokens = self
            .logprobs
            .as_ref()
            .map_or(0, |sum| sum.content.len() + sum.refusal.len());
        let message = &self.message;
        if message.has_too_long_a_list {
            return usize::MAX;
        }
        let bytes = [
            if self.has_begun { size_of::<Self>() } else { 0 },
            tokens.saturating_mul(size_of::<TokenLogprob>()),
            message
                .annotations
                .len()
                .saturating_mul(size_of::<ChatAnnotation>()),
            message
                .content
                .parts
                .len()
                .saturating_mul(size_of::<ContentPart>()),
            message.tool_calls.structure_bytes(),
            self.unknown.structure_bytes(),
            message.unknown.structure_bytes(),
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
            known.unknown.add(piece.extra, Place::Choice);
        }
        self.text.add(None, "text", &mut extra);
        self.unknown.add(extra, Place::Choice);
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
        let logprobs = self.logprobs.map(LogprobsSum::finish).map(Box::new);
        prefer(self.finish_reason.as_ref(), "finish_reason", &mut extra);
        prefer(logprobs.as_ref(), "logprobs", &mut extra);
        let mut message = self.message.finish();
        // Some engines send a whole message instead of deltas, or after them.
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
struct LogprobsSum {
    content: Vec<TokenLogprob>,
    refusal: Vec<TokenLogprob>,
    unknown: Unknown,
}

impl LogprobsSum {
    fn finish(self) -> Logprobs {
        let mut extra = self.unknown.finish();
        prefer(self.content.first(), "content", &mut extra);
        prefer(self.refusal.first(), "refusal", &mut extra);
        Logprobs {
            content: self.content,
            refusal: self.refusal,
            extra,
        }
    }
}

/// One message, as far as it has come.
#[derive(Debug, Default)]
struct MessageSum {
    role: String,
    content: Content,
    refusal: TextMember,
    reasoning: TextMember,
    reasoning_content: TextMember,
    tool_calls: ToolCalls,
    function_call: Option<Function>,
    audio: Option<AudioSum>,
    annotations: Vec<ChatAnnotation>,
    unknown: Unknown,
    /// A list was too long to be read.
    has_too_long_a_list: bool,
}

impl MessageSum {
    fn add(&mut self, delta: ChatDelta) {
        let ChatDelta {
            role,
            content,
            content_parts,
            refusal,
            tool_calls,
            reasoning,
            reasoning_content,
            function_call,
            audio,
            annotations,
            mut extra,
        } = delta;
        if self.role.is_empty() {
            self.role = role.unwrap_or_default();
        }
        self.content.add(content, content_parts, &mut extra);
        self.refusal.add(refusal, "refusal", &mut extra);
        self.reasoning.add(reasoning, "reasoning", &mut extra);
        self.reasoning_content
            .add(reasoning_content, "reasoning_content", &mut extra);
        let odd = extra
            .remove("tool_calls")
            .map(|json| readable::<_, TOOL_CALLS_MAX>(&json));
        self.has_too_long_a_list |= odd == Some(None);
        let odd = odd.flatten().unwrap_or_default();
        tool_calls
            .into_iter()
            .chain(odd)
            .for_each(|call| self.tool_calls.add(call));
        if let Some(call) = function_call {
            self.function_call
                .get_or_insert_default()
                .add_function(*call);
        }
        if let Some(audio) = audio {
            self.audio.get_or_insert_default().add(*audio);
        }
        self.annotations.extend(annotations);
        self.unknown.add(extra, Place::Delta);
    }

    fn finish(self) -> ChatMessage {
        let mut extra = self.unknown.finish();
        let (content, content_parts) = self.content.finish(&mut extra);
        let mut message = ChatMessage {
            content,
            content_parts,
            refusal: self.refusal.finish("refusal", &mut extra),
            tool_calls: self.tool_calls.finish(),
            reasoning: self.reasoning.finish("reasoning", &mut extra),
            reasoning_content: self
                .reasoning_content
                .finish("reasoning_content", &mut extra),
            annotations: self.annotations,
            audio: self.audio.map(AudioSum::finish).map(Box::new),
            function_call: self
                .function_call
                .map(Function::finish_function)
                .map(Box::new),
            role: self.role,
            ..ChatMessage::default()
        };
        prefer(
            (!message.role.is_empty()).then_some(&()),
            "role",
            &mut extra,
        );
        prefer(message.annotations.first(), "annotations", &mut extra);
        prefer(message.audio.as_ref(), "audio", &mut extra);
        prefer(message.function_call.as_ref(), "function_call", &mut extra);
        // A delta has no field for these.
        take(&mut extra, "name", &mut message.name);
        take(&mut extra, "tool_call_id", &mut message.tool_call_id);
        // A stream begins with an empty text; where only tools are called, a unary answer has null
        // instead.
        if !message.tool_calls.is_empty() {
            message.content.take_if(|content| content.is_empty());
        }
        message.extra = extra;
        message
    }
}

/// Content as text, or as parts once one came.
#[derive(Debug, Default)]
struct Content {
    /// The text after the last part.
    text: TextMember,
    parts: Vec<ContentPart>,
}

impl Content {
    fn add(
        &mut self,
        text: Option<String>,
        more: Vec<ContentPart>,
        extra: &mut BTreeMap<String, String>,
    ) {
        if more.is_empty() {
            // An empty list adds nothing.
            if extra.get("content").is_some_and(|content| content == "[]") {
                extra.remove("content");
            }
            self.text.add(text, "content", extra);
        } else {
            self.parts.extend(self.text.take().map(text_part));
            self.parts.extend(more);
        }
    }

    fn finish(
        mut self,
        extra: &mut BTreeMap<String, String>,
    ) -> (Option<String>, Vec<ContentPart>) {
        if self.parts.is_empty() {
            return (self.text.finish("content", extra), self.parts);
        }
        self.parts.extend(self.text.take().map(text_part));
        (None, self.parts)
    }
}

fn text_part(text: String) -> ContentPart {
    ContentPart {
        r#type: Some("text".to_owned()),
        text: Some(text),
        ..ContentPart::default()
    }
}

#[derive(Debug, Default)]
struct AudioSum {
    id: Option<String>,
    expires_at: Option<i64>,
    data: TextMember,
    transcript: TextMember,
    unknown: Unknown,
}

impl AudioSum {
    fn add(&mut self, piece: ChatAudio) {
        let ChatAudio {
            id,
            expires_at,
            data,
            transcript,
            mut extra,
        } = piece;
        last(&mut self.id, id);
        last(&mut self.expires_at, expires_at);
        self.data.add(data, "data", &mut extra);
        self.transcript.add(transcript, "transcript", &mut extra);
        self.unknown.add(extra, Place::Delta);
    }

    fn finish(self) -> ChatAudio {
        let mut extra = self.unknown.finish();
        prefer(self.id.as_ref(), "id", &mut extra);
        prefer(self.expires_at.as_ref(), "expires_at", &mut extra);
        ChatAudio {
            id: self.id,
            expires_at: self.expires_at,
            data: self.data.finish("data", &mut extra),
            transcript: self.transcript.finish("transcript", &mut extra),
            extra,
        }
    }
}

/// Some engines send the parts of the usage in different chunks. Merging two messages keeps what
/// the new one doesn't have.
fn add_usage(known: &mut Option<Usage>, piece: Option<Usage>) {
    let Some(mut piece) = piece else { return };
    let Some(known) = known else {
        *known = Some(piece);
        return;
    };
    // A part of an unexpected type doesn't replace one that could be read.
    for name in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        piece.extra.remove(name);
    }
    // A total that is the sum of its parts changes with them; it may be the gateway's own.
    if is_sum(known) || is_sum(&piece) {
        known.total_tokens = None;
    }
    if is_sum(&piece) {
        piece.total_tokens = None;
    }
    if let Err(error) = known.merge(piece.encode_to_vec().as_slice()) {
        tracing::error!(%error, "usage that was encoded here can't be decoded");
    }
    json::FillRequired::fill_required(known);
}

/// Whether the total is the sum of the parts.
fn is_sum(usage: &Usage) -> bool {
    let parts = usage.prompt_tokens.zip(usage.completion_tokens);
    usage.total_tokens.is_some()
        && usage.total_tokens == parts.and_then(|(prompt, answer)| prompt.checked_add(answer))
}

/// Moves a member out of `extra` into its field, if it has the field's type.
fn take<T: serde::de::DeserializeOwned>(
    extra: &mut BTreeMap<String, String>,
    name: &str,
    field: &mut T,
) {
    if let Some(value) = extra
        .get(name)
        .and_then(|json| serde_json::from_str(json).ok())
    {
        *field = value;
        extra.remove(name);
    }
}

fn last<T>(known: &mut Option<T>, piece: Option<T>) {
    if piece.is_some() {
        *known = piece;
    }
}

#[cfg(test)]
mod tests;
