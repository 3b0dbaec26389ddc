//! Kinds of errors and what each is called in gRPC, in HTTP and in OpenAI's words. docs/errors.md
//! prints this table.

use http::StatusCode;
use tonic::Code;

/// What kind of thing went wrong: who is to do something about it, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong; mend it.
    Invalid,
    /// The model is cold or loading; wait for minutes, or take another.
    NotReady,
    /// The *caller's* gateway key is missing or wrong.
    Unauthenticated,
    /// The account may not use this model or the API.
    Forbidden,
    /// There is no such model or path.
    NotFound,
    /// There is such a path, but not for this method.
    WrongMethod,
    /// The body is not JSON by its own word.
    WrongMediaType,
    /// The request is larger than a limit.
    TooLarge,
    /// All concurrency units are taken; try again soon.
    Saturated,
    /// The caller left.
    Cancelled,
    /// Something took longer than allowed.
    Timeout,
    /// The gateway's own configuration is wrong; its owner must mend it.
    Misconfigured,
    /// The upstream answered nonsense, or not to the end.
    Upstream,
    /// The upstream, or the gateway itself, can't serve right now.
    Unavailable,
    /// A bug of ours.
    Internal,
}

/// One row: the same error in three languages.
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

/// nginx's number for a caller who left; IANA has none. Nobody is there to read it: it is for the
/// access log.
const CLIENT_CLOSED_REQUEST: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};

/// Every kind, in the order of [`Kind`].
#[rustfmt::skip]
pub const TABLE: [Row; 15] = [
    row(Kind::Invalid,         Code::InvalidArgument,    StatusCode::BAD_REQUEST,            "invalid_request_error"),
    row(Kind::NotReady,        Code::FailedPrecondition, StatusCode::BAD_REQUEST,            "invalid_request_error"),
    row(Kind::Unauthenticated, Code::Unauthenticated,    StatusCode::UNAUTHORIZED,           "authentication_error"),
    row(Kind::Forbidden,       Code::PermissionDenied,   StatusCode::FORBIDDEN,              "permission_error"),
    row(Kind::NotFound,        Code::NotFound,           StatusCode::NOT_FOUND,              "invalid_request_error"),
    row(Kind::WrongMethod,     Code::Unimplemented,      StatusCode::METHOD_NOT_ALLOWED,     "invalid_request_error"),
    row(Kind::WrongMediaType,  Code::InvalidArgument,    StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error"),
    row(Kind::TooLarge,        Code::ResourceExhausted,  StatusCode::PAYLOAD_TOO_LARGE,      "invalid_request_error"),
    row(Kind::Saturated,       Code::ResourceExhausted,  StatusCode::TOO_MANY_REQUESTS,      "rate_limit_error"),
    row(Kind::Cancelled,       Code::Cancelled,          CLIENT_CLOSED_REQUEST,              "invalid_request_error"),
    row(Kind::Timeout,         Code::DeadlineExceeded,   StatusCode::GATEWAY_TIMEOUT,        "timeout_error"),
    row(Kind::Misconfigured,   Code::FailedPrecondition, StatusCode::SERVICE_UNAVAILABLE,    "server_error"),
    row(Kind::Upstream,        Code::Unavailable,        StatusCode::BAD_GATEWAY,            "upstream_error"),
    row(Kind::Unavailable,     Code::Unavailable,        StatusCode::SERVICE_UNAVAILABLE,    "server_error"),
    row(Kind::Internal,        Code::Internal,           StatusCode::INTERNAL_SERVER_ERROR,  "server_error"),
];

impl Kind {
    /// Its row.
    pub const fn row(self) -> &'static Row {
        const ROWS: &[Row; 15] = &TABLE;
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
    fn every_kind_finds_its_own_row() {
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
