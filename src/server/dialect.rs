//! Errors of layers that serve both doors, in the format of the caller's protocol.

use axum::response::Response;
use http::Request;

use crate::{
    error::Error,
    grpc::{self, connect},
    telemetry,
};

/// The response that refuses `request`: a gRPC status for a caller of gRPC, Connect's error for one
/// of Connect, an OpenAI error body for all others.
pub(super) fn refuse<B>(error: Error, request: &Request<B>) -> Response {
    if grpc::is_grpc(request.headers()) {
        grpc::refuse(error, request.headers())
    } else if telemetry::is_connect(request) {
        connect::refuse(error, request)
    } else {
        error.into_response()
    }
}
