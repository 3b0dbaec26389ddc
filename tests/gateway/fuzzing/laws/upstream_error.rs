//! The law for errors of the upstream, and for their form at the doors.

use std::time::Duration;

use featherwire::{
    error::Error,
    upstream::error::{ErrorReply, from_error_event, from_event, from_failed_choice},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

/// The limit for response headers in the strictest clients.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The longest message: a thousand characters from the upstream, and the gateway's advice.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// The longest model id that is accepted in a request.
const MODEL_BYTES_MAX: usize = 256;

/// The largest depth at which an error is searched.
const DEPTH_MAX: usize = 6;

/// Members that make an event look like an error without a member `error`.
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

/// Every reply of the upstream becomes an error that is valid at every door and within the limits.
///
/// The input has four lines with the status, the `request-id`, the `retry-after` and the model. The
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
            "no text of a web page is passed on"
        );
    }
    assert_eq!(
        error(body).cause(),
        error(b"").cause(),
        "no text of a body is logged"
    );
    check_dialects(error(body));
    event(body);
}

/// An event is an error if it is an object with a non-empty `error`, and is not an error if no
/// member looks like an error.
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
    error.into_iter().for_each(check_dialects);
    check_dialects(from_error_event(data, Some("org/model")));
    let text = std::str::from_utf8(data).ok();
    from_failed_choice(text, text, None)
        .into_iter()
        .for_each(check_dialects);
}

/// Whether a value is not empty. Null, `false`, zero and empty values are empty. Values that are
/// nested too deeply count as not empty.
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

/// Checks that both dialects have the same error within the limits.
fn check_dialects(error: Error) {
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
    // The size of headers as HTTP/2 counts it.
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
