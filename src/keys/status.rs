//! What is left of the limits of a key.

use std::time::Instant;

use super::{
    budget::Budget,
    clock::{UnixMs, milliseconds},
    identity::Identity,
};
use crate::error::{RateState, RateUnit};

/// What is left of a budget, in the budget's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetStatus {
    /// The budget.
    pub budget: Budget,
    /// What is used.
    pub spent: u64,
    /// What running calls may still use.
    pub reserved: u64,
    /// What is left for further calls.
    pub left: u64,
    /// When it renews. `None` for never.
    pub renews_at: Option<UnixMs>,
}

/// What is left of a limit for a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateStatus {
    /// The limit.
    pub limit: u64,
    /// What is left.
    pub left: u64,
    /// When all of it is left again.
    pub renews_at: UnixMs,
}

impl BudgetStatus {
    /// The status of `budget` in this window. The amounts are in its smallest unit.
    pub(super) fn new(budget: &Budget, window: i64, spent: u64, reserved: u64) -> Self {
        let scale = budget.of.scale();
        let left = budget.smallest_units();
        let left = left.saturating_sub(spent.saturating_add(reserved));
        Self {
            budget: *budget,
            spent: spent / scale,
            reserved: reserved / scale,
            left: left / scale,
            renews_at: budget.per.renews_at(window),
        }
    }
}

impl Identity {
    /// What is left of its budgets at `now`.
    pub fn budgets(&self, now: UnixMs) -> Vec<BudgetStatus> {
        let today = self.spending().news().time_of_budgets(now);
        let status = |budget: &Budget| {
            let (spent, reserved) = self.spending().state(budget, now);
            BudgetStatus::new(budget, budget.per.window(today), spent, reserved)
        };
        self.limits().budgets.iter().map(status).collect()
    }

    /// What is left of its calls in a minute, if it has this limit.
    pub async fn calls_in_a_minute(&self, now: UnixMs) -> Option<RateStatus> {
        let limit = self.limits().requests_per_minute?;
        self.of_a_minute(RateUnit::Requests, limit.into(), now)
            .await
    }

    /// What is left of its tokens in a minute, if it has this limit.
    pub async fn tokens_in_a_minute(&self, now: UnixMs) -> Option<RateStatus> {
        let limit = self.limits().tokens_per_minute?;
        self.of_a_minute(RateUnit::Tokens, limit, now).await
    }

    async fn of_a_minute(&self, of: RateUnit, limit: u64, now: UnixMs) -> Option<RateStatus> {
        let looked = self.take_of_a_minute(of, limit, 0, Instant::now()).await;
        let (Ok(state) | Err(state)) = looked;
        Some(rate(state, now))
    }
}

fn rate(state: RateState, now: UnixMs) -> RateStatus {
    RateStatus {
        limit: state.limit,
        left: state.remaining,
        renews_at: now.saturating_add(milliseconds(state.reset)),
    }
}
