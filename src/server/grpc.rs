//! Where gRPC and the rest of HTTP meet: who speaks it, and what to answer to those who don't.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use tonic::{Code, Status};

use crate::error::{Error, Kind};

const GRPC_WEB: &str = "application/grpc-web";

/// Whether the caller speaks gRPC or gRPC-Web, by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    media_type(headers).starts_with("application/grpc")
}

/// Lets only gRPC and gRPC-Web through to the gRPC services: the layers behind answer others without a word.
pub(super) async fn only_grpc(request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        let is_web = media_type(request.headers()).starts_with(GRPC_WEB);
        if request.method() != Method::POST || !(is_web || request.version() == Version::HTTP_2) {
            let message = "gRPC is POST over HTTP/2; gRPC-Web (application/grpc-web+proto) is POST over any version";
            return respond(Error::new(Kind::WrongMethod, "not_grpc", message).into(), request.headers());
        }
        return explain(next.run(request).await);
    }
    let message = format!(
        "{} is a gRPC method: call it by gRPC or gRPC-Web. For JSON there is POST /v1/chat/completions",
        request.uri().path()
    );
    Error::new(Kind::WrongMediaType, "unsupported_media_type", message).into_response()
}

/// Gives the errors that tonic makes by itself what all of ours have, where they are a whole answer.
fn explain(response: Response) -> Response {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    if !status.details().is_empty() || status.code() == Code::Ok {
        return response;
    }
    let mut explained: Response = explained(status).into_http();
    let kept = response.headers().iter().filter(|(name, _)| !name.as_str().starts_with("grpc-"));
    for (name, value) in kept {
        explained.headers_mut().insert(name, value.clone());
    }
    explained
}

/// The error that tonic made by itself, with what all of ours have: an `ErrorInfo`, and a code by the table.
pub(super) fn explained(status: Status) -> Status {
    let (kind, reason) = match status.code() {
        _ if !status.details().is_empty() => return status,
        // Ours have details. What tonic calls internal by itself is a request that it can't read.
        Code::Internal => (Kind::Invalid, "invalid_protobuf"),
        Code::Unimplemented => (Kind::WrongMethod, "unknown_method"),
        _ => return status,
    };
    Error::new(kind, reason, status.message().to_owned()).into()
}

/// The answer to a method that no service has.
pub(super) fn unknown_method(request: &Request) -> Response {
    let message = format!("No such method: {}. Server reflection lists what there is", request.uri().path());
    respond(Status::unimplemented(message), request.headers())
}

/// A refusal in the caller's dialect.
pub(super) fn refuse(error: Error, headers: &HeaderMap) -> Response {
    if is_grpc(headers) { respond(error.into(), headers) } else { error.into_response() }
}

/// A gRPC error as a whole answer, without a body.
pub(super) fn respond(status: Status, headers: &HeaderMap) -> Response {
    let mut response = status.into_http();
    if media_type(headers).starts_with(GRPC_WEB) {
        let value = headers.get(header::CONTENT_TYPE).cloned();
        let value = value.unwrap_or(HeaderValue::from_static(GRPC_WEB));
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response
}

fn media_type(headers: &HeaderMap) -> &str {
    headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
