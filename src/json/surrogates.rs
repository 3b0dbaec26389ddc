//! Surrogates. JSON can write a character as a pair of escapes (`\ud83d\ude00`). Some engines send
//! the two in two deltas, or send only one. Rust's and protobuf's strings can't hold an unpaired
//! surrogate, so the codec leaves the member in `extra` as JSON text. Here pairs are joined, and
//! unpaired surrogates become U+FFFD.

use super::{extra::Extra, object::Object};

/// The message with all its strings in their fields, for protobuf: an unpaired surrogate becomes
/// U+FFFD. In JSON such a member is written unchanged.
pub(crate) fn for_protobuf<M: Object>(mut message: M) -> M {
    if message.has_field_in_extra() {
        message.replace_surrogates();
    }
    message
}

/// Takes a string out of `extra`, as JSON text. It is not in its field because it has an unpaired
/// surrogate.
pub(crate) fn take_string(extra: &mut Extra, name: &str) -> Option<String> {
    if extra.is_empty() || !extra.get(name)?.starts_with('"') {
        return None;
    }
    extra.remove(name)
}

/// The text of a JSON string, with U+FFFD for each unpaired surrogate.
pub(crate) fn replace_unpaired(json: &str) -> String {
    let mut text = SurrogateJoiner::default();
    text.push_json(json);
    text.finish()
}

/// A text that comes in pieces. A surrogate at the end of a piece waits for the other one.
#[derive(Debug, Default)]
pub(crate) struct SurrogateJoiner {
    text: String,
    /// The first surrogate of a pair, if the last piece ended with it.
    waiting: Option<u16>,
}

impl From<String> for SurrogateJoiner {
    fn from(text: String) -> Self {
        Self {
            text,
            waiting: None,
        }
    }
}

impl SurrogateJoiner {
    pub(crate) fn push(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.replace_waiting();
            self.text.push_str(piece);
        }
    }

    /// Appends a JSON string. Returns false if it is no string.
    pub(crate) fn push_json(&mut self, json: &str) -> bool {
        let Some(bytes) = wtf8(json) else {
            return false;
        };
        let mut rest = bytes.as_slice();
        // In UTF-8 an `ED` byte is never followed by `A0` or more. serde_json gives an unpaired
        // surrogate as such a sequence.
        while let Some(at) = rest
            .windows(3)
            .position(|bytes| matches!(bytes, [0xed, 0xa0..=0xbf, _]))
        {
            let (before, after) = rest.split_at(at);
            self.push(&String::from_utf8_lossy(before));
            let [_, high, low, after @ ..] = after else {
                break;
            };
            self.push_surrogate(0xd000 | (u16::from(high & 0x3f) << 6) | u16::from(low & 0x3f));
            rest = after;
        }
        self.push(&String::from_utf8_lossy(rest));
        true
    }

    fn push_surrogate(&mut self, surrogate: u16) {
        let first = self.waiting.take();
        if first.is_none() && (0xd800..0xdc00).contains(&surrogate) {
            self.waiting = Some(surrogate);
            return;
        }
        // A second surrogate completes the pair. After two first ones, the new one waits.
        let pair = first.into_iter().chain([surrogate]);
        match char::decode_utf16(pair).next() {
            Some(Ok(character)) => self.text.push(character),
            _ => {
                self.text.push(char::REPLACEMENT_CHARACTER);
                if first.is_some() {
                    self.push_surrogate(surrogate);
                }
            }
        }
    }

    fn replace_waiting(&mut self) {
        if self.waiting.take().is_some() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.waiting.is_none()
    }

    /// The text so far, without a surrogate that waits at its end.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the text so far. The second value is true if a surrogate at its end stays.
    pub(crate) fn take(&mut self) -> (String, bool) {
        (std::mem::take(&mut self.text), self.waiting.is_some())
    }

    pub(crate) fn finish(mut self) -> String {
        self.replace_waiting();
        self.text
    }
}

/// The bytes of a JSON string, with surrogates encoded as if they were characters.
fn wtf8(json: &str) -> Option<Vec<u8>> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
    serde::Deserializer::deserialize_bytes(&mut serde_json::Deserializer::from_str(json), Visitor)
        .ok()
}
