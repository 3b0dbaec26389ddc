//! The schema of one member, by the type of its field and the rules of the codec.

use prost_types::{
    DescriptorProto, FieldDescriptorProto,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Map, Value, json};

use super::{
    named_values::{EMPTY_LIST, KNOWN_JSON_TEXTS, REPLAYED_MESSAGE},
    names::{name_after, reference, type_name},
    schemas::{Direction, Schemas},
};
use crate::{
    json_rules::{
        FILLED, HISTORY, JSON_TEXT, LIST_MESSAGES, NULL_WHEN_UNSET, NULL_WHEN_UNSET_IN,
        ONE_OR_MANY, WRITTEN_WHEN_EMPTY, list_of_pair, map_value, null_flag_of, real_oneof,
        renamed,
    },
    limits::{max_of, range_of},
    range::Range,
    request_rules::{CLOSED_STRINGS, NOT_EMPTY},
};

impl Schemas<'_> {
    /// The member of a field. `None` for all variants of a union except the first, which represents
    /// the union.
    pub(super) fn member(
        &self,
        message: &DescriptorProto,
        field: &FieldDescriptorProto,
        path: &str,
        direction: Direction,
    ) -> Option<Member> {
        let union = real_oneof(field).map(|oneof| (oneof, message.oneof_decl[oneof].name()));
        let variants: Vec<_> = match union {
            Some((oneof, _)) => message
                .field
                .iter()
                .filter(|other| real_oneof(other) == Some(oneof))
                .collect(),
            None => Vec::new(),
        };
        if variants
            .first()
            .is_some_and(|first| first.name() != field.name())
        {
            return None;
        }
        let name = renamed(path).unwrap_or(field.name()).to_owned();
        let comment = match union {
            Some((_, oneof)) => self.comments.on(&format!("{}.{oneof}", message.name())),
            None => self.comments.on(path),
        };
        let is_json = JSON_TEXT.contains(&path);
        // In REST the member is the value itself, not its text.
        let comment = if is_json {
            comment.replace("JSON text", "JSON")
        } else {
            comment.to_owned()
        };
        let mut schema = match () {
            () if is_json => json_text(path),
            () if union.is_some() => self.union(message, &variants, direction),
            () if list_of_pair(path).is_some() => {
                self.text_or_list(message, list_of_pair(path), direction)
            }
            () if field.label() == Label::Repeated => {
                self.repeated(message, field, path, direction)
            }
            () => self.value(field, direction),
        };
        // A plain field has a value in every message; it cannot be unset.
        let is_plain = union.is_none()
            && field.label() != Label::Repeated
            && !field.proto3_optional()
            && !matches!(field.r#type(), Type::Message | Type::Enum);
        let (is_required, is_nullable) = match direction {
            // A plain field with JSON text is required, because an empty text is not valid JSON.
            Direction::Request => {
                let is_required = comment.contains("Required") || (is_plain && is_json);
                (is_required, !is_required)
            }
            Direction::Answer => {
                let is_null =
                    NULL_WHEN_UNSET.contains(&format!("{}.{name}", message.name()).as_str());
                let is_null_somewhere = self
                    .nulls_in_places(message.name())
                    .any(|null| null == name);
                let is_put_in = FILLED.iter().any(|(owner, members)| {
                    *owner == message.name() && members.contains(&name.as_str())
                });
                let may_be_null = is_null || is_null_somewhere || null_flag_of(path).is_some();
                (
                    is_plain || is_null || is_put_in || WRITTEN_WHEN_EMPTY.contains(&path),
                    may_be_null,
                )
            }
        };
        if direction == Direction::Request {
            limit(&mut schema, path);
        } else if let Some((_, nulls)) = NULL_WHEN_UNSET_IN
            .iter()
            .find(|(placed, _)| *placed == path)
        {
            schema["required"] = json!(nulls);
        }
        if is_nullable && schema != json!({}) {
            let is_object = field.r#type() == Type::Message
                && (field.label() != Label::Repeated || map_value(message, field).is_some())
                && !LIST_MESSAGES.contains(&type_name(field));
            let is_object = is_object
                || variants
                    .get(1)
                    .is_some_and(|variant| !LIST_MESSAGES.contains(&type_name(variant)));
            schema = if direction == Direction::Request && is_object {
                object_or_absent(schema)
            } else {
                nullable(schema)
            };
        }
        schema["description"] = json!(comment);
        if field
            .options
            .as_ref()
            .is_some_and(|options| options.deprecated())
        {
            schema["deprecated"] = json!(true);
        }
        Some(Member {
            name,
            schema,
            is_required,
        })
    }

    /// The members of a message that are null when unset, in the fields of this path only.
    fn nulls_in_places(&self, name: &str) -> impl Iterator<Item = &'static str> {
        let places = NULL_WHEN_UNSET_IN.iter().filter(move |(path, _)| {
            let (message, field) = path.split_once('.').unwrap();
            self.messages[message]
                .field
                .iter()
                .any(|other| other.name() == field && type_name(other) == name)
        });
        places.flat_map(|(_, nulls)| nulls.iter().copied())
    }

    fn union(
        &self,
        message: &DescriptorProto,
        variants: &[&FieldDescriptorProto],
        direction: Direction,
    ) -> Value {
        let mut lists = 0;
        let kinds = variants.iter().map(|variant| {
            let mut schema = self.value(variant, direction);
            schema["description"] = json!(self.comments.on(&format!(
                "{}.{}",
                message.name(),
                variant.name()
            )));
            if LIST_MESSAGES.contains(&type_name(variant)) {
                // An empty list is the first kind of list: what a list is, its first element tells.
                if lists > 0 {
                    schema["minItems"] = json!(1);
                }
                lists += 1;
            }
            schema
        });
        json!({ "oneOf": kinds.collect::<Vec<_>>() })
    }

    /// A text, or the list that is the other field of the same member.
    fn text_or_list(
        &self,
        message: &DescriptorProto,
        list: Option<&str>,
        direction: Direction,
    ) -> Value {
        let list = message
            .field
            .iter()
            .find(|field| Some(field.name()) == list)
            .expect("the codec has looked");
        let path = format!("{}.{}", message.name(), list.name());
        let mut schema = self.repeated(message, list, &path, direction);
        schema["description"] = json!(self.comments.on(&path));
        json!({ "oneOf": [{ "type": "string" }, schema] })
    }

    fn repeated(
        &self,
        message: &DescriptorProto,
        field: &FieldDescriptorProto,
        path: &str,
        direction: Direction,
    ) -> Value {
        match map_value(message, field) {
            Some(_) => reference("schemas", &name_after(path)),
            None => {
                let mut list = json!({
                    "type": "array",
                    "maxItems": max_of(path),
                    "items": self.value(field, direction),
                });
                if direction == Direction::Request && HISTORY.contains(&path) {
                    let replayed = reference("schemas", REPLAYED_MESSAGE);
                    list["items"] = json!({ "anyOf": [list["items"], replayed] });
                }
                let has_short_form = direction == Direction::Request && ONE_OR_MANY.contains(&path);
                if has_short_form {
                    json!({ "oneOf": [{ "type": "string" }, list] })
                } else {
                    list
                }
            }
        }
    }

    /// One value of a field's type.
    pub(super) fn value(&self, field: &FieldDescriptorProto, direction: Direction) -> Value {
        let mut schema = match field.r#type() {
            Type::String => json!({ "type": "string" }),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Double => json!({ "type": "number", "format": "double" }),
            Type::Int32 => json!({ "type": "integer", "format": "int32" }),
            Type::Int64 => json!({ "type": "integer", "format": "int64" }),
            Type::Bytes => {
                let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
                json!({ "type": "array", "items": byte })
            }
            Type::Message => self.reference(type_name(field), direction),
            Type::Enum => reference("schemas", type_name(field)),
            other => panic!("{}: no rule for {other:?}", field.name()),
        };
        // `format` informs people and generators, but a validator does not check it.
        if direction == Direction::Request {
            let (min, max) = match field.r#type() {
                Type::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                Type::Int64 => (i64::MIN, i64::MAX),
                _ => return schema,
            };
            schema["minimum"] = json!(min);
            schema["maximum"] = json!(max);
        }
        schema
    }
}

/// One member of an object.
pub(super) struct Member {
    pub(super) name: String,
    pub(super) schema: Value,
    pub(super) is_required: bool,
}

/// The schema of the JSON in a text field: any value, unless its structure is known.
fn json_text(path: &str) -> Value {
    let known = KNOWN_JSON_TEXTS.iter().find(|(known, _)| *known == path);
    known.map_or_else(|| json!({}), |(_, name)| reference("schemas", name))
}

fn limit(schema: &mut Value, path: &str) {
    if let Some(Range { min, above, max }) = range_of(path) {
        for (keyword, bound) in [
            ("minimum", min),
            ("exclusiveMinimum", above),
            ("maximum", max),
        ] {
            if let Some(bound) = bound {
                schema[keyword] = number(*bound);
            }
        }
    }
    if CLOSED_STRINGS.iter().any(|(limited, _)| *limited == path) {
        *schema = reference("schemas", &name_after(path));
    }
    if let Some((_, more)) = NOT_EMPTY.iter().find(|(limited, _)| *limited == path) {
        let more: Map<String, Value> = serde_json::from_str(more).unwrap();
        schema.as_object_mut().unwrap().extend(more);
    }
}

/// The same schema, or null.
fn nullable(mut schema: Value) -> Value {
    if let Some(kinds) = schema.get_mut("oneOf") {
        kinds
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "null" }));
    } else if let Some(kind) = schema.get("type").cloned() {
        schema["type"] = json!([kind, "null"]);
    } else {
        schema = json!({ "oneOf": [schema, { "type": "null" }] });
    }
    schema
}

/// The same schema, or a value that means an absent object: null, or an empty list, which PHP
/// writes for an empty object.
fn object_or_absent(mut schema: Value) -> Value {
    let nothing = [reference("schemas", EMPTY_LIST), json!({ "type": "null" })];
    match schema.get_mut("oneOf") {
        Some(kinds) => kinds.as_array_mut().unwrap().extend(nothing),
        None => {
            let kinds: Vec<Value> = [schema].into_iter().chain(nothing).collect();
            schema = json!({ "oneOf": kinds });
        }
    }
    schema
}

/// `2`, not `2.0`.
fn number(number: f64) -> Value {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the contract's bounds are small integers"
    )]
    let integer = number as i64;
    assert!(
        number.fract() == 0.0,
        "a bound with a fraction needs a rule"
    );
    json!(integer)
}
