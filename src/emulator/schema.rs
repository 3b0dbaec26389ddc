//! Generates an example for a JSON Schema: the arguments of a tool call, or an answer with a
//! `response_format`.
//!
//! The keywords that schemas of tools and answers commonly use are supported. `pattern` and
//! conditional keywords are ignored.

use std::cell::Cell;

use serde_json::{Map, Value, json};

/// Below this depth only required members are generated, so that a recursive schema ends.
const OPTIONAL_DEPTH_MAX: u32 = 6;
const DEPTH_MAX: u32 = 24;
/// The largest number of values in an example, because nested lists multiply. Further values are
/// null.
const VALUES_MAX: usize = 10_000;
const ITEMS_MAX: u64 = 64;
const TEXT_CHARS_MAX: usize = 4096;

/// A value that `schema` accepts, with words from `prompt`.
pub fn example(schema: &Value, prompt: &str) -> Value {
    Example {
        root: schema,
        prompt,
        left: Cell::new(VALUES_MAX),
    }
    .of(schema, "value", 0)
}

struct Example<'a> {
    root: &'a Value,
    prompt: &'a str,
    /// The number of values that may still be generated.
    left: Cell<usize>,
}

impl Example<'_> {
    fn of(&self, schema: &Value, name: &str, depth: u32) -> Value {
        if depth > DEPTH_MAX || self.left.get() == 0 {
            return Value::Null;
        }
        self.left.set(self.left.get() - 1);
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer));
            return found.map_or(Value::Null, |found| self.of(found, name, depth + 1));
        }
        if let Some(fixed) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
            return fixed.clone();
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(schema, parts, name, depth);
        }
        if let Some(kinds) = schema
            .get("anyOf")
            .or_else(|| schema.get("oneOf"))
            .and_then(Value::as_array)
        {
            return self.one_of(kinds, name, depth);
        }
        match kind(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, name, depth),
            "integer" => number(schema, true),
            "number" => number(schema, false),
            "boolean" => Value::Bool(true),
            "null" => Value::Null,
            _ => Value::String(self.text(schema, name)),
        }
    }

    /// The merged examples of all `parts` and of the schema's own properties.
    fn all_of(&self, schema: &Value, parts: &[Value], name: &str, depth: u32) -> Value {
        let mut own = schema.clone();
        own.as_object_mut().map(|own| own.remove("allOf"));
        let mut merged = Map::new();
        let mut plain = None;
        for part in parts.iter().chain(own.get("properties").map(|_| &own)) {
            match self.of(part, name, depth + 1) {
                Value::Object(members) => merged.extend(members),
                other => plain = Some(other),
            }
        }
        plain
            .filter(|_| merged.is_empty())
            .unwrap_or(Value::Object(merged))
    }

    /// The example of the first alternative that is not null. Below [`OPTIONAL_DEPTH_MAX`], null if
    /// it is an alternative.
    fn one_of(&self, kinds: &[Value], name: &str, depth: u32) -> Value {
        let is_null = |schema: &&Value| kind(schema) == "null";
        if depth > OPTIONAL_DEPTH_MAX && kinds.iter().any(|schema| is_null(&schema)) {
            return Value::Null;
        }
        let chosen = kinds.iter().find(|schema| !is_null(schema));
        chosen.map_or(Value::Null, |schema| self.of(schema, name, depth + 1))
    }

    fn object(&self, schema: &Value, depth: u32) -> Value {
        let none = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let required = schema.get("required").and_then(Value::as_array);
        let mut names: Vec<&str> = required
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if names.is_empty() && depth <= OPTIONAL_DEPTH_MAX {
            names.extend(properties.keys().map(String::as_str));
        }
        let member = |name: &str| {
            let schema = properties.get(name).unwrap_or(&Value::Null);
            (name.to_owned(), self.of(schema, name, depth + 1))
        };
        Value::Object(names.into_iter().map(member).collect())
    }

    fn array(&self, schema: &Value, name: &str, depth: u32) -> Value {
        let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
        let default_value = u64::from(depth <= OPTIONAL_DEPTH_MAX);
        let length = default_value
            .max(bound("minItems").unwrap_or(0))
            .min(ITEMS_MAX);
        let length = length.min(bound("maxItems").unwrap_or(ITEMS_MAX));
        let firsts = schema.get("prefixItems").and_then(Value::as_array);
        let mut items: Vec<Value> = firsts
            .into_iter()
            .flatten()
            .map(|first| self.of(first, name, depth + 1))
            .collect();
        let rest = schema.get("items").unwrap_or(&Value::Null);
        while (items.len() as u64) < length {
            items.push(self.of(rest, name, depth + 1));
        }
        Value::Array(items)
    }

    fn text(&self, schema: &Value, name: &str) -> String {
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => return "2026-01-31".to_owned(),
            Some("date-time") => return "2026-01-31T12:00:00Z".to_owned(),
            Some("time") => return "12:00:00Z".to_owned(),
            Some("duration") => return "PT1H".to_owned(),
            Some("email") => return "someone@example.com".to_owned(),
            Some("uri" | "url") => return "https://example.com/".to_owned(),
            Some("uuid") => return "00000000-0000-4000-8000-000000000000".to_owned(),
            _ => self.text_for(name),
        };
        let bound = |name: &str| {
            let bound = schema.get(name).and_then(Value::as_u64);
            bound.and_then(|bound| usize::try_from(bound).ok())
        };
        let shortest = bound("minLength").unwrap_or(0).min(TEXT_CHARS_MAX);
        let longest = bound("maxLength").unwrap_or(TEXT_CHARS_MAX);
        let padded = text.chars().chain(std::iter::repeat_n('x', shortest));
        let length = text.chars().count().max(shortest).min(longest);
        padded.take(length).collect()
    }

    /// A text for the member `name`. For places and names it is the last capitalised word of the
    /// prompt, which is often right.
    fn text_for(&self, name: &str) -> String {
        let words = self.prompt.split_whitespace().skip(1);
        let capitalised = words
            .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
            .filter(|word| word.chars().next().is_some_and(char::is_uppercase));
        match name {
            "query" | "q" | "text" | "input" | "question" | "prompt" if !self.prompt.is_empty() => {
                self.prompt.to_owned()
            }
            "city" | "location" | "place" | "country" | "name" | "destination" => {
                capitalised.last().unwrap_or("Paris").to_owned()
            }
            other => format!("example {}", other.replace('_', " ")),
        }
    }
}

/// The type of a schema: from `type`, or else derived from the other keywords.
fn kind(schema: &Value) -> &str {
    let has = |name: &str| schema.get(name).is_some();
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str);
            kinds.find(|kind| *kind != "null").unwrap_or("null")
        }
        _ if has("properties") || has("required") => "object",
        _ if has("items") || has("prefixItems") => "array",
        _ if has("minimum") || has("maximum") => "number",
        _ => "string",
    }
}

/// A number that the schema allows: the usual value, moved to the nearest bound if it is out of
/// range.
fn number(schema: &Value, is_integer: bool) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    // The distance from an exclusive bound: 1, or half the distance between the two bounds.
    let gap = match (bound("exclusiveMinimum"), bound("exclusiveMaximum")) {
        (Some(low), Some(high)) if !is_integer => (high - low) / 2.0,
        _ => 1.0,
    };
    let lowest = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low + gap));
    let highest = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high - gap));

    let default_value: f64 = if is_integer { 3.0 } else { 1.5 };
    let mut number = default_value
        .max(lowest.unwrap_or(default_value))
        .min(highest.unwrap_or(f64::MAX));
    if let Some(step) = step {
        number = lowest.map_or_else(|| (number / step).floor(), |low| (low / step).ceil()) * step;
    }
    if is_integer && number.abs() < 9e15 {
        return json!(number.ceil() as i64);
    }
    json!(number)
}
