//! What is left of the budgets of keys, as the database has it.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Repository, Spent};
use crate::{
    keys::{
        account::AccountName,
        budget::Budget,
        clock::{self, UnixMs},
        key::Key,
        status::BudgetStatus,
    },
    store::StoreError,
};

impl Repository {
    /// What is left of the budgets of each of these keys, by what gateways have saved.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn budgets(
        &self,
        keys: &[Key],
    ) -> Result<HashMap<Uuid, Vec<BudgetStatus>>, StoreError> {
        let with_budgets = || {
            let keys = keys.iter();
            keys.filter(|key| !key.settings.limits.budgets.is_empty())
        };
        let ids = || with_budgets().map(|key| key.id);
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else {
            return Ok(HashMap::new());
        };
        let mut spent: HashMap<Uuid, Vec<Spent>> = HashMap::new();
        for one in self.spent_between(first, last).await? {
            spent.entry(one.key).or_default().push(one);
        }
        let now = clock::now();
        let of_key = |key: &Key| {
            let spent = spent.get(&key.id).map(Vec::as_slice).unwrap_or_default();
            let budgets = key.settings.limits.budgets.iter();
            let budgets = budgets.map(|budget| status(budget, spent, now));
            (key.id, budgets.collect())
        };
        Ok(with_budgets().map(of_key).collect())
    }
}

/// What is left of `budget`, of which a key has `spent` this in its last window.
fn status(budget: &Budget, spent: &[Spent], now: UnixMs) -> BudgetStatus {
    let window = budget.per.window(now);
    let last = spent
        .iter()
        .find(|one| one.name == AccountName::of(budget) && one.window >= window);
    let (window, spent) = last.map_or((window, 0), |last| (last.window, last.amount));
    BudgetStatus::new(budget, window, spent, 0)
}
