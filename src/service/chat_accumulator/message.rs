//! The message of a choice, accumulated from its deltas.

use std::collections::BTreeMap;

use super::{
    members::{decode_elements, last, remove_if_set, take},
    text::{Location, TextMember, UnknownMembers},
    tool_calls::{FunctionAccumulator, ToolCalls},
};
use crate::proto::v1::{ChatAnnotation, ChatAudio, ChatDelta, ChatMessage, ContentPart, limits};

/// The largest list of tool calls in an unexpected form that is decoded: as large as any other.
pub(super) const TOOL_CALLS_MAX: usize = limits::CHAT_DELTA_TOOL_CALLS.max;

/// The message of one choice.
#[derive(Debug, Default)]
pub(super) struct MessageAccumulator {
    role: String,
    content: Content,
    refusal: TextMember,
    reasoning: TextMember,
    reasoning_content: TextMember,
    tool_calls: ToolCalls,
    function_call: Option<FunctionAccumulator>,
    audio: Option<AudioAccumulator>,
    annotations: Vec<ChatAnnotation>,
    unknown: UnknownMembers,
    /// A list was too long to be decoded.
    has_too_long_a_list: bool,
}

impl MessageAccumulator {
    pub(super) fn add(&mut self, delta: ChatDelta) {
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
            .map(|json| decode_elements::<_, TOOL_CALLS_MAX>(&json));
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
        self.unknown.add(extra, Location::Delta);
    }

    /// What the message takes in memory besides its texts, in bytes; `usize::MAX` if a list was too
    /// long to be decoded.
    pub(super) fn structure_bytes(&self) -> usize {
        if self.has_too_long_a_list {
            return usize::MAX;
        }
        let parts = &self.content.parts;
        let bytes = [
            self.annotations
                .len()
                .saturating_mul(size_of::<ChatAnnotation>()),
            parts.len().saturating_mul(size_of::<ContentPart>()),
            self.tool_calls.structure_bytes(),
            self.unknown.structure_bytes(),
        ];
        bytes.into_iter().fold(0, usize::saturating_add)
    }

    pub(super) fn finish(self) -> ChatMessage {
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
            audio: self.audio.map(AudioAccumulator::finish).map(Box::new),
            function_call: self
                .function_call
                .map(FunctionAccumulator::finish_function)
                .map(Box::new),
            role: self.role,
            ..ChatMessage::default()
        };
        remove_if_set(
            (!message.role.is_empty()).then_some(&()),
            "role",
            &mut extra,
        );
        remove_if_set(message.annotations.first(), "annotations", &mut extra);
        remove_if_set(message.audio.as_ref(), "audio", &mut extra);
        remove_if_set(message.function_call.as_ref(), "function_call", &mut extra);
        // A delta has no fields for these.
        take(&mut extra, "name", &mut message.name);
        take(&mut extra, "tool_call_id", &mut message.tool_call_id);
        // A stream starts with an empty text. If only tools are called, a unary answer has null
        // instead.
        if !message.tool_calls.is_empty() {
            message.content.take_if(|content| content.is_empty());
        }
        message.extra = extra;
        message
    }
}

/// Content as text, or as parts after a part has come.
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
struct AudioAccumulator {
    id: Option<String>,
    expires_at: Option<i64>,
    data: TextMember,
    transcript: TextMember,
    unknown: UnknownMembers,
}

impl AudioAccumulator {
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
        self.unknown.add(extra, Location::Delta);
    }

    fn finish(self) -> ChatAudio {
        let mut extra = self.unknown.finish();
        remove_if_set(self.id.as_ref(), "id", &mut extra);
        remove_if_set(self.expires_at.as_ref(), "expires_at", &mut extra);
        ChatAudio {
            id: self.id,
            expires_at: self.expires_at,
            data: self.data.finish("data", &mut extra),
            transcript: self.transcript.finish("transcript", &mut extra),
            extra,
        }
    }
}
