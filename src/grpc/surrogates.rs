//! Joins characters that a stream splits into two surrogates, in two chunks. Protobuf cannot hold a
//! single surrogate. Therefore a surrogate at the end of a chunk is held back and joined with the
//! next chunk of the same text. If the choice ends without the other surrogate, it becomes U+FFFD.
//!
//! Pure: chunks in, chunks out. The REST door does not need this: JSON can hold single surrogates.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    json::{self, Object, SurrogateJoiner},
    proto::v1::{
        ChatDelta, CustomToolCall, FunctionCall, StreamChatCompletionResponse,
        StreamCompletionResponse, ToolCall,
    },
};

/// The largest number of surrogates that are held back for one stream. Any further surrogate
/// becomes U+FFFD at once.
const HELD_BACK_MAX: usize = 4096;

/// A chunk with texts that continue in the next chunk.
pub(super) trait TextChunk: Object {
    /// Joins each text with the surrogate that is held back for it.
    fn join(&mut self, surrogates: &mut SplitSurrogates);
}

/// The surrogates that are held back.
#[derive(Debug, Default)]
pub struct SplitSurrogates(BTreeMap<(i32, Text), HeldBack>);

#[derive(Debug)]
struct HeldBack {
    half: SurrogateJoiner,
    /// The id of the tool call that the text belongs to, if the chunk has one.
    id: Option<String>,
}

/// One of the texts of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Text {
    Completion,
    Content,
    Refusal,
    Reasoning,
    ReasoningContent,
    FunctionCall,
    AudioData,
    AudioTranscript,
    /// The arguments of the function of the call with this index, and the input of its custom tool.
    Arguments(i32),
    Input(i32),
}

type Extra = BTreeMap<String, String>;

impl SplitSurrogates {
    /// The chunk with valid texts for protobuf. Most chunks need no change: they have no text in
    /// `extra`, and no surrogate is held back for them.
    pub(super) fn complete<M: TextChunk>(&mut self, mut chunk: M) -> M {
        if !self.may_pass(&chunk) {
            chunk.join(self);
            // These texts do not continue in another chunk.
            chunk.replace_surrogates();
        }
        chunk
    }

    /// Whether a chunk with the fields of `chunk`, and any valid text, needs no change.
    pub(super) fn may_pass<M: TextChunk>(&self, chunk: &M) -> bool {
        self.0.is_empty() && !chunk.has_field_in_extra()
    }

    /// Joins one text: the field, or the member `name` of `extra`. After the last chunk nothing is
    /// held back.
    fn join(
        &mut self,
        key: (i32, Text),
        (name, field, extra): (&str, &mut Option<String>, &mut Extra),
        is_last: bool,
        id: Option<&String>,
    ) {
        let piece = json::take_string(extra, name);
        let held_back = match self.0.entry(key) {
            Entry::Occupied(entry) if is_last || piece.is_some() || field.is_some() => {
                Some(entry.remove())
            }
            // The chunk does not have this text, or nothing is held back for the text.
            Entry::Occupied(_) => return,
            Entry::Vacant(_) => None,
        };
        if piece.is_none() && held_back.is_none() {
            return;
        }
        // A new call does not continue the previous one.
        let mut text = held_back
            .filter(|held_back| id.is_none() || held_back.id.as_ref() == id)
            .map_or_else(SurrogateJoiner::default, |held_back| held_back.half);
        if let Some(more) = field {
            text.push(more);
        }
        if let Some(piece) = piece {
            text.push_json(&piece);
        }
        if is_last || self.0.len() >= HELD_BACK_MAX {
            *field = Some(text.finish());
            return;
        }
        let (complete, has_half) = text.take();
        *field = Some(complete);
        if has_half {
            self.0.insert(
                key,
                HeldBack {
                    half: text,
                    id: id.cloned(),
                },
            );
        }
    }

    fn has_any(&self, choice: i32) -> bool {
        self.0
            .range((choice, Text::Completion)..)
            .next()
            .is_some_and(|((first, _), _)| *first == choice)
    }

    fn has(&self, key: (i32, Text)) -> bool {
        self.0.contains_key(&key)
    }

    /// The texts of a choice's tool calls for which a surrogate is held back.
    fn calls(&self, choice: i32) -> Vec<Text> {
        let all = self
            .0
            .range((choice, Text::Arguments(i32::MIN))..=(choice, Text::Input(i32::MAX)));
        all.map(|((_, text), _)| *text).collect()
    }
}

impl TextChunk for StreamCompletionResponse {
    fn join(&mut self, surrogates: &mut SplitSurrogates) {
        for choice in &mut self.choices {
            let is_last = crate::service::has_ended(choice.finish_reason.as_deref(), &choice.extra);
            let mut text = Some(std::mem::take(&mut choice.text));
            let key = (choice.index, Text::Completion);
            surrogates.join(key, ("text", &mut text, &mut choice.extra), is_last, None);
            choice.text = text.unwrap_or_default();
        }
    }
}

impl TextChunk for StreamChatCompletionResponse {
    fn join(&mut self, surrogates: &mut SplitSurrogates) {
        for choice in &mut self.choices {
            let is_last = crate::service::has_ended(choice.finish_reason.as_deref(), &choice.extra);
            if is_last && surrogates.has_any(choice.index) {
                choice.delta.get_or_insert_default();
            }
            if let Some(delta) = &mut choice.delta {
                join_delta(delta, choice.index, is_last, surrogates);
            }
        }
    }
}

fn join_delta(delta: &mut ChatDelta, choice: i32, is_last: bool, surrogates: &mut SplitSurrogates) {
    let extra = &mut delta.extra;
    for (text, name, field) in [
        (Text::Content, "content", &mut delta.content),
        (Text::Refusal, "refusal", &mut delta.refusal),
        (Text::Reasoning, "reasoning", &mut delta.reasoning),
        (
            Text::ReasoningContent,
            "reasoning_content",
            &mut delta.reasoning_content,
        ),
    ] {
        surrogates.join((choice, text), (name, field, extra), is_last, None);
    }
    if is_last && surrogates.has((choice, Text::FunctionCall)) {
        delta.function_call.get_or_insert_default();
    }
    if let Some(call) = &mut delta.function_call {
        let FunctionCall {
            arguments, extra, ..
        } = &mut **call;
        surrogates.join(
            (choice, Text::FunctionCall),
            ("arguments", arguments, extra),
            is_last,
            None,
        );
    }
    for (text, name) in [
        (Text::AudioData, "data"),
        (Text::AudioTranscript, "transcript"),
    ] {
        if is_last && surrogates.has((choice, text)) {
            delta.audio.get_or_insert_default();
        }
        if let Some(audio) = delta.audio.as_deref_mut() {
            let field = if text == Text::AudioData {
                &mut audio.data
            } else {
                &mut audio.transcript
            };
            surrogates.join(
                (choice, text),
                (name, field, &mut audio.extra),
                is_last,
                None,
            );
        }
    }
    for (place, call) in (0..).zip(&mut delta.tool_calls) {
        // Most engines send the index. Otherwise it is the position in the list.
        join_call(
            call,
            choice,
            call.index.unwrap_or(place),
            is_last,
            surrogates,
        );
    }
    if is_last {
        for text in surrogates.calls(choice) {
            delta
                .tool_calls
                .push(last_of_call(choice, text, surrogates));
        }
    }
}

fn join_call(
    call: &mut ToolCall,
    choice: i32,
    at: i32,
    is_last: bool,
    surrogates: &mut SplitSurrogates,
) {
    let id = call.id.as_ref().filter(|id| !id.is_empty());
    if let Some(FunctionCall {
        arguments, extra, ..
    }) = &mut call.function
    {
        surrogates.join(
            (choice, Text::Arguments(at)),
            ("arguments", arguments, extra),
            is_last,
            id,
        );
    }
    if let Some(CustomToolCall { input, extra, .. }) = call.custom.as_deref_mut() {
        surrogates.join(
            (choice, Text::Input(at)),
            ("input", input, extra),
            is_last,
            id,
        );
    }
}

/// The delta that ends the text of a tool call for which a surrogate is held back.
fn last_of_call(choice: i32, text: Text, surrogates: &mut SplitSurrogates) -> ToolCall {
    let (mut field, mut call) = (None, ToolCall::default());
    surrogates.join(
        (choice, text),
        ("", &mut field, &mut Extra::new()),
        true,
        None,
    );
    match text {
        Text::Input(at) => {
            call.index = Some(at);
            call.custom = Some(Box::new(CustomToolCall {
                input: field,
                ..CustomToolCall::default()
            }));
        }
        Text::Arguments(at) => {
            call.index = Some(at);
            call.function = Some(FunctionCall {
                arguments: field,
                ..FunctionCall::default()
            });
        }
        _ => {}
    }
    call
}

#[cfg(test)]
mod tests;
