//! Templates: messages that differ from an earlier message only in one text, as most chunks of a
//! stream do.
//!
//! A [`TemplateReader`] decodes such a message once, and keeps the bytes before and after the text.
//! A later message with the same bytes around its text is the same message with another text. A
//! [`TemplateWriter`] does the same in the other direction. Both are shortcuts to the same result:
//! a message that does not match is decoded or encoded in full.
//!
//! Nothing is lost, because a template is verified before it is used. The text stands between two
//! quotes, and the same bytes with another text are decoded to (or encoded from) the same message
//! with the other text. So the bytes between the quotes are exactly that string, and every string
//! without escapes can stand there.

use memchr::memmem;
use serde::{Serialize, de::DeserializeOwned};

use super::{decode::decode_answer, encode::encode_answer, error::JsonError};
use crate::proto::v1::{StreamChatCompletionResponse, StreamCompletionResponse};

/// How many templates of one stream may be useless. If all chunks of a stream differ in more than
/// their text, they are decoded in full after that.
const LEARNS_MAX: u8 = 4;

/// After this number of matches a template has saved more than it cost, and the stream may have one
/// more. Some engines change a member every second.
const HITS_PER_LEARN: u8 = 16;

/// The longest message that a template may match, in bytes. Longer messages are rare, and are
/// decoded on another thread.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// A message in which usually only one text changes.
pub trait SingleText: Clone + PartialEq + Unpin {
    /// The number of fields that may hold this text.
    const FIELDS: u8 = 0;

    /// The field with this number, if it is set.
    fn field(&mut self, _number: u8) -> Option<&mut String> {
        None
    }

    /// The first of these fields that is set and not empty, with its number.
    fn text(&mut self) -> Option<(u8, &mut String)> {
        let number = (0..Self::FIELDS)
            .find(|&number| self.field(number).is_some_and(|text| !text.is_empty()))?;
        Some((number, self.field(number)?))
    }
}

impl SingleText for StreamChatCompletionResponse {
    const FIELDS: u8 = 5;

    fn field(&mut self, number: u8) -> Option<&mut String> {
        let [choice] = self.choices.as_mut_slice() else {
            return None;
        };
        // Equality takes 0.0 and -0.0 for the same number, and JSON has them apart.
        if choice.logprobs.is_some() {
            return None;
        }
        let delta = choice.delta.as_mut()?;
        match number {
            0 => delta.content.as_mut(),
            1 => delta.reasoning_content.as_mut(),
            2 => delta.reasoning.as_mut(),
            3 => delta.refusal.as_mut(),
            _ => match delta.tool_calls.as_mut_slice() {
                [call] => call.function.as_mut()?.arguments.as_mut(),
                _ => None,
            },
        }
    }
}

impl SingleText for StreamCompletionResponse {
    const FIELDS: u8 = 1;

    fn field(&mut self, _number: u8) -> Option<&mut String> {
        match self.choices.as_mut_slice() {
            [choice] => Some(&mut choice.text),
            _ => None,
        }
    }
}

/// Decodes the messages of one stream.
#[derive(Debug)]
pub(crate) struct TemplateReader<M> {
    known: Option<Template<M>>,
    budget: Budget,
}

/// Encodes the messages of one stream.
#[derive(Debug)]
pub(crate) struct TemplateWriter<M> {
    /// With the number of the text's field.
    known: Option<(Template<M>, u8)>,
    budget: Budget,
}

/// A message, and its JSON before and after the text.
#[derive(Debug)]
struct Template<M> {
    message: M,
    before: Box<[u8]>,
    after: Box<[u8]>,
}

/// How many more templates a stream may have.
#[derive(Debug)]
struct Budget {
    learns: u8,
    hits: u8,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            learns: LEARNS_MAX,
            hits: 0,
        }
    }
}

impl Budget {
    fn hit(&mut self) {
        self.hits += 1;
        if self.hits == HITS_PER_LEARN {
            self.hits = 0;
            self.learns = (self.learns + 1).min(LEARNS_MAX);
        }
    }

    fn learn(&mut self) {
        self.learns = self.learns.saturating_sub(1);
        self.hits = 0;
    }
}

impl<M> Default for TemplateReader<M> {
    fn default() -> Self {
        Self {
            known: None,
            budget: Budget::default(),
        }
    }
}

impl<M> Default for TemplateWriter<M> {
    fn default() -> Self {
        Self {
            known: None,
            budget: Budget::default(),
        }
    }
}

impl<M: SingleText> TemplateReader<M> {
    /// The message that `json` encodes, if it matches the template.
    pub(crate) fn read(&mut self, json: &[u8]) -> Option<M> {
        let known = self.known.as_ref()?;
        let text = json
            .strip_prefix(&*known.before)?
            .strip_suffix(&*known.after)?;
        if text.is_empty() || json.len() > MESSAGE_BYTES_MAX || !is_plain(text) {
            return None;
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut message = known.message.clone();
        let (_, place) = message.text()?;
        place.clear();
        place.push_str(text);
        self.budget.hit();
        Some(message)
    }

    /// Whether a template may be made of this message.
    pub(crate) fn is_learning(&self, message: &mut M) -> bool {
        self.budget.learns > 0
            && message
                .text()
                .is_some_and(|(_, text)| is_plain(text.as_bytes()))
    }

    /// Makes a template of a message that did not match. `decoded` is what `json` was decoded to.
    /// `message` is what the caller made of it, and what a match returns with its own text.
    pub(crate) fn learn(&mut self, json: &[u8], mut decoded: M, message: M)
    where
        M: DeserializeOwned,
    {
        self.budget.learn();
        self.known = None;
        let Some((_, text)) = decoded.text() else {
            return;
        };
        let Some((before, after)) = around(json, text) else {
            return;
        };
        text.push('.');
        let other = [before, text.as_bytes(), after].concat();
        if other.len() <= MESSAGE_BYTES_MAX
            && decode_answer(&other).is_ok_and(|other: M| other == decoded)
        {
            self.known = Some(Template {
                message,
                before: before.into(),
                after: after.into(),
            });
        }
    }
}

impl<M: SingleText + Serialize> TemplateWriter<M> {
    /// Encodes a message to the end of `out`. It may take the text out of `message`.
    ///
    /// # Errors
    /// As of [`encode_answer`].
    pub(crate) fn write(&mut self, message: &mut M, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let Some((field, place)) = message.text() else {
            return encode_answer(message, out);
        };
        let text = std::mem::take(place);
        if let Some((known, known_field)) = &self.known
            && *known_field == field
            && known.message == *message
        {
            out.extend_from_slice(&known.before);
            encode_answer(&text, out)?;
            out.extend_from_slice(&known.after);
            self.budget.hit();
            return Ok(());
        }
        let empty = (self.budget.learns > 0).then(|| message.clone());
        if let Some(place) = message.field(field) {
            *place = text;
        }
        let begins_at = out.len();
        encode_answer(message, out)?;
        if let Some(empty) = empty {
            let written = out.get(begins_at..).unwrap_or_default();
            self.learn(written, message, empty, field);
        }
        Ok(())
    }

    fn learn(&mut self, written: &[u8], message: &mut M, empty: M, field: u8) {
        self.budget.learn();
        self.known = None;
        let mut other = message.clone();
        let (Some((_, text)), Some((_, place))) = (message.text(), other.text()) else {
            return;
        };
        let Some((before, after)) = around(written, text).filter(|_| is_plain(text.as_bytes()))
        else {
            return;
        };
        place.push('.');
        let expected = [before, place.as_bytes(), after].concat();
        let mut out = Vec::with_capacity(expected.len());
        if expected.len() <= MESSAGE_BYTES_MAX
            && encode_answer(&other, &mut out).is_ok()
            && out == expected
            && let (Some(before), Some(after)) =
                (before.strip_suffix(b"\""), after.strip_prefix(b"\""))
        {
            let known = Template {
                message: empty,
                before: before.into(),
                after: after.into(),
            };
            self.known = Some((known, field));
        }
    }
}

/// For tests of streams.
#[cfg(test)]
impl SingleText for i32 {}

/// The JSON before and after the text, each with one of the quotes. `None` if the text is not in
/// the JSON, or is there more than once.
fn around<'a>(json: &'a [u8], text: &str) -> Option<(&'a [u8], &'a [u8])> {
    let quoted = [b"\"", text.as_bytes(), b"\""].concat();
    let at = memmem::find(json, &quoted)?;
    if memmem::rfind(json, &quoted) != Some(at) {
        return None;
    }
    let (before, after) = json.split_at_checked(at + 1)?;
    Some((before, after.get(text.len()..)?))
}

/// Whether JSON has this text as it is, without escapes.
fn is_plain(text: &[u8]) -> bool {
    text.iter()
        .all(|&byte| byte >= b' ' && byte != b'"' && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Decodes a stream with templates: its messages, and how many of them matched.
    fn read<M: SingleText + DeserializeOwned>(events: &[String]) -> (Vec<M>, usize) {
        let mut reader = TemplateReader::default();
        let mut matched = 0;
        let messages = events.iter().map(|event| {
            if let Some(message) = reader.read(event.as_bytes()) {
                matched += 1;
                return message;
            }
            let mut message: M = decode_answer(event.as_bytes()).unwrap();
            if reader.is_learning(&mut message) {
                reader.learn(event.as_bytes(), message.clone(), message.clone());
            }
            message
        });
        let messages = messages.collect();
        (messages, matched)
    }

    /// Checks that a stream is decoded and encoded as without templates. Returns how many of its
    /// messages matched.
    fn check<M>(events: &[String]) -> usize
    where
        M: SingleText + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let (messages, matched) = read::<M>(events);
        let mut writer = TemplateWriter::default();
        for (event, mut message) in events.iter().zip(messages) {
            let expected: M = decode_answer(event.as_bytes()).unwrap();
            assert_eq!(message, expected, "{event}");
            let (mut written, mut in_full) = (b"data: ".to_vec(), b"data: ".to_vec());
            writer.write(&mut message, &mut written).unwrap();
            encode_answer(&expected, &mut in_full).unwrap();
            assert_eq!(
                String::from_utf8(written).unwrap(),
                String::from_utf8(in_full).unwrap()
            );
        }
        matched
    }

    fn chunk(choice: &Value) -> String {
        let chunk = json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7,
            "model": "org/model", "choices": [choice]});
        chunk.to_string()
    }

    fn delta(delta: &Value) -> String {
        chunk(&json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": null}))
    }

    const WORDS: [&str; 6] = ["Hello", " wörld", "🦀", " a", "b", " {}[]:,"];

    #[test]
    fn the_chunks_of_a_usual_stream_match_after_its_first_words() {
        let call =
            |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
        let ways: [&dyn Fn(&str) -> Value; 4] = [
            &|text| json!({ "content": text }),
            &|text| json!({"content": "", "reasoning_content": text}),
            &|text| json!({"role": "assistant", "content": null, "reasoning": text}),
            &call,
        ];
        for way in ways {
            let mut events = vec![delta(&json!({"role": "assistant", "content": ""}))];
            events.extend(WORDS.map(|word| delta(&way(word))));
            events.push(chunk(
                &json!({"index": 0, "delta": {}, "finish_reason": "stop"}),
            ));
            let matched = check::<StreamChatCompletionResponse>(&events);
            assert_eq!(matched, WORDS.len() - 1, "{events:?}");
        }
        let text = |text| chunk(&json!({"index": 0, "text": text, "finish_reason": null}));
        let matched = check::<StreamCompletionResponse>(&WORDS.map(text));
        assert_eq!(matched, WORDS.len() - 1);
    }

    #[test]
    fn a_member_that_changes_now_and_then_costs_one_template_each_time() {
        let of_second = |second: usize| {
            let events = (0..20).map(move |n| {
                delta(&json!({"content": format!("word {n}")}))
                    .replace("\"created\":7", &format!("\"created\":{second}"))
            });
            events.collect::<Vec<_>>()
        };
        let events: Vec<_> = (1..=20).flat_map(of_second).collect();
        assert_eq!(
            check::<StreamChatCompletionResponse>(&events),
            events.len() - 20
        );
    }

    #[test]
    fn a_stream_that_always_changes_is_soon_decoded_in_full() {
        let mut reader = TemplateReader::<StreamChatCompletionResponse>::default();
        let mut learns = 0;
        for n in 0..100 {
            let event = delta(&json!({"content": "word", "n": n}));
            assert!(reader.read(event.as_bytes()).is_none());
            let mut message: StreamChatCompletionResponse =
                decode_answer(event.as_bytes()).unwrap();
            if reader.is_learning(&mut message) {
                reader.learn(event.as_bytes(), message.clone(), message);
                learns += 1;
            }
        }
        assert_eq!(learns, LEARNS_MAX);
    }

    #[test]
    fn a_chunk_that_only_looks_alike_is_decoded_in_full() {
        let usual = delta(&json!({"content": "Hello"}));
        let with = |text: &str| usual.replace("Hello", text);
        let odd = [
            // Escapes, and the end of the text before the end of what looks like it.
            with(r"\u0041"),
            with(r"\n"),
            with(r#"a","content":"b"#),
            with(r#"a","refusal":"b"#),
            with(r#"a","n":{"a":"b"},"m":"c"#),
            with(""),
            usual.replace(r#""content":"Hello""#, r#""content":null"#),
            usual.replace("7", "8"),
            format!(" {usual}"),
        ];
        let mut events = vec![usual.clone(), usual];
        events.extend(odd);
        assert_eq!(check::<StreamChatCompletionResponse>(&events), 1);
    }

    #[test]
    fn a_text_that_is_elsewhere_too_makes_no_template() {
        for text in ["org/model", "content", "id", "index"] {
            let event = delta(&json!({ "content": text }));
            assert_eq!(
                check::<StreamChatCompletionResponse>(&[event.clone(), event]),
                0
            );
        }
        // Of two members with one name the last counts, so the first is none that may change.
        let twice = delta(&json!({"content": "Hello"}))
            .replace(r#""content""#, r#""content":"Good","content""#);
        let other = twice.replace("Good", "Bad");
        let events = [twice.clone(), twice.replace("Hello", "Bye"), other];
        assert_eq!(check::<StreamChatCompletionResponse>(&events), 1);
    }

    #[test]
    fn the_sign_of_a_log_probability_of_zero_survives() {
        let event = |logprob: &str| {
            delta(&json!({"content": "Hello"})).replace(
                "\"logprobs\":null",
                &format!(r#""logprobs":{{"content":[{{"token":"x","logprob":{logprob}}}]}}"#),
            )
        };
        let events = ["0.0", "0.0", "-0.0"].map(event);
        assert!(events[2].contains("-0.0"));
        check::<StreamChatCompletionResponse>(&events);
    }

    #[test]
    fn bytes_that_are_not_utf8_do_not_match() {
        let mut reader = TemplateReader::<StreamChatCompletionResponse>::default();
        let event = delta(&json!({"content": "Hello"}));
        let message: StreamChatCompletionResponse = decode_answer(event.as_bytes()).unwrap();
        reader.learn(event.as_bytes(), message.clone(), message);
        assert!(reader.read(event.as_bytes()).is_some());
        let [before, after] = event.split("Hello").collect::<Vec<_>>()[..] else {
            panic!("{event}");
        };
        let broken = [before.as_bytes(), b"\xff", after.as_bytes()].concat();
        assert!(reader.read(&broken).is_none());
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[ a-z]{1,8}",
            1 => any::<String>(),
            1 => Just(String::new()),
            1 => Just("\"},{\"content\":\"".to_owned()),
        ]
    }

    fn deltas() -> impl Strategy<Value = Value> {
        prop_oneof![
            6 => text().prop_map(|text| json!({ "content": text })),
            2 => text().prop_map(|text| json!({"content": null, "reasoning_content": text})),
            1 => (text(), text()).prop_map(|(a, b)| json!({"content": a, "reasoning": b})),
            1 => (text(), text()).prop_map(|(a, b)| json!({"reasoning": b, "content": a})),
            1 => text().prop_map(|text| json!({"content": "a", "later": text})),
            1 => text().prop_map(|text| json!({"tool_calls": [{"function": {"arguments": text}}]})),
            1 => text().prop_map(|text| json!({"content": [text]})),
            1 => Just(json!({})),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_stream_is_decoded_and_encoded_as_without_templates(
            deltas in proptest::collection::vec((deltas(), 0..12, 0..12), 1..40),
        ) {
            let events: Vec<_> = deltas.iter().map(|(value, created, more)| {
                // Usually the same, and now and then not.
                let event = delta(value).replace("\"created\":7", &format!("\"created\":{}", created / 11));
                if *more == 0 { event.replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"") } else { event }
            }).collect();
            check::<StreamChatCompletionResponse>(&events);
        }
    }
}
