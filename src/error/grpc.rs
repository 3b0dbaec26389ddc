//! The error as a `tonic::Status`, with the `google.rpc` details that stock clients decode.

use std::collections::HashMap;

use http::HeaderValue;
use tonic::{Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt};

use super::{table::Kind, throttle::Throttle, value::Error};

/// The domain of `google.rpc.ErrorInfo`.
const DOMAIN: &str = "featherwire";

/// The longest texts in headers, in bytes. Percent-encoding can make three bytes of one.
const MESSAGE_BYTES_MAX: usize = 1024;
const DESCRIPTION_BYTES_MAX: usize = 256;
const PARAM_BYTES_MAX: usize = 256;

/// The longest `request-id` of Featherless's that a caller sees, in bytes: heads have limits.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

/// The longest and the shortest reason of `google.rpc.ErrorInfo`, in bytes.
const REASON_BYTES_MAX: usize = 63;
const REASON_BYTES_MIN: usize = 3;

/// The reason of an error whose code cannot be a reason.
const REASON_UNKNOWN: &str = "UNKNOWN";

/// The longest prefix of `text` of at most `bytes_max` bytes, ending between two characters.
fn shortened(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// The `code` of an error in the form that `google.rpc.ErrorInfo` requires:
/// `[A-Z][A-Z0-9_]+[A-Z0-9]`. The gateway's codes have that form in lower case; a foreign code may
/// have any form.
fn reason(code: &str) -> String {
    let mut reason = String::new();
    for letter in code.chars() {
        match letter.to_ascii_uppercase() {
            letter @ 'A'..='Z' => reason.push(letter),
            letter @ '0'..='9' if !reason.is_empty() => reason.push(letter),
            _ if reason.is_empty() || reason.ends_with('_') => {}
            _ => reason.push('_'),
        }
        if reason.len() == REASON_BYTES_MAX {
            break;
        }
    }
    let reason = reason.trim_end_matches('_');
    if reason.len() < REASON_BYTES_MIN {
        REASON_UNKNOWN.to_owned()
    } else {
        reason.to_owned()
    }
}

/// The metadata of `ErrorInfo`, as `proto/featherwire/v1/errors.proto` describes it.
fn metadata(error: &Error) -> HashMap<String, String> {
    let model = error
        .model()
        .map(|model| ("model", shortened(model, PARAM_BYTES_MAX).to_owned()));
    let limit = error.limit().map(|limit| ("limit", limit.to_string()));
    let retry = ("retry", error.retry_advice().to_owned());
    [model, limit, Some(retry)]
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        // All of this is in headers, twice, in base64. Clients refuse more than 8 or 16 KiB of
        // headers.
        let message = shortened(error.message(), MESSAGE_BYTES_MAX);
        let param = error.param().map(|param| shortened(param, PARAM_BYTES_MAX));
        let description = shortened(error.message(), DESCRIPTION_BYTES_MAX);
        let mut details = ErrorDetails::new();
        details.set_error_info(reason(error.code()), DOMAIN, metadata(&error));
        if let Some(param) = param {
            details.add_bad_request_violation(param, description);
        }
        if let Some(wait) = error.retry_after() {
            details.set_retry_info(Some(wait));
        }
        if error.kind() == Kind::Saturated {
            let subject = if error.throttle() == Some(Throttle::Rate) {
                "requests"
            } else {
                "concurrency units"
            };
            details.add_quota_failure_violation(subject, description);
        }
        if error.kind() == Kind::Limited {
            let subject = error.quota().unwrap_or("gateway key");
            details.add_quota_failure_violation(subject, description);
        }
        if let Some(url) = error.help() {
            details.add_help_link("what to do", url);
        }
        let mut metadata = MetadataMap::new();
        // A shortened id would find nothing, so a long one is left out.
        let id = error
            .upstream_request_id()
            .filter(|id| id.len() <= REQUEST_ID_BYTES_MAX);
        if let Some(Ok(id)) = id.map(HeaderValue::from_str) {
            metadata.as_mut().insert("x-featherless-request-id", id);
        }
        if let Some((unit, state)) = error.rate() {
            state.add_to(unit, metadata.as_mut());
        }
        let mut status = Status::with_error_details_and_metadata(
            error.kind().row().grpc,
            message,
            details,
            metadata,
        );
        status.set_source(std::sync::Arc::new(error));
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn every_code_becomes_a_reason() {
        for (code, expected) in [
            ("invalid_value", "INVALID_VALUE"),
            ("a-b.c  d", "A_B_C_D"),
            ("__x__y__", "X_Y"),
            ("4xx error", "XX_ERROR"),
            ("größe zu klein", "GR_E_ZU_KLEIN"),
            ("überlast", "BERLAST"),
            ("", "UNKNOWN"),
            ("42", "UNKNOWN"),
            ("no", "UNKNOWN"),
            ("漢字", "UNKNOWN"),
        ] {
            assert_eq!(reason(code), expected, "{code}");
        }
        assert_eq!(reason(&"c".repeat(100)), "C".repeat(REASON_BYTES_MAX));
        assert_eq!(
            reason(&format!("{}_d", "c".repeat(REASON_BYTES_MAX - 1))),
            "C".repeat(REASON_BYTES_MAX - 1)
        );
    }

    /// The fuzz target for errors found this.
    #[test]
    fn an_upstreams_request_id_is_passed_on_unless_it_would_fill_the_headers() {
        let told = |bytes: usize| {
            let error = Error::new(ErrorCode::UpstreamError, "It failed");
            let status = Status::from(error.with_upstream_request_id(Some("r".repeat(bytes))));
            status
                .metadata()
                .get("x-featherless-request-id")
                .map(|id| id.len())
        };
        assert_eq!(told(36), Some(36));
        assert_eq!(told(REQUEST_ID_BYTES_MAX), Some(REQUEST_ID_BYTES_MAX));
        assert_eq!(told(REQUEST_ID_BYTES_MAX + 1), None);
    }
}
