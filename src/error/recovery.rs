//! The questions that an error answers: may the same model be asked again, may another model
//! answer, and is the model healthy.
//!
//! The kind decides, together with the upstream's status where there is one. A code is compared
//! only where one kind has errors of two sorts.

use std::time::Duration;

use super::{code::ErrorCode, table::Kind, value::Error};

/// The longest wait that is called `soon`.
const SOON_MAX: Duration = Duration::from_secs(60);

/// Whether the same request may be sent to the same model again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No. It would fail again, or the model has already worked on it and would do the work twice.
    Never,
    /// Once. If it fails a second time, the request itself is the cause.
    Once,
    /// If the failure came early. A late failure means that the model may have worked on the
    /// request.
    IfSoon,
    /// As often as the policy allows. No model has worked on the request.
    Yes,
}

/// What an error says about the model that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The model works: it read the request and refused it.
    Up,
    /// The model, or the path to it, is broken.
    Down,
    /// Nothing. The error is about the account, the gateway or the caller.
    Unknown,
}

impl Kind {
    /// Whether the same call may succeed later, as far as the kind tells: see
    /// [`Error::retry_advice`].
    fn retry_advice(self) -> &'static str {
        match self {
            Self::NotReady => "later",
            Self::Saturated
            | Self::Limited
            | Self::Timeout
            | Self::Upstream
            | Self::Unavailable => "soon",
            Self::Invalid
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::WrongMethod
            | Self::WrongMediaType
            | Self::WrongFrame
            | Self::TooLarge
            | Self::Cancelled
            | Self::Misconfigured
            | Self::Internal => "never",
        }
    }
}

impl Error {
    /// Whether another model may answer in place of the one that failed.
    ///
    /// A fallback helps with every failure before the caller has seen a part of the answer, except
    /// for three kinds: a refusal of what the caller asks for or of what its key may use, because
    /// another model must not be a way around it; the end of the call itself; and an error of the
    /// gateway's key or configuration, because all models share them.
    pub fn allows_fallback(&self) -> bool {
        match self.kind() {
            Kind::Invalid => self.is_context_too_long(),
            Kind::Forbidden => self.is_model_unavailable(),
            Kind::Unauthenticated
            | Kind::NotFound
            | Kind::WrongMethod
            | Kind::WrongMediaType
            | Kind::WrongFrame
            | Kind::TooLarge
            | Kind::Limited
            | Kind::Cancelled
            | Kind::Misconfigured
            | Kind::Internal => false,
            Kind::NotReady | Kind::Saturated => true,
            Kind::Timeout | Kind::Upstream | Kind::Unavailable => self.is_about_model(),
        }
    }

    /// Whether and how often the same model may be asked again.
    pub fn retry(&self) -> Retry {
        match (self.kind(), self.upstream_status()) {
            (Kind::Upstream | Kind::Unavailable | Kind::Timeout, Some(status)) => match status {
                500 => Retry::Once,
                // Pages of a front end that did not reach the API, and "no capacity".
                502 | 503 | 520..=523 | 525..=530 => Retry::Yes,
                // Among them 504 and 524: the model has worked, and a front end stopped waiting.
                _ => Retry::Never,
            },
            (Kind::Saturated, _) if self.is(ErrorCode::UpstreamRateLimited) => Retry::Yes,
            (Kind::Upstream | Kind::Unavailable | Kind::Timeout, None) => {
                self.retry_without_status()
            }
            _ => Retry::Never,
        }
    }

    /// [`retry`](Self::retry) for a failure without a reply, or inside a successful one.
    fn retry_without_status(&self) -> Retry {
        use ErrorCode as Code;
        match self.known_code().filter(|code| self.is(*code)) {
            Some(Code::NoCapacity | Code::OutOfFileDescriptors) => Retry::Yes,
            Some(Code::UpstreamUnreachable | Code::ConnectTimeout) => Retry::Yes,
            // The upstream was closing an idle connection, or the stream ended before its first
            // message.
            Some(Code::UpstreamClosed | Code::UpstreamStreamCut) => Retry::IfSoon,
            _ => Retry::Never,
        }
    }

    /// What the error says about the model that was asked. Circuits read it.
    pub fn health(&self) -> Health {
        match self.kind() {
            Kind::Invalid | Kind::TooLarge => Health::Up,
            Kind::Timeout | Kind::Upstream | Kind::Unavailable if self.is_about_model() => {
                Health::Down
            }
            // Among them `NotReady`: a cold model says so at once, each time. An open circuit would
            // say it less well.
            _ => Health::Unknown,
        }
    }

    /// Whether the conversation is longer than the model's context.
    pub fn is_context_too_long(&self) -> bool {
        self.is(ErrorCode::ContextLengthExceeded)
    }

    /// Whether the account may not use the model, although it may use the API. Its rights differ
    /// from model to model.
    pub fn is_model_unavailable(&self) -> bool {
        self.is(ErrorCode::ModelGated)
            || self.is(ErrorCode::ModelNotOnPlan)
            || self.is(ErrorCode::ModelExceedsPlan)
    }

    /// Whether Featherless has no model with the requested id.
    pub fn is_model_not_found(&self) -> bool {
        self.known_code() == Some(ErrorCode::ModelNotFound)
    }

    /// Whether the same call may succeed later, in the words of the contract: `soon` (within a
    /// minute), `later`, or `never` unless something is changed.
    pub(super) fn retry_advice(&self) -> &'static str {
        match (self.kind().retry_advice(), self.retry_after()) {
            ("soon", Some(wait)) if wait > SOON_MAX => "later",
            // A budget for the whole life of a key.
            ("soon", None) if self.is(ErrorCode::BudgetExhausted) => "never",
            (advice, _) => advice,
        }
    }

    /// Whether the same call may succeed soon, without any change.
    pub fn is_transient(&self) -> bool {
        self.kind().retry_advice() == "soon"
    }

    /// Whether Featherless may still be working on the failed request: the request was cut or
    /// abandoned, not answered.
    pub fn may_go_on_upstream(&self) -> bool {
        matches!(self.kind(), Kind::Timeout | Kind::Upstream | Kind::Internal) || self.is_draining()
    }

    /// Whether the failed request was answered with an error, or has not reached Featherless. So no
    /// model works on it.
    pub fn is_refusal_upstream(&self) -> bool {
        !self.may_go_on_upstream() || self.upstream_status().is_some() || self.retry() == Retry::Yes
    }

    /// Whether the gateway is shutting down.
    pub fn is_draining(&self) -> bool {
        self.is(ErrorCode::Draining)
    }

    /// Whether the gateway itself has no file descriptor left. This does not depend on the model.
    /// It is logged once a minute, not for every call.
    pub fn is_out_of_descriptors(&self) -> bool {
        self.is(ErrorCode::OutOfFileDescriptors)
    }

    /// Whether the caller's own deadline has passed.
    pub fn is_callers_deadline(&self) -> bool {
        self.is(ErrorCode::DeadlineExceeded)
    }

    /// Whether the whole call is over, whichever model was being asked.
    pub fn ends_call(&self) -> bool {
        self.is_draining() || self.is_callers_deadline() || self.kind() == Kind::Cancelled
    }

    /// Whether a failure of kind Timeout, Upstream or Unavailable is one of the model, so that
    /// another model may do better.
    fn is_about_model(&self) -> bool {
        !self.ends_call() && !self.is_refused_by_status() && !self.is_lack_of_resources()
    }

    /// Whether the gateway itself lacks what the call needs, whichever model is asked: a file
    /// descriptor, memory for requests, or a thread for a large body.
    fn is_lack_of_resources(&self) -> bool {
        self.is_out_of_descriptors()
            || self.is(ErrorCode::TooManyLargeBodies)
            || self.is(ErrorCode::TooManyRequestBytes)
    }

    /// Whether Featherless refused with a status that every model would get: a redirect, an unknown
    /// path, no access. A timeout (408) and a request that Featherless gave up (499) are not
    /// refusals.
    fn is_refused_by_status(&self) -> bool {
        matches!(self.upstream_status(), Some(300..=407 | 409..=498))
    }

    /// Whether the error has `code`, and the kind that belongs to it. Featherless may use the same
    /// code with another status, which has another kind.
    fn is(&self, code: ErrorCode) -> bool {
        self.kind() == code.kind() && self.known_code() == Some(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_an_error_of_the_gateway() {
        let error = Error::new(ErrorCode::OutOfFileDescriptors, "");
        assert_eq!(
            (error.retry(), error.health()),
            (Retry::Yes, Health::Unknown)
        );
        assert!(!error.allows_fallback() && !error.may_go_on_upstream());
    }

    #[test]
    fn a_lack_of_memory_for_bodies_is_an_error_of_the_gateway() {
        for code in [
            ErrorCode::TooManyLargeBodies,
            ErrorCode::TooManyRequestBytes,
        ] {
            let error = Error::new(code, "");
            assert_eq!(
                (error.retry(), error.health()),
                (Retry::Never, Health::Unknown),
                "{code}"
            );
            assert!(
                !error.allows_fallback() && !error.may_go_on_upstream(),
                "{code}"
            );
        }
    }

    #[test]
    fn no_model_is_a_way_around_a_refusal() {
        let refusals = [
            ErrorCode::UpstreamRefused,
            ErrorCode::Forbidden,
            ErrorCode::PlanWithoutApiAccess,
            ErrorCode::PaymentRequired,
            ErrorCode::ModelNotFound,
            ErrorCode::RequestTooLarge,
            ErrorCode::FeatherlessApiKeyRejected,
            ErrorCode::DeadlineExceeded,
            ErrorCode::Draining,
            ErrorCode::Cancelled,
            ErrorCode::InternalError,
        ]
        .map(|code| Error::new(code, ""));
        let misleading =
            Error::new(ErrorCode::UpstreamRefused, "").with_foreign_code("no_capacity");
        for error in refusals.into_iter().chain([misleading]) {
            assert!(!error.allows_fallback(), "{error:?}");
            assert_eq!(error.retry(), Retry::Never, "{error:?}");
            assert_ne!(error.health(), Health::Down, "{error:?}");
        }
    }
}
