//! The codes of errors: the closed list of what can go wrong, and the kind of each.
//!
//! REST tells a code as the `code` of OpenAI's body, gRPC as the `reason` of
//! `google.rpc.ErrorInfo`. The contract lists the same codes as `ErrorReason` in
//! `proto/featherwire/v1/errors.proto`. A test holds the two lists together.

use std::fmt;

use super::table::Kind;

/// Declares [`ErrorCode`] and its functions from one table: code, name, kind.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal, $kind:ident;)*) => {
        /// Why a call failed.
        ///
        /// The gateway chooses what it does by [`Kind`] and by the questions that
        /// [`Error`](super::Error) answers. A code is compared only inside [`error`](super).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $code,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$code),*];

            /// The name for programs, in lower snake case.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }

            /// The kind of the errors with this code.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$code => Kind::$kind,)*
                }
            }

            /// The code with this name. `None` if the gateway has no such code.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$code),)*
                    _ => None,
                }
            }
        }
    };
}

error_codes! {
    /// A field has a value that it cannot have. The error names the field.
    InvalidValue = "invalid_value", Invalid;
    /// The body is not JSON.
    InvalidJson = "invalid_json", Invalid;
    /// The message is not protobuf.
    InvalidProtobuf = "invalid_protobuf", Invalid;
    /// The request has no host, or more than one.
    InvalidHost = "invalid_host", Invalid;
    /// The length of the HTTP body is given twice, or in an unknown way.
    InvalidFraming = "invalid_framing", Invalid;
    /// The body cannot be decompressed.
    InvalidContentEncoding = "invalid_content_encoding", Invalid;
    /// The message cannot be decompressed.
    InvalidGrpcEncoding = "invalid_grpc_encoding", Invalid;
    /// The `provider` does not exist.
    UnknownProvider = "unknown_provider", Invalid;
    /// The conversation is longer than the context of the model.
    ContextLengthExceeded = "context_length_exceeded", Invalid;
    /// The body ended too early.
    IncompleteBody = "incomplete_body", Invalid;
    /// Featherless refused the request and gave no code.
    UpstreamRefused = "upstream_refused", Invalid;

    /// The model is cold or still loading. Try again in minutes.
    ModelNotReady = "model_not_ready", NotReady;

    /// The gateway has no key for Featherless.
    FeatherlessApiKeyNotConfigured = "featherless_api_key_not_configured", Misconfigured;
    /// Featherless rejected the key of the gateway.
    FeatherlessApiKeyRejected = "featherless_api_key_rejected", Misconfigured;
    /// An option of the gateway has a wrong value.
    BadConfiguration = "bad_configuration", Misconfigured;

    /// The caller's key for the gateway is missing or unknown.
    InvalidApiKey = "invalid_api_key", Unauthenticated;

    /// The plan of the account has no API access.
    PlanWithoutApiAccess = "plan_without_api_access", Forbidden;
    /// The licence of the model must be accepted first.
    ModelGated = "model_gated", Forbidden;
    /// The model is not part of the account's plan.
    ModelNotOnPlan = "model_not_on_plan", Forbidden;
    /// The caller's key may not use the model.
    ModelNotAllowed = "model_not_allowed", Forbidden;
    /// The caller's key is for managing keys, not for calls of models.
    WrongKeyRole = "wrong_key_role", Forbidden;
    /// The model costs more concurrency units than the plan has.
    ModelExceedsPlan = "model_exceeds_plan", Forbidden;
    /// Featherless asks for payment.
    PaymentRequired = "payment_required", Forbidden;
    /// Featherless refused access and gave no other reason.
    Forbidden = "forbidden", Forbidden;
    /// A call without a key is to a name that is not the machine's, or manages keys from a web page
    /// of another host.
    UnknownHost = "unknown_host", Forbidden;

    /// The model does not exist. The message suggests similar ids.
    ModelNotFound = "model_not_found", NotFound;
    /// The gateway key does not exist.
    KeyNotFound = "key_not_found", NotFound;
    /// The path does not exist.
    UnknownPath = "unknown_path", NotFound;
    /// Something that the request names does not exist.
    NotFound = "not_found", NotFound;

    /// The path takes another HTTP method.
    MethodNotAllowed = "method_not_allowed", WrongMethod;
    /// A gRPC path was called without gRPC.
    NotGrpc = "not_grpc", WrongMethod;
    /// The service has no such method.
    UnknownMethod = "unknown_method", WrongMethod;
    /// The service does not exist.
    UnknownService = "unknown_service", WrongMethod;
    /// The call has no message.
    MissingMessage = "missing_message", WrongMethod;
    /// The call has more than one message.
    TooManyMessages = "too_many_messages", WrongMethod;
    /// The compression of the message is not supported.
    UnsupportedGrpcEncoding = "unsupported_grpc_encoding", WrongMethod;

    /// The path takes bodies of another media type.
    UnsupportedMediaType = "unsupported_media_type", WrongMediaType;
    /// The compression of the body is not supported.
    UnsupportedContentEncoding = "unsupported_content_encoding", WrongMediaType;

    /// The body is not framed as gRPC requires.
    InvalidFrame = "invalid_frame", WrongFrame;

    /// The request is larger than a limit.
    RequestTooLarge = "request_too_large", TooLarge;

    /// The queue for concurrency units is full.
    QueueFull = "queue_full", Saturated;
    /// No concurrency units became free within the longest wait.
    QueueTimeout = "queue_timeout", Saturated;
    /// No concurrency units would become free before the call's deadline.
    NoUnitsInTime = "no_units_in_time", Saturated;
    /// All concurrency units are in use.
    ConcurrencyLimitExceeded = "concurrency_limit_exceeded", Saturated;
    /// Featherless limits the rate of requests.
    UpstreamRateLimited = "upstream_rate_limited", Saturated;
    /// The number of calls without a key is limited.
    TooManyOpenCalls = "too_many_open_calls", Saturated;

    /// The caller's key has made too many calls, or used too many tokens, in a minute.
    RateLimitExceeded = "rate_limit_exceeded", Limited;
    /// The caller's key has used its budget.
    BudgetExhausted = "budget_exhausted", Limited;

    /// The caller disconnected.
    Cancelled = "cancelled", Cancelled;

    /// The model sent nothing for too long.
    FirstTokenTimeout = "first_token_timeout", Timeout;
    /// The model stopped sending in the middle of its answer.
    StreamStalled = "stream_stalled", Timeout;
    /// The caller's own deadline passed.
    DeadlineExceeded = "deadline_exceeded", Timeout;
    /// Connecting to Featherless took too long.
    ConnectTimeout = "connect_timeout", Timeout;
    /// Featherless reports that it took too long.
    UpstreamTimeout = "upstream_timeout", Timeout;
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", Timeout;
    /// The caller read nothing of its answer for too long.
    StreamIdle = "stream_idle", Timeout;

    /// The streamed answer ended early. It is incomplete.
    UpstreamStreamCut = "upstream_stream_cut", Upstream;
    /// The streamed answer ended with an error. It is incomplete.
    UpstreamStreamFailed = "upstream_stream_failed", Upstream;
    /// The unary answer ended early.
    UpstreamAnswerCut = "upstream_answer_cut", Upstream;
    /// The connection was closed before an answer.
    UpstreamClosed = "upstream_closed", Upstream;
    /// The answer cannot be understood.
    UpstreamBadAnswer = "upstream_bad_answer", Upstream;
    /// The answer is larger than the gateway reads.
    UpstreamAnswerTooLarge = "upstream_answer_too_large", Upstream;
    /// Featherless failed internally.
    UpstreamError = "upstream_error", Upstream;
    /// Connecting to Featherless failed.
    UpstreamUnreachable = "upstream_unreachable", Upstream;
    /// Featherless redirects, which its API never does.
    UpstreamRedirect = "upstream_redirect", Upstream;

    /// Featherless has no capacity for the model now.
    NoCapacity = "no_capacity", Unavailable;
    /// The model failed repeatedly, and the gateway does not ask it for a while.
    CircuitOpen = "circuit_open", Unavailable;
    /// The gateway is shutting down.
    Draining = "draining", Unavailable;
    /// What is left of the budgets of the caller's key is not known now.
    BudgetUnknown = "budget_unknown", Unavailable;
    /// The gateway has no memory for the request now.
    TooManyRequestBytes = "too_many_request_bytes", Unavailable;
    /// The gateway was busy with other large bodies for too long.
    TooManyLargeBodies = "too_many_large_bodies", Unavailable;
    /// The gateway's database does not answer.
    DatabaseUnavailable = "database_unavailable", Unavailable;
    /// The gateway has no file descriptor left.
    OutOfFileDescriptors = "out_of_file_descriptors", Unavailable;
    /// The gateway cannot record what keys with budgets use.
    LedgerUnavailable = "ledger_unavailable", Unavailable;

    /// A bug of the gateway.
    InternalError = "internal_error", Internal;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(*code));
        }
        assert_eq!(ErrorCode::from_name("INVALID_VALUE"), None);
    }
}
