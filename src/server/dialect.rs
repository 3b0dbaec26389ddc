//! Errors of layers that serve both doors, in the format of the caller's protocol.

use axum::response::Response;
use http::HeaderMap;

use crate::{error::Error, grpc};

/// The response that refuses a request with these `headers`: a gRPC status for a gRPC caller, an
/// OpenAI error body for all others.
pub(super) fn refuse(error: Error, headers: &HeaderMap) -> Response {
    if grpc::is_grpc(headers) {
        grpc::refuse(error, headers)
    } else {
        error.into_response()
    }
}
