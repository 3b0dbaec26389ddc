//! What keys have spent of their budgets, and who may spend the rest, in the database.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use sqlx::{Database, QueryBuilder};
use uuid::Uuid;

use super::{
    Repository,
    gateways::{Seen, see_gateway},
};
use crate::{
    keys::{
        account::{AccountName, Granted, Statement},
        budget::{BudgetPeriod, BudgetUnit},
        clock::{UnixMs, milliseconds},
    },
    store::{BeginWrite, Bind, StoreError, begin_on, end_if_late, on_each},
};

/// The longest time for the statements of an exchange. A database that has stopped answers neither
/// yes nor no.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How far the clock of a gateway may be ahead of the database's. A day of a budget that begins
/// later has not begun: otherwise one wrong clock would end the present day for all gateways.
pub(in crate::keys) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// One exchange of a gateway with the database.
#[derive(Debug)]
pub(in crate::keys) struct Exchange<'a> {
    /// The id of the gateway.
    pub(in crate::keys) gateway: Uuid,
    /// A number that is larger than that of each exchange before, and the same if this exchange is
    /// repeated.
    pub(in crate::keys) number: i64,
    /// The key and the account of each statement, sorted, so that two gateways cannot wait for each
    /// other. Each account has at most one.
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
    /// Whether other gateways have not written for some time, so that their leases may have to end.
    pub(in crate::keys) has_lost: bool,
    /// The time of the database's clock, in Unix milliseconds.
    pub(in crate::keys) now: UnixMs,
    /// Whether the gateway has no leases but those that it gets now.
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

/// Adds what was spent, and reads the sum of all gateways. A later window replaces an earlier one.
/// The rows are locked until the end of the transaction, so that one gateway after the other
/// changes the leases of a budget.
const ADD: &str = "INSERT INTO featherwire_spending (key_id, unit, period, window_number, spent) ";

const ADD_TO: &str = " ON CONFLICT (key_id, unit, period) DO UPDATE SET
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
    RETURNING key_id, unit, period, window_number, spent";

const LEASED_BY_OTHERS: &str = "SELECT key_id, unit, period, window_number,
    CAST(SUM(amount) AS BIGINT) FROM featherwire_leases WHERE gateway_id <> ";

const OF_EACH: &str = " GROUP BY key_id, unit, period, window_number";

const LEASE: &str = "INSERT INTO featherwire_leases
    (key_id, unit, period, gateway_id, window_number, amount) ";

const LEASE_AGAIN: &str = " ON CONFLICT (key_id, unit, period, gateway_id) DO UPDATE SET
        window_number = excluded.window_number, amount = excluded.amount";

const RETURN_LEASES: &str = "DELETE FROM featherwire_leases WHERE gateway_id = ";

const RECORD_BATCH: &str = "UPDATE featherwire_gateways SET batch = $2 WHERE id = $1";

const READ: &str = "SELECT key_id, unit, period, window_number, spent FROM featherwire_spending
    WHERE key_id IN (SELECT id FROM featherwire_keys WHERE deleted_at IS NULL)";

const READ_BETWEEN: &str = "SELECT key_id, unit, period, window_number, spent
    FROM featherwire_spending WHERE key_id BETWEEN $1 AND $2";

/// An account, its window and an amount.
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
    /// Adds what keys have spent, and leases what they may still spend. The number of database
    /// statements does not depend on that of accounts.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn exchange(
        &self,
        exchange: &Exchange<'_>,
    ) -> Result<Exchanged, ExchangeError> {
        let mut is_committing = false;
        let run = async {
            on_each!(self.store, pool => {
                let acquire = pool.acquire();
                let mut connection = self.store.within(EXCHANGE_TIMEOUT, acquire).await?;
                let work = async {
                    let mut transaction = begin_on(pool, &mut connection).await?;
                    let seen = see_gateway!(pool, transaction, exchange);
                    let mut granted = Vec::new();
                    if !exchange.statements.is_empty() {
                        let rows: Vec<Row> = add(pool, exchange, seen)
                            .build_query_as()
                            .persistent(false)
                            .fetch_all(&mut *transaction)
                            .await?;
                        let spent = by_account(rows);
                        let rows: Vec<Row> = others(pool, exchange)
                            .build_query_as()
                            .persistent(false)
                            .fetch_all(&mut *transaction)
                            .await?;
                        let others = by_account(rows);
                        granted = grant(exchange, seen, &spent, &others);
                        for query in leases(pool, exchange, &granted).iter_mut().flatten() {
                            let query = query.build().persistent(false);
                            query.execute(&mut *transaction).await?;
                        }
                    }
                    sqlx::query(RECORD_BATCH)
                        .bind(exchange.gateway)
                        .bind(exchange.number)
                        .execute(&mut *transaction)
                        .await?;
                    is_committing = true;
                    transaction.commit().await?;
                    Ok(Exchanged {
                        granted,
                        gateways: amount(seen.gateways),
                        has_lost: seen.lost > 0,
                        now: seen.now,
                        is_new: seen.is_new,
                    })
                };
                let exchanged = self.store.within(EXCHANGE_TIMEOUT, work).await;
                end_if_late(connection, &exchanged);
                exchanged
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

    /// What all keys have spent that are not deleted. A row that this version does not know is left
    /// out.
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
        Ok(rows.into_iter().filter_map(spent).collect())
    }

    /// The same of the keys with these ids and those between them, for who asks about keys.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn spent_between(
        &self,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<Spent>, StoreError> {
        let run = async {
            on_each!(self.queries, pool => {
                let read = sqlx::query_as::<_, Row>(READ_BETWEEN).bind(first).bind(last);
                read.fetch_all(pool).await
            })
        };
        let rows: Vec<Row> = run.await.map_err(|error| self.store.error(error))?;
        Ok(rows.into_iter().filter_map(spent).collect())
    }
}

/// What a row has. `None` if this version does not know its budget.
fn spent((key, of, per, window, spent): Row) -> Option<Spent> {
    Some(Spent {
        key,
        name: AccountName {
            of: BudgetUnit::from_name(&of)?,
            per: BudgetPeriod::from_name(&per)?,
        },
        window,
        amount: amount(spent),
    })
}

/// Adds what was spent.
fn add<D: Database, P: BeginWrite<Database = D>>(
    _: &P,
    exchange: &Exchange<'_>,
    seen: Seen,
) -> QueryBuilder<D>
where
    Uuid: Bind<D>,
    i64: Bind<D>,
    &'static str: Bind<D>,
{
    let mut query = QueryBuilder::new(ADD);
    let latest = seen.now.saturating_add(milliseconds(CLOCK_TOLERANCE));
    query.push_values(exchange.statements, |mut row, (key, statement)| {
        let (unit, period) = names(statement.name);
        // The exchange was saved before, but its answer was lost.
        let is_saved = seen.saved == exchange.number;
        let spent = if is_saved { 0 } else { statement.spent };
        row.push_bind(*key)
            .push_bind(unit)
            .push_bind(period)
            .push_bind(statement.window.min(statement.name.per.window(latest)))
            .push_bind(column(spent));
    });
    query.push(ADD_TO);
    query
}

/// What other gateways have leased of the budgets of these keys.
fn others<D: Database, P: BeginWrite<Database = D>>(
    _: &P,
    exchange: &Exchange<'_>,
) -> QueryBuilder<D>
where
    Uuid: Bind<D>,
{
    let mut query = QueryBuilder::new(LEASED_BY_OTHERS);
    query.push_bind(exchange.gateway).push(" AND key_id IN (");
    let keys: BTreeSet<_> = exchange.statements.iter().map(|(key, _)| *key).collect();
    let mut list = query.separated(", ");
    for key in keys {
        list.push_bind(key);
    }
    query.push(")").push(OF_EACH);
    query
}

/// The amounts of all accounts in `rows`, in their windows.
type Amounts = HashMap<(Uuid, String, String), Vec<(i64, u64)>>;

fn by_account(rows: Vec<Row>) -> Amounts {
    let mut amounts = Amounts::new();
    for (key, unit, period, window, column) in rows {
        let account = amounts.entry((key, unit, period)).or_default();
        account.push((window, amount(column)));
    }
    amounts
}

/// The lease of each account.
fn grant(exchange: &Exchange<'_>, seen: Seen, spent: &Amounts, others: &Amounts) -> Vec<Granted> {
    let grant = |(key, statement): &(Uuid, Statement)| {
        let (unit, period) = names(statement.name);
        let account = (*key, unit.to_owned(), period.to_owned());
        let of_account = |amounts: &Amounts| amounts.get(&account).cloned().unwrap_or_default();
        let first = of_account(spent).first().copied();
        let (window, spent) = first.unwrap_or((statement.window, statement.spent));
        let others: u64 = of_account(others)
            .into_iter()
            .filter_map(|(of, amount)| (of == window).then_some(amount))
            .sum();
        let mut statement = *statement;
        if seen.is_new {
            // Others may have what it has given out.
            statement.given_out = 0;
        }
        statement.grant(window, spent, others, amount(seen.gateways))
    };
    exchange.statements.iter().map(grant).collect()
}

/// Records the leases that are `granted`, and removes those that are not.
fn leases<D: Database, P: BeginWrite<Database = D>>(
    _: &P,
    exchange: &Exchange<'_>,
    granted: &[Granted],
) -> [Option<QueryBuilder<D>>; 2]
where
    Uuid: Bind<D>,
    i64: Bind<D>,
    &'static str: Bind<D>,
{
    let all = exchange.statements.iter().zip(granted);
    let (some, none): (Vec<_>, Vec<_>) = all.partition(|(_, granted)| granted.lease > 0);
    let lease = (!some.is_empty()).then(|| {
        let mut query = QueryBuilder::new(LEASE);
        query.push_values(some, |mut row, ((key, statement), granted)| {
            let (unit, period) = names(statement.name);
            row.push_bind(*key)
                .push_bind(unit)
                .push_bind(period)
                .push_bind(exchange.gateway)
                .push_bind(granted.window)
                .push_bind(column(granted.lease));
        });
        query.push(LEASE_AGAIN);
        query
    });
    let give_back = (!none.is_empty()).then(|| {
        let mut query = QueryBuilder::new(RETURN_LEASES);
        query
            .push_bind(exchange.gateway)
            .push(" AND (key_id, unit, period) IN (");
        query.push_values(none, |mut row, ((key, statement), _)| {
            let (unit, period) = names(statement.name);
            row.push_bind(*key).push_bind(unit).push_bind(period);
        });
        query.push(")");
        query
    });
    [lease, give_back]
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
