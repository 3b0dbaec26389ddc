//! The error as a `tonic::Status`, with the `google.rpc` details that stock clients decode.

use std::collections::HashMap;

use http::HeaderValue;
use tonic::{Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt};

use super::{Error, Kind};

/// The domain of `google.rpc.ErrorInfo`.
const DOMAIN: &str = "featherwire";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        // AIP-193 asks for UPPER_SNAKE_CASE; otherwise the reason is the REST body's `code`.
        details.set_error_info(error.code().to_ascii_uppercase(), DOMAIN, HashMap::new());
        if let Some(param) = error.param() {
            details.add_bad_request_violation(param, error.message());
        }
        if let Some(wait) = error.retry_after() {
            details.set_retry_info(Some(wait));
        }
        if error.kind() == Kind::Saturated {
            details.add_quota_failure_violation("concurrency units", error.message());
        }
        if let Some(url) = error.help() {
            details.add_help_link("what to do", url);
        }
        let mut metadata = MetadataMap::new();
        if let Some(Ok(id)) = error.upstream_request_id().map(HeaderValue::from_str) {
            metadata.as_mut().insert("x-featherless-request-id", id);
        }
        let mut status =
            Status::with_error_details_and_metadata(error.kind().row().grpc, error.message(), details, metadata);
        status.set_source(std::sync::Arc::new(error));
        status
    }
}
