//! What a listener serves: `--admin-listen` gives the administration a listener of its own.

use axum::extract::Request;

use super::metrics;

use crate::{
    error::{Error, ErrorCode},
    grpc::{self, GrpcServices},
    rest::transcode,
    telemetry,
};

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plane {
    /// Everything.
    Whole,
    /// Everything but the administration.
    Callers,
    /// The administration, the metrics, probes and reflection.
    Administration,
}

impl Plane {
    /// The error for a request that belongs to the other listener.
    pub(super) fn refusal(self, request: &Request) -> Option<Error> {
        let path = request.uri().path();
        let is_admin =
            || path == metrics::PATH || transcode::is_admin(path) || GrpcServices::is_admin(path);
        let message = match self {
            Self::Callers if is_admin() => {
                "The administration and the metrics do not answer at this address: the gateway has \
                 one of its own for them, FEATHERWIRE_ADMIN_LISTEN (--admin-listen)"
            }
            Self::Administration if !is_admin() && !is_of_both(path) => {
                "This address is only for the administration (/admin/v1/…, featherwire.admin.v1) \
                 and for /metrics: models and all else answer at FEATHERWIRE_LISTEN (--listen)"
            }
            _ => return None,
        };
        let code = match grpc::is_grpc(request.headers()) || telemetry::is_connect(request) {
            true => ErrorCode::UnknownService,
            false => ErrorCode::UnknownPath,
        };
        Some(Error::new(code, message))
    }
}

/// Whether both listeners serve a path.
fn is_of_both(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
        || path.starts_with("/grpc.health.v1.")
        || path.starts_with("/grpc.reflection.")
}
