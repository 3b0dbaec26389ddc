//! The limits of a key in the contract, and as the gateway has them.

use super::times::timestamp;
use crate::{
    error::{Error, Result},
    keys::{Budget, BudgetPeriod, BudgetStatus, BudgetUnit, Limits, PriorityClass},
    proto::v1,
};

/// The limits in a request. Their ranges are checked later, with the other settings.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a negative number, an unknown number of an
/// enum, or a budget without its unit or its period.
pub(crate) fn of_message(limits: v1::KeyLimits) -> Result<Limits> {
    let priority = limits.highest_priority.unwrap_or_default();
    let highest_priority = match v1::Priority::try_from(priority) {
        Ok(v1::Priority::Unspecified) => None,
        Ok(v1::Priority::Interactive) => Some(PriorityClass::Interactive),
        Ok(v1::Priority::Default) => Some(PriorityClass::Default),
        Ok(v1::Priority::Batch) => Some(PriorityClass::Batch),
        Err(_) => {
            let problem = "expected PRIORITY_INTERACTIVE, PRIORITY_DEFAULT or PRIORITY_BATCH";
            return Err(Error::invalid("limits.highest_priority", problem));
        }
    };
    let budgets = limits.budgets.into_iter().enumerate();
    Ok(Limits {
        models: limits.models,
        weight: number("weight", limits.weight)?,
        max_units: number("max_units", limits.max_units)?,
        highest_priority,
        requests_per_minute: number("requests_per_minute", limits.requests_per_minute)?,
        tokens_per_minute: number("tokens_per_minute", limits.tokens_per_minute)?,
        budgets: budgets.map(budget).collect::<Result<_>>()?,
        accounts: limits.accounts,
    })
}

/// The limits in an answer.
pub(crate) fn to_message(limits: &Limits) -> v1::KeyLimits {
    let priority = |class| match class {
        PriorityClass::Interactive => v1::Priority::Interactive,
        PriorityClass::Default => v1::Priority::Default,
        PriorityClass::Batch => v1::Priority::Batch,
    };
    // All numbers are within their ranges, which are those of the contract.
    v1::KeyLimits {
        models: limits.models.clone(),
        weight: limits.weight.and_then(|it| it.try_into().ok()),
        max_units: limits.max_units.and_then(|it| it.try_into().ok()),
        highest_priority: limits.highest_priority.map(|class| priority(class).into()),
        requests_per_minute: limits.requests_per_minute.and_then(|it| it.try_into().ok()),
        tokens_per_minute: limits.tokens_per_minute.and_then(|it| it.try_into().ok()),
        budgets: limits.budgets.iter().map(budget_message).collect(),
        accounts: limits.accounts.clone(),
    }
}

fn number<N, T: TryFrom<N>>(name: &str, value: Option<N>) -> Result<Option<T>> {
    let convert = |value| {
        T::try_from(value).map_err(|_| {
            let problem = "must not be negative: expected a whole number of at least 1";
            Error::invalid(format!("limits.{name}"), problem)
        })
    };
    value.map(convert).transpose()
}

fn budget((number, budget): (usize, v1::Budget)) -> Result<Budget> {
    let invalid = |field: &str, problem: &str| {
        Err(Error::invalid(
            format!("limits.budgets[{number}].{field}"),
            problem,
        ))
    };
    let of = match budget.unit() {
        v1::BudgetUnit::Tokens => BudgetUnit::Tokens,
        v1::BudgetUnit::Requests => BudgetUnit::Requests,
        v1::BudgetUnit::UnitSeconds => BudgetUnit::UnitSeconds,
        v1::BudgetUnit::Unspecified => {
            return invalid(
                "unit",
                "required: BUDGET_UNIT_TOKENS, BUDGET_UNIT_REQUESTS or BUDGET_UNIT_UNIT_SECONDS",
            );
        }
    };
    let per = match budget.period() {
        v1::BudgetPeriod::Day => BudgetPeriod::Day,
        v1::BudgetPeriod::Week => BudgetPeriod::Week,
        v1::BudgetPeriod::Month => BudgetPeriod::Month,
        v1::BudgetPeriod::Total => BudgetPeriod::Total,
        v1::BudgetPeriod::Unspecified => {
            return invalid(
                "period",
                "required: BUDGET_PERIOD_DAY, BUDGET_PERIOD_WEEK, BUDGET_PERIOD_MONTH or \
                 BUDGET_PERIOD_TOTAL",
            );
        }
    };
    match u64::try_from(budget.amount) {
        Ok(amount) if amount > 0 => Ok(Budget { of, amount, per }),
        _ => invalid("amount", "expected a whole number of at least 1"),
    }
}

fn budget_message(budget: &Budget) -> v1::Budget {
    let unit = match budget.of {
        BudgetUnit::Tokens => v1::BudgetUnit::Tokens,
        BudgetUnit::Requests => v1::BudgetUnit::Requests,
        BudgetUnit::UnitSeconds => v1::BudgetUnit::UnitSeconds,
    };
    let period = match budget.per {
        BudgetPeriod::Day => v1::BudgetPeriod::Day,
        BudgetPeriod::Week => v1::BudgetPeriod::Week,
        BudgetPeriod::Month => v1::BudgetPeriod::Month,
        BudgetPeriod::Total => v1::BudgetPeriod::Total,
    };
    v1::Budget {
        unit: unit.into(),
        amount: i64::try_from(budget.amount).unwrap_or(i64::MAX),
        period: period.into(),
    }
}

/// What is left of a budget.
pub(in crate::service) fn budget_status(status: &BudgetStatus) -> v1::BudgetStatus {
    let v1::Budget {
        unit,
        amount,
        period,
    } = budget_message(&status.budget);
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    v1::BudgetStatus {
        unit,
        period,
        amount,
        spent: number(status.spent),
        reserved: number(status.reserved),
        left: number(status.left),
        renews_at: status.renews_at.map(timestamp),
    }
}
