//! Writes the codec of JSON members that are several fields in protobuf: a oneof, or a text beside
//! a list.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{
    json_codec::{Member, Used, camel, json_name, snake},
    json_rules::{LIST, NULL_KEPT},
    list_limits::constant,
};

/// Two fields that are one JSON member: a string for the first, which names the member, a list for
/// the other.
pub fn text_or_list_member(
    message: &DescriptorProto,
    text: &FieldDescriptorProto,
    list: &str,
    used: &mut Used,
) -> Member {
    let (owner, name) = (message.name(), text.name());
    let path = format!("{owner}.{name}");
    let other = message.field.iter().find(|field| field.name() == list);
    let is_list = other
        .is_some_and(|other| other.label() == Label::Repeated && other.r#type() == Type::Message);
    assert!(
        is_list,
        "{owner}.{list}: the other field is a list of messages"
    );
    assert!(
        text.r#type() == Type::String && text.proto3_optional(),
        "{path}: the first field is an optional string"
    );
    used.0.push(path.clone());
    let null = if used.see(NULL_KEPT, &path) {
        "json::Null::Kept"
    } else {
        "json::Null::IsAbsence"
    };
    let limit = constant(&format!("{owner}.{list}"));
    Member {
        name: name.to_owned(),
        read: format!(
            "json::read_text_or_list(&mut map, {name:?}, &mut message.extra, (&mut \
             message.{name}, &mut message.{list}), &limits::{limit}, {null})?,"
        ),
        write: format!(
            "json::write_text_or_list(map, ({name:?}, {list:?}), self.{name}.as_deref(), \
             &self.{list}, &self.extra, nulls)?;"
        ),
    }
}

/// A oneof is one JSON member whose kind tells the variant: a string for the string variant, which
/// names the member; a list or an object for the others.
pub fn union_member(
    code: &mut String,
    message: &str,
    oneof: &str,
    variants: &[&FieldDescriptorProto],
    used: &mut Used,
) -> Member {
    let [text, others @ ..] = variants else {
        panic!("{message}.{oneof}: no variants")
    };
    assert!(
        text.r#type() == Type::String,
        "{message}.{oneof}: the first variant is the string"
    );
    let member = json_name(&format!("{message}.{}", text.name()), text.name(), used);
    let enumeration = format!("{}::{}", snake(message), camel(oneof));
    let others: Vec<(String, &str)> = others
        .iter()
        .map(|other| {
            assert!(
                other.r#type() == Type::Message,
                "{message}.{oneof}: the other variants are messages"
            );
            (
                camel(other.name()),
                other.type_name().rsplit('.').next().unwrap(),
            )
        })
        .collect();
    let (expecting, visit) = match others.as_slice() {
        [
            (strings, "StringList"),
            (tokens, "TokenList"),
            (lists, "TokenLists"),
        ] => (
            "a string, a list of strings, a list of token ids, or a list of lists of token ids",
            format!(
                "fn visit_seq<A: serde::de::SeqAccess<'de>>(self, access: A) -> \
                 Result<Self::Value, A::Error> {{
                    let access = serde::de::value::SeqAccessDeserializer::new(access);
                    Ok(match <json::Texts as serde::Deserialize>::deserialize(access)? {{
                        json::Texts::Strings(values) => {enumeration}::{strings}(StringList {{ \
                 values }}),
                        json::Texts::Tokens(values) => {enumeration}::{tokens}(TokenList {{ values \
                 }}),
                        json::Texts::TokenLists(lists) => {enumeration}::{lists}(TokenLists {{
                            values: lists.into_iter().map(|values| TokenList {{ values \
                 }}).collect(),
                        }}),
                    }})
                }}"
            ),
        ),
        [(variant, other)] => {
            let is_list = LIST.contains(other);
            let (access, visit) = if is_list {
                ("SeqAccess", "visit_seq")
            } else {
                ("MapAccess", "visit_map")
            };
            let expecting = if is_list {
                "a string or a list"
            } else {
                "a string or an object"
            };
            (
                expecting,
                format!(
                    "fn {visit}<A: serde::de::{access}<'de>>(self, access: A) -> \
                     Result<Self::Value, A::Error> {{
                        let access = serde::de::value::{access}Deserializer::new(access);
                        <{other} as \
                     serde::Deserialize>::deserialize(access).map({enumeration}::{variant})
                    }}"
                ),
            )
        }
        _ => panic!("{message}.{oneof}: no rule to tell these variants apart in JSON"),
    };
    let text = camel(text.name());
    let arms: String = others
        .iter()
        .map(|(variant, _)| {
            format!("Self::{variant}(value) => serde::Serialize::serialize(value, serializer),\n")
        })
        .collect();
    write!(
        code,
        r#"
impl serde::Serialize for {enumeration} {{
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {{
        match self {{
            Self::{text}(text) => serializer.serialize_str(text),
            {arms}
        }}
    }}
}}

impl<'de> serde::Deserialize<'de> for {enumeration} {{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {{
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {{
            type Value = {enumeration};

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
                f.write_str({expecting:?})
            }}

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {{
                Ok({enumeration}::{text}(text.to_owned()))
            }}

            {visit}
        }}
        deserializer.deserialize_any(Visitor)
    }}
}}
"#
    )
    .unwrap();
    let function = match others.as_slice() {
        [(_, other)] if !LIST.contains(other) => "read_object",
        _ => "read",
    };
    Member {
        read: format!(
            "json::{function}(&mut map, {member:?}, &mut message.extra, &mut message.{oneof})?,"
        ),
        write: format!(
            "json::write_optional(map, {member:?}, self.{oneof}.as_ref(), &self.extra, nulls)?;"
        ),
        name: member,
    }
}
