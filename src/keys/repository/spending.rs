//! What keys have spent of their budgets, and who may spend the rest, in the database.

use std::time::Duration;

use uuid::Uuid;

use super::Repository;
use crate::{
    keys::{
        account::{AccountName, Granted, Statement},
        budget::{BudgetPeriod, BudgetUnit},
        clock::milliseconds,
    },
    store::{BeginWrite as _, Presence, StoreError, on_each},
};

/// The leases of a gateway that has not written for so long end. It is longer than a restart of a
/// database, during which calls go on with what is leased.
pub(in crate::keys) const LEASE_TIME: Duration = Duration::from_secs(60);

/// A gateway that has not written for so long has no part in what is left of budgets.
const SHARE_TIME: Duration = Duration::from_secs(5);

/// One exchange of a gateway with the database.
#[derive(Debug)]
pub(in crate::keys) struct Exchange<'a> {
    /// The id of the gateway.
    pub(in crate::keys) gateway: Uuid,
    /// A number that is larger than that of each exchange before, and the same if this exchange is
    /// repeated.
    pub(in crate::keys) number: i64,
    /// The key and the account of each statement, sorted, so that two gateways cannot wait for each
    /// other.
    pub(in crate::keys) statements: &'a [(Uuid, Statement)],
    /// The leases of a gateway end that has not written for so long.
    pub(in crate::keys) lease_time: Duration,
    /// Whether leases may end now.
    pub(in crate::keys) may_end_leases: bool,
}

/// What the database answers.
#[derive(Debug)]
pub(in crate::keys) struct Exchanged {
    /// For each statement.
    pub(in crate::keys) granted: Vec<Granted>,
    /// How many gateways share what is left, with this one.
    pub(in crate::keys) gateways: u64,
    /// Whether the database did not know this gateway.
    pub(in crate::keys) is_new: bool,
}

/// Why an exchange failed.
#[derive(Debug)]
pub(in crate::keys) enum ExchangeError {
    /// Nothing was changed.
    NotSaved(StoreError),
    /// The database may have changed: the same exchange must be repeated.
    Unknown(StoreError),
}

const SEE_GATEWAY: &str = "INSERT INTO featherwire_gateways (id, batch, seen_at)
    VALUES ($1, 0, $2)
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at
    RETURNING batch";

const END_LEASES: &str = "DELETE FROM featherwire_leases WHERE gateway_id IN (
    SELECT id FROM featherwire_gateways WHERE seen_at < $1)";

/// Another gateway may end leases at the same time, and a lost gateway may come back.
const FORGET_GATEWAYS: &str = "DELETE FROM featherwire_gateways WHERE seen_at < $1
    AND NOT EXISTS (SELECT 1 FROM featherwire_leases WHERE gateway_id = featherwire_gateways.id)";

const COUNT_GATEWAYS: &str = "SELECT COUNT(*) FROM featherwire_gateways WHERE seen_at >= $1";

/// Adds what was spent, and reads the sum of all gateways. A later window replaces an earlier one.
/// The row is locked until the end of the transaction, so that one gateway after the other changes
/// the leases of a budget.
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

const LEASED_BY_OTHERS: &str = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT)
    FROM featherwire_leases
    WHERE key_id = $1 AND unit = $2 AND period = $3 AND window_number = $4 AND gateway_id <> $5";

const LEASE: &str = "INSERT INTO featherwire_leases
    (key_id, unit, period, gateway_id, window_number, amount) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (key_id, unit, period, gateway_id) DO UPDATE SET
        window_number = excluded.window_number, amount = excluded.amount";

const END_LEASE: &str = "DELETE FROM featherwire_leases
    WHERE key_id = $1 AND unit = $2 AND period = $3 AND gateway_id = $4";

const RECORD_BATCH: &str = "UPDATE featherwire_gateways SET batch = $2 WHERE id = $1";

const READ: &str = "SELECT key_id, unit, period, window_number, spent FROM featherwire_spending";

type Row = (Uuid, String, String, i64, i64);

/// What was spent of one budget in its last window.
#[derive(Clone, Copy, Debug)]
pub(in crate::keys) struct Spent {
    pub(in crate::keys) key: Uuid,
    pub(in crate::keys) name: AccountName,
    pub(in crate::keys) window: i64,
    /// In the smallest unit of the budget.
    pub(in crate::keys) amount: u64,
}

impl Repository {
    /// Adds what keys have spent, and leases what they may still spend.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn exchange(
        &self,
        exchange: &Exchange<'_>,
    ) -> Result<Exchanged, ExchangeError> {
        let Exchange {
            gateway,
            number,
            statements,
            lease_time,
            may_end_leases,
        } = *exchange;
        let mut is_committing = false;
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                let now = pool.now(&mut transaction).await?;
                let saved: i64 = sqlx::query_scalar(SEE_GATEWAY)
                    .bind(gateway)
                    .bind(now)
                    .fetch_one(&mut *transaction)
                    .await?;
                if may_end_leases {
                    for statement in [END_LEASES, FORGET_GATEWAYS] {
                        sqlx::query(statement)
                            .bind(now.saturating_sub(milliseconds(lease_time)))
                            .execute(&mut *transaction)
                            .await?;
                    }
                }
                let gateways: i64 = sqlx::query_scalar(COUNT_GATEWAYS)
                    .bind(now.saturating_sub(milliseconds(SHARE_TIME)))
                    .fetch_one(&mut *transaction)
                    .await?;
                let gateways = amount(gateways);
                let mut granted = Vec::with_capacity(statements.len());
                for (key, statement) in statements {
                    let mut statement = *statement;
                    if saved == 0 {
                        // Others may have what it has given out.
                        statement.given_out = 0;
                    }
                    let (unit, period) = names(statement.name);
                    // The exchange was saved before, but its answer was lost.
                    let new = if saved == number { 0 } else { statement.spent };
                    let (window, spent): (i64, i64) = sqlx::query_as(ADD)
                        .bind(key)
                        .bind(unit)
                        .bind(period)
                        .bind(statement.window)
                        .bind(column(new))
                        .fetch_one(&mut *transaction)
                        .await?;
                    let others: i64 = sqlx::query_scalar(LEASED_BY_OTHERS)
                        .bind(key)
                        .bind(unit)
                        .bind(period)
                        .bind(window)
                        .bind(gateway)
                        .fetch_one(&mut *transaction)
                        .await?;
                    let part = statement.grant(window, amount(spent), amount(others), gateways);
                    if part.lease > 0 {
                        sqlx::query(LEASE)
                            .bind(key)
                            .bind(unit)
                            .bind(period)
                            .bind(gateway)
                            .bind(window)
                            .bind(column(part.lease))
                            .execute(&mut *transaction)
                            .await?;
                    } else {
                        sqlx::query(END_LEASE)
                            .bind(key)
                            .bind(unit)
                            .bind(period)
                            .bind(gateway)
                            .execute(&mut *transaction)
                            .await?;
                    }
                    granted.push(part);
                }
                sqlx::query(RECORD_BATCH)
                    .bind(gateway)
                    .bind(number)
                    .execute(&mut *transaction)
                    .await?;
                is_committing = true;
                transaction.commit().await?;
                Ok(Exchanged {
                    granted,
                    gateways,
                    is_new: saved == 0,
                })
            })
        };
        let result: sqlx::Result<_> = run.await;
        result.map_err(|error| {
            let error = self.store.error(error);
            match is_committing {
                true => ExchangeError::Unknown(error),
                false => ExchangeError::NotSaved(error),
            }
        })
    }

    /// Ends all leases, if no other process serves from the database: those that had them have
    /// crashed. Returns what must live as long as this process serves.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn enter(&self) -> Result<Option<Presence>, StoreError> {
        let presence = self.store.enter();
        if !presence.as_ref().is_some_and(Presence::is_alone) {
            return Ok(presence);
        }
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                for statement in ["DELETE FROM featherwire_leases", "DELETE FROM featherwire_gateways"] {
                    sqlx::query(statement).execute(&mut *transaction).await?;
                }
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))?;
        Ok(presence)
    }

    /// Gives all leases of a gateway back.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn leave(&self, gateway: Uuid) -> Result<(), StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                for statement in [
                    "DELETE FROM featherwire_leases WHERE gateway_id = $1",
                    "DELETE FROM featherwire_gateways WHERE id = $1",
                ] {
                    sqlx::query(statement)
                        .bind(gateway)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// What all keys have spent. A row that this version does not know is left out.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn spent(&self) -> Result<Vec<Spent>, StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                sqlx::query_as::<_, Row>(READ).fetch_all(pool).await
            })
        };
        let rows: Vec<Row> = run.await.map_err(|error| self.store.error(error))?;
        let read = |(key, of, per, window, spent): Row| {
            Some(Spent {
                key,
                name: AccountName {
                    of: BudgetUnit::from_name(&of)?,
                    per: BudgetPeriod::from_name(&per)?,
                },
                window,
                amount: amount(spent),
            })
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }
}

fn names(name: AccountName) -> (&'static str, &'static str) {
    (name.of.name(), name.per.name())
}

/// An amount from a column.
fn amount(column: i64) -> u64 {
    u64::try_from(column).unwrap_or_default()
}

/// An amount for a column.
fn column(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}
