//! Why a limit of a key refuses a call, as errors for its callers. What was reached stands first,
//! because a message can be cut. The key's name stands last.

use std::time::Duration;

use super::{
    Identity,
    budget::{BudgetPeriod, BudgetUnit},
    clock::{UnixMs, system_time},
    spending::Shortage,
};
use crate::error::{Error, ErrorCode, RateState, RateUnit};

/// When a call may come again that has too little left because of running calls: any of them may
/// end at any time.
const RESERVED_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Identity {
    /// What a budget has left is too little, and running calls cannot give enough back.
    pub(super) fn spent(&self, shortage: &Shortage, now: UnixMs) -> Error {
        let advice = match (renewal(shortage), shortage.budget.of) {
            (None, _) => "It does not renew: ask the gateway's owner for more".to_owned(),
            (Some(renewal), BudgetUnit::Tokens) => {
                format!("{renewal}. Until then, a call with a shorter prompt may fit")
            }
            (Some(renewal), _) => renewal,
        };
        let needs = match shortage.budget.of {
            BudgetUnit::Tokens => format!(
                "this call needs at least {}, for the estimate of its prompt and a short answer",
                shortage.needed
            ),
            BudgetUnit::Requests | BudgetUnit::UnitSeconds => "this call needs some".to_owned(),
        };
        let message = format!("{}, but {needs}. {advice}", left(shortage));
        let error = self.of_budget(ErrorCode::BudgetExhausted, message, shortage);
        match shortage.renews_at {
            Some(at) => {
                let wait = u64::try_from(at.saturating_sub(now)).unwrap_or_default();
                error.with_retry_after(Duration::from_millis(wait))
            }
            None => error,
        }
    }

    /// A budget has enough for the call, but running calls have reserved it.
    pub(super) fn reserved(&self, shortage: &Shortage) -> Error {
        let message = format!(
            "{}, because running calls have reserved {}: try again when some have ended",
            left(shortage),
            shortage.reserved
        );
        self.of_budget(ErrorCode::BudgetExhausted, message, shortage)
            .with_retry_after(RESERVED_RETRY_AFTER)
    }

    /// This gateway cannot give out what is left of a budget. `is_known`: the database has said
    /// what is left.
    pub(super) fn not_leased(&self, shortage: &Shortage, is_known: bool) -> Error {
        let (code, mut message) = match is_known {
            true => (
                ErrorCode::BudgetExhausted,
                format!(
                    "{}, but calls at other gateways have reserved them: try again when some have \
                     ended",
                    left(shortage)
                ),
            ),
            false => (
                ErrorCode::BudgetUnknown,
                format!(
                    "What is left of {} {} {} is not known, because the gateway's database does \
                     not answer: try again later",
                    shortage.budget.amount,
                    shortage.budget.of.name(),
                    time(shortage)
                ),
            ),
        };
        if let Some(renewal) = renewal(shortage) {
            message = format!("{message}. {renewal}");
        }
        self.of_budget(code, message, shortage)
            .with_retry_after(RESERVED_RETRY_AFTER)
    }

    /// The key has used its tokens of a minute.
    pub(super) fn too_many_tokens(&self, state: RateState) -> Error {
        let message = format!(
            "The limit of {} tokens in a minute{} has {} left, which is too little for this call: \
             try again in {}",
            state.limit,
            share(state),
            state.remaining,
            state.retry_after_text()
        );
        self.of_minute(message, RateUnit::Tokens, state)
    }

    /// The key has made its calls of a minute.
    pub(super) fn too_many_calls(&self, state: RateState) -> Error {
        let message = format!(
            "The limit of {} calls in a minute{} is reached: try again in {}",
            state.limit,
            share(state),
            state.retry_after_text()
        );
        self.of_minute(message, RateUnit::Requests, state)
    }

    fn of_minute(&self, message: String, unit: RateUnit, state: RateState) -> Error {
        let quota = match unit {
            RateUnit::Requests => "requests/minute",
            RateUnit::Tokens => "tokens/minute",
        };
        Error::new(ErrorCode::RateLimitExceeded, self.named(message))
            .with_retry_after(state.retry_after)
            .with_limit(usize::try_from(state.limit).unwrap_or(usize::MAX))
            .with_quota(quota)
            .with_rate(unit, state)
    }

    fn of_budget(&self, code: ErrorCode, message: String, shortage: &Shortage) -> Error {
        let budget = shortage.budget;
        Error::new(code, self.named(message))
            .with_limit(usize::try_from(budget.amount).unwrap_or(usize::MAX))
            .with_quota(format!("{}/{}", budget.of.name(), budget.per.name()))
    }

    fn named(&self, message: String) -> String {
        format!("{message} (gateway key {:?})", self.name())
    }
}

/// How much of the limit this gateway allows, if that is not all of it.
fn share(state: RateState) -> String {
    let share = state.share;
    share.map_or_else(String::new, |share| {
        format!(", of which this gateway allows {share} now,")
    })
}

/// What a budget has left.
fn left(shortage: &Shortage) -> String {
    format!(
        "The budget has {} of {} {} left {}",
        shortage.left,
        shortage.budget.amount,
        shortage.budget.of.name(),
        time(shortage)
    )
}

/// The time for which a budget is.
fn time(shortage: &Shortage) -> &'static str {
    match shortage.budget.per {
        BudgetPeriod::Day => "for this day",
        BudgetPeriod::Week => "for this week",
        BudgetPeriod::Month => "for this month",
        BudgetPeriod::Total => "in total",
    }
}

/// When a budget renews. `None` for never.
fn renewal(shortage: &Shortage) -> Option<String> {
    let at = humantime::format_rfc3339_seconds(system_time(shortage.renews_at?));
    Some(format!("It renews at {at}"))
}
