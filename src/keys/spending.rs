//! What a key has used of its budgets, and what its running calls may still use.
//!
//! A call *reserves* what it may use at most before it starts, and *settles* what it has used at
//! its end. A budget gives out no more than it has: what is spent and what is reserved together
//! never exceed it. So calls that run at the same time cannot overspend it, and a caller that hangs
//! up cannot escape it, because the reservation settles when it is dropped.
//!
//! All budgets of a key are behind one lock, because a call must get its part of all of them or of
//! none. It is held for some additions, twice for each call.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use uuid::Uuid;

use super::{
    account::{Account, AccountName, Granted, Left, Statement},
    budget::{Budget, BudgetUnit},
    clock::UnixMs,
    held_units::{AccountWindow, HeldUnits, Hold},
    spending_news::SpendingNews,
};

/// Amounts of what budgets count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Tokens of the prompt and of the answer.
    pub tokens: u64,
    /// Calls.
    pub requests: u64,
    /// Concurrency units multiplied by the milliseconds for which they are held.
    pub unit_ms: u64,
}

impl Amounts {
    fn of(&self, unit: BudgetUnit) -> u64 {
        match unit {
            BudgetUnit::Tokens => self.tokens,
            BudgetUnit::Requests => self.requests,
            BudgetUnit::UnitSeconds => self.unit_ms,
        }
    }
}

/// The spending of one key. It stays when the key's settings change.
#[derive(Debug)]
pub struct Spending {
    key: Uuid,
    accounts: Mutex<Vec<Account>>,
    held: HeldUnits,
    /// Whether it is in the list of `news`.
    is_listed: AtomicBool,
    news: SpendingNews,
}

/// A budget that has too little left. The amounts are in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The budget.
    pub budget: Budget,
    /// How much of it is neither spent nor reserved.
    pub left: u64,
    /// How much the call needs at least.
    pub needed: u64,
    /// How much of it running calls have reserved.
    pub reserved: u64,
    /// When it renews; `None` for never.
    pub renews_at: Option<UnixMs>,
}

/// Why a call gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A budget has too little left.
    Spent(Shortage),
    /// A budget has enough, but running calls have reserved it.
    Reserved(Shortage),
    /// This gateway has leased too little of a budget. The database may have more.
    NotLeased(Shortage),
}

/// How a call takes its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Terms {
    /// All that it asks for, if the budgets have it.
    Whole,
    /// What this gateway has leased, if that is enough for the least.
    Leased,
}

/// What a call may use. Dropping it settles what [`Reservation::record`] has recorded.
#[derive(Debug)]
pub struct Reservation {
    spending: Arc<Spending>,
    /// For each account, the window and the reserved amount.
    parts: Vec<(AccountName, i64, u64)>,
    granted: Amounts,
    used: Amounts,
    /// The units that the call holds.
    hold: Option<Hold>,
}

impl Spending {
    /// The spending of `key`. Changes are announced to `news`.
    pub(super) fn new(key: Uuid, news: SpendingNews) -> Arc<Self> {
        Arc::new(Self {
            key,
            accounts: Mutex::default(),
            held: HeldUnits::new(),
            is_listed: AtomicBool::new(false),
            news,
        })
    }

    /// The id of the key.
    pub(super) fn key(&self) -> Uuid {
        self.key
    }

    /// Where changes are announced.
    pub(super) fn news(&self) -> &SpendingNews {
        &self.news
    }

    /// Reserves `ask` of all `budgets`, or less tokens than that, but not less than `tokens_min`,
    /// if a budget of tokens has not as many left.
    ///
    /// # Errors
    /// A budget has too little left. Nothing is reserved.
    pub(super) fn reserve(
        self: &Arc<Self>,
        budgets: &[Budget],
        ask: Amounts,
        tokens_min: u64,
        terms: Terms,
        now: UnixMs,
    ) -> Result<Reservation, Refusal> {
        let now = self.news.time_of_budgets(now);
        let mut accounts = self.lock();
        let leases_hold = !budgets.is_empty() && self.news.fence().holds();
        let mut granted = ask;
        let mut refusal = None;
        for budget in budgets {
            let account = self.account(&mut accounts, budget, now);
            let Left { of_budget, here } = account.left(budget.smallest_units(), leases_hold);
            // Running calls will spend this at their ends.
            let running = self.used_so_far(account);
            let (of_budget, here) = (
                of_budget.saturating_sub(running),
                here.saturating_sub(running),
            );
            let wanted = ask.of(budget.of);
            let least = match budget.of {
                BudgetUnit::Tokens => tokens_min.min(wanted),
                _ => wanted,
            }
            .max(1);
            let shortage = || {
                let scale = budget.of.scale();
                Shortage {
                    budget: *budget,
                    left: of_budget / scale,
                    needed: least.div_ceil(scale),
                    reserved: account.state().1.div_ceil(scale),
                    renews_at: budget.per.renews_at(account.window),
                }
            };
            if of_budget < least {
                let spent = account.state().0.saturating_add(running);
                if budget.smallest_units().saturating_sub(spent) < least {
                    return Err(Refusal::Spent(shortage()));
                }
                refusal = Some(Refusal::Reserved(shortage()));
                continue;
            }
            let is_short = match terms {
                Terms::Whole => here < wanted.max(1) && here < of_budget,
                Terms::Leased => here < least,
            };
            if is_short {
                refusal.get_or_insert(Refusal::NotLeased(shortage()));
                let missing = wanted.saturating_sub(here).max(1);
                account.want(missing.saturating_add(running));
            }
            if budget.of == BudgetUnit::Tokens {
                granted.tokens = granted.tokens.min(here);
            }
        }
        if let Some(refusal) = refusal {
            drop(accounts);
            if matches!(refusal, Refusal::NotLeased(_)) {
                self.announce();
            }
            return Err(refusal);
        }
        let reserve = |budget: &Budget| {
            let account = self.account(&mut accounts, budget, now);
            let part = granted.of(budget.of);
            account.reserve(part);
            (account.name, account.window, part)
        };
        let parts = budgets.iter().map(reserve).collect();
        drop(accounts);
        Ok(Reservation {
            spending: Arc::clone(self),
            parts,
            granted,
            used: Amounts::default(),
            hold: None,
        })
    }

    /// How much of `budget` is spent and how much is reserved, in the budget's smallest unit.
    pub fn state(&self, budget: &Budget, now: UnixMs) -> (u64, u64) {
        let now = self.news.time_of_budgets(now);
        let mut accounts = self.lock();
        let account = self.account(&mut accounts, budget, now);
        let (spent, reserved) = account.state();
        (spent.saturating_add(self.used_so_far(account)), reserved)
    }

    /// What running calls have used of a budget of unit-seconds.
    fn used_so_far(&self, account: &Account) -> u64 {
        match account.name.of {
            BudgetUnit::UnitSeconds => self.held.used((account.name, account.window)),
            BudgetUnit::Tokens | BudgetUnit::Requests => 0,
        }
    }

    /// Begins an exchange with the database. `may_rest`: see [`Account::state_to_save`].
    pub(super) fn states_to_save(&self, may_rest: bool, is_whole: bool) -> Vec<Statement> {
        self.is_listed.store(false, Ordering::Relaxed);
        let mut accounts = self.lock();
        let to_save = accounts
            .iter_mut()
            .filter(|account| account.has_news() || (is_whole && account.has_lease()));
        to_save
            .map(|account| account.state_to_save(may_rest))
            .collect()
    }

    /// Ends an exchange with the database.
    pub(super) fn take(&self, statement: &Statement, granted: &Granted) {
        let mut accounts = self.lock();
        self.account_at(&mut accounts, statement.name, granted.window)
            .take(statement, granted);
    }

    /// Takes over what is spent, as the database has it.
    pub(super) fn take_spent(&self, name: AccountName, window: i64, spent: u64) {
        let mut accounts = self.lock();
        self.account_at(&mut accounts, name, window)
            .set_spent(window, spent);
    }

    /// Takes back a statement that the database has not taken over.
    pub(super) fn take_back(self: &Arc<Self>, statement: &Statement) {
        let mut accounts = self.lock();
        self.account_at(&mut accounts, statement.name, statement.window)
            .take_back(statement);
        drop(accounts);
        self.announce();
    }

    /// The database has given all leases to others, because it has not heard of this gateway.
    pub(super) fn lose_leases(&self) {
        self.lock().iter_mut().for_each(Account::lose_lease);
    }

    /// How many budgets it has had.
    pub(super) fn accounts(&self) -> usize {
        self.lock().len()
    }

    /// Whether it has a lease.
    pub(super) fn has_lease(&self) -> bool {
        self.lock().iter().any(Account::has_lease)
    }

    /// Tells that there is something to tell the database.
    fn announce(self: &Arc<Self>) {
        // A read of memory that all calls share is cheaper than a write.
        if !self.is_listed.load(Ordering::Relaxed) && !self.is_listed.swap(true, Ordering::Relaxed)
        {
            self.news.add(self);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Account>> {
        // No code panics while it holds the lock, and each statement leaves it consistent.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account of `budget`, in the window of `now` or in a later one.
    fn account<'a>(
        &self,
        accounts: &'a mut Vec<Account>,
        budget: &Budget,
        now: UnixMs,
    ) -> &'a mut Account {
        self.account_at(accounts, AccountName::of(budget), budget.per.window(now))
    }

    /// The account with this name, in this window or in a later one.
    fn account_at<'a>(
        &self,
        accounts: &'a mut Vec<Account>,
        name: AccountName,
        window: i64,
    ) -> &'a mut Account {
        let place = accounts.iter().position(|account| account.name == name);
        let place = place.unwrap_or_else(|| {
            accounts.push(Account::new(name, window, self.news.has_leases()));
            accounts.len() - 1
        });
        #[allow(
            clippy::indexing_slicing,
            reason = "the place was found or added above"
        )]
        let account = &mut accounts[place];
        account.reach(window);
        account
    }
}

impl Reservation {
    /// What the call may use.
    pub fn granted(&self) -> Amounts {
        self.granted
    }

    /// The call holds `units` units from now on.
    pub fn hold_units(&mut self, units: u32) {
        self.release_units();
        if self.unit_accounts().next().is_some() {
            self.hold = Some(self.spending.held.hold(units, self.unit_accounts()));
        }
    }

    /// The call holds no units any more.
    pub fn release_units(&mut self) {
        if let Some(hold) = self.hold.take() {
            self.spending.held.release(hold, self.unit_accounts());
        }
    }

    fn unit_accounts(&self) -> impl Iterator<Item = AccountWindow> {
        let accounts = self.parts.iter().map(|(name, window, _)| (*name, *window));
        accounts.filter(|(name, _)| name.of == BudgetUnit::UnitSeconds)
    }

    /// Records what the call has used so far. The last record counts.
    pub fn record(&mut self, used: Amounts) {
        self.used = used;
    }
}

impl Drop for Reservation {
    /// Settles: the recorded use is spent, and the rest of the reservation is free again. A window
    /// that has ended in the meantime is not changed: the use belongs to it, not to the next one.
    fn drop(&mut self) {
        let mut accounts = self.spending.lock();
        let mut has_news = false;
        for (name, window, part) in &self.parts {
            let same = accounts
                .iter_mut()
                .find(|account| (account.name, account.window) == (*name, *window));
            if let Some(account) = same {
                account.settle(*part, self.used.of(name.of));
                has_news |= account.has_news();
            }
        }
        drop(accounts);
        // Only then, so that the time counts twice for a moment, and never not at all.
        self.release_units();
        if has_news {
            self.spending.announce();
        }
    }
}

#[cfg(test)]
mod tests;
