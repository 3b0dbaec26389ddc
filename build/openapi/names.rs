//! The names of schemas, and references to them.

use prost_types::FieldDescriptorProto;
use serde_json::{Value, json};

use crate::names::camel;

/// A reference to a component of the document.
pub(super) fn reference(section: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{section}/{name}") })
}

/// The name of a schema, derived from the name of its field: `LogitBias` from `….logit_bias`.
pub(super) fn name_after(path: &str) -> String {
    let (_, field) = path.split_once('.').unwrap();
    camel(field)
}

/// The name of a field's type, which is a message or an enum.
pub(super) fn type_name(field: &FieldDescriptorProto) -> &str {
    field.type_name().rsplit('.').next().unwrap()
}
