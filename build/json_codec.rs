//! Generates the JSON codec of the contract's messages from the descriptors: the members of each
//! message, and the kind of each member. The kinds, and the macros that turn this source into
//! `Serialize` and `Deserialize`, are in `src/json/`. The exceptions to the rules are in
//! `json_rules.rs`.
//!
//! The codec is not derived, because `extra` would need serde's `flatten`, which parses the members
//! that it collects. Large integers would become doubles, and numbers would lose their notation.
//! This codec keeps the text of an unknown member.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use super::{
    json_members::{Member, UsedRules, json_name},
    json_rules::{
        FILLED, HISTORY, INDEX, JSON_TEXT, LIST_MESSAGES, NOT_IN_JSON, NULL_WHEN_UNSET,
        NULL_WHEN_UNSET_IN, OBJECT_NAME, OBJECT_TEXT, ONE_OR_MANY, WITHOUT_JSON,
        WRITTEN_WHEN_EMPTY, enum_names, is_list_of_pair, is_null_flag, list_of_pair, map_value,
        null_flag_of, real_oneof,
    },
    json_unions::{text_or_list_member, union_member},
    layouts::is_boxed,
    limits::{constant, range_of},
    names::rust_name,
    range::Range,
};

/// The codec of every message, as Rust source that `src/json/generated.rs` includes.
pub fn generate(contract: &FileDescriptorSet) -> String {
    let messages = contract.file.iter().flat_map(|file| &file.message_type);
    let mut used = UsedRules::default();
    let mut code = String::new();
    for message in messages.filter(|message| !WITHOUT_JSON.contains(&message.name())) {
        if LIST_MESSAGES.contains(&message.name()) {
            used.matches(LIST_MESSAGES, message.name());
            write_list(&mut code, message);
        } else {
            write_object(&mut code, message, &mut used);
        }
    }
    used.assert_all();
    code + &write_enum_names(contract)
}

/// The JSON names of the enums that fields have: `enum_names::PRIORITY` of `Priority`.
fn write_enum_names(contract: &FileDescriptorSet) -> String {
    let fields = || {
        contract
            .file
            .iter()
            .flat_map(|file| &file.message_type)
            .flat_map(|message| &message.field)
    };
    let is_used = |kind: &&EnumDescriptorProto| {
        fields().any(|field| {
            field.r#type() == Type::Enum
                && field.type_name().rsplit('.').next() == Some(kind.name())
        })
    };
    let mut code = String::from("\npub(crate) mod enum_names {\n");
    for kind in contract
        .file
        .iter()
        .flat_map(|file| &file.enum_type)
        .filter(is_used)
    {
        let (name, words) = (constant(kind.name()), enum_names(kind));
        writeln!(
            code,
            "    pub(crate) const {name}: &[(&str, i32)] = &{words:?};"
        )
        .unwrap();
    }
    code + "}\n"
}

fn write_object(code: &mut String, message: &DescriptorProto, used: &mut UsedRules) {
    let name = message.name();
    assert!(
        message.field.iter().any(|field| field.name() == "extra"),
        "{name}: an object without the field `extra`, which every object needs"
    );
    let members = members(code, message, used);
    let nulls: Vec<_> = members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|member| used.matches(NULL_WHEN_UNSET, &format!("{name}.{member}")))
        .collect();
    write!(code, "\nobject! {{\n    {name}").unwrap();
    if !nulls.is_empty() {
        write!(code, ", nulls: &{nulls:?}").unwrap();
    }
    if let Some((path, _)) = FILLED.iter().find(|(path, _)| *path == name) {
        used.0.push((*path).to_owned());
        code.push_str(", fill_required: FillRequired::fill_required");
    }
    code.push_str(";\n");
    for Member { name, fields, kind } in members {
        let fields = fields.join(", ");
        writeln!(code, "    {name:?} => ({fields}): members::{kind};").unwrap();
    }
    code.push_str("}\n");
}

fn members(code: &mut String, message: &DescriptorProto, used: &mut UsedRules) -> Vec<Member> {
    let name = message.name();
    let mut members: Vec<Member> = Vec::new();
    for field in message.field.iter().filter(|field| field.name() != "extra") {
        let path = format!("{name}.{}", field.name());
        let Some(oneof) = real_oneof(field) else {
            if let Some(list) = list_of_pair(&path) {
                members.push(text_or_list_member(message, field, list, used));
            } else if !is_list_of_pair(name, field.name())
                && !is_null_flag(name, field.name())
                && !used.matches(NOT_IN_JSON, &path)
            {
                members.push(plain_member(message, field, &path, used));
            }
            continue;
        };
        let variants: Vec<_> = message
            .field
            .iter()
            .filter(|other| real_oneof(other) == Some(oneof))
            .collect();
        let is_first = variants
            .first()
            .is_some_and(|first| first.name() == field.name());
        if is_first {
            let oneof = message.oneof_decl[oneof].name();
            members.push(union_member(code, name, oneof, &variants, used));
        }
    }
    if let Some((path, object)) = OBJECT_NAME.iter().find(|(path, _)| *path == name) {
        used.0.push((*path).to_owned());
        let member = Member {
            name: "object".to_owned(),
            fields: Vec::new(),
            kind: format!("Constant({object:?})"),
        };
        let is_after_id = members.first().is_some_and(|first| first.name == "id");
        members.insert(usize::from(is_after_id), member);
    }
    members
}

/// The member of a field that is not part of a union or a pair.
fn plain_member(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    path: &str,
    used: &mut UsedRules,
) -> Member {
    let mut fields = vec![rust_name(field.name())];
    let kind = if field.label() == Label::Repeated {
        list_kind(message, field, path, used)
    } else if used.matches(INDEX, path) {
        "Index".to_owned()
    } else if let Some(flag) = null_flag_of(path) {
        used.0.push(path.to_owned());
        let is_flag = message
            .field
            .iter()
            .any(|other| other.name() == flag && other.r#type() == Type::Bool);
        assert!(
            is_flag,
            "{path}: {flag} stands for its null, but is not a bool"
        );
        fields.push(flag.to_owned());
        "IntegerOrNull".to_owned()
    } else {
        kind(field, path, used)
    };
    Member {
        name: json_name(path, field.name(), used),
        fields,
        kind,
    }
}

/// The kind of a field that is not repeated.
fn kind(field: &FieldDescriptorProto, path: &str, used: &mut UsedRules) -> String {
    let is_text = used.matches(JSON_TEXT, path);
    let is_object_text = used.matches(OBJECT_TEXT, path);
    assert!(
        !is_text || field.proto3_optional(),
        "{path}: JSON text must be optional, because an empty text is not valid JSON"
    );
    match field.r#type() {
        Type::String if is_object_text => "JsonObjectText".to_owned(),
        Type::String if is_text => "JsonText".to_owned(),
        Type::String => "Text".to_owned(),
        Type::Bool | Type::Double => "Scalar".to_owned(),
        Type::Bytes => "Bytes".to_owned(),
        Type::Int32 | Type::Int64 => {
            let expected = range_of(path).map(describe_integer);
            format!("Integer({:?})", expected.unwrap_or_default())
        }
        Type::Enum => {
            assert!(
                !field.proto3_optional(),
                "{path}: the value 0 already means unset, so the field must not be optional"
            );
            let name = field.type_name().rsplit('.').next().unwrap();
            format!("Enum(enum_names::{})", constant(name))
        }
        Type::Message => {
            let placed = NULL_WHEN_UNSET_IN
                .iter()
                .find(|(placed, _)| *placed == path);
            match placed {
                Some((placed, nulls)) => {
                    used.0.push((*placed).to_owned());
                    format!("MessageWithNulls(&{nulls:?})")
                }
                None if is_boxed(path) => "BoxedMessage".to_owned(),
                None => "Message".to_owned(),
            }
        }
        other => panic!("{path}: no rule for {other:?}"),
    }
}

/// The description of an integer in `range`, for an error message.
fn describe_integer(range: &Range) -> String {
    match range.max {
        Some(_) => format!("an integer from {}", range.words()),
        None => format!("an integer of {}", range.words()),
    }
}

/// The kind of a repeated field or a map.
fn list_kind(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    path: &str,
    used: &mut UsedRules,
) -> String {
    let limit = format!("limits::{}", constant(path));
    match map_value(message, field) {
        Some(Type::Double) => return format!("DoubleMap::<{{ {limit}.max }}>"),
        Some(Type::String) => return format!("StringMap::<{{ {limit}.max }}>"),
        Some(_) => panic!("{path}: no rule for maps of this"),
        None => {}
    }
    let kind = match field.r#type() {
        _ if used.matches(ONE_OR_MANY, path) => "OneOrMany",
        _ if used.matches(HISTORY, path) => "HistoryMessages",
        Type::Message => "Messages",
        Type::Int32 | Type::Int64 => "Integers",
        Type::String => "List",
        other => panic!("{path}: no rule for lists of {other:?}"),
    };
    let kind = format!("{kind}(&{limit})");
    if used.matches(WRITTEN_WHEN_EMPTY, path) {
        format!("Required(members::{kind})")
    } else {
        kind
    }
}

fn write_list(code: &mut String, message: &DescriptorProto) {
    let name = message.name();
    let [field] = message.field.as_slice() else {
        panic!("{name}: a list has one field")
    };
    let kind = match field.r#type() {
        Type::Double => "Doubles",
        Type::Int32 => "Integers",
        _ => "List",
    };
    let field = field.name();
    let limit = constant(&format!("{name}.{field}"));
    writeln!(
        code,
        "\nlist! {{ {name}({field}): members::{kind}(&limits::{limit}) }}"
    )
    .unwrap();
}
