//! The concurrency units that running calls of a key hold, for its budgets of unit-seconds. What
//! they have used so far counts as spent, before they end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::account::AccountName;

/// An account in one of its windows.
pub(super) type AccountWindow = (AccountName, i64);

/// The units that running calls of one key hold.
#[derive(Debug)]
pub(super) struct HeldUnits {
    /// Its times count from here.
    since: Instant,
    held: Mutex<Vec<Held>>,
}

/// The units that are held for one account.
#[derive(Debug)]
struct Held {
    account: AccountWindow,
    units: u64,
    /// The sum of the units, each multiplied by the time from which on it is held.
    from_unit_ms: u64,
}

/// The units of one call, and the time from which on it holds them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    units: u64,
    from_unit_ms: u64,
}

impl HeldUnits {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            held: Mutex::default(),
        }
    }

    /// Counts `units` from now on for these accounts, until [`release`](Self::release).
    pub(super) fn hold(&self, units: u32, accounts: impl Iterator<Item = AccountWindow>) -> Hold {
        let units = u64::from(units);
        let hold = Hold {
            units,
            from_unit_ms: units.saturating_mul(self.now_ms()),
        };
        let mut held = self.lock();
        for account in accounts {
            match held.iter_mut().find(|held| held.account == account) {
                Some(held) => {
                    held.units = held.units.saturating_add(hold.units);
                    held.from_unit_ms = held.from_unit_ms.saturating_add(hold.from_unit_ms);
                }
                None => held.push(Held {
                    account,
                    units: hold.units,
                    from_unit_ms: hold.from_unit_ms,
                }),
            }
        }
        hold
    }

    /// Ends `hold`, which has begun for the same accounts.
    pub(super) fn release(&self, hold: Hold, accounts: impl Iterator<Item = AccountWindow>) {
        let mut held = self.lock();
        for account in accounts {
            if let Some(held) = held.iter_mut().find(|held| held.account == account) {
                held.units = held.units.saturating_sub(hold.units);
                held.from_unit_ms = held.from_unit_ms.saturating_sub(hold.from_unit_ms);
            }
        }
        held.retain(|held| held.units > 0);
    }

    /// What running calls have used so far of this account, in unit-milliseconds.
    pub(super) fn used(&self, account: AccountWindow) -> u64 {
        let now_ms = self.now_ms();
        let held = self.lock();
        let held = held.iter().find(|held| held.account == account);
        held.map_or(0, |held| {
            held.units
                .saturating_mul(now_ms)
                .saturating_sub(held.from_unit_ms)
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        // No code panics while it holds the lock, and each statement leaves it consistent.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{iter::once, time::Duration};

    use super::*;
    use crate::keys::{BudgetPeriod, BudgetUnit};

    #[tokio::test(start_paused = true)]
    async fn the_time_of_each_call_counts_in_the_window_of_its_start() {
        let name = AccountName {
            of: BudgetUnit::UnitSeconds,
            per: BudgetPeriod::Day,
        };
        let (today, tomorrow) = ((name, 1), (name, 2));
        let held = HeldUnits::new();
        let wait = |ms| tokio::time::advance(Duration::from_millis(ms));
        wait(500).await;
        let first = held.hold(2, once(today));
        wait(100).await;
        let second = held.hold(1, once(today));
        wait(10).await;
        assert_eq!(held.used(today), 2 * 110 + 10);
        let late = held.hold(4, once(tomorrow));
        wait(10).await;
        assert_eq!((held.used(today), held.used(tomorrow)), (260, 40));
        held.release(first, once(today));
        assert_eq!(held.used(today), 20);
        held.release(second, once(today));
        held.release(late, once(tomorrow));
        wait(1000).await;
        assert_eq!((held.used(today), held.used(tomorrow)), (0, 0));
        assert!(held.lock().is_empty());
    }
}
