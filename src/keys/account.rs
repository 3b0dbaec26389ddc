//! One budget of a key in its present window: what is spent, what running calls have reserved, and
//! what this gateway may still give out.

use super::budget::{Budget, BudgetPeriod, BudgetUnit};

/// What a budget counts and for how long: two budgets of a key never have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AccountName {
    pub(super) of: BudgetUnit,
    pub(super) per: BudgetPeriod,
}

impl AccountName {
    /// The account of `budget`.
    pub(super) fn of(budget: &Budget) -> Self {
        Self {
            of: budget.of,
            per: budget.per,
        }
    }
}

/// One budget in its present window. All amounts are in the smallest unit of the budget.
///
/// Several gateways share a budget by *leases*: of what is not spent, each gateway has a part,
/// which it gives out without asking. What all have spent and what all have leased are together
/// never more than the budget.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: AccountName,
    pub(super) window: i64,
    /// The amount of the budget, when a call asked last.
    limit: u64,
    /// What all gateways have spent, as far as this one knows.
    spent: u64,
    /// What running calls may still use.
    reserved: u64,
    /// What of `spent` is not on its way into the database.
    unsaved: u64,
    /// What of `spent` is on its way into the database.
    saving: u64,
    /// What this gateway may use of what is not spent. `None` if no other gateway can use the
    /// budget.
    lease: Option<u64>,
    /// The lease before the exchange with the database that is going on.
    lease_before: Option<u64>,
    /// How much more calls are waiting for.
    demand: u64,
    /// Whether a call has reserved a part since the last exchange with the database.
    was_used: bool,
    /// Whether the lease is larger than the share of this gateway.
    is_large: bool,
}

/// What calls may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    /// Of the budget.
    pub(super) of_budget: u64,
    /// Here.
    pub(super) here: u64,
}

/// What the database must know of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) name: AccountName,
    pub(super) window: i64,
    /// The amount of the budget.
    pub(super) limit: u64,
    /// What was spent since the last statement.
    pub(super) spent: u64,
    /// What running calls may still use.
    pub(super) reserved: u64,
    /// How much more calls are waiting for.
    pub(super) demand: u64,
    /// What this gateway gives out in the meantime, so that the lease must not become smaller.
    pub(super) given_out: u64,
    /// Whether the gateway has no use for more than what is reserved.
    pub(super) is_idle: bool,
}

/// What the database answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) window: i64,
    /// What all gateways have spent.
    pub(super) spent: u64,
    /// What this gateway may use.
    pub(super) lease: u64,
    /// Whether that is more than its share.
    pub(super) is_large: bool,
}

impl Account {
    /// An account without anything. `has_leases`: whether other gateways can use the budget.
    pub(super) fn new(name: AccountName, window: i64, has_leases: bool) -> Self {
        Self {
            name,
            window,
            limit: 0,
            spent: 0,
            reserved: 0,
            unsaved: 0,
            saving: 0,
            lease: has_leases.then_some(0),
            lease_before: None,
            demand: 0,
            was_used: false,
            is_large: false,
        }
    }

    /// Begins a later window. A clock that goes back does not open a window again.
    pub(super) fn reach(&mut self, window: i64) {
        if window > self.window {
            self.begin(window);
        }
    }

    fn begin(&mut self, window: i64) {
        *self = Self {
            limit: self.limit,
            demand: self.demand,
            ..Self::new(self.name, window, self.lease.is_some())
        };
    }

    /// What calls may get of a budget of `limit`. `leases_hold`: whether the gateway may give out
    /// what it has leased.
    pub(super) fn left(&mut self, limit: u64, leases_hold: bool) -> Left {
        self.limit = limit;
        let of_budget = limit.saturating_sub(self.spent.saturating_add(self.reserved));
        let here = match self.lease {
            Some(lease) if leases_hold => lease.saturating_sub(self.used_of_lease()).min(of_budget),
            Some(_) => 0,
            None => of_budget,
        };
        Left { of_budget, here }
    }

    /// Asks for more of the budget at the next exchange with the database.
    pub(super) fn want(&mut self, amount: u64) {
        self.demand = self.demand.saturating_add(amount);
    }

    /// Takes over what all gateways have spent in `window`.
    pub(super) fn set_spent(&mut self, window: i64, spent: u64) {
        if window == self.window {
            let not_saved = self.saving.saturating_add(self.unsaved);
            self.spent = spent.saturating_add(not_saved);
        }
    }

    /// Reserves a part for a call.
    pub(super) fn reserve(&mut self, part: u64) {
        self.reserved = self.reserved.saturating_add(part);
        self.was_used = true;
    }

    /// Ends the reservation of `part`: `used` is spent, and the rest is free again.
    pub(super) fn settle(&mut self, part: u64, used: u64) {
        self.reserved = self.reserved.saturating_sub(part);
        self.spent = self.spent.saturating_add(used);
        self.unsaved = self.unsaved.saturating_add(used);
    }

    /// What is spent and what is reserved.
    pub(super) fn state(&self) -> (u64, u64) {
        (self.spent, self.reserved)
    }

    /// Whether there is something to tell the database.
    pub(super) fn has_news(&self) -> bool {
        self.unsaved > 0 || self.demand > 0
    }

    /// Whether it has a lease.
    pub(super) fn has_lease(&self) -> bool {
        self.lease.is_some_and(|lease| lease > 0)
    }

    /// Begins an exchange with the database. `may_rest`: whether an account that no call has used
    /// since the last exchange gives its lease back.
    ///
    /// A lease that may become smaller gives out nothing until the exchange has ended.
    pub(super) fn state_to_save(&mut self, may_rest: bool) -> Statement {
        let spent = std::mem::take(&mut self.unsaved);
        let demand = std::mem::take(&mut self.demand);
        self.saving = self.saving.saturating_add(spent);
        let is_idle = may_rest && !std::mem::take(&mut self.was_used) && demand == 0;
        let used = self.used_of_lease();
        self.lease_before = self.lease;
        if is_idle || self.is_large {
            self.lease = self.lease.map(|lease| lease.min(used));
        }
        Statement {
            name: self.name,
            window: self.window,
            limit: self.limit,
            spent,
            reserved: self.reserved,
            demand,
            given_out: self.lease.unwrap_or(0).saturating_sub(self.saving),
            is_idle,
        }
    }

    /// Ends an exchange with the database, which began with `statement`.
    pub(super) fn take(&mut self, statement: &Statement, granted: &Granted) {
        if granted.window < statement.window && statement.window == self.window {
            // The clock of this machine is wrong: the window has not begun, so nothing was given
            // out in it.
            self.begin(granted.window);
        }
        self.reach(granted.window);
        if self.window != granted.window {
            return;
        }
        if statement.window == self.window {
            self.saving = self.saving.saturating_sub(statement.spent);
        }
        self.set_spent(granted.window, granted.spent);
        if let Some(lease) = &mut self.lease {
            *lease = granted.lease;
            self.is_large = granted.is_large;
        }
    }

    /// Takes back `statement`, because the database has not taken it over.
    pub(super) fn take_back(&mut self, statement: &Statement) {
        if statement.window == self.window {
            self.saving = self.saving.saturating_sub(statement.spent);
            self.unsaved = self.unsaved.saturating_add(statement.spent);
            self.lease = self.lease_before;
            self.was_used |= !statement.is_idle;
        }
    }

    /// The database has given the lease to others, because it has not heard of this gateway.
    pub(super) fn lose_lease(&mut self) {
        let used = self.used_of_lease();
        self.lease = self.lease.map(|lease| lease.min(used));
    }

    fn used_of_lease(&self) -> u64 {
        self.saving
            .saturating_add(self.unsaved)
            .saturating_add(self.reserved)
    }
}

impl Statement {
    /// The lease for what all gateways have `spent` and the others have leased. `gateways` is how
    /// many share what is left.
    pub(super) fn grant(&self, window: i64, spent: u64, others: u64, gateways: u64) -> Granted {
        let is_past = window != self.window;
        let left = self.limit.saturating_sub(spent.saturating_add(others));
        let free = left.saturating_sub(self.reserved);
        let share = free / gateways.max(1);
        let wanted = match self.is_idle {
            true => self.reserved,
            false => self.reserved.saturating_add(share.max(self.demand)),
        };
        // What runs is never taken away, even if a budget was made smaller.
        let least = self.reserved.max(self.given_out);
        let lease = if is_past {
            0
        } else {
            wanted.min(left).max(least)
        };
        Granted {
            window,
            spent,
            lease,
            // Some more than the share is no reason to stop calls for an exchange.
            is_large: lease > self.reserved.saturating_add(share.saturating_mul(3) / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: AccountName = AccountName {
        of: BudgetUnit::Tokens,
        per: BudgetPeriod::Total,
    };

    /// Exchanges with a database in which others have leased `others`.
    fn exchange(account: &mut Account, spent: &mut u64, others: u64, gateways: u64) {
        let statement = account.state_to_save(true);
        *spent += statement.spent;
        let granted = statement.grant(0, *spent, others, gateways);
        account.take(&statement, &granted);
    }

    #[test]
    fn the_only_gateway_gets_the_whole_budget_and_gives_it_back_when_idle() {
        let (mut account, mut spent) = (Account::new(NAME, 0, true), 0);
        let nothing = Left {
            of_budget: 100,
            here: 0,
        };
        assert_eq!(account.left(100, true), nothing);
        account.want(10);
        exchange(&mut account, &mut spent, 0, 1);
        assert_eq!(account.left(100, true).here, 100);
        account.reserve(60);
        account.settle(60, 20);
        assert_eq!(account.left(100, true).here, 80);
        exchange(&mut account, &mut spent, 0, 1);
        assert_eq!((spent, account.left(100, true).here), (20, 80));
        exchange(&mut account, &mut spent, 0, 1);
        assert!(!account.has_lease());
    }

    #[test]
    fn gateways_share_what_is_left_and_what_runs_stays() {
        let (mut account, mut spent) = (Account::new(NAME, 0, true), 0);
        account.left(100, true);
        account.want(10);
        exchange(&mut account, &mut spent, 0, 1);
        account.reserve(40);
        // Another gateway comes. First the lease is too large, then it shrinks.
        exchange(&mut account, &mut spent, 0, 2);
        assert_eq!(account.left(100, true).here, 60);
        account.reserve(1);
        exchange(&mut account, &mut spent, 0, 2);
        assert_eq!(account.left(100, true).here, 29);
        // The other has leased the rest. A demand gets no more than what is free.
        account.want(50);
        exchange(&mut account, &mut spent, 30, 2);
        assert_eq!(account.left(100, true).here, 29);
        account.settle(40, 40);
        account.settle(1, 1);
        exchange(&mut account, &mut spent, 30, 2);
        assert_eq!(spent, 41);
        assert!(account.left(100, true).here <= 100 - 41 - 30);
    }

    #[test]
    fn a_lease_that_shrinks_gives_out_nothing_during_the_exchange() {
        let mut account = Account::new(NAME, 0, true);
        account.left(100, true);
        account.want(10);
        exchange(&mut account, &mut 0, 0, 1);
        account.was_used = false;
        let statement = account.state_to_save(true);
        assert!(statement.is_idle);
        assert_eq!(account.left(100, true).here, 0);
        account.take_back(&statement);
        assert_eq!(account.left(100, true).here, 100);
    }

    #[test]
    fn a_gateway_that_was_not_heard_of_keeps_only_what_runs() {
        let mut account = Account::new(NAME, 0, true);
        account.left(100, true);
        account.want(10);
        exchange(&mut account, &mut 0, 0, 1);
        account.reserve(30);
        account.lose_lease();
        assert_eq!(account.left(100, true).here, 0);
        account.settle(30, 5);
        assert_eq!(account.left(100, true).here, 25);
    }
}
