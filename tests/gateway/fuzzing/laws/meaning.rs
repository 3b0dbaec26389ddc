//! Compares the meaning of two JSON documents without knowledge of the messages. The law in
//! `support/law.rs` knows the messages and is stricter. This comparison also works for documents
//! without required members.

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// Compares the input with the output.
///
/// # Errors
/// The first difference.
pub fn same(before: &Value, after: &Value) -> Result<(), String> {
    compare(before, after, "$")
}

/// The names of a document's members in alphabetical order, duplicates included.
///
/// # Errors
/// The text is not an object.
pub fn names(text: &[u8]) -> serde_json::Result<Vec<String>> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some((name, IgnoredAny)) = map.next_entry()? {
                names.push(name);
            }
            names.sort_unstable();
            Ok(names)
        }
    }
    serde_json::Deserializer::from_slice(text).deserialize_map(Names)
}

fn compare(before: &Value, after: &Value, path: &str) -> Result<(), String> {
    let is_same = match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            // A constant member that was absent.
            let is_said = |name: &String| {
                name != "object" || before.get(name).is_some_and(|object| !object.is_null())
            };
            let names = before
                .keys()
                .chain(after.keys())
                .filter(|name| is_said(name));
            return names.into_iter().try_for_each(|name| {
                let [before, after] =
                    [before, after].map(|map| map.get(name).unwrap_or(&Value::Null));
                compare(before, after, &format!("{path}.{name}"))
            });
        }
        (Value::Array(before), Value::Array(after)) => {
            if before.len() == after.len() {
                let pairs = before.iter().zip(after).enumerate();
                return pairs
                    .into_iter()
                    .try_for_each(|(i, (b, a))| compare(b, a, &format!("{path}[{i}]")));
            }
            false
        }
        (Value::Number(before), Value::Number(after)) => {
            before == after || before.as_f64() == after.as_f64()
        }
        // A single stop string becomes a list with one item.
        (Value::String(_), Value::Array(list)) => {
            path == "$.stop" && list.as_slice() == std::slice::from_ref(before)
        }
        // An index may be a string.
        (Value::String(before), Value::Number(after)) => {
            path.ends_with(".index") && *before == after.to_string()
        }
        _ => before == after,
    };
    if is_same || is_put_in(before, after, path) || may_become(before, after) {
        Ok(())
    } else {
        Err(format!("{path}: {before} became {after}"))
    }
}

/// Whether a member was added because an answer must have it.
fn is_put_in(before: &Value, after: &Value, path: &str) -> bool {
    let is_unset =
        before.is_null() || before == "" || matches!(before, Value::Array(list) if list.is_empty());
    let name = path.rsplit('.').next().unwrap_or_default();
    is_unset
        && match name {
            "message" => after["role"] == "assistant" && after["content"].is_null(),
            "role" => after == "assistant",
            "total_tokens" => after.is_i64(),
            _ => false,
        }
}

/// Whether an unset member is written in another form of unset. Zero, `false` and the empty string
/// are values, not unset.
fn may_become(before: &Value, after: &Value) -> bool {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let is_zero = match after {
        Value::Bool(is_true) => !is_true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    (is_nothing(before) && is_nothing(after)) || (before.is_null() && is_zero)
}
