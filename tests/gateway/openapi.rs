//! The OpenAPI document is compared with the running gateway, and the gateway with OpenAI's own
//! schemas. The documentation page is tested too.

mod answers;
pub mod document;
mod drift;
mod generators;
mod openai;
mod page;
mod requests;

use featherwire::proto::OPENAPI;
use jsonschema::Validator;
use serde_json::{Value, json};

/// A document with schemas under `components.schemas`: the gateway's or OpenAI's.
pub struct Document(Value);

impl Document {
    pub fn ours() -> Self {
        Self(serde_json::from_str(OPENAPI).unwrap())
    }

    /// The target of a reference, or the value itself if it isn't a reference.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference
                    .strip_prefix('#')
                    .expect("references stay in the document");
                self.0
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("{reference} leads nowhere"))
            }
            None => value,
        }
    }

    /// A validator for a schema of this document.
    pub fn validator(&self, schema: &Value) -> Validator {
        let mut schema = schema.clone();
        schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        schema["components"] = self.0["components"].clone();
        jsonschema::validator_for(&schema).unwrap()
    }

    /// A validator for the schema of this name.
    fn named(&self, name: &str) -> Validator {
        assert!(
            self.0["components"]["schemas"].get(name).is_some(),
            "no schema {name}"
        );
        self.validator(&json!({ "$ref": format!("#/components/schemas/{name}") }))
    }
}

/// The problems of a value as text; empty if there are none.
pub fn problems(validator: &Validator, value: &Value) -> Vec<String> {
    validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}
