//! The one error of the gateway.
//!
//! It is made where something fails, knows both its gRPC and its HTTP status, and is put into words
//! of a dialect only at the door: [`grpc`] makes a `tonic::Status` of it, [`openai`] an OpenAI
//! error body. [`upstream`] makes one of an upstream's reply. There is no fourth conversion.
//! [`cure`] says what can be done about it.

use std::{fmt, sync::Arc, time::Duration};

mod code;
mod cure;
mod grpc;
mod openai;
mod table;
mod throttle;
mod upstream;

pub use code::ErrorCode;
pub use cure::{Health, Retry};
pub use openai::Body;
pub use table::{Kind, Row, TABLE};
pub use throttle::{Throttle, UnitRefusal};
pub use upstream::{BODY_BYTES_MAX, Reply, request_id};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// `Result` with the gateway's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for two readers: [`message`](Self::message) tells the caller what happened and
/// what to do; `source()` tells the log why. `Display` prints the first only.
///
/// Boxed, so that the good way of every `Result` stays small.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    kind: Kind,
    code: Code,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    throttle: Option<Throttle>,
    help: Option<String>,
    model: Option<String>,
    limit: Option<usize>,
    upstream_request_id: Option<String>,
    upstream_status: Option<u16>,
    source: Option<Arc<Source>>,
}

/// A code of an error: one of the gateway's, or one that only Featherless knows.
#[derive(Clone, Debug)]
enum Code {
    Known(ErrorCode),
    Foreign(String),
}

/// When to call again after [`Error::draining`].
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Error {
    /// An error with this code, which decides its kind. `message` tells the caller what happened
    /// and what to do.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind: code.kind(),
            code: Code::Known(code),
            message: message.into(),
            param: None,
            retry_after: None,
            throttle: None,
            help: None,
            model: None,
            limit: None,
            upstream_request_id: None,
            upstream_status: None,
            source: None,
        }))
    }

    /// A field of the request is bad. `param` is its path.
    pub fn invalid(param: impl Into<String>, problem: impl fmt::Display) -> Self {
        let param = param.into();
        Self::new(ErrorCode::InvalidValue, format!("{param}: {problem}")).with_param(param)
    }

    /// The caller's own deadline passed before `event`, such as "the answer was complete".
    pub fn deadline_exceeded(event: &str) -> Self {
        let message = format!(
            "The caller's own deadline passed before {event}: allow more time, or ask for less (a \
             smaller model, fewer max_tokens)"
        );
        Self::new(ErrorCode::DeadlineExceeded, message)
    }

    /// The gateway shuts down, so it takes no new call and ends each one that still runs.
    pub fn draining() -> Self {
        let message = "The gateway is shutting down and did not complete this call: call again, \
                       later or at another instance";
        Self::new(ErrorCode::Draining, message).with_retry_after(DRAINING_RETRY_AFTER)
    }

    /// A bug of ours: the caller learns no more than that.
    pub fn internal(source: impl Into<Source>) -> Self {
        let message = "Internal error of the gateway: its log knows more. Please report it";
        let error = Self::new(ErrorCode::InternalError, message).with_source(source);
        tracing::error!(cause = error.cause(), "internal error");
        error
    }

    /// The same error of another kind, for a protocol that requires another status: a health check
    /// of an unknown service is `NOT_FOUND`.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error, with the code that Featherless gave it. The kind stays.
    #[must_use]
    pub fn with_foreign_code(mut self, code: &str) -> Self {
        self.0.code = match ErrorCode::from_name(code) {
            Some(code) => Code::Known(code),
            None => Code::Foreign(code.to_owned()),
        };
        self
    }

    /// The same error, about this field of the request.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// The same error, worth another try after this time.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The same error, with the address of a page that helps.
    #[must_use]
    pub fn with_help(mut self, url: impl Into<String>) -> Self {
        self.0.help = Some(url.into());
        self
    }

    /// The same error, of a call that asked for this model; the first one counts.
    #[must_use]
    pub fn with_model(mut self, model: &str) -> Self {
        self.0.model.get_or_insert_with(|| model.to_owned());
        self
    }

    /// The same error, by which this limit was met: bytes, units or calls.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// The same error without this secret: an upstream may repeat the key that it was shown.
    #[must_use]
    pub fn without_secret(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|secret| self.0.message.contains(secret)) {
            self.0.message = self.0.message.replace(secret, "…");
        }
        self
    }

    /// The same error, of the upstream's answer with this `request-id`.
    #[must_use]
    pub fn with_upstream_request_id(mut self, id: Option<String>) -> Self {
        if id.is_some() {
            self.0.upstream_request_id = id;
        }
        self
    }

    /// The same error, of an upstream's reply with this HTTP status.
    #[must_use]
    fn with_upstream_status(mut self, status: http::StatusCode) -> Self {
        self.0.upstream_status = Some(status.as_u16());
        self
    }

    /// The same error, with names of models that are near the one asked for.
    #[must_use]
    pub fn with_suggestions(mut self, names: &[String]) -> Self {
        if !names.is_empty() {
            self.0.message = format!("{}. Near: {}", self.0.message, names.join(", "));
        }
        self
    }

    /// The same error, with what else was tried, in vain.
    #[must_use]
    pub fn with_also(mut self, tried: &[String]) -> Self {
        self.0.message = format!("{}. Tried as well: {}", self.0.message, tried.join(", "));
        self
    }

    /// The same error, with what caused it: for the log only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(Arc::new(source.into()));
        self
    }

    /// Its row in the table.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its name for programs, in lower snake case.
    pub fn code(&self) -> &str {
        match &self.0.code {
            Code::Known(code) => code.as_str(),
            Code::Foreign(code) => code,
        }
    }

    /// Whether this is an error with `code`, of the kind that `code` has. An error of Featherless's
    /// may carry the same code and another kind.
    fn is(&self, code: ErrorCode) -> bool {
        self.kind() == code.kind() && self.has_code(code)
    }

    /// Whether the error carries `code`, whatever its kind.
    fn has_code(&self, code: ErrorCode) -> bool {
        matches!(self.0.code, Code::Known(known) if known == code)
    }

    /// What happened and what to do about it, for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The path of the bad field.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// How long to wait before another try makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The address of a page that helps.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The model that the call asked for, if it asked for one.
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The limit that was met, if it is known: bytes, units or calls.
    pub fn limit(&self) -> Option<usize> {
        self.0.limit
    }

    /// What caused it, and what caused that, for the log: never for the caller.
    pub fn cause(&self) -> String {
        let mut cause = String::new();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            let separator = if cause.is_empty() { "" } else { ": " };
            cause = format!("{cause}{separator}{error}");
            source = error.source();
        }
        cause
    }

    /// The upstream's `request-id`, if it came from there.
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.0.upstream_request_id.as_deref()
    }

    /// The HTTP status of the upstream's reply, if the error is one. What comes within an answer
    /// has none.
    fn upstream_status(&self) -> Option<u16> {
        self.0.upstream_status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            kind,
            message,
            source,
            ..
        } = &*self.0;
        write!(f, "{kind:?} {}: {message}", self.code())?;
        source
            .iter()
            .try_for_each(|source| write!(f, " ({source})"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| &**source as _)
    }
}
