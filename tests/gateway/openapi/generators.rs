//! Requirements of client generators for the document: every schema that becomes a type has a name
//! and one form. `tests/clients` generates such clients and calls the gateway with them.

use serde_json::{Map, Value, json};

use super::{Document, document::operations};

#[test]
fn each_media_type_of_an_answer_has_one_schema_that_generators_can_name() {
    let document = Document::ours();
    for (path, whole, piece) in [
        (
            "/v1/chat/completions",
            "CreateChatCompletionResponse",
            "StreamChatCompletionResponse",
        ),
        (
            "/v1/completions",
            "CreateCompletionResponse",
            "StreamCompletionResponse",
        ),
    ] {
        let operation = &document.0["paths"][path]["post"];
        let content = operation["responses"]["200"]["content"]
            .as_object()
            .unwrap();
        let schemas: Vec<_> = content
            .iter()
            .map(|(kind, it)| (kind.as_str(), it["schema"]["$ref"].as_str().unwrap()))
            .collect();
        let reference = |name: &str| format!("#/components/schemas/{name}");
        assert_eq!(
            schemas,
            [
                ("application/json", &*reference(whole)),
                ("text/event-stream", &*reference(piece))
            ]
        );
        let request = operation["requestBody"]["content"]["application/json"]["schema"].clone();
        assert_eq!(
            document.resolve(&request)["properties"]["stream"]["type"],
            json!(["boolean", "null"])
        );
    }
}

/// Calls `see` with every schema within this one, and not with itself.
fn inside(schema: &Value, see: &mut impl FnMut(&Value)) {
    // Generators make no types from keywords that only validate.
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let parts: Vec<&Value> = match keyword.as_str() {
            "properties" => value.as_object().unwrap().values().collect(),
            "oneOf" | "anyOf" | "allOf" => value.as_array().unwrap().iter().collect(),
            "items" | "additionalProperties" => vec![value],
            _ => Vec::new(),
        };
        for part in parts {
            see(part);
            inside(part, see);
        }
    }
}

#[test]
fn every_schema_that_becomes_a_type_has_a_name() {
    let document = Document::ours();
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    let in_operations = operations(&document).into_iter().flat_map(|(_, path, it)| {
        let parameters = it.get("parameters").and_then(Value::as_array).into_iter();
        let parameters = parameters
            .flatten()
            .map(|it| document.resolve(it)["schema"].clone());
        let parameters: Vec<_> = parameters.map(|schema| (path.clone(), schema)).collect();
        parameters
    });
    let members = schemas.iter().flat_map(|(name, schema)| {
        let mut members = Vec::new();
        inside(schema, &mut |member| {
            members.push((name.clone(), member.clone()));
        });
        members
    });
    for (place, schema) in members.chain(in_operations) {
        for keyword in ["properties", "enum", "allOf"] {
            assert!(
                schema.get(keyword).is_none(),
                "{place}: {keyword} without a name: {schema}"
            );
        }
        let is_map = schema["additionalProperties"].is_object();
        assert!(!is_map, "{place}: a map without a name: {schema}");
        // Some generators treat a member with a default as always present, and others send it.
        assert!(
            schema.get("default").is_none(),
            "{place}: a default: {schema}"
        );
        let is_list = schema["type"].to_string().contains("array");
        let items = schema["items"].as_object();
        let is_any_list = is_list && items.is_none_or(Map::is_empty);
        assert!(!is_any_list, "{place}: a list of anything: {schema}");
    }
    for (name, schema) in schemas {
        assert!(
            schema.get("allOf").is_none(),
            "{name}: validating keywords are beside the properties"
        );
    }
}
