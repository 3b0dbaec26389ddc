//! What an error says about the account that was asked: may another account answer.

use super::{code::ErrorCode, value::Error};

/// What an error says about the account that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountFault {
    /// Nothing. Another account would answer the same.
    None,
    /// The account has not worked on the call, and may do so later.
    Busy,
    /// Its upstream refuses the account, whatever is asked: its key, its plan, a payment.
    Refused,
    /// The account may not use the model. Another one may.
    Model,
    /// Its upstream has no such model.
    NoModel,
}

impl Error {
    /// Whether the error is a reply of the upstream.
    pub fn is_of_upstream(&self) -> bool {
        self.upstream_status().is_some()
    }

    /// What the error says about the account that was asked. A refusal that does not say that it is
    /// about the account may be about the request, and no other account is a way around that.
    pub fn account_fault(&self) -> AccountFault {
        if self.is_model_unavailable() {
            return AccountFault::Model;
        }
        if self.is_model_not_found() {
            return AccountFault::NoModel;
        }
        match self.known_code() {
            Some(
                ErrorCode::FeatherlessApiKeyRejected
                | ErrorCode::FeatherlessApiKeyNotConfigured
                | ErrorCode::PaymentRequired
                | ErrorCode::PlanWithoutApiAccess,
            ) => AccountFault::Refused,
            Some(ErrorCode::CircuitOpen | ErrorCode::QueueFull) => AccountFault::Busy,
            _ => AccountFault::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_may_be_about_the_request_says_nothing_about_the_account() {
        let fault = |code| Error::new(code, "").account_fault();
        for code in [
            ErrorCode::FeatherlessApiKeyRejected,
            ErrorCode::PaymentRequired,
            ErrorCode::PlanWithoutApiAccess,
        ] {
            assert_eq!(fault(code), AccountFault::Refused, "{code}");
        }
        for code in [ErrorCode::ModelGated, ErrorCode::ModelNotOnPlan] {
            assert_eq!(fault(code), AccountFault::Model, "{code}");
        }
        for code in [
            ErrorCode::Forbidden,
            ErrorCode::UpstreamRefused,
            ErrorCode::ModelNotAllowed,
            ErrorCode::NoCapacity,
            ErrorCode::QueueTimeout,
        ] {
            assert_eq!(fault(code), AccountFault::None, "{code}");
        }
    }
}
