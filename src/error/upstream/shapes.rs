//! The shapes of error bodies. Engines, gateways and frameworks each have their own:
//!
//! | shape | of |
//! |---|---|
//! | `{"error":{"message","type","param","code"}}` | OpenAI, Featherless under `/v1` |
//! | `{"statusCode","message","code"}` | Featherless under `/account` |
//! | `{"error":"text"}` | Featherless, also inside streams |
//! | `{"object":"error","message","type","code"}` | older vLLM |
//! | `{"detail":"text"}`, `{"detail":[{"loc":["body","messages",0],"msg","type"}]}` | FastAPI |
//! | `{"statusCode","message":["a","b"],"error":"Bad Request"}` | NestJS |
//! | `{"error":{"errors":[…]}}`, `{"errors":[…]}`, `{"errors":{"field":["text"]}}` | Google, JSON:API, Rails |
//! | `{"type","title","detail","status"}` | RFC 9457 (problem details) |
//! | `{"type":"error","error":{"type","message"}}` | Anthropic |
//! | `{"msg"}`, a JSON string, a list of any of these, plain text | others |
//!
//! Members are read one by one where they stand, so that one with odd content spoils none of the others.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use super::words::{field_path, identifier, quotable};

/// How deep errors may be nested in errors.
const DEPTH_MAX: usize = 6;

/// How many errors of a list are quoted.
const LISTED_MAX: usize = 5;

/// Members that have a message, the one that says most first.
const MESSAGES: [&str; 8] =
    ["message", "detail", "errors", "msg", "error_message", "errorMessage", "error_description", "reason"];

/// Members that have a code, a status, a type, or the bad field's path.
const CODES: [&str; 3] = ["code", "error_code", "errorCode"];
const STATUSES: [&str; 4] = ["status", "statusCode", "status_code", "http_status"];
const TYPES: [&str; 2] = ["type", "error_type"];
const PARAMS: [&str; 4] = ["param", "loc", "pointer", "field"];

/// Members that answers have and errors don't.
const ANSWERS: [&str; 5] = ["choices", "data", "tokens", "usage", "used_cost"];

/// What an error says, whatever its shape.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// Its message, as it can be quoted.
    pub(super) message: Option<String>,
    /// Its type, in snake case.
    pub(super) r#type: Option<String>,
    /// The path of the bad field.
    pub(super) param: Option<String>,
    /// Its code, in snake case.
    pub(super) code: Option<String>,
    /// The status that it names itself.
    pub(super) status: Option<StatusCode>,
}

impl Said {
    /// What the body of a reply says that is no success. Everything in it is about the error.
    pub(super) fn by_body(body: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else { return Self::default() };
        let text = text.trim_start_matches('\u{feff}').trim();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => Self::by_value(value, DEPTH_MAX),
            Err(_) => Self { message: quotable(text), ..Self::default() },
        }
    }

    /// What a success says of an error, if it is one: an event of a stream, or a whole answer. A member `error` makes it one,
    /// unless that says nothing; so does the shape of an error, if nothing of an answer is beside it.
    pub(super) fn by_success(body: &[u8]) -> Option<Self> {
        let document = std::str::from_utf8(body).ok()?;
        let Some(members) = object(document) else {
            // Google's way: the error in a list.
            let list = serde_json::from_str::<Vec<&RawValue>>(document).ok()?;
            return list.iter().take(LISTED_MAX).find_map(|item| Self::by_success(object_bytes(item)?));
        };
        let has = |name: &str| members.get(name).is_some_and(|value| says_something(value, DEPTH_MAX));
        if !has("error") {
            let object = members.get("object").and_then(|value| text(value));
            let is_error = match object.as_deref() {
                Some("error") => true,
                Some(_) => false,
                None => MESSAGES.iter().any(|name| has(name)),
            };
            // A list that has anything in it is an answer, whatever that is.
            let is_there = |name: &&str| members.get(*name).is_some_and(|value| says_something(value, 1));
            if !is_error || ANSWERS.iter().any(is_there) {
                return None;
            }
        }
        Some(Self::by_members(&members, DEPTH_MAX))
    }

    /// What the JSON text of a member `error` says, if it says anything.
    pub(super) fn by_member(text: &str) -> Option<Self> {
        let value = serde_json::from_str::<&RawValue>(text).ok()?;
        says_something(value, DEPTH_MAX).then(|| Self::by_value(value, DEPTH_MAX))
    }

    fn by_value(value: &RawValue, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else { return Self::default() };
        if let Some(text) = text(value) {
            return Self { message: quotable(&text), ..Self::default() };
        }
        if let Some(members) = object(value.get()) {
            return Self::by_members(&members, depth);
        }
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(list) => Self::by_list(&list, depth),
            Err(_) => Self { status: status(value), ..Self::default() },
        }
    }

    fn by_members(members: &Members<'_>, depth: usize) -> Self {
        let get = |name: &&str| members.get(*name).copied().filter(|value| says_something(value, depth));
        let error = get(&"error").map(|error| Self::by_value(error, depth)).unwrap_or_default();
        // A text beside a message is mostly the status's name, and says less.
        let (mut said, bare) = if get(&"error").is_some_and(|error| text(error).is_some()) {
            (Self::default(), error)
        } else {
            (error, Self::default())
        };
        let words = |names: &[&str]| names.iter().filter_map(get).filter_map(text).find_map(|word| identifier(&word));
        let numbers = |names: &[&str]| names.iter().filter_map(get).find_map(status);
        let beside = Self {
            message: None,
            r#type: words(&TYPES).or_else(|| words(&STATUSES)),
            param: PARAMS.iter().filter_map(get).find_map(path),
            code: words(&CODES),
            status: numbers(&STATUSES).or_else(|| numbers(&CODES)),
        };
        said = said.or(beside);
        for value in MESSAGES.iter().filter_map(get) {
            if said.message.is_none() {
                said = said.or(Self::by_value(value, depth));
            }
        }
        if said.message.is_none()
            && let Some(errors) = get(&"errors").and_then(|errors| object(errors.get()))
        {
            said = said.or(Self::by_fields(&errors, depth));
        }
        said.or(bare)
            .or(Self { message: get(&"title").and_then(text).and_then(|title| quotable(&title)), ..Self::default() })
    }

    /// The errors of a list, each with the path of its field if it has one.
    fn by_list(list: &[&RawValue], depth: usize) -> Self {
        let items = list.iter().map(|item| (Self::by_value(item, depth), is_validation(item)));
        let status = list.iter().any(|item| is_validation(item)).then_some(StatusCode::UNPROCESSABLE_ENTITY);
        Self::joined(items, list.len()).or(Self { status, ..Self::default() })
    }

    /// The errors of an object with a member for each bad field.
    fn by_fields(fields: &Members<'_>, depth: usize) -> Self {
        let items = fields.iter().map(|(name, value)| {
            let param = field_path(&name.0);
            (Self { param, ..Self::by_value(value, depth) }, true)
        });
        Self::joined(items, fields.len())
    }

    fn joined(items: impl Iterator<Item = (Self, bool)>, count: usize) -> Self {
        let (mut said, mut messages) = (Self::default(), Vec::new());
        for (mut item, has_path) in items.take(LISTED_MAX) {
            match (item.message.take(), &item.param) {
                (Some(message), Some(path)) if has_path => messages.push(format!("{path}: {message}")),
                (Some(message), _) => messages.push(message),
                (None, _) => {}
            }
            said = said.or(item);
        }
        if let Some(more) = count.checked_sub(LISTED_MAX).filter(|more| *more > 0) {
            messages.push(format!("and {more} more"));
        }
        said.message = quotable(&messages.join("; "));
        said
    }

    /// What this says, and of the rest what the other says.
    fn or(self, other: Self) -> Self {
        Self {
            message: self.message.or(other.message),
            r#type: self.r#type.or(other.r#type),
            param: self.param.or(other.param),
            code: self.code.or(other.code),
            status: self.status.or(other.status),
        }
    }
}

type Members<'a> = BTreeMap<Text, &'a RawValue>;

/// The members of an object, unread. Of two with the same name the last counts, as everywhere in JSON here.
fn object(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

/// The bytes of an object.
fn object_bytes(value: &RawValue) -> Option<&[u8]> {
    value.get().starts_with('{').then(|| value.get().as_bytes())
}

/// A string. Half of a surrogate pair in it becomes U+FFFD.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok().map(|Text(text)| text)
}

/// A status of failure, as a number or in a text.
fn status(value: &RawValue) -> Option<StatusCode> {
    let number = match text(value) {
        Some(text) => text.trim().parse(),
        None => value.get().parse(),
    };
    StatusCode::from_u16(number.ok()?).ok().filter(|status| status.is_client_error() || status.is_server_error())
}

/// Whether a list's item tells where in the request the error is, as FastAPI's `loc` does: the request failed a check.
fn is_validation(item: &RawValue) -> bool {
    object(item.get()).is_some_and(|members| ["loc", "pointer"].iter().any(|name| members.contains_key(*name)))
}

/// The path of a field: as it is, or from FastAPI's list (`["body","messages",0]`), or from a JSON pointer (`#/messages/0`).
fn path(value: &RawValue) -> Option<String> {
    if let Some(text) = text(value) {
        let pointer = text.strip_prefix('#').unwrap_or(&text).strip_prefix('/');
        return field_path(&pointer.map_or(text.clone(), |pointer| joined(pointer.split('/'))));
    }
    let list = serde_json::from_str::<Vec<&RawValue>>(value.get()).ok()?;
    let parts: Vec<_> = list.iter().map(|part| text(part).unwrap_or_else(|| part.get().to_owned())).collect();
    // Which part of the request it was in is no part of the path.
    let parts = parts.iter().map(String::as_str);
    field_path(&joined(parts.enumerate().filter(|(place, part)| *place > 0 || *part != "body").map(|(_, part)| part)))
}

/// Names and indexes as one path: `messages[0].content`.
fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut path = String::new();
    for part in parts {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            path.extend(["[", part, "]"]);
        } else {
            path.extend([if path.is_empty() { "" } else { "." }, part]);
        }
    }
    path
}

/// Whether a value says anything at all: null, `false`, zero, empty texts, lists and objects don't, nor what has only such in
/// it.
fn says_something(value: &RawValue, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let json = value.get();
    match json.bytes().next() {
        Some(b'n' | b'f') => false,
        Some(b'"') => text(value).is_none_or(|text| !text.trim().is_empty()),
        Some(b'{') => object(json).is_none_or(|members| members.values().any(|value| says_something(value, depth))),
        Some(b'[') => {
            let list = serde_json::from_str::<Vec<&RawValue>>(json);
            list.map_or(true, |list| list.iter().any(|value| says_something(value, depth)))
        }
        _ => json.parse::<f64>() != Ok(0.0),
    }
}

/// A string, read as far as it can be.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl std::borrow::Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(String::from_utf8_lossy(bytes).into_owned()))
            }
        }
        // Not as a string: half of a surrogate pair would be an error.
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> (String, Option<String>, Option<u16>) {
        let said = Said::by_body(body.as_bytes());
        (said.message.unwrap_or_default(), said.param, said.status.map(|status| status.as_u16()))
    }

    #[test]
    fn every_shape_of_an_error_has_its_message_its_field_and_its_status_read() {
        let param = |param: &str| Some(param.to_owned());
        for (body, expected) in [
            (r#"{"error":{"message":"a","type":"t","param":"p","code":null}}"#, ("a", param("p"), None)),
            (r#"{"error":{"message":"a","code":429}}"#, ("a", None, Some(429))),
            (r#"{"error":{"message":"a","code":"429"}}"#, ("a", None, Some(429))),
            (r#"{"error":{"code":404,"message":"a","status":"NOT_FOUND"}}"#, ("a", None, Some(404))),
            (r#"{"error":{"errors":[{"message":"a","reason":"b"}]}}"#, ("a", None, None)),
            (r#"{"error":[{"msg":"a"},"b"]}"#, ("a; b", None, None)),
            (r#"{"statusCode":401,"message":"a","code":"bad_key","error":"Unauthorized"}"#, ("a", None, Some(401))),
            (r#"{"statusCode":400,"message":["a","b"],"error":"Bad Request"}"#, ("a; b", None, Some(400))),
            (r#"{"error":"a"}"#, ("a", None, None)),
            (r#"{"error":true,"message":"a"}"#, ("a", None, None)),
            (r#"{"error":503,"reason":"a"}"#, ("a", None, Some(503))),
            (
                r#"{"object":"error","message":"a","type":"BadRequestError","param":null,"code":400}"#,
                ("a", None, Some(400)),
            ),
            (r#"{"detail":"a"}"#, ("a", None, None)),
            (r#"{"detail":{"message":"a","status_code":"409"}}"#, ("a", None, Some(409))),
            (
                r#"{"detail":[{"loc":["body","messages",0,"content"],"msg":"a","type":"missing"},{"loc":["query"],"msg":"b"}]}"#,
                ("messages[0].content: a; query: b", param("messages[0].content"), Some(422)),
            ),
            (r#"{"errors":["a","b"]}"#, ("a; b", None, None)),
            (
                r##"{"errors":[{"detail":"a","pointer":"#/messages/0"}]}"##,
                ("messages[0]: a", param("messages[0]"), Some(422)),
            ),
            (r#"{"errors":{"top_p":["a","b"],"n":"c"}}"#, ("n: c; top_p: a; b", param("n"), None)),
            (r#"{"type":"https://example.com/e","title":"t","detail":"a","status":422}"#, ("a", None, Some(422))),
            (r#"{"type":"about:blank","title":"a","status":404}"#, ("a", None, Some(404))),
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"a"}}"#, ("a", None, None)),
            (r#"{"msg":"a"}"#, ("a", None, None)),
            (r#""a""#, ("a", None, None)),
            (r#"["a",null,{"message":"b"}]"#, ("a; b", None, None)),
            ("[1,2,3,4,5,6,7]", ("and 2 more", None, None)),
            ("  a plain text.\n", ("a plain text", None, None)),
            ("\u{feff}{\"error\":\"a\"}", ("a", None, None)),
            (r#"{"error":{"message":"\ud83e","later":1e999}}"#, ("\u{fffd}\u{fffd}\u{fffd}", None, None)),
            (r#"{"\ud800":1,"error":"first","error":"a"}"#, ("a", None, None)),
            ("<html>a</html>", ("", None, None)),
            ("", ("", None, None)),
            ("{}", ("", None, None)),
            ("null", ("", None, None)),
            ("7", ("", None, None)),
        ] {
            let (message, param, status) = expected;
            assert_eq!(said(body), (message.to_owned(), param, status), "{body}");
        }
        let deep = format!("{}\"a\"{}", r#"{"error":"#.repeat(50_000), "}".repeat(50_000));
        assert_eq!(said(&deep).0, "", "an error of a hundred thousand brackets ends nobody's stack");
    }

    #[test]
    fn types_and_codes_are_words() {
        let words = |body: &str| {
            let said = Said::by_body(body.as_bytes());
            (said.r#type.unwrap_or_default(), said.code.unwrap_or_default())
        };
        for (body, r#type, code) in [
            (r#"{"error":{"type":"rate_limit_error","code":"x_y"}}"#, "rate_limit_error", "x_y"),
            (r#"{"type":"error","error":{"type":"overloaded_error"}}"#, "overloaded_error", ""),
            (r#"{"error":{"status":"RESOURCE_EXHAUSTED"}}"#, "resource_exhausted", ""),
            (r#"{"object":"error","type":"NotFoundError","code":404}"#, "not_found_error", ""),
            (r#"{"error":{"code":"Not a word"},"code":"OuterCode"}"#, "", "outer_code"),
        ] {
            assert_eq!(words(body), (r#type.to_owned(), code.to_owned()), "{body}");
        }
    }

    #[test]
    fn a_success_is_an_error_only_if_it_says_so_and_has_nothing_of_an_answer() {
        let message = |event: &str| Said::by_success(event.as_bytes()).map(|said| said.message.unwrap_or_default());
        for (event, expected) in [
            (r#"{"error":"a"}"#, "a"),
            (r#"{"error":"a","choices":[{"index":0}]}"#, "a"),
            (r#"{"error":true,"id":"x"}"#, ""),
            (r#"{"object":"error","message":"a"}"#, "a"),
            (r#"{"object":"error"}"#, ""),
            (r#"{"detail":"a"}"#, "a"),
            (r#"{"detail":[{"loc":["body"],"msg":"a"}]}"#, "a"),
            (r#"{"message":"a","statusCode":500}"#, "a"),
            (r#"{"choices":[],"message":"a"}"#, "a"),
            (r#"[{"error":{"message":"a","code":503}}]"#, "a"),
            (r#"[null,{"object":"error","message":"a"}]"#, "a"),
        ] {
            assert_eq!(message(event).as_deref(), Some(expected), "{event}");
        }
        for error in ["\"\"", "\" \"", "{}", "{ }", "false", "null", "[]", "0", "[null]", r#"{"message":"","code":0}"#]
        {
            assert_eq!(message(&format!(r#"{{"error":{error},"choices":[]}}"#)), None, "{error}");
        }
        for event in [
            r#"{"choices":[{"index":0}],"message":"a"}"#,
            r#"{"object":"chat.completion.chunk","message":"a"}"#,
            r#"{"usage":{"total_tokens":1},"detail":"a"}"#,
            r#"{"used_cost":4,"message":"a"}"#,
            r#"{"type":"ping"}"#,
            r#"{"error":"first","error":null}"#,
            r#"["error"]"#,
            r#"[[{"error":"a"}]]"#,
            r#"[{"choices":[]}]"#,
            "error",
            "",
        ] {
            assert_eq!(message(event), None, "{event}");
        }
    }
}
