//! The errors of the REST door.

use serde_json::{Value, json};

use super::names::reference;

/// HTTP status, its name here, the `type`s of errors that have it, and what it means. The table in
/// `src/error/table.rs`, by status; but not 405, since nothing here is asked for by a wrong method,
/// and not 499, which nobody reads.
pub(super) const ERRORS: &[(&str, &str, &[&str], &str)] = &[
    (
        "400",
        "Invalid",
        &["invalid_request_error"],
        "The request is wrong: `param` is the path of the bad member. Or the model is cold or \
         still loading (`code` `model_not_ready`): wait for minutes, or take another.",
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
        "The account behind the gateway may not use this model or the API, or the gateway has no \
         keys and was called by another name than its machine's.",
    ),
    (
        "404",
        "NotFound",
        &["invalid_request_error"],
        "There is no such model; the message names those that are near.",
    ),
    (
        "413",
        "TooLarge",
        &["invalid_request_error"],
        "The request is larger than a limit, which the message names.",
    ),
    (
        "415",
        "WrongMediaType",
        &["invalid_request_error"],
        "The body doesn't say that it is JSON, or it is compressed otherwise than by gzip, \
         deflate or zstd.",
    ),
    (
        "429",
        "Saturated",
        &["rate_limit_error"],
        "All concurrency units are taken: try again soon.",
    ),
    (
        "500",
        "Internal",
        &["server_error"],
        "A bug of the gateway; its log knows more, under this answer's x-request-id.",
    ),
    (
        "502",
        "Upstream",
        &["upstream_error"],
        "The upstream answered nonsense, or not to the end.",
    ),
    (
        "503",
        "Unavailable",
        &["server_error"],
        "The upstream can't serve right now: try again. Or the gateway has no valid key for it: \
         its owner must set one.",
    ),
    (
        "504",
        "Timeout",
        &["timeout_error"],
        "Something took longer than allowed.",
    ),
];

/// Errors that any call can have, those of calls that the upstream answers, and those of calls with
/// a body.
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
        "description": "What went wrong, in OpenAI's shape.",
        "type": "object",
        "required": ["error"],
        "additionalProperties": false,
        "properties": { "error": reference("schemas", "ErrorDetail") },
    });
    let detail = json!({
        "description": "What went wrong.",
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "additionalProperties": false,
        "properties": {
            "message": {
                "type": "string",
                "description": "What happened and what to do about it, for people.",
            },
            "type": {
                "$ref": "#/components/schemas/ErrorType",
                "description": "The kind of error.",
            },
            "param": {
                "type": ["string", "null"],
                "description": "The path of the bad member, if it is about one.",
            },
            "code": { "type": "string", "description": "The error's name, for programs." },
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
