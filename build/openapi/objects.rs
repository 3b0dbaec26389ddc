//! The JSON Schema of each message, by the rules of the codec. Generators of clients need a name
//! for each type. Therefore closed sets of strings, maps, and the values of `named_values.rs` have
//! their own schemas, and members refer to them.

use prost_types::{DescriptorProto, FieldDescriptorProto, field_descriptor_proto::Type};
use serde_json::{Map, Value, json};

use super::{
    named_values::named_values,
    names::{name_after, type_name},
    schemas::{Direction, Schemas},
};
use crate::{
    json_rules::{
        CLOSED, LIST_MESSAGES, NOT_IN_JSON, OBJECT_NAME, enum_names, is_list_of_pair, is_null_flag,
        map_value,
    },
    limits::max_of,
    request_rules::{CLOSED_STRINGS, DEPENDENCIES},
};

impl<'a> Schemas<'a> {
    /// All schemas, by name.
    pub fn write(&self) -> Map<String, Value> {
        let schemas = self.directions.iter().map(|(name, direction)| {
            let message = self.messages[name];
            let schema = if LIST_MESSAGES.contains(name) {
                self.list(message, *direction)
            } else {
                self.object(message, *direction)
            };
            (self.name(name, *direction), schema)
        });
        let mut schemas: Map<String, Value> = schemas.collect();
        schemas.extend(named_values());
        for (name, mut schema) in self.enums().chain(self.maps()) {
            if let Some(first) = schemas.get(&name) {
                // The comments on fields with the same name may differ.
                schema["description"] = first["description"].clone();
                assert_eq!(&schema, first, "{name}: two schemas of this name");
            }
            schemas.insert(name, schema);
        }
        schemas
    }

    /// The closed sets of strings: the enums, and the strings in [`CLOSED_STRINGS`].
    fn enums(&self) -> impl Iterator<Item = (String, Value)> {
        let fields = self.fields();
        let enums = fields
            .filter(|(_, field)| field.r#type() == Type::Enum)
            .map(|(_, field)| {
                let name = type_name(field);
                let words = enum_names(self.enums[name])
                    .into_iter()
                    .map(|(word, _)| word);
                let schema = json!({
                    "description": self.comments.on(name),
                    "type": "string",
                    "enum": words.collect::<Vec<_>>(),
                });
                (name.to_owned(), schema)
            });
        let strings = CLOSED_STRINGS.iter().map(|(path, (description, words))| {
            let schema = json!({ "description": description, "type": "string", "enum": words });
            (name_after(path), schema)
        });
        enums.chain(strings)
    }

    /// The schemas of the maps.
    fn maps(&self) -> impl Iterator<Item = (String, Value)> {
        self.fields().filter_map(|(message, field)| {
            let path = format!("{}.{}", message.name(), field.name());
            let value = match map_value(message, field)? {
                _ if field.name() == "extra" => return None,
                Type::Double => json!({ "type": "number", "format": "double" }),
                Type::String => json!({ "type": "string" }),
                other => panic!("{path}: no rule for maps of {other:?}"),
            };
            let schema = json!({
                "description": self.comments.on(&path),
                "type": "object",
                "maxProperties": max_of(&path),
                "additionalProperties": value,
            });
            Some((name_after(&path), schema))
        })
    }

    /// Every field of every message in the document, with its message.
    fn fields(&self) -> impl Iterator<Item = (&'a DescriptorProto, &'a FieldDescriptorProto)> {
        let messages = self.directions.iter().map(|(name, _)| self.messages[name]);
        messages.flat_map(|message| message.field.iter().map(move |field| (message, field)))
    }

    fn list(&self, message: &DescriptorProto, direction: Direction) -> Value {
        let field = &message.field[0];
        let max = max_of(&format!("{}.{}", message.name(), field.name()));
        let items = self.value(field, direction);
        json!({
            "description": self.comments.on(message.name()),
            "type": "array",
            "maxItems": max,
            "items": items,
        })
    }

    fn object(&self, message: &DescriptorProto, direction: Direction) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.field.iter().filter(|field| field.name() != "extra") {
            let path = format!("{}.{}", message.name(), field.name());
            if NOT_IN_JSON.contains(&path.as_str())
                || is_list_of_pair(message.name(), field.name())
                || is_null_flag(message.name(), field.name())
            {
                continue;
            }
            let Some(member) = self.member(message, field, &path, direction) else {
                continue;
            };
            if member.is_required {
                required.push(member.name.clone());
            }
            properties.insert(member.name, member.schema);
        }
        if let Some((_, object)) = OBJECT_NAME.iter().find(|(path, _)| *path == message.name()) {
            let schema =
                json!({ "type": "string", "const": object, "description": "What this is." });
            properties.shift_insert(
                usize::from(properties.contains_key("id")),
                "object".to_owned(),
                schema,
            );
            required.insert(0, "object".to_owned());
        }
        let is_open = direction == Direction::Answer || !CLOSED.contains(&message.name());
        let mut schema = json!({
            "description": self.comments.on(message.name()),
            "type": "object",
            "properties": properties,
            "additionalProperties": is_open,
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let needed = DEPENDENCIES
            .iter()
            .find(|(owner, _)| direction == Direction::Request && *owner == message.name());
        if let Some((_, needed)) = needed {
            let needed: Map<String, Value> = serde_json::from_str(needed).unwrap();
            schema.as_object_mut().unwrap().extend(needed);
        }
        schema
    }
}
