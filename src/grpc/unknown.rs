//! gRPC requests to methods that don't exist.

use axum::{extract::Request, response::Response};

use super::{methods::Methods, response::refuse};
use crate::error::Error;

/// The response to a gRPC request whose path no route has.
pub(crate) fn unknown_method(methods: &Methods, request: &Request) -> Response {
    let error = match methods.find(request.uri().path()) {
        Err(error) => error,
        // The router has a route for each method.
        Ok(_) => Error::internal("a method without a route"),
    };
    refuse(error, request.headers())
}
