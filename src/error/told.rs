//! What a response tells: the error from which it was made, for the log and the metrics.

use std::{borrow::Cow, error::Error as _, sync::Arc};

use http::Extensions;
use tonic::{Code, Status};

use super::value::Error;

/// The longest code of upstream's that the log shows, in bytes.
const FOREIGN_CODE_BYTES_MAX: usize = 64;

/// The error of a response of the REST door, among its extensions.
#[derive(Clone, Debug)]
pub(super) struct Told(pub(super) Arc<Error>);

/// The code of an error, and the name of its gRPC status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code. Owned if only upstream knows it. Empty for an error that is not the gateway's.
    pub code: Cow<'static, str>,
    /// The name of its gRPC status, such as `UNAVAILABLE`.
    pub grpc: &'static str,
}

impl Refusal {
    /// The error that a response with these extensions tells. `None` if it tells none.
    pub fn of_response(extensions: &Extensions) -> Option<Self> {
        if let Some(Told(error)) = extensions.get() {
            return Some(Self::from(&**error));
        }
        let status = extensions.get::<Status>()?;
        match status
            .source()
            .and_then(|source| source.downcast_ref::<Error>())
        {
            Some(error) => Some(Self::from(error)),
            None if status.code() == Code::Ok => None,
            None => Some(Self {
                code: Cow::Borrowed(""),
                grpc: name_of(status.code()),
            }),
        }
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let code = match error.known_code() {
            Some(code) => Cow::Borrowed(code.as_str()),
            None => {
                let code = error.code();
                let end = code.floor_char_boundary(FOREIGN_CODE_BYTES_MAX);
                Cow::Owned(code.get(..end).unwrap_or_default().to_owned())
            }
        };
        Self {
            code,
            grpc: name_of(error.kind().row().grpc),
        }
    }
}

/// The name of a status in the specification of gRPC.
const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
