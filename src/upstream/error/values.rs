//! Parses the JSON of an error value by value, without copying. Memory does not grow with the text:
//! no element of a list is kept, and few members of an object except those with known names.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// How many members with unknown names are kept of an object. An event may have very many.
const OTHERS_MAX: usize = 256;

/// Members with a message, the most specific first.
pub(super) const MESSAGES: [&str; 8] = [
    "message",
    "detail",
    "errors",
    "msg",
    "error_message",
    "errorMessage",
    "error_description",
    "reason",
];

/// Members with a code, a status, a type, or the path of the wrong field.
pub(super) const CODES: [&str; 3] = ["code", "error_code", "errorCode"];
pub(super) const STATUSES: [&str; 4] = ["status", "statusCode", "status_code", "http_status"];
pub(super) const TYPES: [&str; 2] = ["type", "error_type"];
pub(super) const PARAMS: [&str; 4] = ["param", "loc", "pointer", "field"];

/// Members of answers that errors do not have.
pub(super) const ANSWERS: [&str; 5] = ["choices", "data", "tokens", "usage", "used_cost"];

/// Other known members.
const OTHERS: [&str; 4] = ["error", "errors", "object", "title"];

/// All known names.
const KNOWN: [&[&str]; 7] = [
    &MESSAGES, &CODES, &STATUSES, &TYPES, &PARAMS, &ANSWERS, &OTHERS,
];

/// The members of an object as JSON text. Of two members with the same name the last one counts, as
/// everywhere in the gateway.
pub(super) struct Members<'a> {
    /// The members with known names, and [`OTHERS_MAX`] others.
    pub(super) kept: BTreeMap<Text, &'a RawValue>,
    /// The number of other members.
    pub(super) left_out: usize,
}

impl<'a> Members<'a> {
    /// The member `name`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.kept.get(name).copied()
    }
}

/// The members of an object. `None` if `text` is not an object.
pub(super) fn object(text: &str) -> Option<Members<'_>> {
    serde_json::from_str(text).ok()
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let (mut kept, mut left_out) = (BTreeMap::new(), 0);
                while let Some((name, value)) = map.next_entry::<Text, &'de RawValue>()? {
                    let is_known = || KNOWN.iter().any(|names| names.contains(&&*name.0));
                    if kept.len() < OTHERS_MAX || is_known() || kept.contains_key(&name) {
                        kept.insert(name, value);
                    } else {
                        left_out += 1;
                    }
                }
                Ok(Members { kept, left_out })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// Calls `show` with each element of a list, in order. `None` if `json` is not a list.
pub(super) fn each_element<'a>(json: &'a str, show: impl FnMut(&'a RawValue)) -> Option<()> {
    struct Elements<F>(F);
    impl<'de, F: FnMut(&'de RawValue)> de::Visitor<'de> for Elements<F> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer.deserialize_seq(Elements(show)).ok()?;
    deserializer.end().ok()
}

/// A string. A lone surrogate in it becomes U+FFFD.
pub(super) fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get())
        .ok()
        .map(|Text(text)| text)
}

/// Whether `value` has content. Null, `false`, zero, and empty strings, lists and objects have
/// none, nor has a list or an object that contains only such values.
pub(super) fn says_something(value: &RawValue, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return true;
    };
    let json = value.get();
    match json.bytes().next() {
        Some(b'n' | b'f') => false,
        Some(b'"') => text(value).is_none_or(|text| !text.trim().is_empty()),
        Some(b'{') => object(json).is_none_or(|members| {
            members.left_out > 0
                || members
                    .kept
                    .values()
                    .any(|value| says_something(value, depth))
        }),
        Some(b'[') => {
            let mut does = false;
            let list = each_element(json, |value| does = does || says_something(value, depth));
            list.is_none() || does
        }
        _ => json.parse::<f64>() != Ok(0.0),
    }
}

/// A string, which may have lone surrogates.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(pub(super) String);

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
        // As bytes, because a lone surrogate in a string would be an error.
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_object_without_end_few_members_are_kept_and_those_that_are_known_are() {
        let many: String = (0..100_000)
            .map(|number| format!("\"{number}\":0,"))
            .collect();
        let text = format!(r#"{{{many}"0":1,"100001":0,"error":"a","detail":"b"}}"#);
        let members = object(&text).unwrap();
        assert_eq!(
            (members.kept.len(), members.left_out),
            (OTHERS_MAX + 2, 100_001 - OTHERS_MAX)
        );
        assert_eq!(
            members.get("0").map(RawValue::get),
            Some("1"),
            "the last of two counts"
        );
        assert_eq!(members.get("detail").map(RawValue::get), Some("\"b\""));
        assert!(object("[]").is_none() && object("{").is_none());
    }

    #[test]
    fn each_element_is_shown_in_order() {
        let elements = |json: &str| {
            let mut elements = Vec::new();
            each_element(json, |element| elements.push(element.get().to_owned())).map(|()| elements)
        };
        assert_eq!(
            elements(r#" [1, {"a":[2]} ,"x"] "#).unwrap(),
            ["1", r#"{"a":[2]}"#, "\"x\""]
        );
        assert_eq!(elements("[]").unwrap(), [""; 0]);
        for other in ["{}", "[1", "[1]x", "7", ""] {
            assert_eq!(elements(other), None, "{other}");
        }
    }

    #[test]
    fn a_value_says_something_wherever_it_says_it() {
        let nothing = "[],".repeat(100_000);
        let does = |json: &str| says_something(serde_json::from_str(json).unwrap(), 6);
        assert!(!does(&format!("[{nothing}null]")));
        assert!(does(&format!("[{nothing}1]")));
        assert!(!does(r#"{"a":{"b":[0]}}"#) && does(r#"{"a":{"b":[0,"x"]}}"#));
    }
}
