//! Errors that the upstream sends, and their form at the doors.

use std::time::Duration;

use featherwire::{
    error::Error,
    upstream::error::{ErrorReply, from_error_event, from_event, from_failed_choice},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

/// Clients refuse longer heads, the strictest of them.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The longest message: a thousand characters of the upstream's, and the advice of the gateway.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The longest model id that a request gets through with.
const MODEL_BYTES_MAX: usize = 256;

/// How deep an error is looked into.
const DEPTH_MAX: usize = 6;

/// Members by which an event looks like an error that has no member `error`.
const LOOKS: [&str; 9] = [
    "object",
    "message",
    "detail",
    "errors",
    "msg",
    "error_message",
    "errorMessage",
    "error_description",
    "reason",
];

/// Every reply of the upstream makes an error that fits into every door, within its bounds.
///
/// The input is five lines: the status, the `request-id`, the `retry-after`, the model, and all the
/// rest is the body.
pub fn upstream_error(input: &[u8]) {
    let mut lines = input.splitn(5, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let status = std::str::from_utf8(line())
        .ok()
        .and_then(|status| status.parse().ok());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    for name in ["request-id", "retry-after"] {
        if let Ok(value) = HeaderValue::from_bytes(line()) {
            headers.insert(name, value);
        }
    }
    let model = std::str::from_utf8(line())
        .ok()
        .filter(|model| model.len() <= MODEL_BYTES_MAX);
    let body = lines.next().unwrap_or_default();

    let error = |body| {
        Error::from(ErrorReply {
            status,
            headers: &headers,
            body,
            model,
        })
    };
    if body.trim_ascii_start().starts_with(b"<") {
        assert_eq!(
            error(body).message(),
            error(b"").message(),
            "of a page, nothing is passed on"
        );
    }
    assert_eq!(
        error(body).cause(),
        error(b"").cause(),
        "of a body, nothing is logged"
    );
    told(error(body));
    event(body);
}

/// An event is an error if it is an object with one that says something, and none if nothing in it
/// looks like an error.
pub fn event(data: &[u8]) {
    let error = from_event(data, Some("org/model"));
    if let Ok(Value::Object(event)) = serde_json::from_slice(data) {
        let looks_like_one = LOOKS.iter().any(|name| event.contains_key(*name));
        if event
            .get("error")
            .is_some_and(|error| says_something(error, DEPTH_MAX))
        {
            assert!(error.is_some(), "{event:?}");
        } else if !looks_like_one {
            assert!(error.is_none(), "{event:?}");
        }
    }
    error.into_iter().for_each(told);
    told(from_error_event(data, Some("org/model")));
    let text = std::str::from_utf8(data).ok();
    from_failed_choice(text, text, None)
        .into_iter()
        .for_each(told);
}

/// Null, `false`, zero and what is empty say nothing. What is nested too deeply counts as
/// something.
fn says_something(value: &Value, depth: usize) -> bool {
    match value {
        _ if depth == 0 => true,
        Value::Null => false,
        Value::Bool(is_true) => *is_true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => list.iter().any(|value| says_something(value, depth - 1)),
        Value::Object(members) => members
            .values()
            .any(|value| says_something(value, depth - 1)),
    }
}

/// Both dialects tell the same error, and neither without bound.
fn told(error: Error) {
    let message = error.message().to_owned();
    assert!(
        (1..=MESSAGE_BYTES_MAX).contains(&message.len()),
        "a message of {} bytes",
        message.len()
    );
    assert!(
        error.retry_after() <= Some(Duration::from_secs(3600)),
        "{:?}",
        error.retry_after()
    );
    assert!(format!("{error:?} {error}").contains(&message));

    let row = error.kind().row();
    let response = error.clone().into_response::<Vec<u8>>();
    assert_eq!(response.status(), row.http);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with(&message),
        "{body}"
    );
    assert_eq!(body["error"]["code"], error.code());
    assert_eq!(body["error"]["type"], row.openai);
    assert_eq!(body["error"]["param"].as_str(), error.param());
    assert_eq!(
        response.headers().contains_key("retry-after"),
        error.retry_after().is_some()
    );

    let head = tonic::Status::from(error)
        .into_http::<()>()
        .into_parts()
        .0
        .headers;
    // As HTTP/2 counts the size of a head.
    let bytes: usize = head
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    assert!(bytes <= HEAD_BYTES_MAX, "a head of {bytes} bytes");
    let read = tonic::Status::from_header_map(&head).unwrap();
    assert_eq!(read.code(), row.grpc);
    assert!(
        message.starts_with(read.message()),
        "{:?} of {message:?}",
        read.message()
    );
    assert_eq!(read.message().is_empty(), message.is_empty());
}
