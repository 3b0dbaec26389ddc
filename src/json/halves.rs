//! Halves of characters. JSON can cut a character outside the basic plane into two escapes
//! (`\ud83d`, `\ude00`), and some engines send them in two deltas, or send one alone. Rust's
//! strings, and protobuf's, can't hold such a half, so the codec leaves the member in `extra` as
//! JSON text. Here halves are joined, or become U+FFFD.

use super::{Extra, Object};

/// The message with a text for each member that is one: a half of a character that no field can
/// hold becomes U+FFFD. For protobuf; in JSON such a member is written as it came.
pub(crate) fn for_protobuf<M: Object>(mut message: M) -> M {
    if message.names_a_field() {
        message.mend();
    }
    message
}

/// Moves a text with halves of characters from `extra` into its field.
pub(crate) fn mend(extra: &mut Extra, name: &str, field: &mut Option<String>) {
    if let Some(text) = take_text(extra, name) {
        *field = Some(without_halves(&text));
    }
}

/// The same for a field without presence.
pub(crate) fn mend_plain(extra: &mut Extra, name: &str, field: &mut String) {
    if let Some(text) = take_text(extra, name) {
        *field = without_halves(&text);
    }
}

/// Takes a text out of `extra`, as the JSON string it is: it is there, and not in its field,
/// because of halves of characters.
pub(crate) fn take_text(extra: &mut Extra, name: &str) -> Option<String> {
    if extra.is_empty() || !extra.get(name)?.starts_with('"') {
        return None;
    }
    extra.remove(name)
}

/// The text that a JSON string is, with U+FFFD for each half of a character.
pub(crate) fn without_halves(json: &str) -> String {
    let mut text = Joined::default();
    text.push_json(json);
    text.finish()
}

/// A text that comes in pieces. A half of a character waits for its other half.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    text: String,
    /// The first half of a surrogate pair, if it ended the last piece.
    half: Option<u16>,
}

impl From<String> for Joined {
    fn from(text: String) -> Self {
        Self { text, half: None }
    }
}

impl Joined {
    pub(crate) fn push(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.replace_half();
            self.text.push_str(piece);
        }
    }

    /// Appends a JSON string. Says no to JSON text of another kind.
    pub(crate) fn push_json(&mut self, json: &str) -> bool {
        let Some(bytes) = wtf8(json) else {
            return false;
        };
        let mut rest = bytes.as_slice();
        // In UTF-8 an `ED` byte is never followed by `A0` or more; serde_json writes a lone half as
        // such a sequence.
        while let Some(at) = rest
            .windows(3)
            .position(|bytes| matches!(bytes, [0xed, 0xa0..=0xbf, _]))
        {
            let (before, after) = rest.split_at(at);
            self.push(&String::from_utf8_lossy(before));
            let [_, high, low, after @ ..] = after else {
                break;
            };
            self.push_half(0xd000 | (u16::from(high & 0x3f) << 6) | u16::from(low & 0x3f));
            rest = after;
        }
        self.push(&String::from_utf8_lossy(rest));
        true
    }

    fn push_half(&mut self, half: u16) {
        let first = self.half.take();
        if first.is_none() && (0xd800..0xdc00).contains(&half) {
            self.half = Some(half);
            return;
        }
        // A second half completes the first one. Two first halves: the new one waits.
        let pair = first.into_iter().chain([half]);
        match char::decode_utf16(pair).next() {
            Some(Ok(character)) => self.text.push(character),
            _ => {
                self.text.push(char::REPLACEMENT_CHARACTER);
                if first.is_some() {
                    self.push_half(half);
                }
            }
        }
    }

    fn replace_half(&mut self) {
        if self.half.take().is_some() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.half.is_none()
    }

    /// The text so far, without a half of a character at its end.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Takes the text so far. A half of a character at its end stays, and is told of.
    pub(crate) fn take(&mut self) -> (String, bool) {
        (std::mem::take(&mut self.text), self.half.is_some())
    }

    pub(crate) fn finish(mut self) -> String {
        self.replace_half();
        self.text
    }
}

/// The bytes of a JSON string, with surrogate halves as if they were characters.
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
