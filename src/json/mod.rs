//! JSON as the second codec of the contract's messages.
//!
//! `build/json_codec.rs` writes `Serialize` and `Deserialize` for every message; what that code calls is here, and so
//! are the four ways in and out. A **request** is read strictly: a member of the wrong type is an error that names
//! its path. An **answer** is read leniently: a member whose type we didn't expect is carried verbatim in `extra`,
//! for an answer that can't be understood in part must still arrive whole.

mod lists;
mod numbers;

use std::{borrow::Cow, cell::Cell, collections::BTreeMap};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, MapAccess},
    ser::{Error as _, SerializeMap},
};
use serde_json::{error::Category, value::RawValue};

/// How much of a path is told, in characters: the names of a map's members are the caller's, and of any length.
const PATH_CHARS_MAX: usize = 128;

/// What is wrong with a JSON document, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct BadJson {
    /// The bad member, such as `messages[0].content`; none when the document as a whole is bad.
    pub path: Option<String>,
    /// What is wrong. Never quotes the document, which may be a prompt.
    pub problem: String,
}

impl std::fmt::Display for BadJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for BadJson {}

/// Reads a caller's request.
///
/// # Errors
/// Broken JSON, invalid UTF-8, or the first member that has the wrong type.
pub fn decode_request<M: DeserializeOwned>(body: &[u8]) -> Result<M, BadJson> {
    // The path costs a little bookkeeping, so it is asked for only when there is something wrong.
    serde_json::from_slice(body).or_else(|_| {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let message: M = serde_path_to_error::deserialize(&mut deserializer).map_err(located)?;
        deserializer.end().map_err(|error| BadJson { path: None, problem: describe(&error) })?;
        Ok(message)
    })
}

/// Reads an upstream's answer, or one event of it.
///
/// # Errors
/// Only what isn't JSON, or isn't an object.
pub fn decode_answer<M: DeserializeOwned>(body: &[u8]) -> Result<M, BadJson> {
    serde_json::from_slice(body)
        .or_else(|_| Mode::Lenient.during(|| serde_json::from_slice(body)))
        .map_err(|error| BadJson { path: None, problem: describe(&error) })
}

/// Writes an answer to the end of `out`.
///
/// # Errors
/// A message that JSON can't say (`NaN`, broken JSON text); `out` then ends in half a document.
pub fn encode_answer<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), BadJson> {
    serde_json::to_writer(out, message).map_err(|error| BadJson { path: None, problem: describe(&error) })
}

/// Writes a request. This is also the check of what only a gRPC caller can get wrong: JSON text that isn't JSON,
/// `NaN`, and `extra` members that have a field of their own.
///
/// # Errors
/// The first such field.
pub fn encode_request<M: Serialize>(message: &M) -> Result<Vec<u8>, BadJson> {
    let mut out = Vec::with_capacity(1024);
    Mode::Strict.during(|| {
        serde_path_to_error::serialize(message, &mut serde_json::Serializer::new(&mut out)).map_err(located)
    })?;
    Ok(out)
}

/// How to treat what doesn't fit.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Reading: fail. Writing: `extra` may carry any name that isn't already written.
    Normal,
    /// Reading: keep a member of the wrong type in `extra`.
    Lenient,
    /// Writing: `extra` must not name a field.
    Strict,
}

thread_local! {
    // serde has no way to hand an argument to a nested `Deserialize`, short of a seed for every type.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Normal) };
}

impl Mode {
    fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Mode);
        impl Drop for Restore {
            fn drop(&mut self) {
                MODE.set(self.0);
            }
        }
        let _restore = Restore(MODE.replace(self));
        work()
    }
}

pub(crate) use lists::{Texts, read_one_or_many};
pub(crate) use numbers::{Number, NumberList, Numbers};

type Extra = BTreeMap<String, String>;

/// A message that is a JSON object.
pub(crate) trait Object {
    /// Members written as null when unset.
    const NULLS: &'static [&'static str];

    fn write_members<M: SerializeMap>(&self, map: &mut M, nulls: &[&str]) -> Result<(), M::Error>;
}

pub(crate) fn write_object<S: Serializer>(
    message: &impl Object,
    nulls: &[&str],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    message.write_members(&mut map, nulls)?;
    map.end()
}

/// A message with members that are null when unset in this place only.
pub(crate) struct WithNulls<'a, T>(pub &'a T, pub &'static [&'static str]);

impl<T: Object> Serialize for WithNulls<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_object(self.0, self.1, serializer)
    }
}

/// The name of a member, borrowed unless it is escaped.
pub(crate) struct Key<'de>(pub Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Reads a member into its field. Null is the same as absence.
pub(crate) fn read<'de, A: MapAccess<'de>, T: Deserialize<'de> + Default>(
    map: &mut A,
    name: &str,
    extra: &mut Extra,
    field: &mut T,
) -> Result<(), A::Error> {
    if MODE.get() != Mode::Lenient {
        *field = map.next_value::<Option<T>>()?.unwrap_or_default();
        return Ok(());
    }
    let text = map.next_value::<&RawValue>()?.get();
    // A member may come twice, and the last one counts: what the one before left in the other place goes.
    match serde_json::from_str::<Option<T>>(text) {
        Ok(value) => {
            *field = value.unwrap_or_default();
            extra.remove(name);
        }
        Err(_) => {
            *field = T::default();
            extra.insert(name.to_owned(), text.to_owned());
        }
    }
    Ok(())
}

/// Reads any JSON value but null as text.
pub(crate) fn read_optional_text<'de, A: MapAccess<'de>>(
    map: &mut A,
    _name: &str,
    _extra: &mut Extra,
    field: &mut Option<String>,
) -> Result<(), A::Error> {
    *field = map.next_value::<Option<&RawValue>>()?.map(|text| text.get().to_owned());
    Ok(())
}

/// Keeps a member that the message has no field for, as the text it is.
pub(crate) fn read_extra<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: Key<'de>,
    extra: &mut Extra,
) -> Result<(), A::Error> {
    let text = map.next_value::<&RawValue>()?.get().to_owned();
    extra.insert(key.0.into_owned(), text);
    Ok(())
}

/// Writes a member that is always there.
pub(crate) fn write_plain<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    extra: &Extra,
    value: &(impl Serialize + ?Sized),
) -> Result<(), M::Error> {
    // A member of an answer whose type we didn't expect is in `extra`; its field then holds nothing.
    if extra.is_empty() || !extra.contains_key(name) { map.serialize_entry(name, value) } else { Ok(()) }
}

/// Writes a member that is left out when unset, or null if it is among `nulls`.
pub(crate) fn write_optional<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
    extra: &Extra,
    nulls: &[&str],
) -> Result<(), M::Error> {
    match value {
        Some(value) if extra.is_empty() || !extra.contains_key(name) => map.serialize_entry(name, &value),
        Some(_) => Ok(()),
        None if nulls.contains(&name) && !extra.contains_key(name) => map.serialize_entry(name, &()),
        None => Ok(()),
    }
}

/// Writes the members that the message has no field for.
pub(crate) fn write_extra<M: SerializeMap>(map: &mut M, extra: &Extra, names: &[&str]) -> Result<(), M::Error> {
    for (name, text) in extra {
        if MODE.get() == Mode::Strict && names.contains(&name.as_str()) {
            return Err(M::Error::custom(format_args!(
                "extra[\"{name}\"]: this message has a field `{name}`: set that"
            )));
        }
        map.serialize_entry(name, &Text(text))?;
    }
    Ok(())
}

/// JSON text, written verbatim.
pub(crate) struct Text<'a>(pub &'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(text) => text.serialize(serializer),
            Err(error) => Err(S::Error::custom(format_args!("not valid JSON text: {error}"))),
        }
    }
}

fn located(error: serde_path_to_error::Error<serde_json::Error>) -> BadJson {
    let mut path = error.path().to_string();
    let error = error.into_inner();
    let is_member = error.classify() == Category::Data && path != ".";
    if let Some((end, _)) = path.char_indices().nth(PATH_CHARS_MAX) {
        path.truncate(end);
        path.push('…');
    }
    BadJson { path: is_member.then_some(path), problem: describe(&error) }
}

/// A serde error in the words of JSON, without the value that it would quote.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.classify() != Category::Data {
        return format!("not valid JSON: {text}");
    }
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let Some((found, expected)) = text.rsplit_once(", expected ") else { return text.to_owned() };
    let expected = match expected {
        "i32" => "an integer between -2147483648 and 2147483647",
        "i64" => "a 64-bit integer",
        "u8" => "a byte (0 to 255)",
        "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        other => other,
    };
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    let found = match found.split(['`', '"']).next().map(str::trim) {
        Some("map") => "an object",
        Some("sequence") => "a list",
        Some("string") => "a string",
        Some("boolean") => "a boolean",
        Some("integer") => "an integer",
        Some("floating point") => "a number with a fraction",
        Some("null") => "null",
        _ => "something else",
    };
    match expected.strip_prefix(found) {
        Some(rest) if !rest.is_empty() => format!("expected {expected}"),
        _ => format!("expected {expected}, found {found}"),
    }
}

/// Reads the one member of a document that tells what an error or a choice is, ignoring the rest.
///
/// # Errors
/// Broken JSON or a member of another type.
pub fn peek<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, BadJson> {
    serde_json::from_str(text).map_err(|error| BadJson { path: None, problem: describe(&error) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1::{
        CreateChatCompletionRequest, CreateCompletionRequest, StreamChatCompletionResponse, TokenList,
        create_completion_request::PromptKind,
    };

    /// serde_json's quick way of reading a number is off by one in the last place now and then.
    #[test]
    fn a_double_is_read_exactly() {
        for text in ["99.99999999999999", "1.9999999999999998", "123456789.12345679", "1.234e-30", "5e-324"] {
            let body = format!(r#"{{"model":"m","logit_bias":{{"1":{text}}}}}"#);
            let request: CreateChatCompletionRequest = decode_request(body.as_bytes()).unwrap();
            assert_eq!(request.logit_bias["1"].to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    /// As the fuzz target for requests asks.
    #[test]
    fn the_path_of_a_bad_member_is_told_up_to_a_bound() {
        let path_of = |name: &str| {
            let body = format!(r#"{{"model":"m","logit_bias":{{"{name}":"much"}}}}"#);
            decode_request::<CreateChatCompletionRequest>(body.as_bytes()).unwrap_err().path.unwrap()
        };
        assert_eq!(path_of("50256"), "logit_bias.50256");
        let told = format!("logit_bias.{}", "ü".repeat(PATH_CHARS_MAX - 11));
        assert_eq!(path_of(&"ü".repeat(PATH_CHARS_MAX - 11)), told);
        assert_eq!(path_of(&"ü".repeat(1_000_000)), format!("{told}…"));
    }

    /// As the fuzz target for chunks found: the first of them, in `extra`, hid the second.
    #[test]
    fn of_two_members_with_the_same_name_the_last_counts_whatever_their_types() {
        let read = |usage: &str| {
            let body = format!(r#"{{"choices":[],{usage}}}"#);
            let chunk: StreamChatCompletionResponse = decode_answer(body.as_bytes()).unwrap();
            let mut out = Vec::new();
            encode_answer(&chunk, &mut out).unwrap();
            assert_eq!(decode_answer(&out), Ok(chunk.clone()));
            (chunk.usage.map(|usage| usage.total_tokens), chunk.extra.get("usage").cloned())
        };
        assert_eq!(read(r#""usage":"none","usage":{"total_tokens":3}"#), (Some(3), None));
        assert_eq!(read(r#""usage":{"total_tokens":3},"usage":"none""#), (None, Some(r#""none""#.to_owned())));
        assert_eq!(read(r#""usage":"none","usage":null"#), (None, None));
    }

    #[test]
    fn every_token_id_is_a_32_bit_integer_the_first_too() {
        let read = |prompt: &str| {
            let body = format!(r#"{{"model":"m","prompt":{prompt}}}"#);
            decode_request::<CreateCompletionRequest>(body.as_bytes()).map(|request| request.prompt_kind.unwrap())
        };
        let tokens = |values: &[i32]| Ok(PromptKind::PromptTokens(TokenList { values: values.to_vec() }));
        assert_eq!(read("[-1, 2]"), tokens(&[-1, 2]));
        assert_eq!(read("[1, -2]"), tokens(&[1, -2]));
        assert_eq!(read("[-2147483648]"), tokens(&[i32::MIN]));
        for prompt in ["[2147483648]", "[-2147483649]", "[18446744073709551615]", "[1, 2147483648]"] {
            assert!(read(prompt).is_err(), "{prompt}");
        }
    }
}
