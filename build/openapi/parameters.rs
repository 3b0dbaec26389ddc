//! Parameters and headers of the REST door.

use serde_json::{Map, Value, json};

use super::names::reference;

/// Query parameters of the catalogue: those of a page, then the upstream's own, passed on to it.
/// Name, schema, description.
pub(super) const MODELS_QUERY: &[(&str, &str, &str)] = &[
    (
        "page_size",
        r#"{"type": "integer", "format": "int32", "minimum": 0, "maximum": 2147483647}"#,
        "Most models in one page; 0 means 100, and more than 1000 means 1000.",
    ),
    (
        "page_token",
        r#"{"type": "string"}"#,
        "The `next_page_token` of the page before. The filter must be the same for every page.",
    ),
    (
        "filter.search",
        r#"{"type": "string"}"#,
        "Text that the id contains, letter case aside.",
    ),
    (
        "filter.family",
        r#"{"type": "string"}"#,
        "The beginning of the model class, letter case aside.",
    ),
    (
        "filter.gated",
        r#"{"type": "boolean"}"#,
        "Only models that are, or are not, gated by a licence.",
    ),
    (
        "filter.available_on_current_plan",
        r#"{"type": "boolean"}"#,
        "Only models that the account's plan may, or may not, use.",
    ),
    ("q", r#"{"type": "string"}"#, "Text to look for."),
    ("page", COUNT, "Which page of what is searched for, from 1."),
    (
        "per_page",
        COUNT,
        "Models in one page of what is searched for.",
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
        "Only models that the account's plan may use.",
    ),
];

const COUNT: &str =
    r#"{"type": "integer", "format": "int32", "minimum": 1, "maximum": 2147483647}"#;

/// One part of a model's id, and a whole id or an alias. The gateway takes more, up to 256 bytes of
/// anything but control characters, but no model is called so.
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
                "What is before the slash of the model's id. Case-sensitive.",
            ),
            parameter(
                "name",
                "What is after the slash of the model's id. Case-sensitive.",
            ),
        ],
        false => Vec::new(),
    }
}

/// OpenAI's SDKs write the slash of a model's id as `%2F`: the same call by another path.
pub(super) fn second_spelling(paths: &mut Map<String, Value>) {
    let mut operation = paths["/v1/models/{org}/{name}"]["get"].clone();
    operation["operationId"] = json!("getModelByName");
    let description = operation["description"].as_str().unwrap();
    operation["description"] = json!(format!(
        "{description}\n\nThe id in one segment, its slash written as `%2F`: so OpenAI's SDKs ask."
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
            "description": "For how long the caller waits for the whole answer, in milliseconds.",
            "schema": { "type": "integer", "format": "int64", "minimum": 1 },
        },
        "RequestId": {
            "name": "x-request-id", "in": "header",
            "description": "The caller's id for this call, found again in the answer and in the \
                            gateway's log. One that is no visible ASCII or longer than 128 \
                            characters is replaced.",
            "schema": { "type": "string" },
        },
        "Priority": {
            "name": "x-featherwire-priority", "in": "header",
            "description": "Who goes first when concurrency units are short. Unset: `default`.",
            "schema": reference("schemas", "Priority"),
        },
        "Fallback": {
            "name": "x-featherwire-fallback", "in": "header",
            "description": "Other models that may answer when this one can't, in order and with \
                            commas between them, at most 8; or `none`, also not those that the \
                            gateway's configuration has.",
            "schema": { "type": "string" },
            "example": "org/model, org/other-model",
        },
        "UnaryViaStream": {
            "name": "x-featherwire-unary-via-stream", "in": "header",
            "description": "Whether the gateway asks the upstream for a stream though the answer \
                            is to be whole, and adds it up: a silent call dies in front of the \
                            upstream after about 100 seconds. Unset: as the gateway's \
                            configuration says.",
            "schema": { "type": "boolean" },
        },
    })
}

pub(super) fn headers() -> Value {
    json!({
        "Model": {
            "description": "The id of the model that answers, if it isn't what the request calls \
                            it: an alias stands for it, or it is a fallback.",
            "schema": { "type": "string" },
        },
        "Tried": {
            "description": "The models that were tried before the one that answers and why each \
                            failed: `org/model=code`, with commas between.",
            "schema": { "type": "string" },
        },
        "WaitedMs": {
            "description": "How long the call waited for concurrency units, in milliseconds. A \
                            stream that waited so long that it began before its answer says this, \
                            and the other two, in comments.",
            "schema": { "type": "integer", "format": "int64", "minimum": 0 },
        },
        "RequestId": {
            "description": "The call's id, the caller's or the gateway's: what the gateway's log \
                            has it under.",
            "required": true,
            "schema": { "type": "string" },
        },
        "FeatherlessRequestId": {
            "description": "The upstream's id for its answer, if this one is made of it.",
            "schema": { "type": "string" },
        },
        "RetryAfter": {
            "description": "Seconds after which another try makes sense, if that is known.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Age": {
            "description": "Seconds since the catalogue came from the upstream. Not with a query, \
                            which is asked there.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}
