//! Long strings of a request, read without a second copy.
//!
//! `serde_json` decodes a string with escapes into a buffer of its own, which grows while it does,
//! and copies the result into the field. For a prompt of several MB, the buffer and what it leaves
//! behind while it grows would be most of the memory that the request takes.

use std::cell::Cell;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, Visitor},
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

use super::error::without_place;

/// Strings of at least this length, in bytes of JSON text, are read here. Shorter ones are also
/// looked at twice if the whole document is at least as long, because the length of a value is not
/// known before.
const LARGE_BYTES: usize = 256 * 1024;

thread_local! {
    // serde can hand an argument to a nested `Deserialize` only with a seed for every type.
    static IS_LARGE_DOCUMENT: Cell<bool> = const { Cell::new(false) };
}

/// Calls `work`, which reads a document of `document_bytes` bytes.
pub(super) fn during<T>(document_bytes: usize, work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            IS_LARGE_DOCUMENT.set(self.0);
        }
    }
    let _restore = Restore(IS_LARGE_DOCUMENT.replace(document_bytes >= LARGE_BYTES));
    work()
}

/// Reads a value with a seed that accepts strings. The result is the same as that of the seed.
pub(super) struct LargeText<S>(pub S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for LargeText<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        if !IS_LARGE_DOCUMENT.get() {
            return self.0.deserialize(deserializer);
        }
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let result = match unescaped(json) {
            Some(text) => self.0.deserialize(TextDeserializer(text)),
            None => self
                .0
                .deserialize(&mut serde_json::Deserializer::from_str(json)),
        };
        result.map_err(|error| D::Error::custom(without_place(&error.to_string())))
    }
}

/// Gives its text to the field that it is for, without a copy.
struct TextDeserializer(String);

impl<'de> Deserializer<'de> for TextDeserializer {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The text of a long JSON string. `None` for another value, for a shorter string, and for a string
/// with an escape that this function does not know.
fn unescaped(json: &str) -> Option<String> {
    let mut rest = json.strip_prefix('"')?.strip_suffix('"')?;
    if rest.len() < LARGE_BYTES {
        return None;
    }
    let mut text = String::with_capacity(rest.len());
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let mut after = escape.chars();
        text.push(match after.next()? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'u' => {
                rest = after.as_str();
                text.push(code_point(&mut rest)?);
                continue;
            }
            same @ ('"' | '\\' | '/') => same,
            _ => return None,
        });
        rest = after.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// The character whose hexadecimal digits begin `rest`, which follow `\u`. `rest` is what comes
/// after it. `None` for an unpaired surrogate.
fn code_point(rest: &mut &str) -> Option<char> {
    let unit = |rest: &mut &str| {
        let (digits, after) = rest.split_at_checked(4)?;
        *rest = after;
        // `from_str_radix` would accept a sign.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let first = unit(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(u32::from(first));
    }
    *rest = rest.strip_prefix("\\u")?;
    let pair = [first, unit(rest)?];
    char::decode_utf16(pair).next()?.ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{json::decode_request, proto::v1::CreateChatCompletionRequest};

    /// A JSON string that is long enough, and begins with `start`.
    fn long(start: &str) -> String {
        format!("\"{start}{}\"", "x".repeat(LARGE_BYTES))
    }

    #[test]
    fn a_long_string_is_the_same_text_as_for_serde_json() {
        for start in [
            "plain",
            r#"\n\t\r\b\f\"\\\/"#,
            r"\u0041\u00e9\u20AC",
            r"\ud83d\ude00 and 🦀",
            r"at the end \\",
        ] {
            let json = long(start);
            let expected: String = serde_json::from_str(&json).unwrap();
            assert_eq!(unescaped(&json), Some(expected), "{start}");
        }
    }

    #[test]
    fn what_this_does_not_know_is_left_to_serde_json() {
        for start in [
            r"\ud83d",
            r"\ud83d\u0041",
            r"\ude00",
            r"\ud83d\n",
            r"\x",
            r"\u12",
            r"\u+123",
        ] {
            let json = long(start);
            assert!(
                serde_json::from_str::<String>(&json).is_err(),
                "{start} is a mistake"
            );
            assert_eq!(unescaped(&json), None, "{start}");
        }
        assert_eq!(unescaped("\"short\""), None);
        assert_eq!(unescaped(&format!("[{}]", long(""))), None);
    }

    #[test]
    fn a_large_request_is_read_as_a_small_one_with_the_same_errors() {
        let text = "a \"long\" line\n🦀".repeat(LARGE_BYTES / 8);
        let request = |content| {
            json!({"model": "m", "messages": [
            {"role": "user", "content": text}, {"role": "user", "content": content}]})
        };
        let contents = [
            json!(text),
            json!("short"),
            json!([{"type": "text", "text": text}]),
        ];
        for content in contents {
            let body = request(content).to_string();
            let read = || serde_json::from_str::<CreateChatCompletionRequest>(&body).ok();
            let expected = read();
            // `decode_request` would hide a mistake, because it reads again after an error.
            assert!(expected.is_some() && during(body.len(), read) == expected);
        }
        let wrong = request(json!(5)).to_string();
        let error = decode_request::<CreateChatCompletionRequest>(wrong.as_bytes()).unwrap_err();
        assert_eq!(error.path.as_deref(), Some("messages[1].content"));
        assert!(!error.problem.contains("column"), "{}", error.problem);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

        #[test]
        fn every_long_string_survives(text in any::<String>(), ascii in any::<bool>()) {
            let text = text + &"x".repeat(LARGE_BYTES);
            let mut json = serde_json::to_string(&text).unwrap();
            if ascii {
                json = json.chars().map(|char| if char.is_ascii() {
                    char.to_string()
                } else {
                    let mut units = [0; 2];
                    let units = char.encode_utf16(&mut units).iter();
                    units.map(|unit| format!("\\u{unit:04x}")).collect()
                }).collect();
            }
            prop_assert_eq!(unescaped(&json), Some(text));
        }
    }
}
