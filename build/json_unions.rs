//! Generates the codec of JSON members that are several fields in protobuf: a oneof, or a pair of a
//! text and a list.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::{
    json_members::{Member, UsedRules, json_name},
    json_rules::{LIST_MESSAGES, NULL_KEPT},
    limits::constant,
    names::{camel, snake},
};

/// Two fields that are one JSON member. The first field is the member as a string and has its name.
/// The other field is the member as a list.
pub fn text_or_list_member(
    message: &DescriptorProto,
    text: &FieldDescriptorProto,
    list: &str,
    used: &mut UsedRules,
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
    let null = if used.matches(NULL_KEPT, &path) {
        "Kept"
    } else {
        "IsAbsence"
    };
    let limit = constant(&format!("{owner}.{list}"));
    Member {
        name: name.to_owned(),
        fields: vec![name.to_owned(), list.to_owned()],
        kind: format!(
            "TextOrList {{ list_name: {list:?}, limit: &limits::{limit}, null: \
             members::Null::{null} }}"
        ),
    }
}

/// A oneof that is one JSON member. The JSON type of the member selects the variant: a string, a
/// list or an object. The string variant has the name of the member.
pub fn union_member(
    code: &mut String,
    message: &str,
    oneof: &str,
    variants: &[&FieldDescriptorProto],
    used: &mut UsedRules,
) -> Member {
    let [text, others @ ..] = variants else {
        panic!("{message}.{oneof}: no variants")
    };
    assert!(
        text.r#type() == Type::String,
        "{message}.{oneof}: the first variant is the string"
    );
    let member = json_name(&format!("{message}.{}", text.name()), text.name(), used);
    let others: Vec<(String, &str)> = others
        .iter()
        .map(|other| {
            assert!(
                other.r#type() == Type::Message,
                "{message}.{oneof}: the other variants are messages"
            );
            let message = other.type_name().rsplit('.').next().unwrap();
            (camel(other.name()), message)
        })
        .collect();
    let (kind, others) = match others.as_slice() {
        [
            (strings, "StringList"),
            (tokens, "TokenList"),
            (lists, "TokenLists"),
        ] => (
            "TextOrLists",
            format!("strings {strings}, tokens {tokens}, token_lists {lists}"),
        ),
        [(list, message)] if LIST_MESSAGES.contains(message) => {
            ("TextOrLists", format!("list {list}"))
        }
        [(object, _)] => ("TextOrObject", format!("object {object}")),
        _ => panic!("{message}.{oneof}: no rule to tell these variants apart in JSON"),
    };
    let enumeration = format!("{}::{}", snake(message), camel(oneof));
    let text = camel(text.name());
    writeln!(code, "\nunion! {{ {enumeration} {{ {text}, {others} }} }}").unwrap();
    Member {
        name: member,
        fields: vec![oneof.to_owned()],
        kind: kind.to_owned(),
    }
}
