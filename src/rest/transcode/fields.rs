//! Makes the message of a request from its path, its query and its body, and the JSON of an answer.

use axum::extract::Query;
use bytes::Bytes;
use http::Uri;
use prost::Message;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::{Map, Value};

use super::{members, rules::Rule};
use crate::error::{Error, ErrorCode, Result};

/// The parameters of a query, in their order.
pub(super) fn query(uri: &Uri) -> Result<Vec<(String, String)>> {
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let query = query
        .map_err(|error| Error::invalid("query", "expected name=value&…").with_source(error))?;
    Ok(query.0)
}

/// The JSON of a body.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for what is not JSON.
pub(super) fn parse(body: &Bytes) -> Result<Value> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!(
            "The body: it is not JSON, at line {} column {}",
            error.line(),
            error.column()
        );
        Error::new(ErrorCode::InvalidJson, message)
    })
}

/// The message of a request: the members of `body`, and the parameters of its path and `query`.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong or unknown member or parameter, with
/// its path.
pub(super) fn message(
    rule: &Rule,
    path: Vec<(&str, String)>,
    query: Vec<(String, String)>,
    body: Value,
) -> Result<DynamicMessage> {
    let input = rule.method.input();
    let Value::Object(mut object) = body else {
        return Err(Error::new(
            ErrorCode::InvalidJson,
            "The body: expected a JSON object, such as {\"name\": \"app\"}",
        ));
    };
    for (name, value) in query {
        let field = parameter(&input, &name, &path)?;
        set(&mut object, &field, &name, value)?;
    }
    for (name, value) in path {
        if let Some(before) = object.get(name)
            && *before != value.as_str()
        {
            let problem = "another value is in the path: leave this member out";
            return Err(Error::invalid(name, problem));
        }
        object.insert(name.to_owned(), Value::String(value));
    }
    members::prepare(&input, &mut object)?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut track = serde_path_to_error::Track::new();
    let json = Value::Object(object);
    let read = DynamicMessage::deserialize_with_options(
        input,
        serde_path_to_error::Deserializer::new(&json, &mut track),
        &options,
    );
    read.map_err(|error| {
        let path = track.path().to_string();
        Error::invalid(path, problem(&error))
    })
}

/// What is wrong with a member. The library quotes values, which may be long.
fn problem(error: &serde_json::Error) -> String {
    const CHARS_MAX: usize = 200;
    let error = error.to_string();
    // What the standard library says of a text that is no number.
    if error.contains("digit") || error.contains("out of range integral") {
        return "expected a whole number that is not too large".to_owned();
    }
    error.chars().take(CHARS_MAX).collect()
}

/// The field of a parameter in the query. A parameter may not be in the path.
fn parameter(
    input: &MessageDescriptor,
    name: &str,
    path: &[(&str, String)],
) -> Result<FieldDescriptor> {
    let is_in_path = |name: &str| path.iter().any(|(in_path, _)| *in_path == name);
    let field = input
        .get_field_by_json_name(name)
        .or_else(|| input.get_field_by_name(name))
        .filter(|field| !field.is_map() && !is_in_path(field.name()));
    field.ok_or_else(|| {
        let names: Vec<_> = input
            .fields()
            .filter(|field| !field.is_map() && !is_in_path(field.name()))
            .map(|field| field.json_name().to_owned())
            .collect();
        let shown: String = name.chars().take(64).collect();
        let problem = match names.as_slice() {
            [] => "unknown parameter: this method has none in the query".to_owned(),
            names => format!("unknown parameter: the parameters are {}", names.join(", ")),
        };
        Error::invalid(shown, problem)
    })
}

/// The largest number of values in one parameter. No enum of the contract has as many.
const VALUES_MAX: usize = 16;

/// Adds the parameter `name` of the query. One that occurs several times is a list. The names of
/// enums may also stand in one parameter, with commas.
fn set(
    object: &mut Map<String, Value>,
    field: &FieldDescriptor,
    name: &str,
    text: String,
) -> Result<()> {
    let is_list_of_names = field.is_list() && matches!(field.kind(), Kind::Enum(_));
    if !is_list_of_names {
        return set_one(object, field, name, text);
    }
    if text.split(',').nth(VALUES_MAX).is_some() {
        let problem = format!("expected at most {VALUES_MAX} values");
        return Err(Error::invalid(name, problem));
    }
    for one in text.split(',') {
        set_one(object, field, name, one.to_owned())?;
    }
    Ok(())
}

/// Adds one value of the parameter `name`.
fn set_one(
    object: &mut Map<String, Value>,
    field: &FieldDescriptor,
    name: &str,
    text: String,
) -> Result<()> {
    let is_set = object.contains_key(field.json_name()) || object.contains_key(field.name());
    let value = match field.kind() {
        Kind::Bool => match text.as_str() {
            "true" | "1" | "" => Value::Bool(true),
            "false" | "0" => Value::Bool(false),
            _ => return Err(Error::invalid(name, "expected true or false")),
        },
        Kind::Enum(_) if text.is_empty() => return Ok(()),
        Kind::Message(message) if !message.full_name().starts_with("google.") => {
            return Err(Error::invalid(name, "an object belongs into the body"));
        }
        // JSON's forms of numbers and times are texts too.
        _ => Value::String(text),
    };
    let member = field.json_name().to_owned();
    if field.is_list() {
        match object.entry(member).or_insert_with(|| Value::Array(vec![])) {
            Value::Array(values) => values.push(value),
            _ => return Err(Error::invalid(name, "expected a list")),
        }
    } else if is_set {
        return Err(Error::invalid(name, "given more than once: give it once"));
    } else {
        object.insert(member, value);
    }
    Ok(())
}

/// The message of type `M`.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if it is of another type.
pub(super) fn typed<M: Message + Default>(message: &DynamicMessage) -> Result<M> {
    message.transcode_to().map_err(Error::internal)
}

/// `answer` as a message of this type.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if it is of another type.
pub(super) fn dynamic<M: Message>(kind: MessageDescriptor, answer: &M) -> Result<DynamicMessage> {
    let bytes = answer.encode_to_vec();
    DynamicMessage::decode(kind, bytes.as_slice()).map_err(Error::internal)
}

/// Appends the JSON of `answer`. Fields that can be unset are absent then, and all others are
/// present, so that a reader finds empty lists and zeros.
///
/// # Errors
/// [`Kind::Internal`](crate::error::Kind::Internal) if it has no JSON.
pub(super) fn write(answer: &DynamicMessage, out: &mut Vec<u8>) -> Result<()> {
    let options = SerializeOptions::new().skip_default_fields(false);
    answer
        .serialize_with_options(&mut serde_json::Serializer::new(out), &options)
        .map_err(Error::internal)
}
