//! The paths whose form in REST follows from the contract alone, and the schemas of their messages:
//! the JSON of protobuf.

use std::collections::BTreeMap;

use protox::prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor,
};
use serde_json::{Map, Value, json};

use super::{
    errors::{ERRORS, OF_ANY, OF_BODY},
    names::reference,
    operations::http_rule,
    texts::{lower_camel, summary, tag_of, without_example},
};
use crate::comments::Comments;

/// The services, in the order of the document.
const SERVICES: [&str; 3] = [
    "featherwire.v1.CallerService",
    "featherwire.admin.v1.KeyService",
    "featherwire.admin.v1.UsageService",
];

/// The errors of these methods, besides those of all methods.
const ERRORS_HERE: [&str; 4] = ["404", "500", "503", "504"];

/// The name of the schema of maps.
const TEXTS: &str = "Texts";

/// Short examples of request bodies.
const EXAMPLES: [(&str, &str); 4] = [
    (
        "CreateKeyRequest",
        r#"{
            "name": "search-app",
            "limits": {
                "models": ["meta-llama/*"],
                "requestsPerMinute": 60,
                "budgets": [
                    {"unit": "BUDGET_UNIT_TOKENS", "amount": "100000", "period": "BUDGET_PERIOD_DAY"}
                ]
            }
        }"#,
    ),
    (
        "UpdateKeyRequest",
        r#"{"limits": {"weight": 3}, "updateMask": "limits.weight"}"#,
    ),
    ("RotateKeyRequest", r#"{"grace": "3600s"}"#),
    ("RevokeKeyRequest", "{}"),
];

/// The paths, the schemas by name, and the tags.
pub(super) struct Transcoded {
    pub(super) paths: Map<String, Value>,
    pub(super) schemas: Map<String, Value>,
    pub(super) tags: Vec<Value>,
}

/// What the document has of these services.
pub(super) fn transcoded(pool: &DescriptorPool, comments: &Comments) -> Transcoded {
    let mut document = Transcoded {
        paths: Map::new(),
        schemas: Map::new(),
        tags: Vec::new(),
    };
    let mut schemas = Schemas {
        comments,
        written: BTreeMap::new(),
    };
    for service in SERVICES {
        let service = pool.get_service_by_name(service).unwrap();
        let comment = without_example(comments.on(service.name()));
        let tag = json!({ "name": tag_of(service.name()), "description": comment });
        document.tags.push(tag);
        for method in service.methods() {
            let (verb, path) = http_rule(pool, &method);
            let operation = operation(&method, &verb, &path, &mut schemas);
            let item = document.paths.entry(path).or_insert_with(|| json!({}));
            item[verb] = operation;
        }
    }
    document.schemas.extend(schemas.written);
    document
}

fn operation(
    method: &MethodDescriptor,
    verb: &str,
    path: &str,
    schemas: &mut Schemas<'_>,
) -> Value {
    let input = method.input();
    let comment = {
        let name = format!("{}.{}", method.parent_service().name(), method.name());
        schemas.comments.on(&name).to_owned()
    };
    let is_in_path = |field: &FieldDescriptor| path.contains(&format!("{{{}}}", field.name()));
    let has_body = matches!(verb, "post" | "patch");
    let mut parameters: Vec<Value> = Vec::new();
    for field in input.fields() {
        let place = match is_in_path(&field) {
            true => "path",
            false if has_body => continue,
            false => "query",
        };
        let mut schema = schemas.of_field(&field);
        if place == "path" {
            schema["minLength"] = json!(1);
        }
        let name = if place == "path" {
            field.name().to_owned()
        } else {
            field.json_name().to_owned()
        };
        let mut parameter = json!({
            "name": name, "in": place, "schema": schema,
            "description": schemas.comment(&field),
        });
        if place == "path" {
            parameter["required"] = json!(true);
        }
        parameters.push(parameter);
    }
    parameters.extend(["RequestTimeout", "RequestId"].map(|name| reference("parameters", name)));
    let mut operation = json!({
        "operationId": lower_camel(method.name()),
        "tags": [tag_of(method.parent_service().name())],
        "summary": summary(&comment),
        "description": comment,
        "parameters": parameters,
    });
    if has_body {
        let schema = schemas.message(&input, &|field| is_in_path(field));
        let (_, example) = EXAMPLES
            .iter()
            .find(|(name, _)| *name == input.name())
            .expect("an example for each body");
        let example: Value = serde_json::from_str(example).unwrap();
        operation["requestBody"] = json!({
            "required": verb == "patch" || input.name().starts_with("Create"),
            "description": "The settings. Unknown members are refused.",
            "content": { "application/json": { "schema": schema, "example": example } },
        });
    }
    let (media_type, schema, description) = if method.is_server_streaming() {
        // Generators of clients know no type for lines of JSON.
        (
            "text/plain",
            json!({ "type": "string" }),
            "One JSON object in each line. A stream that fails after its start ends with an \
             ErrorResponse.",
        )
    } else {
        let schema = schemas.message(&method.output(), &|_| false);
        ("application/json", schema, "The answer.")
    };
    let mut responses = Map::new();
    let ok = json!({
        "description": description,
        "headers": { "x-request-id": reference("headers", "RequestId") },
        "content": { media_type: { "schema": schema } },
    });
    responses.insert("200".to_owned(), ok);
    let mut statuses = [OF_ANY, &ERRORS_HERE].concat();
    statuses.extend(if has_body { OF_BODY } else { &[] });
    statuses.sort_unstable();
    for status in statuses {
        let (_, name, ..) = ERRORS
            .iter()
            .find(|(number, ..)| *number == status)
            .unwrap();
        responses.insert(status.to_owned(), reference("responses", name));
    }
    operation["responses"] = Value::Object(responses);
    operation
}

/// The schemas that are needed.
struct Schemas<'a> {
    comments: &'a Comments,
    written: BTreeMap<String, Value>,
}

impl Schemas<'_> {
    /// A reference to the schema of a message, without the fields that are `left_out`.
    fn message(
        &mut self,
        message: &MessageDescriptor,
        left_out: &dyn Fn(&FieldDescriptor) -> bool,
    ) -> Value {
        let name = message.name().to_owned();
        if !self.written.contains_key(&name) {
            // A message may contain itself.
            self.written.insert(name.clone(), Value::Null);
            let mut properties = Map::new();
            for field in message.fields().filter(|field| !left_out(field)) {
                let mut schema = self.of_field(&field);
                schema["description"] = json!(self.comment(&field));
                properties.insert(field.json_name().to_owned(), schema);
            }
            let schema = json!({
                "description": self.comments.on(&name),
                "type": "object",
                "properties": properties,
                "additionalProperties": false,
            });
            self.written.insert(name.clone(), schema);
        }
        reference("schemas", &name)
    }

    fn of_field(&mut self, field: &FieldDescriptor) -> Value {
        if field.is_map() {
            // Generators need a name for each type.
            let schema = json!({
                "description": "Texts by name.",
                "type": "object",
                "additionalProperties": { "type": "string" },
            });
            self.written.insert(TEXTS.to_owned(), schema);
            return reference("schemas", TEXTS);
        }
        let value = self.value(field);
        match field.cardinality() {
            Cardinality::Repeated => json!({ "type": "array", "items": value }),
            _ => value,
        }
    }

    fn value(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::String => json!({ "type": "string" }),
            Kind::Bool => json!({ "type": "boolean" }),
            Kind::Double => json!({ "type": "number", "format": "double" }),
            Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
            // The JSON of protobuf has them as texts, because JavaScript's numbers are inexact.
            Kind::Int64 => json!({ "type": "string", "format": "int64" }),
            Kind::Enum(kind) => self.words(&kind),
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                "google.protobuf.Duration" => json!({
                    "type": "string", "examples": ["3600s", "7d"],
                }),
                "google.protobuf.FieldMask" => json!({
                    "type": "string", "examples": ["name,limits.weight"],
                }),
                _ => self.message(&message, &|_| false),
            },
            other => panic!("{}: no rule for {other:?}", field.full_name()),
        }
    }

    fn words(&mut self, kind: &EnumDescriptor) -> Value {
        let words: Vec<_> = kind.values().map(|value| value.name().to_owned()).collect();
        // The other schema of this name has the words that requests for models use.
        let (name, description) = match kind.name() {
            "Priority" => (
                "PriorityName",
                "The priority in the queue for concurrency units.",
            ),
            name => (name, self.comments.on(name)),
        };
        let schema = json!({ "description": description, "type": "string", "enum": words });
        self.written.insert(name.to_owned(), schema);
        reference("schemas", name)
    }

    fn comment(&self, field: &FieldDescriptor) -> &str {
        let path = format!("{}.{}", field.parent_message().name(), field.name());
        self.comments.on(&path)
    }
}
