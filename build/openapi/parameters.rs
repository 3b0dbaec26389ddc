//! Parameters and headers of the REST door.

use serde_json::{Map, Value, json};

use super::names::reference;

/// The query parameters of the catalogue: name, schema, description. First the parameters of a
/// page, then the upstream's own parameters, which are passed on.
pub(super) const MODELS_QUERY: &[(&str, &str, &str)] = &[
    (
        "page_size",
        r#"{"type": "integer", "format": "int32", "minimum": 0, "maximum": 2147483647}"#,
        "The largest number of models in the page. 0 means 100, and more than 1000 means \
                 1000.",
    ),
    (
        "page_token",
        r#"{"type": "string"}"#,
        "The `next_page_token` of the previous page. The filter must be the same for all \
                 pages.",
    ),
    (
        "filter.search",
        r#"{"type": "string"}"#,
        "Text that the id must contain. Case is ignored.",
    ),
    (
        "filter.family",
        r#"{"type": "string"}"#,
        "The beginning of the model class. Case is ignored.",
    ),
    (
        "filter.gated",
        r#"{"type": "boolean"}"#,
        "`true`: only models that are gated by a licence. `false`: only other models.",
    ),
    (
        "filter.available_on_current_plan",
        r#"{"type": "boolean"}"#,
        "`true`: only models of the account's plan. `false`: only other models.",
    ),
    ("q", r#"{"type": "string"}"#, "Text to search for."),
    ("page", COUNT, "The page of the search results, from 1."),
    (
        "per_page",
        COUNT,
        "The number of models in a page of the search results.",
    ),
    (
        "family",
        r#"{"type": "string"}"#,
        "Model classes, comma-separated.",
    ),
    ("tags", r#"{"type": "string"}"#, "Tags."),
    (
        "available_on_current_plan",
        r#"{"type": "boolean"}"#,
        "Only models of the account's plan.",
    ),
];

const COUNT: &str =
    r#"{"type": "integer", "format": "int32", "minimum": 1, "maximum": 2147483647}"#;

/// The pattern of one part of a model's id, and of a complete id or an alias. The gateway accepts
/// more: up to 256 bytes without control characters. But no model has such an id.
const ID_PART: &str = "^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*$";

const ID: &str = "^[A-Za-z0-9_][A-Za-z0-9_.:@+-]*(/[A-Za-z0-9_][A-Za-z0-9_.:@+-]*)?$";

const ID_PART_CHARS_MAX: usize = 127;

const ID_CHARS_MAX: usize = 256;

pub(super) fn path_parameters(template: &str) -> Vec<Value> {
    let parameter = |name: &str, description: &str| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": description,
            "schema": {
                "type": "string",
                "minLength": 1,
                "maxLength": ID_PART_CHARS_MAX,
                "pattern": ID_PART,
            },
        })
    };
    match template.contains("{model=*/*}") {
        true => vec![
            parameter(
                "org",
                "The part of the model's id before the slash. Case-sensitive.",
            ),
            parameter(
                "name",
                "The part of the model's id after the slash. Case-sensitive.",
            ),
        ],
        false => Vec::new(),
    }
}

/// Adds the path with the id in one segment. OpenAI's SDKs write the slash of a model's id as
/// `%2F`.
pub(super) fn add_path_with_encoded_id(paths: &mut Map<String, Value>) {
    let mut operation = paths["/v1/models/{org}/{name}"]["get"].clone();
    operation["operationId"] = json!("getModelByName");
    let description = operation["description"].as_str().unwrap();
    operation["description"] = json!(format!(
        "{description}\n\nThe id is one segment of the path, with its slash written as \
                 `%2F`. OpenAI's SDKs send this form."
    ));
    let parameters = operation["parameters"].as_array_mut().unwrap();
    parameters.remove(0);
    parameters[0]["description"] = json!("The model's id, or an alias. Case-sensitive.");
    parameters[0]["schema"] =
        json!({ "type": "string", "minLength": 1, "maxLength": ID_CHARS_MAX, "pattern": ID });
    let after = paths
        .keys()
        .position(|path| path == "/v1/models/{org}/{name}")
        .unwrap()
        + 1;
    paths.shift_insert(
        after,
        "/v1/models/{name}".to_owned(),
        json!({ "get": operation }),
    );
}

pub(super) fn parameters() -> Value {
    json!({
        "RequestTimeout": {
            "name": "x-request-timeout-ms", "in": "header",
            "description": "The timeout for the complete answer, in milliseconds.",
            "schema": { "type": "integer", "format": "int64", "minimum": 1 },
        },
        "RequestId": {
            "name": "x-request-id", "in": "header",
            "description": "The caller's id of this call. The answer and the gateway's log contain \
                            it. An id that is not visible ASCII or is longer than 128 characters \
                            is replaced.",
            "schema": { "type": "string" },
        },
        "Priority": {
            "name": "x-featherwire-priority", "in": "header",
            "description": "The priority in the queue for concurrency units. Unset: \
                            `default`.",
            "schema": reference("schemas", "Priority"),
        },
        "Fallback": {
            "name": "x-featherwire-fallback", "in": "header",
            "description": "The models that answer if the requested model fails, in order, \
                            comma-separated, at most 8. `none` also excludes the fallbacks of the \
                            gateway's configuration.",
            "schema": { "type": "string" },
            "example": "org/model, org/other-model",
        },
        "UnaryViaStream": {
            "name": "x-featherwire-unary-via-stream", "in": "header",
            "description": "Whether the gateway requests a unary chat answer as a stream and \
                            combines its chunks. The upstream's front end ends a call that is \
                            silent for about 100 seconds. Unset: the gateway's configuration \
                            applies.",
            "schema": { "type": "boolean" },
        },
    })
}

pub(super) fn headers() -> Value {
    json!({
        "Model": {
            "description": "The id of the model that answers, if it differs from the requested \
                            name: the name is an alias, or the model is a fallback.",
            "schema": { "type": "string" },
        },
        "Tried": {
            "description": "The models that failed before, and the code of each error: \
                            `org/model=code`, comma-separated.",
            "schema": { "type": "string" },
        },
        "WaitedMs": {
            "description": "The time that the call waited for concurrency units, in milliseconds. \
                            If the headers of a stream were sent during the wait, these headers and \
                            x-featherless-request-id are comments of the stream.",
            "schema": { "type": "integer", "format": "int64", "minimum": 0 },
        },
        "RequestId": {
            "description": "The id of the call, from the caller or from the gateway. The gateway's \
                            log contains it.",
            "required": true,
            "schema": { "type": "string" },
        },
        "FeatherlessRequestId": {
            "description": "The upstream's id of the request, if the upstream answered \
                            it.",
            "schema": { "type": "string" },
        },
        "RetryAfter": {
            "description": "The seconds to wait before the next try, if the time is \
                            known.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Age": {
            "description": "The seconds since the catalogue was fetched from the upstream. Absent \
                            for a query that the upstream answers.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}
