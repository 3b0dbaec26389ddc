//! Strict parsing of a JSON object: a member of the wrong type is refused with its path, and never
//! converted.
//!
//! Null counts as absent, as it does at Featherless. [`Members::raw`] distinguishes the two.

use serde_json::{Map, Value};

use super::refusal::Refusal;

#[derive(Clone)]
pub struct Members<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Members<'a> {
    /// The members of a whole body.
    pub fn of_body(map: &'a Map<String, Value>) -> Self {
        Self {
            map,
            path: String::new(),
        }
    }

    /// The members of `value`, which is at `path` in the body and must be an object.
    pub fn of(value: &'a Value, path: String) -> Result<Self, Refusal> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong_type(&path, "an object", other)),
        }
    }

    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub fn raw(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name)
    }

    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.raw(name).filter(|value| !value.is_null())
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(name, "a string", Value::as_str)
    }

    pub fn required_text(&self, name: &str) -> Result<&'a str, Refusal> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Refusal::missing(&self.path_of(name))),
        }
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>, Refusal> {
        self.typed(name, "an array", Value::as_array)
    }

    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, Refusal> {
        let found = self.get(name);
        found
            .map(|value| Members::of(value, self.path_of(name)))
            .transpose()
    }

    /// A number that `is_allowed` accepts. `rule` describes the accepted numbers in the message.
    pub fn number(
        &self,
        name: &str,
        is_allowed: fn(f64) -> bool,
        rule: &str,
    ) -> Result<Option<f64>, Refusal> {
        let found = self.typed(name, "a number", Value::as_f64)?;
        self.ruled(name, found, found.is_none_or(is_allowed), rule)
    }

    /// An integer that `is_allowed` accepts. `1.0` is refused: a gateway that sends it has
    /// converted an integer to a double.
    pub fn integer(
        &self,
        name: &str,
        is_allowed: fn(i64) -> bool,
        rule: &str,
    ) -> Result<Option<i64>, Refusal> {
        let found = self.typed(name, "an integer", Value::as_i64)?;
        self.ruled(name, found, found.is_none_or(is_allowed), rule)
    }

    /// A string or a list of strings.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let all = |items: &Vec<Value>| {
            items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect()
        };
        let found = self.typed(
            name,
            "a string or an array of strings",
            |value| match value {
                Value::String(one) => Some(vec![one.clone()]),
                Value::Array(items) => all(items),
                _ => None,
            },
        );
        Ok(found?.unwrap_or_default())
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(wrong_type(&self.path_of(name), expected, value)),
        }
    }

    fn ruled<T>(&self, name: &str, found: T, is_allowed: bool, rule: &str) -> Result<T, Refusal> {
        if is_allowed {
            return Ok(found);
        }
        let path = self.path_of(name);
        let message = format!("Invalid value for '{path}': must be {rule}.");
        Err(Refusal::invalid(&path, "invalid_value", message))
    }
}

pub fn wrong_type(path: &str, expected: &str, got: &Value) -> Refusal {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let message = format!("Invalid type for '{path}': expected {expected}, but got {got} instead.");
    Refusal::invalid(path, "invalid_type", message)
}
