//! The kinds of errors, and the gRPC status, the HTTP status and the OpenAI type of each.
//! docs/errors.md prints this table.

use http::StatusCode;
use tonic::Code;

/// The kind of an error. It tells who can act, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong. The caller must correct it.
    Invalid,
    /// The model is cold or loading. Wait for minutes, or use another model.
    NotReady,
    /// The *caller's* key for the gateway is missing or wrong.
    Unauthenticated,
    /// The account may not use this model or the API.
    Forbidden,
    /// The model or the path does not exist.
    NotFound,
    /// The path does not take this method, or the method does not take this number of messages.
    WrongMethod,
    /// The `content-type` or `content-encoding` of the body is not supported.
    WrongMediaType,
    /// The frames of the body are not as gRPC and Connect require. Both call this an internal error,
    /// although the caller must correct it.
    WrongFrame,
    /// The request is larger than a limit.
    TooLarge,
    /// All concurrency units are in use. Try again soon.
    Saturated,
    /// The caller's key has used what it may use for now.
    Limited,
    /// The caller disconnected.
    Cancelled,
    /// A timeout expired.
    Timeout,
    /// The gateway's own configuration is wrong. Its owner must correct it.
    Misconfigured,
    /// The answer of upstream is wrong or incomplete.
    Upstream,
    /// Upstream or the gateway itself cannot serve now.
    Unavailable,
    /// A bug of the gateway.
    Internal,
}

/// One row: the same kind in three protocols.
#[derive(Debug)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// Its gRPC status.
    pub grpc: Code,
    /// Its HTTP status.
    pub http: StatusCode,
    /// The `type` of OpenAI's error body.
    pub openai: &'static str,
}

const fn row(kind: Kind, grpc: Code, http: StatusCode, openai: &'static str) -> Row {
    Row {
        kind,
        grpc,
        http,
        openai,
    }
}

/// nginx's status for a caller who disconnected; IANA has none. Reserved: the caller is gone, so it
/// is never sent.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// Short for the table.
type Http = StatusCode;

/// The types of OpenAI's errors.
const REQUEST: &str = "invalid_request_error";
const AUTH: &str = "authentication_error";
const PERMISSION: &str = "permission_error";
const RATE: &str = "rate_limit_error";
const TIMEOUT: &str = "timeout_error";
const SERVER: &str = "server_error";
const UPSTREAM: &str = "upstream_error";

/// Every kind, in the order of [`Kind`].
#[rustfmt::skip]
pub const TABLE: [Row; 17] = [
    row(Kind::Invalid,         Code::InvalidArgument,    Http::BAD_REQUEST,            REQUEST),
    row(Kind::NotReady,        Code::FailedPrecondition, Http::BAD_REQUEST,            REQUEST),
    row(Kind::Unauthenticated, Code::Unauthenticated,    Http::UNAUTHORIZED,           AUTH),
    row(Kind::Forbidden,       Code::PermissionDenied,   Http::FORBIDDEN,              PERMISSION),
    row(Kind::NotFound,        Code::NotFound,           Http::NOT_FOUND,              REQUEST),
    row(Kind::WrongMethod,     Code::Unimplemented,      Http::METHOD_NOT_ALLOWED,     REQUEST),
    row(Kind::WrongMediaType,  Code::InvalidArgument,    Http::UNSUPPORTED_MEDIA_TYPE, REQUEST),
    row(Kind::WrongFrame,      Code::Internal,           Http::BAD_REQUEST,            REQUEST),
    row(Kind::TooLarge,        Code::ResourceExhausted,  Http::PAYLOAD_TOO_LARGE,      REQUEST),
    row(Kind::Saturated,       Code::ResourceExhausted,  Http::TOO_MANY_REQUESTS,      RATE),
    row(Kind::Limited,         Code::ResourceExhausted,  Http::TOO_MANY_REQUESTS,      RATE),
    row(Kind::Cancelled,       Code::Cancelled,          CLIENT_CLOSED_REQUEST,        REQUEST),
    row(Kind::Timeout,         Code::DeadlineExceeded,   Http::GATEWAY_TIMEOUT,        TIMEOUT),
    row(Kind::Misconfigured,   Code::FailedPrecondition, Http::SERVICE_UNAVAILABLE,    SERVER),
    row(Kind::Upstream,        Code::Unavailable,        Http::BAD_GATEWAY,            UPSTREAM),
    row(Kind::Unavailable,     Code::Unavailable,        Http::SERVICE_UNAVAILABLE,    SERVER),
    row(Kind::Internal,        Code::Internal,           Http::INTERNAL_SERVER_ERROR,  SERVER),
];

impl Kind {
    /// Its row.
    pub const fn row(self) -> &'static Row {
        const ROWS: &[Row; 17] = &TABLE;
        #[allow(
            clippy::indexing_slicing,
            reason = "a row for each kind, in order; the test below holds it to that"
        )]
        &ROWS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_row() {
        for row in &TABLE {
            assert_eq!(row.kind.row().kind, row.kind);
        }
        assert_eq!(
            Kind::Internal as usize + 1,
            TABLE.len(),
            "Internal is the last kind"
        );
        assert_eq!(CLIENT_CLOSED_REQUEST.as_u16(), 499);
    }
}
