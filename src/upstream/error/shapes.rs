//! Parses the bodies of errors. Engines, gateways and frameworks have different shapes:
//!
//! | shape | of |
//! |---|---|
//! | `{"error":{"message","type","param","code"}}` | OpenAI, Featherless under `/v1` |
//! | `{"statusCode","message","code"}` | Featherless under `/account` |
//! | `{"error":"text"}` | Featherless, also inside streams |
//! | `{"object":"error","message","type","code"}` | older vLLM |
//! | `{"detail":"text"}`, `{"detail":[{"loc":["body","messages",0],"msg","type"}]}` | FastAPI |
//! | `{"statusCode","message":["a","b"],"error":"Bad Request"}` | NestJS |
//! | `{"error":{"errors":[…]}}`, `{"errors":[…]}` | Google, JSON:API |
//! | `{"errors":{"field":["text"]}}` | Rails |
//! | `{"type","title","detail","status"}` | RFC 9457 (problem details) |
//! | `{"type":"error","error":{"type","message"}}` | Anthropic |
//! | `{"msg"}`, a JSON string, a list of any of these, plain text | others |
//!
//! Each member is parsed separately, by [`values`](super::values), so that a member with unexpected
//! content does not affect the others.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::value::RawValue;

use super::{
    quoting::{self, field_path, identifier, quotable},
    values::{
        ANSWERS, CODES, MESSAGES, Members, PARAMS, STATUSES, TYPES, each_element, object,
        says_something, text,
    },
};

/// The deepest nesting of errors in errors.
const DEPTH_MAX: usize = 6;

/// The most errors of a list that are quoted.
const LISTED_MAX: usize = 5;

/// The most parts in the path of a field. A longer path is dropped.
const PATH_PARTS_MAX: usize = 64;

/// The contents of an error body, whatever its shape.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ErrorBody {
    /// The message, in a form that can be quoted.
    pub(super) message: Option<String>,
    /// The type, in snake case.
    pub(super) r#type: Option<String>,
    /// The path of the wrong field.
    pub(super) param: Option<String>,
    /// The code, in snake case.
    pub(super) code: Option<String>,
    /// The status in the body.
    pub(super) status: Option<StatusCode>,
}

impl ErrorBody {
    /// Parses the `body` of a reply that is not a success. All of it is about the error.
    pub(super) fn parse(body: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(body) else {
            return Self::default();
        };
        let text = text.trim_start_matches('\u{feff}').trim();
        match serde_json::from_str::<&RawValue>(text) {
            Ok(value) => Self::from_value(value, DEPTH_MAX),
            Err(_) => Self {
                message: quotable(text),
                ..Self::default()
            },
        }
    }

    /// Parses an event of a stream, or a unary answer. `None` if it is not an error. It is an error
    /// if it has a member `error` that says something, or if it has the shape of an error and
    /// nothing of an answer.
    pub(super) fn parse_success(body: &[u8]) -> Option<Self> {
        let document = std::str::from_utf8(body).ok()?;
        let Some(members) = object(document) else {
            // Google puts the error into a list.
            let (mut said, mut count) = (None, 0);
            each_element(document, |item| {
                count += 1;
                if count <= LISTED_MAX && said.is_none() {
                    said = object_bytes(item).and_then(Self::parse_success);
                }
            })?;
            return said;
        };
        let has = |name: &str| {
            members
                .get(name)
                .is_some_and(|value| says_something(value, DEPTH_MAX))
        };
        if !has("error") {
            let object = members.get("object").and_then(text);
            let is_error = match object.as_deref() {
                Some("error") => true,
                Some(_) => false,
                None => MESSAGES.iter().any(|name| has(name)),
            };
            // A list with any entry is an answer.
            let is_there = |name: &&str| {
                members
                    .get(name)
                    .is_some_and(|value| says_something(value, 1))
            };
            if !is_error || ANSWERS.iter().any(is_there) {
                return None;
            }
        }
        Some(Self::from_members(&members, DEPTH_MAX))
    }

    /// Parses the JSON `text` of a member `error`. `None` if it says nothing.
    pub(super) fn parse_member(text: &str) -> Option<Self> {
        let value = serde_json::from_str::<&RawValue>(text).ok()?;
        says_something(value, DEPTH_MAX).then(|| Self::from_value(value, DEPTH_MAX))
    }

    fn from_value(value: &RawValue, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else {
            return Self::default();
        };
        if let Some(text) = text(value) {
            return Self {
                message: quotable(&text),
                ..Self::default()
            };
        }
        if let Some(members) = object(value.get()) {
            return Self::from_members(&members, depth);
        }
        Self::from_list(value, depth).unwrap_or_else(|| Self {
            status: status(value),
            ..Self::default()
        })
    }

    fn from_members(members: &Members<'_>, depth: usize) -> Self {
        let get = |name: &&str| {
            members
                .get(name)
                .filter(|value| says_something(value, depth))
        };
        let error = get(&"error")
            .map(|error| Self::from_value(error, depth))
            .unwrap_or_default();
        // An `error` that is a string beside a message is mostly the name of the status.
        let (mut said, bare) = if get(&"error").is_some_and(|error| text(error).is_some()) {
            (Self::default(), error)
        } else {
            (error, Self::default())
        };
        let words = |names: &[&str]| {
            names
                .iter()
                .filter_map(get)
                .filter_map(text)
                .find_map(|word| identifier(&word))
        };
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
                said = said.or(Self::from_value(value, depth));
            }
        }
        if said.message.is_none()
            && let Some(errors) = get(&"errors").and_then(|errors| object(errors.get()))
        {
            said = said.or(Self::from_fields(&errors, depth));
        }
        said.or(bare).or(Self {
            message: get(&"title")
                .and_then(text)
                .and_then(|title| quotable(&title)),
            ..Self::default()
        })
    }

    /// The errors of a list, each with the path of its field if it has one. `None` if it is not a
    /// list.
    fn from_list(list: &RawValue, depth: usize) -> Option<Self> {
        let (mut items, mut count, mut is_any_validation) = (Vec::new(), 0, false);
        each_element(list.get(), |item| {
            count += 1;
            let is_validation = is_validation(item);
            is_any_validation |= is_validation;
            if items.len() < LISTED_MAX {
                items.push((Self::from_value(item, depth), is_validation));
            }
        })?;
        let status = is_any_validation.then_some(StatusCode::UNPROCESSABLE_ENTITY);
        Some(Self::joined(items, count).or(Self {
            status,
            ..Self::default()
        }))
    }

    /// The errors of an object with a member for each wrong field.
    fn from_fields(fields: &Members<'_>, depth: usize) -> Self {
        let items = fields.kept.iter().take(LISTED_MAX).map(|(name, value)| {
            let param = field_path(&name.0);
            (
                Self {
                    param,
                    ..Self::from_value(value, depth)
                },
                true,
            )
        });
        Self::joined(items, fields.kept.len() + fields.left_out)
    }

    /// Joins the `items`, which are the first of `count` errors.
    fn joined(items: impl IntoIterator<Item = (Self, bool)>, count: usize) -> Self {
        let (mut said, mut messages) = (Self::default(), Vec::new());
        for (mut item, has_path) in items {
            match (item.message.take(), &item.param) {
                (Some(message), Some(path)) if has_path => {
                    messages.push(format!("{path}: {message}"))
                }
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

    /// The code, or "" if there is none.
    pub(super) fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }

    /// The message, at the length at which it is quoted.
    pub(super) fn quote(&self) -> Option<Cow<'_, str>> {
        self.message.as_deref().map(quoting::shortened)
    }

    /// These details, and those of `other` where they are missing here.
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

/// The bytes of an object.
fn object_bytes(value: &RawValue) -> Option<&[u8]> {
    value.get().starts_with('{').then(|| value.get().as_bytes())
}

/// An error status, as a number or a string.
fn status(value: &RawValue) -> Option<StatusCode> {
    let number = match text(value) {
        Some(text) => text.trim().parse(),
        None => value.get().parse(),
    };
    StatusCode::from_u16(number.ok()?)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
}

/// Whether an `item` of a list says where in the request the error is, as FastAPI's `loc` does.
/// Then the request failed validation.
fn is_validation(item: &RawValue) -> bool {
    object(item.get()).is_some_and(|members| {
        ["loc", "pointer"]
            .iter()
            .any(|name| members.get(name).is_some())
    })
}

/// The path of a field: a string, FastAPI's list (`["body","messages",0]`), or a JSON pointer
/// (`#/messages/0`).
fn path(value: &RawValue) -> Option<String> {
    if let Some(text) = text(value) {
        let pointer = text.strip_prefix('#').unwrap_or(&text).strip_prefix('/');
        return field_path(&pointer.map_or(text.clone(), |pointer| joined(pointer.split('/'))));
    }
    let (mut parts, mut count) = (Vec::new(), 0);
    each_element(value.get(), |part| {
        count += 1;
        if count <= PATH_PARTS_MAX {
            parts.push(text(part).unwrap_or_else(|| part.get().to_owned()));
        }
    })?;
    if count > PATH_PARTS_MAX {
        return None;
    }
    // `body` names the part of the request, not a field.
    let parts = parts.iter().map(String::as_str);
    field_path(&joined(
        parts
            .enumerate()
            .filter(|(place, part)| *place > 0 || *part != "body")
            .map(|(_, part)| part),
    ))
}

/// Joins names and indexes to a path: `messages[0].content`.
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

#[cfg(test)]
mod tests;
