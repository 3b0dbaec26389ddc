//! SplitSurrogates of characters in a stream, for protobuf, which can't hold them: a half at the end of a
//! piece waits for the next piece of the same text, and is joined to what that begins with. Where
//! its choice ends without the other half it is U+FFFD.
//!
//! Pure: chunks in, chunks out. The REST door needs nothing of it: in JSON the halves go on as they
//! came.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    json::{self, Object, SurrogateJoiner},
    proto::v1::{
        ChatDelta, CustomToolCall, FunctionCall, StreamChatCompletionResponse,
        StreamCompletionResponse, ToolCall,
    },
};

/// How many halves of one stream may wait. One more is U+FFFD at once.
const WAITING_MAX: usize = 4096;

/// A chunk that has texts in pieces.
pub(super) trait TextChunk: Object {
    /// Joins each text that is a piece to the half of a character that waits for it.
    fn join(&mut self, halves: &mut SplitSurrogates);
}

/// The halves of characters that wait for their other half.
#[derive(Debug, Default)]
pub struct SplitSurrogates(BTreeMap<(i32, Text), Waiting>);

#[derive(Debug)]
struct Waiting {
    half: SurrogateJoiner,
    /// The id of the tool call whose text it is, if its piece had one.
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
    /// The arguments of the function that the call in this place is of, and the input of its custom
    /// tool.
    Arguments(i32),
    Input(i32),
}

type Extra = BTreeMap<String, String>;

impl SplitSurrogates {
    /// The chunk for protobuf. Most chunks have nothing in `extra` that belongs into a field, and
    /// follow no half.
    pub(super) fn complete<M: TextChunk>(&mut self, mut chunk: M) -> M {
        if !self.0.is_empty() || chunk.has_field_in_extra() {
            chunk.join(self);
            // What is no piece of a longer text.
            chunk.replace_surrogates();
        }
        chunk
    }

    /// Joins one piece: the field, or the member of this name in `extra`. The last piece leaves
    /// nothing behind.
    fn join(
        &mut self,
        key: (i32, Text),
        (name, field, extra): (&str, &mut Option<String>, &mut Extra),
        is_last: bool,
        id: Option<&String>,
    ) {
        let piece = json::take_string(extra, name);
        let waiting = match self.0.entry(key) {
            Entry::Occupied(entry) if is_last || piece.is_some() || field.is_some() => {
                Some(entry.remove())
            }
            // Nothing comes of this text, or nothing has been waiting for it.
            Entry::Occupied(_) => return,
            Entry::Vacant(_) => None,
        };
        if piece.is_none() && waiting.is_none() {
            return;
        }
        // A new call is not the rest of the one before.
        let mut text = waiting
            .filter(|waiting| id.is_none() || waiting.id.as_ref() == id)
            .map_or_else(SurrogateJoiner::default, |waiting| waiting.half);
        if let Some(more) = field {
            text.push(more);
        }
        if let Some(piece) = piece {
            text.push_json(&piece);
        }
        if is_last || self.0.len() >= WAITING_MAX {
            *field = Some(text.finish());
            return;
        }
        let (whole, has_half) = text.take();
        *field = Some(whole);
        if has_half {
            self.0.insert(
                key,
                Waiting {
                    half: text,
                    id: id.cloned(),
                },
            );
        }
    }

    fn wait_in(&self, choice: i32) -> bool {
        self.0
            .range((choice, Text::Completion)..)
            .next()
            .is_some_and(|((first, _), _)| *first == choice)
    }

    fn waits(&self, key: (i32, Text)) -> bool {
        self.0.contains_key(&key)
    }

    /// The places of the calls of a choice whose texts wait, with what waits there.
    fn calls(&self, choice: i32) -> Vec<Text> {
        let all = self
            .0
            .range((choice, Text::Arguments(i32::MIN))..=(choice, Text::Input(i32::MAX)));
        all.map(|((_, text), _)| *text).collect()
    }
}

impl TextChunk for StreamCompletionResponse {
    fn join(&mut self, halves: &mut SplitSurrogates) {
        for choice in &mut self.choices {
            let is_last = crate::service::has_ended(choice.finish_reason.as_deref(), &choice.extra);
            let mut text = Some(std::mem::take(&mut choice.text));
            let key = (choice.index, Text::Completion);
            halves.join(key, ("text", &mut text, &mut choice.extra), is_last, None);
            choice.text = text.unwrap_or_default();
        }
    }
}

impl TextChunk for StreamChatCompletionResponse {
    fn join(&mut self, halves: &mut SplitSurrogates) {
        for choice in &mut self.choices {
            let is_last = crate::service::has_ended(choice.finish_reason.as_deref(), &choice.extra);
            if is_last && halves.wait_in(choice.index) {
                choice.delta.get_or_insert_default();
            }
            if let Some(delta) = &mut choice.delta {
                join_delta(delta, choice.index, is_last, halves);
            }
        }
    }
}

fn join_delta(delta: &mut ChatDelta, choice: i32, is_last: bool, halves: &mut SplitSurrogates) {
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
        halves.join((choice, text), (name, field, extra), is_last, None);
    }
    if is_last && halves.waits((choice, Text::FunctionCall)) {
        delta.function_call.get_or_insert_default();
    }
    if let Some(call) = &mut delta.function_call {
        let FunctionCall {
            arguments, extra, ..
        } = &mut **call;
        halves.join(
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
        if is_last && halves.waits((choice, text)) {
            delta.audio.get_or_insert_default();
        }
        if let Some(audio) = delta.audio.as_deref_mut() {
            let field = if text == Text::AudioData {
                &mut audio.data
            } else {
                &mut audio.transcript
            };
            halves.join(
                (choice, text),
                (name, field, &mut audio.extra),
                is_last,
                None,
            );
        }
    }
    for (place, call) in (0..).zip(&mut delta.tool_calls) {
        // Most engines tell the place. For those that don't, it is that in the list.
        join_call(call, choice, call.index.unwrap_or(place), is_last, halves);
    }
    if is_last {
        for text in halves.calls(choice) {
            delta.tool_calls.push(last_of_call(choice, text, halves));
        }
    }
}

fn join_call(
    call: &mut ToolCall,
    choice: i32,
    at: i32,
    is_last: bool,
    halves: &mut SplitSurrogates,
) {
    let id = call.id.as_ref().filter(|id| !id.is_empty());
    if let Some(FunctionCall {
        arguments, extra, ..
    }) = &mut call.function
    {
        halves.join(
            (choice, Text::Arguments(at)),
            ("arguments", arguments, extra),
            is_last,
            id,
        );
    }
    if let Some(CustomToolCall { input, extra, .. }) = call.custom.as_deref_mut() {
        halves.join(
            (choice, Text::Input(at)),
            ("input", input, extra),
            is_last,
            id,
        );
    }
}

/// The piece that ends a call's text, of which half a character waits.
fn last_of_call(choice: i32, text: Text, halves: &mut SplitSurrogates) -> ToolCall {
    let (mut field, mut call) = (None, ToolCall::default());
    halves.join(
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
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The chunk that upstream says by this JSON, with the halves in texts written `<d83d>`.
    fn chunk<M: serde::de::DeserializeOwned>(value: &Value) -> M {
        let mut text = value.to_string();
        while let Some(at) = text.find('<') {
            text.replace_range(at..=at, "\\u");
            text.remove(at + 6);
        }
        json::decode_answer(text.as_bytes()).unwrap()
    }

    fn delta(choice: i32, delta: &Value, reason: Option<&str>) -> StreamChatCompletionResponse {
        chunk(&json!({"choices": [{"index": choice, "delta": delta, "finish_reason": reason}]}))
    }

    /// What comes of these deltas of one choice; the last one ends it. In `extra` there is nothing.
    fn joined(deltas: &[Value]) -> Vec<ChatDelta> {
        let mut halves = SplitSurrogates::default();
        let chunks = deltas.iter().enumerate().map(|(place, value)| {
            let reason = (place + 1 == deltas.len()).then_some("stop");
            let chunk = halves.complete(delta(0, value, reason));
            let delta = chunk.choices[0].delta.clone().unwrap();
            assert!(
                !chunk.has_field_in_extra() && delta.extra.is_empty(),
                "{delta:?}"
            );
            delta
        });
        let deltas = chunks.collect();
        assert!(halves.0.is_empty());
        deltas
    }

    #[test]
    fn halves_of_every_text_are_joined_across_deltas() {
        let in_call = |member: &str, name: &str| {
            let (member, name) = (member.to_owned(), name.to_owned());
            move |text: &str| json!({"tool_calls": [{"index": 3, &*member: {&*name: text}}]})
        };
        let plain = |name: &'static str| move |text: &str| json!({ name: text });
        type Say = Box<dyn Fn(&str) -> Value>;
        type Read = fn(&ChatDelta) -> Option<&String>;
        let texts: Vec<(Say, Read)> = vec![
            (Box::new(plain("content")), |delta| delta.content.as_ref()),
            (Box::new(plain("refusal")), |delta| delta.refusal.as_ref()),
            (Box::new(plain("reasoning")), |delta| {
                delta.reasoning.as_ref()
            }),
            (Box::new(plain("reasoning_content")), |delta| {
                delta.reasoning_content.as_ref()
            }),
            (
                Box::new(|text| json!({"function_call": {"arguments": text}})),
                |delta| delta.function_call.as_ref()?.arguments.as_ref(),
            ),
            (
                Box::new(|text| json!({"audio": {"transcript": text}})),
                |delta| delta.audio.as_ref()?.transcript.as_ref(),
            ),
            (Box::new(|text| json!({"audio": {"data": text}})), |delta| {
                delta.audio.as_ref()?.data.as_ref()
            }),
            (Box::new(in_call("function", "arguments")), |delta| {
                delta
                    .tool_calls
                    .first()?
                    .function
                    .as_ref()?
                    .arguments
                    .as_ref()
            }),
            (Box::new(in_call("custom", "input")), |delta| {
                delta.tool_calls.first()?.custom.as_ref()?.input.as_ref()
            }),
        ];
        for (say, read) in texts {
            for (pieces, told) in [
                (&["a<d83d>", "<de00>b", ""][..], &["a", "😀b", ""][..]),
                (&["<d83d>", "", "<de00>"], &["", "", "😀"]),
                (&["a<d83d>", "b", "c"], &["a", "\u{fffd}b", "c"]),
                (
                    &["a<de00>", "<d83d><d83d>", "<de00>"],
                    &["a\u{fffd}", "\u{fffd}", "😀"],
                ),
                (&["a", "b<d83d>"], &["a", "b\u{fffd}"]),
            ] {
                let deltas = joined(&pieces.iter().map(|text| say(text)).collect::<Vec<_>>());
                let came: Vec<_> = deltas
                    .iter()
                    .map(|delta| read(delta).map(String::as_str).unwrap())
                    .collect();
                assert_eq!(came, told, "{pieces:?}: {deltas:?}");
            }
            // A half that waits when its choice ends with nothing of its text.
            let deltas = joined(&[say("a<d83d>"), json!({}), json!({})]);
            let came: Vec<_> = deltas
                .iter()
                .map(|delta| read(delta).map(String::as_str))
                .collect();
            assert_eq!(came, [Some("a"), None, Some("\u{fffd}")], "{deltas:?}");
        }
    }

    #[test]
    fn halves_of_other_choices_and_other_calls_are_others() {
        let mut halves = SplitSurrogates::default();
        let mut say = |choice: i32, text: &str, reason: Option<&str>| {
            let chunk = halves.complete(delta(choice, &json!({ "content": text }), reason));
            chunk.choices[0]
                .delta
                .as_ref()
                .unwrap()
                .content
                .clone()
                .unwrap()
        };
        let came = [
            say(0, "<d83d>", None),
            say(1, "<d83e>", None),
            say(0, "<de00>", None),
            say(1, "<dd8a>", Some("stop")),
        ];
        assert_eq!(came, ["", "", "😀", "🦊"]);

        let call = |index: i32, id: &str, text: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"arguments": text}}]});
        let deltas = joined(&[
            call(0, "a", "<d83d>"),
            call(0, "b", "{}"),
            call(0, "b", "<d83d>"),
            call(0, "b", "<de00>"),
        ]);
        let came: Vec<_> = deltas
            .iter()
            .map(|delta| {
                delta.tool_calls[0]
                    .function
                    .clone()
                    .unwrap()
                    .arguments
                    .unwrap()
            })
            .collect();
        assert_eq!(
            came,
            ["", "{}", "", "😀"],
            "what is left of another call doesn't spoil a new one's arguments"
        );
    }

    #[test]
    fn texts_that_are_no_pieces_have_a_place_for_their_halves() {
        let mut halves = SplitSurrogates::default();
        let token = json!({"token": "<d83d>", "logprob": -1.0, "bytes": [1], "top_logprobs": [{"token": "x<de00>"}]});
        let part = json!({"type": "text", "text": "p<d83d>"});
        let choice = json!({"index": 0, "delta": {"content": [part], "role": "<d83d>"}, "logprobs": {"content": [token]}});
        let chunk: StreamChatCompletionResponse =
            halves.complete(chunk(&json!({"id": "i<d83d>", "choices": [choice]})));
        let choice = &chunk.choices[0];
        let delta = choice.delta.as_ref().unwrap();
        let token = &choice.logprobs.as_ref().unwrap().content[0];
        let texts = [
            Some(&chunk.id),
            delta.role.as_ref(),
            delta.content_parts[0].text.as_ref(),
            token.token.as_ref(),
            token.top_logprobs[0].token.as_ref(),
        ];
        assert_eq!(
            texts.map(|text| text.unwrap().as_str()),
            [
                "i\u{fffd}",
                "\u{fffd}",
                "p\u{fffd}",
                "\u{fffd}",
                "x\u{fffd}"
            ]
        );
        assert!(!chunk.has_field_in_extra() && halves.0.is_empty());
    }

    #[test]
    fn so_many_halves_may_wait() {
        let mut halves = SplitSurrogates::default();
        for choice in 0..i32::try_from(WAITING_MAX).unwrap() + 10 {
            let chunk = halves.complete(delta(choice, &json!({"content": "<d83d>"}), None));
            let content = chunk.choices[0]
                .delta
                .as_ref()
                .unwrap()
                .content
                .clone()
                .unwrap();
            assert_eq!(content.is_empty(), choice < WAITING_MAX as i32);
        }
        assert_eq!(halves.0.len(), WAITING_MAX);
    }

    proptest! {
        /// However a text is cut into pieces, and whatever halves it has: what comes is what UTF-16
        /// says.
        #[test]
        fn a_text_cut_anywhere_is_what_utf16_says(
            units in proptest::collection::vec(prop_oneof![Just(0xd83d_u16), Just(0xde00), Just(0x61), any::<u16>()], 0..12),
            cuts in proptest::collection::vec(0_usize..12, 0..4),
        ) {
            let mut pieces = vec![String::new()];
            for (place, unit) in units.iter().enumerate() {
                cuts.iter().filter(|cut| **cut == place).for_each(|_| pieces.push(String::new()));
                pieces.last_mut().unwrap().push_str(&format!("<{unit:04x}>"));
            }
            let texts: Vec<StreamCompletionResponse> = pieces.iter().enumerate().map(|(place, text)| {
                let reason = (place + 1 == pieces.len()).then_some("stop");
                chunk(&json!({"choices": [{"index": 0, "text": text, "finish_reason": reason}]}))
            }).collect();
            let mut halves = SplitSurrogates::default();
            let completion: String =
                texts.into_iter().map(|chunk| halves.complete(chunk).choices[0].text.clone()).collect();
            let deltas = joined(&pieces.iter().map(|text| json!({ "content": text })).collect::<Vec<_>>());
            let content: String = deltas.iter().map(|delta| delta.content.as_deref().unwrap()).collect();
            let expected = String::from_utf16_lossy(&units);
            prop_assert_eq!(&completion, &expected);
            prop_assert_eq!(&content, &expected);
        }
    }
}
