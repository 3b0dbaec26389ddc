//! What can be done about an error: ask the same model again, ask another model, or tell the
//! caller. And what an error says of the model that was asked.
//!
//! The kind decides, and the upstream's status where there is one. A code is looked at only where
//! one kind has errors of two sorts.

use super::{Code, Error, ErrorCode, Kind};

/// Whether the same request may be sent to the same model again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No: it would fail again, or the model has worked on it and would do so twice.
    Never,
    /// Once: if it fails a second time, the request itself is the cause.
    Once,
    /// If the failure came soon. Later, the model may have worked on the request.
    IfSoon,
    /// As often as is allowed: no model has worked on the request.
    Yes,
}

/// What an error says of the model that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The model works: it read the request and refused it.
    Up,
    /// The model, or the way to it, is broken.
    Down,
    /// Nothing: the error is about the account, the gateway or the caller.
    Unknown,
}

impl Kind {
    /// Whether the same call may succeed later, in the words of the contract: `soon`, `later` (in
    /// minutes), or `never`, unless something is changed.
    pub(super) fn again(self) -> &'static str {
        match self {
            Self::NotReady => "later",
            Self::Saturated | Self::Timeout | Self::Upstream | Self::Unavailable => "soon",
            Self::Invalid
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::WrongMethod
            | Self::WrongMediaType
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
    /// Everything that fails before the caller has seen anything of the answer can be cured so,
    /// except refusals of what the caller asks for (another model is no way around them), the end
    /// of the call itself, and the gateway's own key and configuration, which all models share.
    pub fn allows_fallback(&self) -> bool {
        match self.kind() {
            Kind::Invalid => self.is_context_too_long(),
            Kind::Forbidden => self.is_model_unavailable(),
            Kind::Unauthenticated
            | Kind::NotFound
            | Kind::WrongMethod
            | Kind::WrongMediaType
            | Kind::TooLarge
            | Kind::Cancelled
            | Kind::Misconfigured
            | Kind::Internal => false,
            Kind::NotReady | Kind::Saturated => true,
            Kind::Timeout | Kind::Upstream | Kind::Unavailable => {
                !self.ends_call() && !self.is_refused_by_status() && !self.is_want_of_the_gateway()
            }
        }
    }

    /// Whether and how often the same model may be asked again.
    pub fn retry(&self) -> Retry {
        match (self.kind(), self.upstream_status()) {
            (Kind::Upstream | Kind::Unavailable | Kind::Timeout, Some(status)) => match status {
                500 => Retry::Once,
                // Pages of a front end that did not reach the API behind it, and "no room".
                502 | 503 | 520..=523 | 525..=530 => Retry::Yes,
                // 504 and 524 among them: the model has worked, and somebody gave up on it.
                _ => Retry::Never,
            },
            (Kind::Unavailable, None)
                if self.is(ErrorCode::NoCapacity) || self.is_out_of_descriptors() =>
            {
                Retry::Yes
            }
            (Kind::Saturated, _) if self.is(ErrorCode::UpstreamRateLimited) => Retry::Yes,
            (Kind::Upstream | Kind::Timeout, None) => match self.0.code {
                Code::Known(ErrorCode::UpstreamUnreachable | ErrorCode::ConnectTimeout) => {
                    Retry::Yes
                }
                // An idle connection that was being closed, or a stream that ended before its first
                // message.
                Code::Known(ErrorCode::UpstreamClosed | ErrorCode::UpstreamStreamCut) => {
                    Retry::IfSoon
                }
                _ => Retry::Never,
            },
            _ => Retry::Never,
        }
    }

    /// What the error says of the model that was asked, for its circuit.
    pub fn health(&self) -> Health {
        match self.kind() {
            Kind::Invalid | Kind::TooLarge => Health::Up,
            Kind::Timeout | Kind::Upstream | Kind::Unavailable
                if !self.ends_call()
                    && !self.is_refused_by_status()
                    && !self.is_want_of_the_gateway() =>
            {
                Health::Down
            }
            // A cold model says so at once, each time, and better than an open circuit could.
            _ => Health::Unknown,
        }
    }

    /// Whether the model can't hold the conversation.
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

    /// Whether the upstream may still work on the request that failed: it was cut or given up, and
    /// not answered.
    pub fn may_go_on_upstream(&self) -> bool {
        matches!(self.kind(), Kind::Timeout | Kind::Upstream | Kind::Internal) || self.is_draining()
    }

    /// Whether the upstream has no model of the name that was asked for.
    pub fn is_model_not_found(&self) -> bool {
        self.has_code(ErrorCode::ModelNotFound)
    }

    /// Whether the gateway ends before the call has.
    pub fn is_draining(&self) -> bool {
        self.is(ErrorCode::Draining)
    }

    /// Whether the gateway itself has no file descriptor left, whichever model is asked. The log is
    /// told of that once a minute, and not for every call.
    pub fn is_out_of_descriptors(&self) -> bool {
        self.is(ErrorCode::OutOfFileDescriptors)
    }

    /// Whether the gateway itself lacks what the call needs, whichever model is asked: a file
    /// descriptor, memory for requests, or a turn to work on a large body.
    fn is_want_of_the_gateway(&self) -> bool {
        self.is_out_of_descriptors()
            || self.is(ErrorCode::TooManyLargeBodies)
            || self.is(ErrorCode::TooManyRequestBytes)
    }

    /// Whether the caller's own deadline has passed.
    pub fn is_callers_deadline(&self) -> bool {
        self.is(ErrorCode::DeadlineExceeded)
    }

    /// Whether the whole call is over, whichever model was being asked.
    pub fn ends_call(&self) -> bool {
        self.is_draining() || self.is_callers_deadline() || self.kind() == Kind::Cancelled
    }

    /// Whether the upstream refused by a status that no other model changes: a redirect, no such
    /// path, no access. A timeout (408) and a request that upstream gave up by itself (499) are no
    /// refusals.
    fn is_refused_by_status(&self) -> bool {
        matches!(self.upstream_status(), Some(300..=407 | 409..=498))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::error::Reply;

    /// The error of a reply with this status: as a page of a front end, with an error of the API,
    /// and without a body.
    fn replies(status: u16) -> [Error; 3] {
        let page = "<html><h1>Bad gateway</h1></html>";
        [
            page,
            r#"{"error":{"message":"boom","type":"t","param":null,"code":null}}"#,
            "",
        ]
        .map(|body| {
            let status = StatusCode::from_u16(status).unwrap();
            Reply {
                status,
                headers: &HeaderMap::new(),
                body: body.as_bytes(),
                model: None,
            }
            .into()
        })
    }

    #[test]
    fn every_breakdown_of_the_upstream_allows_a_fallback_and_counts_against_the_model() {
        for status in (500..=599).chain([408, 499]) {
            for error in replies(status) {
                assert!(error.allows_fallback(), "{status} {error:?}");
                assert_eq!(error.health(), Health::Down, "{status} {error:?}");
            }
        }
        for error in replies(429) {
            assert!(error.allows_fallback(), "{error:?}");
            assert_eq!(
                error.health(),
                Health::Unknown,
                "want of units says nothing of the model"
            );
        }
    }

    #[test]
    fn only_what_no_model_has_worked_on_is_asked_again() {
        for status in [502, 503, 520, 521, 522, 523, 525, 526, 527, 529, 530] {
            assert!(
                replies(status)
                    .iter()
                    .all(|error| error.retry() == Retry::Yes),
                "{status}"
            );
        }
        assert!(
            replies(500)
                .iter()
                .all(|error| error.retry() == Retry::Once)
        );
        for status in [
            400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 501, 504, 505, 524, 599,
        ] {
            assert!(
                replies(status)
                    .iter()
                    .all(|error| error.retry() == Retry::Never),
                "{status}"
            );
        }
    }

    #[test]
    fn want_of_descriptors_is_the_gateways_and_no_models() {
        let error = Error::new(ErrorCode::OutOfFileDescriptors, "");
        assert_eq!(
            (error.retry(), error.health()),
            (Retry::Yes, Health::Unknown)
        );
        assert!(!error.allows_fallback() && !error.may_go_on_upstream());
    }

    #[test]
    fn want_of_room_for_bodies_is_the_gateways_and_no_models() {
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
    fn no_model_is_a_way_around_a_refusal_or_a_wrong_address() {
        for status in [300, 302, 308, 401, 402] {
            for error in replies(status) {
                assert!(!error.allows_fallback(), "{status} {error:?}");
                assert_eq!(error.health(), Health::Unknown, "{status} {error:?}");
            }
        }
        let [page, path, empty] = replies(404);
        assert!(![page, path, empty].iter().any(Error::allows_fallback));
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
