//! A JSON Schema for every message that meets JSON, by the rules of the codec.
//!
//! The codec reads and writes one message differently: in a request any optional member may be null
//! and hardly any is required; in an answer members are always there, or left out, or null when
//! unset. So a message that occurs in both has two schemas, of which the answer's is called
//! `…InAnswer`.
//!
//! What generators of clients would have to find a name for has one here: closed sets of words, maps,
//! and the values of `named_values.rs` are schemas of their own, and members refer to them.

use std::collections::{BTreeMap, BTreeSet};

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Map, Value, json};

use super::{
    comments::Comments,
    json_rules::{
        ALWAYS, CLOSED, JSON_TEXT, LIST, NOT_IN_JSON, NULL_WHEN_UNSET, NULL_WHEN_UNSET_IN, OBJECT,
        ONE_OR_MANY, PUT_IN, REPLAYED, WITHOUT_JSON, is_list_beside, list_beside, map_value,
        null_said_in, real_oneof, renamed, says_null, words,
    },
    list_limits::max_of,
    named_values::{EMPTY_LIST, REPLAYED_MESSAGE, SHAPES, by_hand, reference},
    request_limits::{NEEDED, NOT_EMPTY, RANGES, Range, WORDS, range_of},
};

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Request,
    Answer,
}

/// The schemas of all messages, and who refers to which.
pub struct Schemas<'a> {
    messages: BTreeMap<&'a str, &'a DescriptorProto>,
    enums: BTreeMap<&'a str, &'a EnumDescriptorProto>,
    comments: &'a Comments,
    ways: BTreeSet<(&'a str, Way)>,
}

impl<'a> Schemas<'a> {
    /// The schemas of what these messages consist of.
    pub fn new(
        contract: &'a FileDescriptorSet,
        comments: &'a Comments,
        roots: &[(String, Way)],
    ) -> Self {
        let messages = contract.file.iter().flat_map(|file| &file.message_type);
        let messages: BTreeMap<_, _> = messages.map(|message| (message.name(), message)).collect();
        let enums = contract.file.iter().flat_map(|file| &file.enum_type);
        let enums = enums.map(|kind| (kind.name(), kind)).collect();
        let mut schemas = Self {
            messages,
            enums,
            comments,
            ways: BTreeSet::new(),
        };
        for (root, way) in roots {
            schemas.reach(root, *way);
        }
        schemas.assert_limits();
        schemas
    }

    fn reach(&mut self, name: &str, way: Way) {
        // Entries of maps are no messages of their own.
        let Some((name, message)) = self
            .messages
            .get_key_value(name)
            .map(|(name, message)| (*name, *message))
        else {
            return;
        };
        if WITHOUT_JSON.contains(&name) || !self.ways.insert((name, way)) {
            return;
        }
        for field in message
            .field
            .iter()
            .filter(|field| field.r#type() == Type::Message)
        {
            self.reach(type_name(field), way);
        }
    }

    /// A limit on what is no member of a request is a misspelling, and fails the build.
    fn assert_limits(&self) {
        let paths = RANGES
            .iter()
            .map(|(path, _)| *path)
            .chain(WORDS.iter().map(|(path, _)| *path));
        for path in paths.chain(NOT_EMPTY.iter().map(|(path, _)| *path)) {
            let (message, field) = path.split_once('.').unwrap();
            let is_there = self.ways.contains(&(message, Way::Request))
                && self.messages[message]
                    .field
                    .iter()
                    .any(|other| other.name() == field);
            assert!(is_there, "limit of {path}: no such member of a request");
        }
    }

    /// A reference to the schema of a message on its way.
    pub fn reference(&self, message: &str, way: Way) -> Value {
        reference(&self.name(message, way))
    }

    fn name(&self, message: &str, way: Way) -> String {
        let is_shared = way == Way::Answer && self.ways.contains(&(message, Way::Request));
        if is_shared {
            format!("{message}InAnswer")
        } else {
            message.to_owned()
        }
    }

    /// All of them, by name.
    pub fn write(&self) -> Map<String, Value> {
        let schemas = self.ways.iter().map(|(name, way)| {
            let message = self.messages[name];
            let schema = if LIST.contains(name) {
                self.list(message, *way)
            } else {
                self.object(message, *way)
            };
            (self.name(name, *way), schema)
        });
        let mut schemas: Map<String, Value> = schemas.collect();
        schemas.extend(by_hand());
        for (name, mut schema) in self.words().chain(self.maps()) {
            if let Some(first) = schemas.get(&name) {
                // Each place says more in its own words.
                schema["description"] = first["description"].clone();
                assert_eq!(&schema, first, "{name}: two schemas of this name");
            }
            schemas.insert(name, schema);
        }
        schemas
    }

    /// The closed sets of words: those of enums, and of members that are texts in the contract.
    fn words(&self) -> impl Iterator<Item = (String, Value)> {
        let fields = self.fields();
        let enums = fields
            .filter(|(_, field)| field.r#type() == Type::Enum)
            .map(|(_, field)| {
                let name = type_name(field);
                let words = words(self.enums[name]).into_iter().map(|(word, _)| word);
                let schema = json!({
                    "description": self.comments.on(name),
                    "type": "string",
                    "enum": words.collect::<Vec<_>>(),
                });
                (name.to_owned(), schema)
            });
        let texts = WORDS.iter().map(|(path, (description, words))| {
            let schema = json!({ "description": description, "type": "string", "enum": words });
            (name_after(path), schema)
        });
        enums.chain(texts)
    }

    /// The maps.
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

    /// Every field of every message here, with the message.
    fn fields(&self) -> impl Iterator<Item = (&'a DescriptorProto, &'a FieldDescriptorProto)> {
        let messages = self.ways.iter().map(|(name, _)| self.messages[name]);
        messages.flat_map(|message| message.field.iter().map(move |field| (message, field)))
    }

    fn list(&self, message: &DescriptorProto, way: Way) -> Value {
        let field = &message.field[0];
        let max = max_of(&format!("{}.{}", message.name(), field.name()));
        let items = self.value(field, way);
        json!({ "description": self.comments.on(message.name()), "type": "array", "maxItems": max, "items": items })
    }

    fn object(&self, message: &DescriptorProto, way: Way) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.field.iter().filter(|field| field.name() != "extra") {
            let path = format!("{}.{}", message.name(), field.name());
            if NOT_IN_JSON.contains(&path.as_str())
                || is_list_beside(message.name(), field.name())
                || says_null(message.name(), field.name())
            {
                continue;
            }
            let Some(member) = self.member(message, field, &path, way) else {
                continue;
            };
            if member.is_required {
                required.push(member.name.clone());
            }
            properties.insert(member.name, member.schema);
        }
        if let Some((_, object)) = OBJECT.iter().find(|(path, _)| *path == message.name()) {
            let schema =
                json!({ "type": "string", "const": object, "description": "What this is." });
            properties.shift_insert(
                usize::from(properties.contains_key("id")),
                "object".to_owned(),
                schema,
            );
            required.insert(0, "object".to_owned());
        }
        let mut schema = json!({
            "description": self.comments.on(message.name()),
            "type": "object",
            "properties": properties,
            "additionalProperties": way == Way::Answer || !CLOSED.contains(&message.name()),
        });
        if !required.is_empty() {
            schema["required"] = json!(required);
        }
        let needed = NEEDED
            .iter()
            .find(|(owner, _)| way == Way::Request && *owner == message.name());
        if let Some((_, needed)) = needed {
            let needed: Map<String, Value> = serde_json::from_str(needed).unwrap();
            schema.as_object_mut().unwrap().extend(needed);
        }
        schema
    }

    /// A field as a member; none for the variants of a union after its first, which stands for all.
    fn member(
        &self,
        message: &DescriptorProto,
        field: &FieldDescriptorProto,
        path: &str,
        way: Way,
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
        // By REST it is the value itself, and no text of it.
        let comment = if is_json {
            comment.replace("JSON text", "JSON")
        } else {
            comment.to_owned()
        };
        let mut schema = match () {
            () if is_json => json_text(path),
            () if union.is_some() => self.union(message, &variants, way),
            () if list_beside(path).is_some() => self.text_or_list(message, list_beside(path), way),
            () if field.label() == Label::Repeated => self.repeated(message, field, path, way),
            () => self.value(field, way),
        };
        // What serde would call a plain member: it has no unset.
        let is_plain = union.is_none()
            && field.label() != Label::Repeated
            && !field.proto3_optional()
            && !matches!(field.r#type(), Type::Message | Type::Enum);
        let (is_required, is_nullable) = match way {
            // Empty text is no JSON, so text that must be there can't be left out either.
            Way::Request => {
                let is_required = comment.contains("Required") || (is_plain && is_json);
                (is_required, !is_required)
            }
            Way::Answer => {
                let is_null =
                    NULL_WHEN_UNSET.contains(&format!("{}.{name}", message.name()).as_str());
                let is_null_somewhere = self
                    .nulls_in_places(message.name())
                    .any(|null| null == name);
                let is_put_in = PUT_IN.iter().any(|(owner, members)| {
                    *owner == message.name() && members.contains(&name.as_str())
                });
                let may_be_null = is_null || is_null_somewhere || null_said_in(path).is_some();
                (
                    is_plain || is_null || is_put_in || ALWAYS.contains(&path),
                    may_be_null,
                )
            }
        };
        if way == Way::Request {
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
                && !LIST.contains(&type_name(field));
            let is_object = is_object
                || variants
                    .get(1)
                    .is_some_and(|variant| !LIST.contains(&type_name(variant)));
            schema = if way == Way::Request && is_object {
                nothing_or(schema)
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

    /// Members of a message that some fields of its type write as null when unset.
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
        way: Way,
    ) -> Value {
        let mut lists = 0;
        let kinds = variants.iter().map(|variant| {
            let mut schema = self.value(variant, way);
            schema["description"] = json!(self.comments.on(&format!(
                "{}.{}",
                message.name(),
                variant.name()
            )));
            if LIST.contains(&type_name(variant)) {
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
    fn text_or_list(&self, message: &DescriptorProto, list: Option<&str>, way: Way) -> Value {
        let list = message
            .field
            .iter()
            .find(|field| Some(field.name()) == list)
            .expect("the codec has looked");
        let path = format!("{}.{}", message.name(), list.name());
        let mut schema = self.repeated(message, list, &path, way);
        schema["description"] = json!(self.comments.on(&path));
        json!({ "oneOf": [{ "type": "string" }, schema] })
    }

    fn repeated(
        &self,
        message: &DescriptorProto,
        field: &FieldDescriptorProto,
        path: &str,
        way: Way,
    ) -> Value {
        match map_value(message, field) {
            Some(_) => reference(&name_after(path)),
            None => {
                let mut list = json!({ "type": "array", "maxItems": max_of(path), "items": self.value(field, way) });
                if way == Way::Request && REPLAYED.contains(&path) {
                    list["items"] =
                        json!({ "anyOf": [list["items"], reference(REPLAYED_MESSAGE)] });
                }
                let has_short_form = way == Way::Request && ONE_OR_MANY.contains(&path);
                if has_short_form {
                    json!({ "oneOf": [{ "type": "string" }, list] })
                } else {
                    list
                }
            }
        }
    }

    /// One value of a field's type.
    fn value(&self, field: &FieldDescriptorProto, way: Way) -> Value {
        let mut schema = match field.r#type() {
            Type::String => json!({ "type": "string" }),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Double => json!({ "type": "number", "format": "double" }),
            Type::Int32 => json!({ "type": "integer", "format": "int32" }),
            Type::Int64 => json!({ "type": "integer", "format": "int64" }),
            Type::Bytes => {
                json!({ "type": "array", "items": { "type": "integer", "minimum": 0, "maximum": 255 } })
            }
            Type::Message => self.reference(type_name(field), way),
            Type::Enum => reference(type_name(field)),
            other => panic!("{}: no rule for {other:?}", field.name()),
        };
        // `format` says it to people and generators, but refuses nothing.
        if way == Way::Request {
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
struct Member {
    name: String,
    schema: Value,
    is_required: bool,
}

/// What JSON text holds: any value, unless its shape is known.
fn json_text(path: &str) -> Value {
    let known = SHAPES.iter().find(|(known, _)| *known == path);
    known.map_or_else(|| json!({}), |(_, name)| reference(name))
}

/// The name of a schema that a field is all there is of: `LogitBias` of `….logit_bias`.
fn name_after(path: &str) -> String {
    let (_, field) = path.split_once('.').unwrap();
    let words = field.split('_');
    words
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
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
    if WORDS.iter().any(|(limited, _)| *limited == path) {
        *schema = reference(&name_after(path));
    }
    if let Some((_, more)) = NOT_EMPTY.iter().find(|(limited, _)| *limited == path) {
        let more: Map<String, Value> = serde_json::from_str(more).unwrap();
        schema.as_object_mut().unwrap().extend(more);
    }
}

/// The same, or null.
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

/// The same, or what a request may say instead of an object that it doesn't have: null, or PHP's
/// empty list.
fn nothing_or(mut schema: Value) -> Value {
    let nothing = [reference(EMPTY_LIST), json!({ "type": "null" })];
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

fn type_name(field: &FieldDescriptorProto) -> &str {
    field.type_name().rsplit('.').next().unwrap()
}
