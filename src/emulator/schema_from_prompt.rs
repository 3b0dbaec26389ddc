//! Finds a JSON Schema in a prompt. With `json_object`, callers often describe the answer there.

use serde_json::{Deserializer, Value};

use super::schema;

/// The largest number of braces at which parsing starts. The rest of the prompt is ignored.
const STARTS_MAX: usize = 256;

/// An example for the first object schema in `text`, with words from `prompt`.
pub fn object(text: &str, prompt: &str) -> Option<Value> {
    let mut rest = text;
    for _ in 0..STARTS_MAX {
        rest = rest.get(rest.find('{')?..)?;
        let mut values = Deserializer::from_str(rest).into_iter::<Value>();
        let next = match values.next() {
            Some(Ok(value)) => {
                if let Some(object) = example(&value, prompt) {
                    return Some(object);
                }
                values.byte_offset()
            }
            _ => 1,
        };
        rest = rest.get(next..)?;
    }
    None
}

fn example(value: &Value, prompt: &str) -> Option<Value> {
    // The schema may be inside the wrapper that `json_schema` has.
    let wrapped = value
        .pointer("/json_schema/schema")
        .or_else(|| value.get("schema"));
    let candidates = [Some(value), wrapped].into_iter().flatten();
    let schema = candidates
        .into_iter()
        .find(|candidate| is_schema(candidate))?;
    Some(schema::example(schema, prompt)).filter(Value::is_object)
}

/// Whether `value` is a schema of an object, and not an ordinary object in the prompt.
fn is_schema(value: &Value) -> bool {
    let describes = |name: &str| value.get(name).is_some_and(Value::is_object);
    let combines = ["allOf", "anyOf", "oneOf"]
        .iter()
        .any(|name| value.get(name).is_some_and(Value::is_array));
    let refers = value.get("$ref").is_some_and(Value::is_string)
        && (describes("$defs") || describes("definitions"));
    value.get("type").is_some_and(|kind| kind == "object")
        || describes("properties")
        || combines
        || refers
}
