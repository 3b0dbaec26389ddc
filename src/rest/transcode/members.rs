//! The members of a JSON object, before the library reads them: unknown members are refused by
//! their path, and the names of enums may be written shortly.

use std::{borrow::Cow, collections::HashMap};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The message whose members may also stand beside those of the message that contains it.
const INLINE: &str = "featherwire.v1.KeyLimits";

/// The longest name in an error, in characters.
const NAME_CHARS_MAX: usize = 64;

/// The deepest nesting of members. No message of the contract has more.
const DEPTH_MAX: usize = 16;

/// A time in errors.
const TIME_EXAMPLE: &str = "2026-11-01T00:00:00Z";

/// Prepares an object for the message of this type. `path` is the path of the object, empty for the
/// body.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a member that the message does not have, and
/// for two members of the same field.
pub(super) fn prepare(message: &MessageDescriptor, object: &mut Map<String, Value>) -> Result<()> {
    move_inline(message, object)?;
    prepare_below(message, object, "", 0)
}

fn prepare_below(
    message: &MessageDescriptor,
    object: &mut Map<String, Value>,
    path: &str,
    depth: usize,
) -> Result<()> {
    let mut names = HashMap::new();
    for (name, value) in object.iter_mut() {
        let Some(field) = field(message, name) else {
            return Err(unknown(message, path, name));
        };
        if let Some(other) = names.insert(field.number(), name) {
            return Err(twice(join(path, name), &join(path, other)));
        }
        if depth < DEPTH_MAX {
            prepare_value(&field, value, &join(path, name), depth + 1)?;
        }
    }
    Ok(())
}

fn prepare_value(
    field: &FieldDescriptor,
    value: &mut Value,
    path: &str,
    depth: usize,
) -> Result<()> {
    if field.is_map() {
        return Ok(());
    }
    if let (true, Value::Array(elements)) = (field.is_list(), &mut *value) {
        for (number, element) in elements.iter_mut().enumerate() {
            prepare_one(field, element, &format!("{path}[{number}]"), depth)?;
        }
        return Ok(());
    }
    prepare_one(field, value, path, depth)
}

fn prepare_one(field: &FieldDescriptor, value: &mut Value, path: &str, depth: usize) -> Result<()> {
    match (&field.kind(), value) {
        // As on the command line: `7d` is 604800s.
        (Kind::Message(message), Value::String(text))
            if message.full_name() == "google.protobuf.Duration" =>
        {
            if let Ok(length) = humantime::parse_duration(text.trim()) {
                *text = format!("{}.{:09}s", length.as_secs(), length.subsec_nanos());
            }
            match text.parse::<prost_types::Duration>() {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::invalid(path, not_a_length(field))),
            }
        }
        (Kind::Message(message), Value::String(text))
            if message.full_name() == "google.protobuf.Timestamp" =>
        {
            match text.parse::<prost_types::Timestamp>() {
                Ok(_) => Ok(()),
                Err(_) => {
                    let problem = format!("expected a time such as {TIME_EXAMPLE}");
                    Err(Error::invalid(path, problem))
                }
            }
        }
        // In JSON its paths are in lowerCamelCase alone.
        (Kind::Message(message), Value::String(text))
            if message.full_name() == "google.protobuf.FieldMask" =>
        {
            *text = lower_camel_case(text);
            Ok(())
        }
        // The types of Google have forms of their own.
        (Kind::Message(message), Value::Object(object))
            if !message.full_name().starts_with("google.") =>
        {
            prepare_below(message, object, path, depth)
        }
        (Kind::Enum(kind), Value::String(text)) => {
            *text = value_name(kind, text).ok_or_else(|| {
                let problem = format!(
                    "expected one of {} (or {})",
                    short_names(kind).join(", "),
                    names(kind).join(", ")
                );
                Error::invalid(path, problem)
            })?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The paths of a mask as JSON has them. They may be those of the contract.
fn lower_camel_case(paths: &str) -> String {
    let mut after_underscore = false;
    let letters = paths.chars().filter_map(|letter| match letter {
        '_' => {
            after_underscore = true;
            None
        }
        ' ' => None,
        letter if std::mem::take(&mut after_underscore) => Some(letter.to_ascii_uppercase()),
        letter => Some(letter),
    });
    letters.collect()
}

/// The name of the value that `text` is the name of: in any letter case, and without its beginning,
/// which is the same for all values.
pub(super) fn value_name(kind: &EnumDescriptor, text: &str) -> Option<String> {
    let wanted = text.trim().replace('-', "_").to_ascii_uppercase();
    let prefix = prefix(kind);
    let is_it = |name: &str| name == wanted || name.strip_prefix(&*prefix) == Some(&wanted);
    let value = kind.values().find(|value| is_it(value.name()))?;
    Some(value.name().to_owned())
}

/// The names of the values that can be set.
fn names(kind: &EnumDescriptor) -> Vec<String> {
    let set = kind.values().filter(|value| value.number() != 0);
    set.map(|value| value.name().to_owned()).collect()
}

/// The same, as [`value_name`] takes them too: `day` for `USAGE_GROUP_DAY`.
fn short_names(kind: &EnumDescriptor) -> Vec<String> {
    let prefix = prefix(kind);
    let short = |name: &String| name.strip_prefix(&*prefix).unwrap_or(name).to_lowercase();
    names(kind).iter().map(short).collect()
}

/// What is wrong with a text that is not a length of time, in this field. For a time of the clock,
/// the error names the field beside it.
fn not_a_length(field: &FieldDescriptor) -> String {
    let length = "expected a length of time such as 90s, 12h or 7d";
    let message = field.parent_message();
    let has = |name| message.get_field_by_json_name(name).is_some();
    if has("startTime") {
        format!("{length}. For dates, set startTime={TIME_EXAMPLE}, and endTime")
    } else if has("expiresAt") {
        format!("{length}. For a date, set expiresAt, such as {TIME_EXAMPLE}")
    } else {
        length.to_owned()
    }
}

/// The beginning of the names of the values: that of `…_UNSPECIFIED`.
fn prefix(kind: &EnumDescriptor) -> String {
    let first = kind.default_value().name().to_owned();
    first.trim_end_matches("UNSPECIFIED").to_owned()
}

/// The field of a member: by its name in JSON, or in the contract.
fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message
        .get_field_by_json_name(name)
        .or_else(|| message.get_field_by_name(name))
}

/// Moves the members that belong into the field of the message [`INLINE`] there.
fn move_inline(message: &MessageDescriptor, object: &mut Map<String, Value>) -> Result<()> {
    let inline = message.fields().find_map(|field| match field.kind() {
        Kind::Message(inner) if inner.full_name() == INLINE => Some((field, inner)),
        _ => None,
    });
    let Some((outer, inner)) = inline else {
        return Ok(());
    };
    let moved: Vec<String> = object
        .keys()
        .filter(|name| field(message, name).is_none() && field(&inner, name).is_some())
        .cloned()
        .collect();
    if moved.is_empty() {
        return Ok(());
    }
    let name = match object.contains_key(outer.json_name()) {
        true => outer.json_name(),
        false => outer.name(),
    }
    .to_owned();
    let mut limits = match object.remove(&name) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(limits)) => limits,
        Some(_) => return Err(Error::invalid(name, "expected an object")),
    };
    let number = |member: &str| field(&inner, member).map(|field| field.number());
    let mut beside = HashMap::new();
    for member in moved {
        if let Some(other) = beside.insert(number(&member), member.clone()) {
            return Err(twice(member, &other));
        }
        if let Some(other) = limits.keys().find(|other| number(other) == number(&member)) {
            return Err(twice(member, &join(&name, other)));
        }
    }
    for member in beside.into_values() {
        if let Some(value) = object.remove(&member) {
            limits.insert(member, value);
        }
    }
    object.insert(name, Value::Object(limits));
    Ok(())
}

/// Two members for the same field.
fn twice(path: String, other: &str) -> Error {
    Error::invalid(path, format!("also given as {other}: give one of them"))
}

/// Where a member belongs whose name is that of a flag of the command line, in a message that has
/// the member in the middle.
const ELSEWHERE: [(&str, &str, &str); 7] = [
    ("admin", "role", "role (KEY_ROLE_ADMIN or KEY_ROLE_VIEWER)"),
    (
        "expires",
        "expiresIn",
        "expiresAt (a time such as 2030-01-31T12:00:00Z) or expiresIn (such as 2592000s)",
    ),
    ("budget", "limits", "limits.budgets"),
    ("label", "labels", "labels (an object of texts)"),
    ("model", "limits", "limits.models"),
    ("enable", "disabled", "disabled (false)"),
    ("disable", "disabled", "disabled (true)"),
];

fn unknown(message: &MessageDescriptor, path: &str, name: &str) -> Error {
    let elsewhere = ELSEWHERE
        .iter()
        .find(|(flag, needed, _)| *flag == name && field(message, needed).is_some());
    let shown: Cow<'_, str> = name.chars().take(NAME_CHARS_MAX).collect();
    let path = join(path, &shown);
    if let Some((_, _, place)) = elsewhere {
        return Error::invalid(path, format!("unknown member: this belongs into {place}"));
    }
    let names: Vec<_> = message
        .fields()
        .map(|field| field.json_name().to_owned())
        .collect();
    let problem = match names.as_slice() {
        [] => "unknown member: this request has none".to_owned(),
        names => format!("unknown member: the members here are {}", names.join(", ")),
    };
    Error::invalid(path, problem)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
