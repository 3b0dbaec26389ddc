//! Errors in Connect's JSON: the body of a failed unary call, and the end of a failed stream.

use std::{collections::BTreeMap, error::Error as _};

use axum::response::Response;
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use prost::Message;
use serde::Serialize;
use serde_json::value::RawValue;
use tonic::{Code, Status};

use super::{form::Form, json};
use crate::{error::Error, grpc::message_scanner::PREFIX_BYTES};

/// The flag of the envelope that ends a stream.
const END_FLAG: u8 = 0b10;

/// The content types that a unary method takes, and those that a streaming method takes.
const ACCEPTED: [&str; 2] = [
    "application/json, application/proto, application/grpc, application/grpc-web",
    "application/connect+json, application/connect+proto, application/grpc, application/grpc-web",
];

/// A request that is refused before it is one of gRPC.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    /// The form of the request. `None` if it is unknown.
    form: Option<Form>,
    /// The HTTP status, if it says more than the code. Then the code is the one that a client
    /// infers from it.
    http: Option<StatusCode>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// A refusal with the code and the HTTP status of `error`.
    pub(super) fn new(error: Error, form: Option<Form>) -> Self {
        Self {
            error,
            form,
            http: None,
            header: None,
        }
    }

    /// The path does not exist.
    pub(super) fn not_found(error: Error, form: Option<Form>) -> Self {
        Self {
            http: Some(StatusCode::NOT_FOUND),
            ..Self::new(error, form)
        }
    }

    /// The path takes only `POST`, or also `GET`.
    pub(super) fn wrong_method(error: Error, allowed: &'static str) -> Self {
        Self {
            http: Some(StatusCode::METHOD_NOT_ALLOWED),
            header: Some((header::ALLOW, HeaderValue::from_static(allowed))),
            ..Self::new(error, None)
        }
    }

    /// The content type is not one of the method, which streams or does not.
    pub(super) fn wrong_media_type(error: Error, is_stream: bool) -> Self {
        let [unary, stream] = ACCEPTED.map(HeaderValue::from_static);
        let accepted = if is_stream { stream } else { unary };
        Self {
            http: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            header: Some((HeaderName::from_static("accept-post"), accepted)),
            ..Self::new(error, None)
        }
    }

    /// With a header that says what is accepted.
    pub(super) fn with_header(self, name: HeaderName, value: &'static str) -> Self {
        Self {
            header: Some((name, HeaderValue::from_static(value))),
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response {
        let status = Status::from(self.error);
        let mut headers = status.metadata().clone().into_headers();
        headers.extend(self.header);
        match (self.form, self.http) {
            (Some(form), _) if form.is_stream => ended(status, headers, form),
            (_, http) => failed(status, headers, http),
        }
    }
}

/// The response to a unary call that failed with `status`. `http` is the HTTP status if the code
/// does not decide it.
pub(super) fn failed(status: Status, mut headers: HeaderMap, http: Option<StatusCode>) -> Response {
    let (code, of_code) = code(status.code());
    let code = http.map_or(code, inferred);
    let body = serde_json::to_vec(&Body::new(code, &status)).unwrap_or_default();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if status.code() == Code::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = retry_after(&status) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    let mut response = Response::new(body.into());
    *response.status_mut() = http.unwrap_or(of_code);
    *response.headers_mut() = headers;
    response.extensions_mut().insert(status);
    response
}

/// When to call again, in whole seconds, rounded up, because an early retry would fail again.
fn retry_after(status: &Status) -> Option<u64> {
    let error = status.source()?.downcast_ref::<Error>()?;
    let wait = error.retry_after()?;
    Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// The response to a streaming call that failed before its first message.
pub(super) fn ended(status: Status, mut headers: HeaderMap, form: Form) -> Response {
    headers.insert(header::CONTENT_TYPE, form.media_type());
    let mut response = Response::new(end(Some(&status), &HeaderMap::new()).into());
    *response.headers_mut() = headers;
    response.extensions_mut().insert(status);
    response
}

/// The envelope that ends a stream: with the error, if the call failed, and the metadata among its
/// `trailers`.
pub(super) fn end(error: Option<&Status>, trailers: &HeaderMap) -> Bytes {
    let mut metadata = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in trailers {
        if let Ok(value) = value.to_str()
            && !is_own(name)
        {
            metadata.entry(name.as_str()).or_default().push(value);
        }
    }
    let end = End {
        error: error.map(|status| Body::new(code(status.code()).0, status)),
        metadata,
    };
    let mut envelope = BytesMut::zeroed(PREFIX_BYTES).writer();
    // Texts always serialise.
    let _ = serde_json::to_writer(&mut envelope, &end);
    let mut envelope = envelope.into_inner();
    let length = u32::try_from(envelope.len() - PREFIX_BYTES).unwrap_or(u32::MAX);
    if let Some(prefix) = envelope.first_chunk_mut() {
        let [a, b, c, d] = length.to_be_bytes();
        *prefix = [END_FLAG, a, b, c, d];
    }
    envelope.freeze()
}

/// Whether a trailer or header belongs to gRPC itself.
pub(super) fn is_own(name: &HeaderName) -> bool {
    name.as_str().starts_with("grpc-")
}

/// Connect's name of a code, and its HTTP status, in the order of the specification.
const fn code(code: Code) -> (&'static str, StatusCode) {
    match code {
        Code::Cancelled => ("canceled", CLIENT_CLOSED_REQUEST),
        Code::Ok | Code::Unknown => ("unknown", StatusCode::INTERNAL_SERVER_ERROR),
        Code::InvalidArgument => ("invalid_argument", StatusCode::BAD_REQUEST),
        Code::DeadlineExceeded => ("deadline_exceeded", StatusCode::GATEWAY_TIMEOUT),
        Code::NotFound => ("not_found", StatusCode::NOT_FOUND),
        Code::AlreadyExists => ("already_exists", StatusCode::CONFLICT),
        Code::PermissionDenied => ("permission_denied", StatusCode::FORBIDDEN),
        Code::ResourceExhausted => ("resource_exhausted", StatusCode::TOO_MANY_REQUESTS),
        Code::FailedPrecondition => ("failed_precondition", StatusCode::BAD_REQUEST),
        Code::Aborted => ("aborted", StatusCode::CONFLICT),
        Code::OutOfRange => ("out_of_range", StatusCode::BAD_REQUEST),
        Code::Unimplemented => ("unimplemented", StatusCode::NOT_IMPLEMENTED),
        Code::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        Code::DataLoss => ("data_loss", StatusCode::INTERNAL_SERVER_ERROR),
        Code::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED),
    }
}

/// nginx's status for a caller who disconnected; IANA has none.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// The code that clients infer from an HTTP status without a code, for the statuses of [`Refusal`].
fn inferred(http: StatusCode) -> &'static str {
    match http {
        StatusCode::NOT_FOUND => "unimplemented",
        _ => "unknown",
    }
}

/// The end of a stream.
#[derive(Serialize)]
struct End<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Body<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<&'a str, Vec<&'a str>>,
}

/// Connect's error.
#[derive(Serialize)]
struct Body<'a> {
    code: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    r#type: String,
    /// The message, in base64 without padding.
    value: String,
    /// The message in JSON, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Box<RawValue>>,
}

impl<'a> Body<'a> {
    fn new(code: &'static str, status: &'a Status) -> Self {
        let details = tonic_types::pb::Status::decode(status.details())
            .map_or_else(|_| Vec::new(), |status| status.details);
        let detail = |detail: prost_types::Any| {
            let name = detail.type_url.rsplit('/').next().unwrap_or_default();
            Detail {
                r#type: name.to_owned(),
                value: BASE64_STANDARD_NO_PAD.encode(&detail.value),
                debug: json::of_detail(name, &detail.value),
            }
        };
        Self {
            code,
            message: status.message(),
            details: details.into_iter().map(detail).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn a_stream_ends_with_one_envelope() {
        let of = |end: &[u8]| {
            let (prefix, json) = end.split_first_chunk::<5>().unwrap();
            let length = u8::try_from(json.len()).unwrap();
            assert_eq!(*prefix, [2, 0, 0, 0, length]);
            String::from_utf8(json.to_vec()).unwrap()
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(of(&end(None, &trailers)), "{}");
        trailers.append("a", HeaderValue::from_static("1"));
        trailers.append("a", HeaderValue::from_static("2"));
        assert_eq!(of(&end(None, &trailers)), r#"{"metadata":{"a":["1","2"]}}"#);
        let error = Status::unavailable("overloaded");
        assert_eq!(
            of(&end(Some(&error), &HeaderMap::new())),
            r#"{"error":{"code":"unavailable","message":"overloaded"}}"#
        );
    }

    #[test]
    fn an_error_has_its_details_in_base64_and_in_words() {
        let error = Error::new(ErrorCode::QueueFull, "full");
        let status = Status::from(error.with_retry_after(std::time::Duration::from_secs(2)));
        let body = serde_json::to_value(Body::new("resource_exhausted", &status)).unwrap();
        let details = body["details"].as_array().unwrap();
        let retry = details
            .iter()
            .find(|detail| detail["type"] == "google.rpc.RetryInfo");
        assert_eq!(
            *retry.unwrap(),
            serde_json::json!({
                "type": "google.rpc.RetryInfo", "value": "CgIIAg", "debug": {"retryDelay": "2s"}
            })
        );
        let info = details
            .iter()
            .find(|detail| detail["type"] == "google.rpc.ErrorInfo");
        assert_eq!(info.unwrap()["debug"]["reason"], "QUEUE_FULL");
    }
}
