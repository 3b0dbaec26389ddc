//! Generates JSON documents of a message from its descriptor.

use proptest::{
    collection::{btree_map, vec},
    prelude::*,
};
use prost_reflect::{Kind, MessageDescriptor};

use crate::support::law::{self, Author, Slot};

use super::scalars::*;

/// A document of this message: known and unknown members.
pub fn document(message: &MessageDescriptor, author: Author) -> BoxedStrategy<String> {
    let mut members: Vec<BoxedStrategy<Option<String>>> = law::slots(message)
        .into_iter()
        .map(|slot| {
            let name = format!("{:?}: ", slot.name);
            let value = match author {
                Author::Caller => value(&slot, author),
                Author::Upstream => {
                    prop_oneof![12 => value(&slot, author), 1 => of_another_type()].boxed()
                }
            };
            let value = match () {
                () if slot.is_object() => {
                    prop_oneof![12 => value, 1 => Just("[ ]".to_owned())].boxed()
                }
                () if law::INDEX.contains(&slot.path.as_str()) && author == Author::Upstream => {
                    prop_oneof![4 => value, 1 => int32().prop_map(|index| format!("\"{index}\""))]
                        .boxed()
                }
                () => value,
            };
            let value = value.prop_map(move |value| format!("{name}{value}"));
            match slot.is_plain() {
                true => value.prop_map(Some).boxed(),
                false => {
                    let null = Just(Some(format!("{:?}:null", slot.name)));
                    prop_oneof![6 => Just(None), 4 => value.prop_map(Some), 1 => null].boxed()
                }
            }
        })
        .collect();
    if law::CONSTANT_OBJECT
        .iter()
        .any(|(object, _)| *object == message.name())
    {
        members.push(
            string_text()
                .prop_map(|text| Some(format!("\"object\":{text}")))
                .boxed(),
        );
    }
    let unknown = btree_map(string_text(), any_json(), 0..2);
    let unknown = unknown.prop_map(|map| {
        let members = map
            .into_iter()
            .map(|(name, value)| format!("\"x-{}:{value}", after_quote(&name)));
        Some(members.collect::<Vec<_>>().join(" ,\n"))
    });
    members.push(
        unknown
            .prop_map(|members| members.filter(|members| !members.is_empty()))
            .boxed(),
    );
    members
        .prop_shuffle()
        .prop_map(|members| {
            format!(
                "{{{}}}",
                members.into_iter().flatten().collect::<Vec<_>>().join(",")
            )
        })
        .boxed()
}

fn value(slot: &Slot, author: Author) -> BoxedStrategy<String> {
    let field = slot.field();
    if slot.is_json_text() {
        return any_json();
    }
    if slot.is_text_or_list() {
        return prop_oneof![string_text(), list(&slot.variants[1].kind(), author)].boxed();
    }
    if slot.is_union() {
        let variants = slot
            .variants
            .iter()
            .map(|variant| one(&variant.kind(), author));
        return proptest::strategy::Union::new(variants).boxed();
    }
    if field.is_map() {
        let values = one(
            &field
                .kind()
                .as_message()
                .unwrap()
                .map_entry_value_field()
                .kind(),
            author,
        );
        // Names that differ as text can be equal, if one of them is escaped.
        let map = btree_map(any::<u16>(), (string_text(), values), LIST);
        return map
            .prop_map(|map| {
                let members = map
                    .into_iter()
                    .map(|(n, (name, value))| format!("\"{n} {}:{value}", after_quote(&name)));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            })
            .boxed();
    }
    if field.is_list() {
        let list = list(&field.kind(), author);
        return if slot.allows_one() {
            prop_oneof![list, string_text()].boxed()
        } else {
            list
        };
    }
    one(&field.kind(), author)
}

fn one(kind: &Kind, author: Author) -> BoxedStrategy<String> {
    match kind {
        Kind::Message(message) => match law::list_of(message) {
            Some(field) => list(&field.kind(), author),
            None => document(message, author),
        },
        Kind::Bool => any::<bool>().prop_map(|value| value.to_string()).boxed(),
        Kind::Enum(kind) => {
            let words = law::words(kind.name())
                .iter()
                .map(|(word, _)| format!("{word:?}"))
                .collect::<Vec<_>>();
            prop::sample::select(words).boxed()
        }
        Kind::String => string_text(),
        Kind::Int32 => integer_text(int32().prop_map(i64::from).boxed()),
        Kind::Int64 => integer_text(int64()),
        Kind::Double => double_text(),
        Kind::Bytes => vec(any::<u8>(), LIST)
            .prop_map(|bytes| format!("{bytes:?}"))
            .boxed(),
        kind => panic!("the contract has no {kind:?}"),
    }
}

fn list(kind: &Kind, author: Author) -> BoxedStrategy<String> {
    vec(one(kind, author), LIST)
        .prop_map(|values| format!("[{}]", values.join(", ")))
        .boxed()
}

/// A value of an undocumented type, as an upstream might send it. Not an object, because it could
/// lack a required member.
fn of_another_type() -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        double_text(),
        string_text(),
        Just("true".to_owned()),
        Just("-1e999".to_owned())
    ];
    let list = vec(scalar.clone(), LIST).prop_map(|values| format!("[ {} ]", values.join(" ,")));
    prop_oneof![scalar, list].boxed()
}

pub fn any_json() -> BoxedStrategy<String> {
    let big = any::<u128>().prop_map(|number| format!("{number}{number}"));
    let words = vec![
        "null",
        "true",
        "false",
        "{}",
        "[ ]",
        "-0",
        "1.00",
        "1E+2",
        "9007199254740993",
        "\"\\ud800\"",
    ];
    let leaf = prop_oneof![
        string_text(),
        double_text(),
        big,
        prop::sample::select(words).prop_map(str::to_owned)
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let members = vec((string_text(), inner.clone()), 1..3);
        prop_oneof![
            vec(inner, 1..3).prop_map(|values| format!("[{}]", values.join(",\n"))),
            members.prop_map(|members| {
                let members = members
                    .into_iter()
                    .map(|(name, value)| format!("{name} :{value}"));
                format!("{{ {}}}", members.collect::<Vec<_>>().join(", "))
            })
        ]
    })
    .boxed()
}

fn after_quote(text: &str) -> &str {
    text.strip_prefix('"').unwrap()
}

/// A string as JSON, any of its letters escaped or not.
fn string_text() -> BoxedStrategy<String> {
    let letter = (character(), any::<bool>()).prop_map(|(letter, is_escaped)| {
        if is_escaped {
            let mut units = [0; 2];
            return letter
                .encode_utf16(&mut units)
                .iter()
                .map(|unit| format!("\\u{unit:04x}"))
                .collect();
        }
        let quoted = serde_json::to_string(&letter).unwrap();
        after_quote(&quoted).strip_suffix('"').unwrap().to_owned()
    });
    vec(letter, 0..6)
        .prop_map(|letters| format!("\"{}\"", letters.concat()))
        .boxed()
}

/// An integer in the notations of JSON: `100`, `100.0`, `100e0`.
fn integer_text(integer: BoxedStrategy<i64>) -> BoxedStrategy<String> {
    (integer, 0..6)
        .prop_map(|(integer, form)| match form {
            0 if integer.unsigned_abs() <= 1 << 53 => format!("{integer}.0"),
            1 if integer.unsigned_abs() <= 1 << 53 => format!("{integer}E+0"),
            _ => integer.to_string(),
        })
        .boxed()
}

fn double_text() -> BoxedStrategy<String> {
    (double(), 0..3)
        .prop_map(|(number, form)| match form {
            0 => format!("{number:e}"),
            1 => format!("{number:?}"),
            _ => format!("{number:.1}")
                .chars()
                .take(40)
                .collect::<String>()
                .trim_end_matches('.')
                .to_owned(),
        })
        .boxed()
}
