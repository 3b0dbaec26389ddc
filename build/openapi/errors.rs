//! The errors of the REST door.

use serde_json::{Value, json};

use super::names::reference;

/// The HTTP status, the name of the response in the document, the `type`s of its errors, and its
/// meaning. It is the table of `src/error/table.rs` by status, without 405, because the document
/// has no operation with a wrong method, and without 499, because the caller has disconnected.
pub(super) const ERRORS: &[(&str, &str, &[&str], &str)] = &[
    (
        "400",
        "Invalid",
        &["invalid_request_error"],
        "The request is invalid: `param` is the path of the invalid member. Or the model is cold \
         or still loading (`code` is `model_not_ready`): try again in minutes, or use another \
         model.",
    ),
    (
        "401",
        "Unauthenticated",
        &["authentication_error"],
        "The gateway key is missing or unknown.",
    ),
    (
        "403",
        "Forbidden",
        &["permission_error"],
        "The account behind the gateway may not use this model or the API. Or the gateway has no \
         keys and was called with a host name that is not the name of its machine.",
    ),
    (
        "404",
        "NotFound",
        &["invalid_request_error"],
        "The model does not exist. The message suggests similar ids.",
    ),
    (
        "413",
        "TooLarge",
        &["invalid_request_error"],
        "The request is larger than a limit. The message has the limit.",
    ),
    (
        "415",
        "WrongMediaType",
        &["invalid_request_error"],
        "The content type of the body is not JSON, or its compression is not gzip, deflate or \
         zstd.",
    ),
    (
        "429",
        "Saturated",
        &["rate_limit_error"],
        "All concurrency units are in use: try again soon.",
    ),
    (
        "500",
        "Internal",
        &["server_error"],
        "A bug in the gateway. The gateway's log has details, with the x-request-id of \
                 this answer.",
    ),
    (
        "502",
        "Upstream",
        &["upstream_error"],
        "The upstream's answer is invalid or incomplete.",
    ),
    (
        "503",
        "Unavailable",
        &["server_error"],
        "The upstream cannot answer at the moment: try again. Or the gateway has no valid key for \
         the upstream: its operator must set one.",
    ),
    (
        "504",
        "Timeout",
        &["timeout_error"],
        "A timeout: the upstream or the caller was too slow.",
    ),
];

/// The errors of all calls, of calls that need an answer from the upstream, and of calls with a
/// body.
pub(super) const OF_ANY: &[&str] = &["400", "401", "403"];

pub(super) const OF_UPSTREAM: &[&str] = &["404", "429", "500", "502", "503", "504"];

pub(super) const OF_BODY: &[&str] = &["413", "415"];

/// The schemas of an error, by name.
pub(super) fn error_schemas() -> [(String, Value); 3] {
    let mut types: Vec<&str> = ERRORS
        .iter()
        .flat_map(|(_, _, types, _)| *types)
        .copied()
        .collect();
    types.sort_unstable();
    types.dedup();
    let response = json!({
        "description": "An error, in OpenAI's format.",
        "type": "object",
        "required": ["error"],
        "additionalProperties": false,
        "properties": { "error": reference("schemas", "ErrorDetail") },
    });
    let detail = json!({
        "description": "The error.",
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "additionalProperties": false,
        "properties": {
            "message": {
                "type": "string",
                "description": "What is wrong and how to fix it, for people.",
            },
            "type": {
                "$ref": "#/components/schemas/ErrorType",
                "description": "The kind of error.",
            },
            "param": {
                "type": ["string", "null"],
                "description": "The path of the invalid member, if the error is \
                                about a member.",
            },
            "code": { "type": "string", "description": "The name of the error, for \
                                                        programs." },
        },
    });
    let kinds = json!({ "description": "The kinds of errors.", "type": "string", "enum": types });
    [
        ("ErrorResponse", response),
        ("ErrorDetail", detail),
        ("ErrorType", kinds),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
}

pub(super) fn error_responses() -> Value {
    let responses = ERRORS.iter().map(|(status, name, _, description)| {
        let mut headers = json!({
            "x-request-id": reference("headers", "RequestId"),
            "x-featherless-request-id": reference("headers", "FeatherlessRequestId"),
        });
        if matches!(*status, "429" | "503") {
            headers["retry-after"] = reference("headers", "RetryAfter");
        }
        let content =
            json!({ "application/json": { "schema": reference("schemas", "ErrorResponse") } });
        let response =
            json!({ "description": description, "headers": headers, "content": content });
        ((*name).to_owned(), response)
    });
    Value::Object(responses.collect())
}
