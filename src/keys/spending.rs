//! What a key has used of its budgets, and what its running calls may still use.
//!
//! A call *reserves* what it may use at most before it starts, and *settles* what it has used at its
//! end. A budget gives out no more than it has: what is spent and what is reserved together never
//! exceed it. So calls that run at the same time cannot overspend it, and a caller that hangs up
//! cannot escape it, because the reservation settles when it is dropped.
//!
//! All budgets of a key are behind one lock, because a call must get its part of all of them or of
//! none. It is held for some additions, twice for each call.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use super::{
    budget::{Budget, BudgetPeriod, BudgetUnit},
    clock::UnixMs,
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
#[derive(Debug, Default)]
pub struct Spending {
    accounts: Mutex<Vec<Account>>,
    /// Whether an account has something unsaved.
    is_unsaved: AtomicBool,
}

/// The spending of one budget in its present window.
#[derive(Debug)]
struct Account {
    of: BudgetUnit,
    per: BudgetPeriod,
    window: i64,
    spent: u64,
    reserved: u64,
    /// What of `spent` is not in the database.
    unsaved: u64,
}

/// What was spent in one window, in the smallest unit of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) of: BudgetUnit,
    pub(super) per: BudgetPeriod,
    pub(super) window: i64,
    pub(super) amount: u64,
}

impl Spent {
    /// The unit and the period with these names.
    pub(super) fn names(of: &str, per: &str) -> Option<(BudgetUnit, BudgetPeriod)> {
        Some((BudgetUnit::from_name(of)?, BudgetPeriod::from_name(per)?))
    }
}

/// A budget that has too little left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The budget.
    pub budget: Budget,
    /// How much of it is neither spent nor reserved.
    pub left: u64,
    /// When it renews; `None` for never.
    pub renews_at: Option<UnixMs>,
}

/// What a call may use. Dropping it settles what [`Reservation::record`] has recorded.
#[derive(Debug)]
pub struct Reservation {
    spending: Arc<Spending>,
    /// For each account, the window and the reserved amount.
    parts: Vec<(BudgetUnit, BudgetPeriod, i64, u64)>,
    granted: Amounts,
    used: Amounts,
}

impl Spending {
    /// Reserves `ask` of all `budgets`, or less tokens than that, but not less than `tokens_min`, if
    /// a budget of tokens has not as many left.
    ///
    /// # Errors
    /// A budget has too little left. Nothing is reserved.
    pub fn reserve(
        self: &Arc<Self>,
        budgets: &[Budget],
        ask: Amounts,
        tokens_min: u64,
        now: UnixMs,
    ) -> Result<Reservation, Exhausted> {
        let mut accounts = self.lock();
        let mut granted = ask;
        for budget in budgets {
            let account = Account::of(&mut accounts, budget, now);
            let left =
                amount(budget).saturating_sub(account.spent.saturating_add(account.reserved));
            let least = match budget.of {
                BudgetUnit::Tokens => tokens_min.min(ask.tokens),
                unit => ask.of(unit),
            };
            if left < least || left == 0 {
                return Err(Exhausted {
                    budget: *budget,
                    left: left / scale(budget.of),
                    renews_at: budget.per.renews_at(account.window),
                });
            }
            if budget.of == BudgetUnit::Tokens {
                granted.tokens = granted.tokens.min(left);
            }
        }
        let reserve = |budget: &Budget| {
            let account = Account::of(&mut accounts, budget, now);
            let part = granted.of(budget.of);
            account.reserved += part;
            (account.of, account.per, account.window, part)
        };
        let parts = budgets.iter().map(reserve).collect();
        drop(accounts);
        Ok(Reservation {
            spending: Arc::clone(self),
            parts,
            granted,
            used: Amounts::default(),
        })
    }

    /// What was spent since the last call of this. It must be saved, or given back.
    pub(super) fn take_unsaved(&self) -> Vec<Spent> {
        if !self.is_unsaved.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        let mut accounts = self.lock();
        let unsaved = accounts.iter_mut().filter(|account| account.unsaved > 0);
        let take = |account: &mut Account| Spent {
            of: account.of,
            per: account.per,
            window: account.window,
            amount: std::mem::take(&mut account.unsaved),
        };
        unsaved.map(take).collect()
    }

    /// Gives back what could not be saved. What belongs to a window that has ended is lost.
    pub(super) fn give_back_unsaved(&self, spent: &Spent) {
        let mut accounts = self.lock();
        let same = accounts.iter_mut().find(|account| {
            (account.of, account.per, account.window) == (spent.of, spent.per, spent.window)
        });
        if let Some(account) = same {
            account.unsaved = account.unsaved.saturating_add(spent.amount);
            self.is_unsaved.store(true, Ordering::Relaxed);
        }
    }

    /// Sets what all gateways have spent together, as the database has it.
    pub(super) fn set_saved(&self, saved: &Spent) {
        let mut accounts = self.lock();
        let account = Account::at(&mut accounts, saved.of, saved.per, saved.window);
        if account.window == saved.window {
            account.spent = saved.amount.saturating_add(account.unsaved);
        }
    }

    /// How much of `budget` is spent and how much is reserved, in the budget's smallest unit.
    pub fn state(&self, budget: &Budget, now: UnixMs) -> (u64, u64) {
        let mut accounts = self.lock();
        let account = Account::of(&mut accounts, budget, now);
        (account.spent, account.reserved)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Account>> {
        // No code panics while it holds the lock, and each statement leaves it consistent.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// The account of `budget`, in the window of `now`. A clock that goes back does not open a
    /// window again.
    fn of<'a>(accounts: &'a mut Vec<Self>, budget: &Budget, now: UnixMs) -> &'a mut Self {
        Self::at(accounts, budget.of, budget.per, budget.per.window(now))
    }

    /// The account of this budget, in this window or in a later one.
    fn at(accounts: &mut Vec<Self>, of: BudgetUnit, per: BudgetPeriod, window: i64) -> &mut Self {
        let place = accounts
            .iter()
            .position(|account| (account.of, account.per) == (of, per));
        let place = place.unwrap_or_else(|| {
            accounts.push(Self {
                of,
                per,
                window,
                spent: 0,
                reserved: 0,
                unsaved: 0,
            });
            accounts.len() - 1
        });
        #[allow(
            clippy::indexing_slicing,
            reason = "the place was found or added above"
        )]
        let account = &mut accounts[place];
        if window > account.window {
            account.window = window;
            (account.spent, account.reserved, account.unsaved) = (0, 0, 0);
        }
        account
    }
}

impl Reservation {
    /// What the call may use.
    pub fn granted(&self) -> Amounts {
        self.granted
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
        for (of, per, window, part) in &self.parts {
            let same = accounts
                .iter_mut()
                .find(|account| (account.of, account.per, account.window) == (*of, *per, *window));
            if let Some(account) = same {
                account.reserved = account.reserved.saturating_sub(*part);
                let used = self.used.of(*of);
                account.spent = account.spent.saturating_add(used);
                account.unsaved = account.unsaved.saturating_add(used);
                self.spending
                    .is_unsaved
                    .fetch_or(used > 0, Ordering::Relaxed);
            }
        }
    }
}

/// The amount of a budget in its smallest unit.
fn amount(budget: &Budget) -> u64 {
    budget.amount.saturating_mul(scale(budget.of))
}

/// How many of its smallest units a budget's unit has.
fn scale(unit: BudgetUnit) -> u64 {
    match unit {
        BudgetUnit::Tokens | BudgetUnit::Requests => 1,
        BudgetUnit::UnitSeconds => 1000,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering::Relaxed},
        thread,
    };

    use super::*;

    const DAY_MS: i64 = 24 * 60 * 60 * 1000;

    fn budgets(texts: &[&str]) -> Vec<Budget> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn call(tokens: u64) -> Amounts {
        Amounts {
            tokens,
            requests: 1,
            unit_ms: 0,
        }
    }

    #[test]
    fn a_call_gets_less_tokens_if_less_are_left_and_none_below_the_least() {
        let spending = Arc::<Spending>::default();
        let budgets = budgets(&["tokens=100/day", "requests=10/day"]);
        let mut first = spending.reserve(&budgets, call(70), 10, 0).unwrap();
        let second = spending.reserve(&budgets, call(70), 10, 0).unwrap();
        assert_eq!((first.granted().tokens, second.granted().tokens), (70, 30));
        let refused = spending.reserve(&budgets, call(70), 10, 0).unwrap_err();
        assert_eq!((refused.budget, refused.left), (budgets[0], 0));
        assert_eq!(refused.renews_at, Some(DAY_MS));
        first.record(call(5));
        drop(first);
        assert_eq!(spending.state(&budgets[0], 0), (5, 30));
        drop(second);
        assert_eq!(spending.state(&budgets[0], 0), (5, 0));
        assert_eq!(
            spending.state(&budgets[1], 0),
            (1, 0),
            "a call that used nothing"
        );
    }

    #[test]
    fn a_refused_call_reserves_nothing_of_any_budget() {
        let spending = Arc::<Spending>::default();
        let budgets = budgets(&["tokens=100/day", "requests=1/total"]);
        let _running = spending.reserve(&budgets, call(10), 1, 0).unwrap();
        let refused = spending.reserve(&budgets, call(10), 1, 0).unwrap_err();
        assert_eq!((refused.budget, refused.renews_at), (budgets[1], None));
        assert_eq!(spending.state(&budgets[0], 0), (0, 10));
    }

    #[test]
    fn a_call_over_midnight_belongs_to_the_day_of_its_start() {
        let spending = Arc::<Spending>::default();
        let budgets = budgets(&["tokens=100/day", "tokens=150/total"]);
        let mut late = spending.reserve(&budgets, call(80), 1, DAY_MS - 1).unwrap();
        let next = spending.reserve(&budgets, call(80), 1, DAY_MS).unwrap();
        assert_eq!(next.granted().tokens, 70, "the total knows no midnight");
        late.record(call(80));
        drop(late);
        assert_eq!(spending.state(&budgets[0], DAY_MS), (0, 70));
        assert_eq!(spending.state(&budgets[1], DAY_MS), (80, 70));
        // The clock goes back: the day does not come again.
        assert_eq!(spending.state(&budgets[0], 0), (0, 70));
    }

    #[test]
    fn unit_seconds_are_counted_in_milliseconds() {
        let spending = Arc::<Spending>::default();
        let budgets = budgets(&["unit-seconds=2/day"]);
        let ask = |unit_ms| Amounts {
            unit_ms,
            ..Amounts::default()
        };
        let mut first = spending.reserve(&budgets, ask(1500), 0, 0).unwrap();
        assert_eq!(
            spending.reserve(&budgets, ask(501), 0, 0).unwrap_err().left,
            0
        );
        first.record(ask(100));
        drop(first);
        assert!(spending.reserve(&budgets, ask(1900), 0, 0).is_ok());
    }

    #[test]
    fn callers_that_race_and_hang_up_spend_no_more_than_the_budget() {
        const LIMIT: u64 = 100_000;
        let spending = Arc::<Spending>::default();
        let budgets = budgets(&["tokens=100000/day"]);
        let (reserved, spent, released) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for seed in 0..8_u64 {
                let (spending, budgets) = (&spending, &budgets);
                let (reserved, spent, released) = (&reserved, &spent, &released);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    for _ in 0..5000 {
                        let ask = call(random.u64(1..500));
                        let Ok(mut call_of) = spending.reserve(budgets, ask, 1, 0) else {
                            continue;
                        };
                        let granted = call_of.granted().tokens;
                        // A third hang up at any time.
                        let used = match random.u8(0..3) {
                            0 => random.u64(0..=granted),
                            _ => granted / 7,
                        };
                        call_of.record(call(used));
                        let (of_all, in_use) = spending.state(&budgets[0], 0);
                        assert!(of_all + in_use <= LIMIT);
                        drop(call_of);
                        reserved.fetch_add(granted, Relaxed);
                        spent.fetch_add(used, Relaxed);
                        released.fetch_add(granted - used, Relaxed);
                    }
                });
            }
        });
        let [reserved, spent, released] = [reserved, spent, released].map(AtomicU64::into_inner);
        assert_eq!(spent + released, reserved);
        assert_eq!(spending.state(&budgets[0], 0), (spent, 0));
        assert!(spent <= LIMIT && spent > LIMIT - 500, "{spent}");
    }
}
