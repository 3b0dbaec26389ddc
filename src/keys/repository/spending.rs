//! What keys have spent of their budgets, in the database.

use uuid::Uuid;

use super::Repository;
use crate::{
    keys::spending::Spent,
    store::{BeginWrite as _, StoreError, on_each},
};

/// Adds what was spent, and reads the sum of all gateways. A later window replaces an earlier one.
const ADD: &str = "INSERT INTO featherwire_spending (key_id, unit, period, window_number, spent)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (key_id, unit, period) DO UPDATE SET
        spent = CASE
            WHEN excluded.window_number > featherwire_spending.window_number THEN excluded.spent
            WHEN excluded.window_number < featherwire_spending.window_number
                THEN featherwire_spending.spent
            ELSE featherwire_spending.spent + excluded.spent
        END,
        window_number = CASE
            WHEN excluded.window_number > featherwire_spending.window_number
                THEN excluded.window_number
            ELSE featherwire_spending.window_number
        END
    RETURNING window_number, spent";

const READ: &str = "SELECT key_id, unit, period, window_number, spent FROM featherwire_spending";

type Row = (Uuid, String, String, i64, i64);

impl Repository {
    /// Adds what keys have spent, and returns the sums with what other gateways have spent.
    ///
    /// # Errors
    /// Those of the database. Nothing is added.
    pub(in crate::keys) async fn add_spent(
        &self,
        spent: &[(Uuid, Spent)],
    ) -> Result<Vec<(Uuid, Spent)>, StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                let mut sums = Vec::with_capacity(spent.len());
                for (id, spent) in spent {
                    let amount = i64::try_from(spent.amount).unwrap_or(i64::MAX);
                    let (window, sum): (i64, i64) = sqlx::query_as(ADD)
                        .bind(id)
                        .bind(spent.of.name())
                        .bind(spent.per.name())
                        .bind(spent.window)
                        .bind(amount)
                        .fetch_one(&mut *transaction)
                        .await?;
                    let amount = u64::try_from(sum).unwrap_or_default();
                    sums.push((*id, Spent { window, amount, ..*spent }));
                }
                transaction.commit().await?;
                Ok(sums)
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// What all keys have spent. A row that this version does not know is left out.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn spent(&self) -> Result<Vec<(Uuid, Spent)>, StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                sqlx::query_as::<_, Row>(READ).fetch_all(pool).await
            })
        };
        let rows: Vec<Row> = run.await.map_err(|error| self.store.error(error))?;
        let read = |(id, of, per, window, spent): Row| {
            let (of, per) = Spent::names(&of, &per)?;
            let amount = u64::try_from(spent).unwrap_or_default();
            Some((
                id,
                Spent {
                    of,
                    per,
                    window,
                    amount,
                },
            ))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}
