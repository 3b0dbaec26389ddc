//! The error value: how it is created, what it carries, and what the log may read.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    code::ErrorCode,
    rate_state::{RateState, RateUnit},
    table::Kind,
    throttle::{Throttle, UnitRefusal},
};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// `Result` with the gateway's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When to call again after [`Error::draining`].
const DRAINING_RETRY_AFTER: Duration = Duration::from_secs(2);

/// What went wrong, for two readers. [`message`](Self::message) tells the caller what happened and
/// what to do. `source()` tells the log why. `Display` prints only the message.
///
/// The value is boxed, so that every `Result` stays small.
///
/// ```
/// use featherwire::error::{Error, ErrorCode, Kind};
///
/// let error = Error::new(ErrorCode::QueueFull, "The queue is full").with_limit(100);
/// assert_eq!((error.kind(), error.code()), (Kind::Saturated, "queue_full"));
/// assert_eq!(error.kind().row().http, 429);
/// ```
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
    quota: Option<String>,
    rate: Option<(RateUnit, RateState)>,
    upstream_request_id: Option<String>,
    upstream_status: Option<u16>,
    source: Option<Arc<Source>>,
}

/// The code of an error: one of the gateway's, or one that only Featherless knows.
#[derive(Clone, Debug)]
enum Code {
    Known(ErrorCode),
    Foreign(String),
}

impl Error {
    /// An error with `code`, which decides its kind. `message` tells the caller what happened and
    /// what to do.
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
            quota: None,
            rate: None,
            upstream_request_id: None,
            upstream_status: None,
            source: None,
        }))
    }

    /// A field of the request has a wrong value. `param` is the path of the field.
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

    /// The gateway is shutting down: it accepts no new call and ends each call that still runs.
    pub fn draining() -> Self {
        let message = "The gateway is shutting down and did not complete this call: call again, \
                       later or at another instance";
        Self::new(ErrorCode::Draining, message).with_retry_after(DRAINING_RETRY_AFTER)
    }

    /// The connection of the call has reached its largest age, and the time for its last calls is
    /// over.
    pub fn connection_ended() -> Self {
        let message = "The gateway closes this connection because of its age, and did not complete \
                       this call: call again, on a new connection";
        Self::new(ErrorCode::Draining, message).with_retry_after(DRAINING_RETRY_AFTER)
    }

    /// A bug of the gateway. `source` goes to the log; the caller does not see it.
    pub fn internal(source: impl Into<Source>) -> Self {
        let message = "Internal error of the gateway: its log has the cause. Please report it";
        let error = Self::new(ErrorCode::InternalError, message).with_source(source);
        tracing::error!(cause = error.cause(), "internal error");
        error
    }

    /// Replaces the kind, for a protocol that requires another status: a health check of an unknown
    /// service is `NOT_FOUND`.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Replaces the code by the one that Featherless gave. The kind stays.
    #[must_use]
    pub fn with_foreign_code(mut self, code: &str) -> Self {
        self.0.code = match ErrorCode::from_name(code) {
            Some(code) => Code::Known(code),
            None => Code::Foreign(code.to_owned()),
        };
        self
    }

    /// Names the wrong field of the request by its path.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Advises the caller to try again after `wait`.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// As [`with_retry_after`](Self::with_retry_after), for a `wait` that Featherless asks for. It
    /// becomes part of the [`UnitRefusal`] too, if the error has one.
    #[must_use]
    pub fn with_upstream_retry_after(mut self, wait: Duration) -> Self {
        if let Some(Throttle::Units(refusal)) = &mut self.0.throttle {
            refusal.retry_after = Some(wait);
        }
        self.with_retry_after(wait)
    }

    /// Says why Featherless throttled the request.
    #[must_use]
    pub fn with_throttle(mut self, throttle: Throttle) -> Self {
        self.0.throttle = Some(throttle);
        self
    }

    /// Links a page that helps.
    #[must_use]
    pub fn with_help(mut self, url: impl Into<String>) -> Self {
        self.0.help = Some(url.into());
        self
    }

    /// Names the model that the call asked for. A name that is already there stays.
    #[must_use]
    pub fn with_model(mut self, model: &str) -> Self {
        self.0.model.get_or_insert_with(|| model.to_owned());
        self
    }

    /// Gives the limit that was reached: bytes, units or calls.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.0.limit = Some(limit);
        self
    }

    /// Names the limit of the caller's key that was reached, such as `tokens/day`.
    #[must_use]
    pub fn with_quota(mut self, quota: impl Into<String>) -> Self {
        self.0.quota = Some(quota.into());
        self
    }

    /// Tells the state of the limit for a minute that was reached.
    #[must_use]
    pub fn with_rate(mut self, unit: RateUnit, state: RateState) -> Self {
        self.0.rate = Some((unit, state));
        self
    }

    /// Removes `secret` from the message: Featherless may repeat the API key.
    #[must_use]
    pub fn without_secret(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret.filter(|secret| self.0.message.contains(secret)) {
            self.0.message = self.0.message.replace(secret, "…");
        }
        self
    }

    /// Gives the `request-id` of Featherless's reply. `None` changes nothing.
    #[must_use]
    pub fn with_upstream_request_id(mut self, id: Option<String>) -> Self {
        if id.is_some() {
            self.0.upstream_request_id = id;
        }
        self
    }

    /// Gives the HTTP status of Featherless's reply. [`retry`](Self::retry) and
    /// [`allows_fallback`](Self::allows_fallback) depend on it.
    #[must_use]
    pub fn with_upstream_status(mut self, status: http::StatusCode) -> Self {
        self.0.upstream_status = Some(status.as_u16());
        self
    }

    /// Adds what Featherless says to the message.
    #[must_use]
    pub fn with_quote(mut self, quote: &str) -> Self {
        self.add_sentence(&format!("Featherless says: {quote}"));
        self
    }

    /// Adds a sentence that says what to do.
    #[must_use]
    pub fn with_advice(mut self, sentence: &str) -> Self {
        self.add_sentence(sentence);
        self
    }

    /// Suggests ids that are similar to the one in the request.
    #[must_use]
    pub fn with_suggestions(mut self, ids: &[String]) -> Self {
        if let Some((last, others)) = ids.split_last() {
            let list = match others {
                [] => last.clone(),
                others => format!("{} or {last}", others.join(", ")),
            };
            self.add_sentence(&format!("Did you mean {list}?"));
        }
        self
    }

    /// Adds the other models that were tried and failed too.
    #[must_use]
    pub fn with_also(mut self, tried: &[String]) -> Self {
        self.add_sentence(&format!("Also tried: {}", tried.join(", ")));
        self
    }

    /// Appends `sentence` to the message. Messages have no full stop at their end.
    fn add_sentence(&mut self, sentence: &str) {
        let message = &mut self.0.message;
        message.push_str(if message.ends_with('?') { " " } else { ". " });
        message.push_str(sentence);
    }

    /// Gives the cause, which only the log sees.
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

    /// Its code, if the gateway knows it.
    pub(super) fn known_code(&self) -> Option<ErrorCode> {
        match self.0.code {
            Code::Known(code) => Some(code),
            Code::Foreign(_) => None,
        }
    }

    /// What happened and what to do about it, for the caller.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The path of the wrong field.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// How long to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Why Featherless throttled the request. `None` for every error that is not its 429: the
    /// gateway's own queue does not throttle.
    pub fn throttle(&self) -> Option<Throttle> {
        self.0.throttle
    }

    /// What Featherless says about the units of the account, if it refused the request for lack of
    /// units.
    pub fn unit_refusal(&self) -> Option<UnitRefusal> {
        match self.0.throttle {
            Some(Throttle::Units(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// The address of a page that helps.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The model that the call asked for, if it asked for one.
    pub fn model(&self) -> Option<&str> {
        self.0.model.as_deref()
    }

    /// The limit that was reached, if it is known: bytes, units or calls.
    pub fn limit(&self) -> Option<usize> {
        self.0.limit
    }

    /// The limit of the caller's key that was reached, such as `tokens/day`.
    pub fn quota(&self) -> Option<&str> {
        self.0.quota.as_deref()
    }

    /// The state of the limit for a minute that was reached.
    pub fn rate(&self) -> Option<(RateUnit, RateState)> {
        self.0.rate
    }

    /// The chain of causes, for the log. The caller must not see it.
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

    /// The `request-id` of Featherless's reply, if the error comes from one.
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.0.upstream_request_id.as_deref()
    }

    /// The HTTP status of Featherless's reply, if the error is one. An error inside a successful
    /// reply has none.
    pub(super) fn upstream_status(&self) -> Option<u16> {
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
        let (kind, code, message) = (self.kind(), self.code(), self.message());
        write!(f, "{kind:?} {code}: {message}")?;
        let source = &self.0.source;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_a_question() {
        let message = |ids: &[&str]| {
            let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
            let error = Error::new(ErrorCode::ModelNotFound, "No model x");
            error.with_suggestions(&ids).message().to_owned()
        };
        assert_eq!(message(&[]), "No model x");
        assert_eq!(message(&["a"]), "No model x. Did you mean a?");
        assert_eq!(message(&["a", "b"]), "No model x. Did you mean a or b?");
        assert_eq!(
            message(&["a", "b", "c"]),
            "No model x. Did you mean a, b or c?"
        );
        let also = Error::new(ErrorCode::ModelNotFound, "No model x")
            .with_suggestions(&["a".to_owned()])
            .with_also(&["b".to_owned()]);
        assert_eq!(also.message(), "No model x. Did you mean a? Also tried: b");
    }
}
