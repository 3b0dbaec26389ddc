//! Where gRPC and the rest of HTTP meet: who speaks it, and what to answer to those who don't.

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue, header};
use tonic::Status;

use crate::error::{Error, Kind};

const GRPC_WEB: &str = "application/grpc-web";

/// Whether the caller speaks gRPC or gRPC-Web, by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    media_type(headers).starts_with("application/grpc")
}

/// Lets only gRPC and gRPC-Web through to the gRPC services: the layers behind answer others without a word.
pub(super) async fn only_grpc(request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let message = format!(
        "{} is a gRPC method: call it by gRPC or gRPC-Web. For JSON there is POST /v1/chat/completions",
        request.uri().path()
    );
    Error::new(Kind::WrongMediaType, "unsupported_media_type", message).into_response()
}

/// The answer to a method that no service has.
pub(super) fn unknown_method(request: &Request) -> Response {
    let message = format!("No such method: {}. Server reflection lists what there is", request.uri().path());
    respond(Status::unimplemented(message), request.headers())
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
