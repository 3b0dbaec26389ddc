//! Writes the JSON codec of the contract's messages: `Serialize`, `Deserialize` and `json::Object`
//! for each, by rule from the descriptors. The rules' exceptions are in `json_rules.rs`; what the
//! generated code calls is in `src/json/`.
//!
//! Generated rather than derived, because serde's `flatten` (which `extra` would need) parses what
//! it collects: it would turn large integers into doubles and lose the text of numbers. Here an
//! unknown member stays the text it was.

use std::fmt::Write;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use super::{
    json_rules::{
        ALWAYS, INDEX, JSON_TEXT, LIST, NOT_IN_JSON, NULL_KEPT, NULL_SAID, NULL_WHEN_UNSET,
        NULL_WHEN_UNSET_IN, OBJECT, OBJECT_TEXT, ONE_OR_MANY, PUT_IN, RENAMED, REPLAYED,
        TEXT_OR_LIST, WITHOUT_JSON, is_list_beside, list_beside, map_value, null_said_in,
        real_oneof, renamed, says_null, words,
    },
    json_unions::{text_or_list_member, union_member},
    list_limits::{constant, max_of},
    request_limits::range_of,
    shapes::is_boxed,
};

/// The codec of every message, as Rust source to be included where the messages are.
pub fn generate(contract: &FileDescriptorSet) -> String {
    let messages = contract.file.iter().flat_map(|file| &file.message_type);
    let mut used = Used::default();
    let mut code = String::new();
    for message in messages.filter(|message| !WITHOUT_JSON.contains(&message.name())) {
        if LIST.contains(&message.name()) {
            used.see(LIST, message.name());
            write_list(&mut code, message);
        } else {
            write_object(&mut code, message, &mut used);
        }
    }
    used.assert_all();
    code + &write_words(contract)
}

/// The words of the enums that fields have: `words::PRIORITY` of `Priority`.
fn write_words(contract: &FileDescriptorSet) -> String {
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
    let mut code = String::from("\npub(crate) mod words {\n");
    for kind in contract
        .file
        .iter()
        .flat_map(|file| &file.enum_type)
        .filter(is_used)
    {
        let (name, words) = (constant(kind.name()), words(kind));
        writeln!(
            code,
            "    pub(crate) const {name}: &[(&str, i32)] = &{words:?};"
        )
        .unwrap();
    }
    code + "}\n"
}

/// The rules that matched something: one that matches nothing is a misspelling, and fails the
/// build.
#[derive(Default)]
pub struct Used(pub Vec<String>);

impl Used {
    pub fn see(&mut self, rules: &[&str], path: &str) -> bool {
        let matches = rules.contains(&path);
        if matches {
            self.0.push(path.to_owned());
        }
        matches
    }

    fn assert_all(&self) {
        let listed = [
            JSON_TEXT,
            OBJECT_TEXT,
            NULL_WHEN_UNSET,
            NULL_KEPT,
            ALWAYS,
            INDEX,
            ONE_OR_MANY,
            LIST,
            NOT_IN_JSON,
            REPLAYED,
        ]
        .concat();
        let keyed = OBJECT
            .iter()
            .chain(RENAMED)
            .chain(TEXT_OR_LIST)
            .chain(NULL_SAID)
            .map(|(path, _)| *path);
        let placed = NULL_WHEN_UNSET_IN
            .iter()
            .chain(PUT_IN)
            .map(|(path, _)| *path);
        for path in listed.into_iter().chain(keyed).chain(placed) {
            assert!(
                self.0.iter().any(|used| used == path),
                "JSON rule for {path}: no such message or field"
            );
        }
    }
}

/// One JSON member: its name, the arm that reads it and the statement that writes it.
pub struct Member {
    pub name: String,
    pub read: String,
    pub write: String,
}

fn write_object(code: &mut String, message: &DescriptorProto, used: &mut Used) {
    let name = message.name();
    assert!(
        message.field.iter().any(|field| field.name() == "extra"),
        "{name}: every object can grow: give it `extra`"
    );
    let mut members: Vec<Member> = Vec::new();
    for field in message.field.iter().filter(|field| field.name() != "extra") {
        let path = format!("{name}.{}", field.name());
        let Some(oneof) = real_oneof(field) else {
            if let Some(list) = list_beside(&path) {
                members.push(text_or_list_member(message, field, list, used));
            } else if !is_list_beside(name, field.name())
                && !says_null(name, field.name())
                && !used.see(NOT_IN_JSON, &path)
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
        if variants
            .first()
            .is_some_and(|first| first.name() == field.name())
        {
            members.push(union_member(
                code,
                name,
                message.oneof_decl[oneof].name(),
                &variants,
                used,
            ));
        }
    }
    if let Some((path, object)) = OBJECT.iter().find(|(path, _)| *path == name) {
        used.0.push((*path).to_owned());
        let member = Member {
            name: "object".to_owned(),
            read: format!(
                "json::read_constant(&mut map, \"object\", &mut message.extra, {object:?})?,"
            ),
            write: format!("json::write_plain(map, \"object\", &self.extra, false, {object:?})?;"),
        };
        members.insert(
            usize::from(members.first().is_some_and(|first| first.name == "id")),
            member,
        );
    }
    let nulls: Vec<_> = members
        .iter()
        .map(|member| member.name.as_str())
        .filter(|member| used.see(NULL_WHEN_UNSET, &format!("{name}.{member}")))
        .collect();

    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    let reads: String = members
        .iter()
        .map(|member| format!("                    {:?} => {}\n", member.name, member.read))
        .collect();
    let writes: String = members
        .iter()
        .map(|member| format!("        {}\n", member.write))
        .collect();
    let complete = match PUT_IN.iter().find(|(path, _)| *path == name) {
        Some((path, _)) => {
            used.0.push((*path).to_owned());
            "                json::Complete::complete(&mut message);\n"
        }
        None => "",
    };
    let within = within(message);
    let mended = mended(message);
    write!(
        code,
        r#"
impl json::Object for {name} {{
    const NAMES: &'static [&'static str] = &{names:?};
    const NULLS: &'static [&'static str] = &{nulls:?};

    fn write_members<M: serde::ser::SerializeMap>(&self, map: &mut M, nulls: &[&str]) -> Result<(), M::Error> {{
{writes}        json::write_extra(map, &self.extra)
    }}

    fn names_a_field(&self) -> bool {{
        self.extra.keys().any(|name| Self::NAMES.contains(&name.as_str())){within}
    }}

    fn mend(&mut self) {{
{mended}    }}
}}

impl serde::Serialize for {name} {{
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {{
        json::write_object(self, <Self as json::Object>::NULLS, serializer)
    }}
}}

impl<'de> serde::Deserialize<'de> for {name} {{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {{
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {{
            type Value = {name};

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{
                f.write_str("an object")
            }}

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<{name}, A::Error> {{
                let mut message = {name}::default();
                while let Some(key) = map.next_key::<json::Key<'de>>()? {{
                    match &*key.0 {{
{reads}                    _ => json::read_extra(&mut map, key, &mut message.extra)?,
                    }}
                }}
{complete}                Ok(message)
            }}
        }}
        deserializer.deserialize_map(Visitor)
    }}
}}
"#
    )
    .unwrap();
}

/// The question whether the `extra` of a message within names a field, for each field that holds
/// some.
fn within(message: &DescriptorProto) -> String {
    let mut code = String::new();
    for field in message.field.iter().filter(|field| {
        field.r#type() == Type::Message
            && map_value(message, field).is_none()
            && field.name() != "extra"
    }) {
        let kind = field.type_name().rsplit('.').next().unwrap();
        let rust = rust_name(field.name());
        if let Some(oneof) = real_oneof(field) {
            if LIST.contains(&kind) {
                continue;
            }
            let values = "json::Object::names_a_field(value)";
            let (oneof, variant) = (message.oneof_decl[oneof].name(), camel(field.name()));
            let enumeration = format!("{}::{}", snake(message.name()), camel(oneof));
            write!(
                code,
                "\n            || matches!(&self.{oneof}, Some({enumeration}::{variant}(value)) \
                 if {values})"
            )
        } else {
            let is_boxed = is_boxed(&format!("{}.{}", message.name(), field.name()));
            let any = if is_boxed {
                "as_deref().is_some_and"
            } else {
                "iter().any"
            };
            write!(
                code,
                "\n            || self.{rust}.{any}(json::Object::names_a_field)"
            )
        }
        .unwrap();
    }
    code
}

/// The statements that give texts with halves of characters to their fields, here and in the
/// messages within.
fn mended(message: &DescriptorProto) -> String {
    let mut code = String::new();
    for field in message.field.iter().filter(|field| field.name() != "extra") {
        let path = format!("{}.{}", message.name(), field.name());
        let member = renamed(&path).unwrap_or(field.name());
        let rust = rust_name(field.name());
        let is_text = field.r#type() == Type::String
            && field.label() != Label::Repeated
            && ![JSON_TEXT, NOT_IN_JSON]
                .iter()
                .any(|rules| rules.contains(&path.as_str()));
        let is_message = field.r#type() == Type::Message
            && map_value(message, field).is_none()
            && !LIST.contains(&field.type_name().rsplit('.').next().unwrap());
        let statement = match real_oneof(field) {
            Some(oneof) => {
                let oneof = message.oneof_decl[oneof].name();
                let variant = format!(
                    "{}::{}::{}",
                    snake(message.name()),
                    camel(oneof),
                    camel(field.name())
                );
                match () {
                    () if is_text => format!(
                        "if let Some(text) = json::take_text(&mut self.extra, {member:?}) {{ \
                         self.{oneof} = Some({variant}(json::without_halves(&text))); }}"
                    ),
                    () if is_message => {
                        format!(
                            "if let Some({variant}(value)) = &mut self.{oneof} {{ \
                             json::Object::mend(value); }}"
                        )
                    }
                    () => continue,
                }
            }
            None if is_text && field.proto3_optional() => {
                format!("json::mend(&mut self.extra, {member:?}, &mut self.{rust});")
            }
            None if is_text => {
                format!("json::mend_plain(&mut self.extra, {member:?}, &mut self.{rust});")
            }
            None if is_message && is_boxed(&path) => {
                format!(
                    "if let Some(value) = self.{rust}.as_deref_mut() {{ \
                     json::Object::mend(value); }}"
                )
            }
            None if is_message => format!("self.{rust}.iter_mut().for_each(json::Object::mend);"),
            None => continue,
        };
        writeln!(code, "        {statement}").unwrap();
    }
    code
}

/// How a field of an integer type is read, and what its member must be if not any integer of the
/// type.
fn integer(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<(&'static str, String)> {
    let path = format!("{}.{}", message.name(), field.name());
    let words = range_of(&path)
        .map(|range| range.words("an integer"))
        .unwrap_or_default();
    let function = if field.proto3_optional() {
        "read_integer"
    } else {
        "read_plain_integer"
    };
    matches!(field.r#type(), Type::Int32 | Type::Int64).then_some((function, words))
}

fn plain_member(
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
    path: &str,
    used: &mut Used,
) -> Member {
    let name = json_name(path, field.name(), used);
    let rust = rust_name(field.name());
    let read = |function: &str| {
        format!("json::{function}(&mut map, {name:?}, &mut message.extra, &mut message.{rust})?,")
    };
    let is_text = used.see(JSON_TEXT, path);
    let is_object_text = used.see(OBJECT_TEXT, path);
    let is_message = field.r#type() == Type::Message;
    let is_double = field.r#type() == Type::Double;

    if field.label() == Label::Repeated {
        assert!(
            field.r#type() != Type::Enum,
            "{path}: no rule for lists of words"
        );
        let written = match map_value(message, field) {
            Some(Type::Double) => format!("&json::Numbers(&self.{rust})"),
            _ => format!("&self.{rust}"),
        };
        let write = if used.see(ALWAYS, path) {
            format!(
                "json::write_plain(map, {name:?}, &self.extra, !self.{rust}.is_empty(), \
                 {written})?;"
            )
        } else {
            format!(
                "json::write_optional(map, {name:?}, \
                 (!self.{rust}.is_empty()).then_some({written}), &self.extra, nulls)?;"
            )
        };
        let read = match () {
            () if map_value(message, field).is_some() => {
                read(&format!("read_map::<_, _, {}>", max_of(path)))
            }
            () => {
                let function = match () {
                    () if used.see(ONE_OR_MANY, path) => "read_one_or_many",
                    () if used.see(REPLAYED, path) => "read_messages",
                    () if matches!(field.r#type(), Type::Int32 | Type::Int64) => "read_integers",
                    () => "read_list",
                };
                let limit = constant(path);
                format!(
                    "json::{function}(&mut map, {name:?}, &mut message.extra, &mut \
                     message.{rust}, &limits::{limit})?,"
                )
            }
        };
        return Member {
            name: name.clone(),
            read,
            write,
        };
    }
    if used.see(INDEX, path) {
        let write = match field.proto3_optional() {
            true => format!(
                "json::write_optional(map, {name:?}, self.{rust}.as_ref(), &self.extra, nulls)?;"
            ),
            false => format!(
                "json::write_plain(map, {name:?}, &self.extra, self.{rust} != 0, &self.{rust})?;"
            ),
        };
        return Member {
            name: name.clone(),
            read: read("read_index"),
            write,
        };
    }
    if let Some(flag) = null_said_in(path) {
        used.0.push(path.to_owned());
        let is_flag = message
            .field
            .iter()
            .any(|other| other.name() == flag && other.r#type() == Type::Bool);
        assert!(
            is_flag,
            "{path}: its null is said in {flag}, which is no bool"
        );
        return Member {
            read: format!(
                "json::read_integer_or_null(&mut map, {name:?}, &mut message.extra, (&mut \
                 message.{rust}, &mut message.{flag}))?,"
            ),
            write: format!(
                "json::write_or_null(map, {name:?}, self.{rust}.as_ref(), self.{flag}, \
                 &self.extra)?;"
            ),
            name,
        };
    }
    if field.r#type() == Type::Enum {
        assert!(
            !field.proto3_optional(),
            "{path}: the value 0 says unset already"
        );
        let words = format!(
            "words::{}",
            constant(field.type_name().rsplit('.').next().unwrap())
        );
        return Member {
            read: format!(
                "json::read_word(&mut map, {name:?}, &mut message.extra, &mut message.{rust}, \
                 {words})?,"
            ),
            write: format!(
                "json::write_optional(map, {name:?}, json::Word::of(self.{rust}, {words}), \
                 &self.extra, nulls)?;"
            ),
            name,
        };
    }
    let integer = integer(message, field).map(|(function, words)| {
        format!(
            "json::{function}(&mut map, {name:?}, &mut message.extra, &mut message.{rust}, \
             {words:?})?,"
        )
    });
    if is_message || field.proto3_optional() {
        let placed = NULL_WHEN_UNSET_IN
            .iter()
            .find(|(placed, _)| *placed == path);
        let written = match placed {
            Some((placed, nulls)) => {
                used.0.push((*placed).to_owned());
                format!("self.{rust}.as_ref().map(|value| json::WithNulls(value, &{nulls:?}))")
            }
            None if is_text => format!("self.{rust}.as_deref().map(json::Text)"),
            None if is_double => format!("self.{rust}.map(json::Number)"),
            None => format!("self.{rust}.as_ref()"),
        };
        let write = format!("json::write_optional(map, {name:?}, {written}, &self.extra, nulls)?;");
        let function = match () {
            () if is_object_text => "read_object_text",
            () if is_text => "read_optional_text",
            () if is_boxed(path) => "read_boxed",
            () if is_message => "read_object",
            () if field.r#type() == Type::Bytes => "read_bytes",
            () => "read",
        };
        return Member {
            name: name.clone(),
            read: integer.unwrap_or_else(|| read(function)),
            write,
        };
    }
    assert!(
        !is_text,
        "{path}: JSON text that isn't there is not an empty text: make it optional"
    );
    let written = match () {
        () if is_double => format!("&json::Number(self.{rust})"),
        () => format!("&self.{rust}"),
    };
    let is_set = match field.r#type() {
        Type::String => format!("!self.{rust}.is_empty()"),
        Type::Bool => format!("self.{rust}"),
        Type::Double => format!("self.{rust} != 0.0"),
        _ => format!("self.{rust} != 0"),
    };
    let write = format!("json::write_plain(map, {name:?}, &self.extra, {is_set}, {written})?;");
    Member {
        name: name.clone(),
        read: integer.unwrap_or_else(|| read("read")),
        write,
    }
}

fn write_list(code: &mut String, message: &DescriptorProto) {
    let name = message.name();
    let [field] = message.field.as_slice() else {
        panic!("{name}: a list has one field")
    };
    let values = match field.r#type() {
        Type::Double => format!("&json::NumberList(&self.{})", field.name()),
        _ => format!("&self.{}", field.name()),
    };
    let limit = constant(&format!("{name}.{}", field.name()));
    let function = if field.r#type() == Type::Int32 {
        "integers"
    } else {
        "list"
    };
    let read = format!("json::{function}(deserializer, &limits::{limit})?");
    let field = field.name();
    write!(
        code,
        r#"
impl serde::Serialize for {name} {{
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {{
        serde::Serialize::serialize({values}, serializer)
    }}
}}

impl<'de> serde::Deserialize<'de> for {name} {{
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {{
        Ok({name} {{ {field}: {read} }})
    }}
}}
"#
    )
    .unwrap();
}

/// A field's name in JSON.
pub fn json_name(path: &str, field: &str, used: &mut Used) -> String {
    match renamed(path) {
        Some(name) => {
            used.0.push(path.to_owned());
            name.to_owned()
        }
        None => field.to_owned(),
    }
}

fn rust_name(field: &str) -> String {
    if field == "type" {
        "r#type".to_owned()
    } else {
        field.to_owned()
    }
}

pub fn camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

pub fn snake(camel: &str) -> String {
    let mut name = String::new();
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}
