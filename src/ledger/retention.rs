//! Removes records of single calls that are old. Their sums stay.
//!
//! PostgreSQL has a partition for each day, which is made before the day and dropped as a whole.

use std::{ops::Range, time::Duration};

use sqlx::{Connection as _, PgConnection};

use super::{
    time::{Grain, second_of},
    write::STEP_TIMEOUT,
};
use crate::{
    clock::{self, UnixMs, milliseconds, system_time},
    store::{Pool, Store, StoreError, end_if_late, on_each},
};

/// The largest number of rows of a table that are deleted in one transaction.
const PORTION: i64 = 1000;

/// The largest number of records in a database in memory.
const IN_MEMORY_MAX: i64 = 100_000;

/// For how many days PostgreSQL has partitions in advance.
const DAYS_AHEAD: i64 = 7;

/// The longest wait for a lock of a table, in PostgreSQL. Later it is tried again.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// The number of the advisory lock for partitions: "partitio" in ASCII.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(8097879449299872111)";

/// The tables of records, which have partitions in PostgreSQL.
const TABLES: [&str; 2] = ["featherwire_call_blocks", "featherwire_call_keys"];

const PARTITIONS: &str = "SELECT child.relname::text FROM pg_inherits JOIN pg_class AS child ON \
                          child.oid = inhrelid WHERE inhparent = $1::regclass";

const DELETE_BLOCKS: &str = "DELETE FROM featherwire_call_blocks WHERE (second, id) IN (SELECT \
                             second, id FROM featherwire_call_blocks WHERE second < $1 ORDER BY \
                             second, id LIMIT $2)";

const DELETE_KEYS: &str = "DELETE FROM featherwire_call_keys WHERE (second, block, key_id) IN \
                           (SELECT second, block, key_id FROM featherwire_call_keys WHERE second \
                           < $1 ORDER BY second, block, key_id LIMIT $2)";

/// The second of the newest block that a database in memory has no more room for.
const FIRST_TOO_MANY: &str = "SELECT second FROM (SELECT second, SUM(calls) OVER (ORDER BY second \
                              DESC, id DESC) AS calls FROM featherwire_call_blocks) AS sums WHERE \
                              calls > $1 ORDER BY second DESC LIMIT 1";

/// Removes old records.
#[derive(Debug)]
pub(super) struct Retention {
    store: Store,
    kept: Duration,
}

impl Retention {
    /// Removes records that are older than `kept` from `store`.
    pub(super) fn new(store: Store, kept: Duration) -> Self {
        Self { store, kept }
    }

    /// Removes some old records, and makes room for the next days. Returns false if there may be
    /// more of them.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn clean(&self) -> Result<bool, StoreError> {
        let now = clock::now();
        let run = async {
            let oldest = now.saturating_sub(milliseconds(self.kept));
            if let Pool::Postgres(pool) = self.store.pool() {
                let mut connection = self.store.within(STEP_TIMEOUT, pool.acquire()).await?;
                let arranged = async {
                    for table in TABLES {
                        arrange_partitions(&mut connection, table, now, oldest).await?;
                    }
                    Ok(())
                };
                let arranged = self.store.within(STEP_TIMEOUT, arranged).await;
                end_if_late(connection, &arranged);
                arranged?;
            }
            on_each!(self.store, pool => {
                let mut connection = self.store.within(STEP_TIMEOUT, pool.acquire()).await?;
                let deleted = self.store.within(STEP_TIMEOUT, async {
                    let too_many: Option<i64> = match self.store.is_in_memory() {
                        true => {
                            let too_many = sqlx::query_scalar(FIRST_TOO_MANY).bind(IN_MEMORY_MAX);
                            too_many.fetch_optional(&mut *connection).await?
                        }
                        false => None,
                    };
                    let mut is_done = true;
                    for delete in [DELETE_BLOCKS, DELETE_KEYS] {
                        let delete = sqlx::query(delete)
                            .bind(second_of(oldest).max(too_many.unwrap_or(i64::MIN)))
                            .bind(PORTION);
                        let deleted = delete.execute(&mut *connection).await?.rows_affected();
                        is_done &= deleted < PORTION.unsigned_abs();
                    }
                    Ok(is_done)
                });
                let deleted = deleted.await;
                end_if_late(connection, &deleted);
                deleted
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}

/// Makes the partitions of a table for today and for the next days, and drops those that end before
/// `oldest`. Another gateway may do the same at the same time, so one of them does it.
async fn arrange_partitions(
    connection: &mut PgConnection,
    table: &'static str,
    now: UnixMs,
    oldest: UnixMs,
) -> sqlx::Result<()> {
    let partitions: Vec<String> = sqlx::query_scalar(PARTITIONS)
        .bind(table)
        .fetch_all(&mut *connection)
        .await?;
    let today = Grain::Day.start(now);
    let missing = (-1..=DAYS_AHEAD)
        .map(|day| today + day * Grain::Day.ms())
        .filter(|day| !partitions.contains(&name(table, *day)));
    for day in missing {
        let Range { start, end } = second_of(day)..second_of(day + Grain::Day.ms());
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} PARTITION OF {table} FOR VALUES FROM ({start}) TO \
             ({end})",
            name(table, day)
        );
        // It fails if the partition for all other days has rows of this one. They stay there.
        if let Err(error) = run_locked(connection, create).await {
            tracing::debug!(%error, "a partition for records of calls was not made");
        }
    }
    let last_kept = name(table, Grain::Day.start(oldest));
    // The partition for all other days has no digits.
    let is_day = |name: &&String| {
        let day = name.strip_prefix(table).unwrap_or_default();
        name.len() == last_kept.len() && day.bytes().skip(1).all(|byte| byte.is_ascii_digit())
    };
    for old in partitions
        .iter()
        .filter(is_day)
        .filter(|name| **name < last_kept)
    {
        run_locked(connection, format!("DROP TABLE IF EXISTS {old}")).await?;
    }
    Ok(())
}

/// Runs a statement, unless another gateway arranges the partitions.
async fn run_locked(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(SET_LOCK_TIMEOUT)
        .execute(&mut *transaction)
        .await?;
    let is_locked: bool = sqlx::query_scalar(LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if is_locked {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// The name of the partition of a day, such as `featherwire_call_blocks_20261129`.
fn name(table: &str, day: UnixMs) -> String {
    let date = humantime::format_rfc3339_seconds(system_time(day)).to_string();
    let digits: String = date.chars().take(10).filter(char::is_ascii_digit).collect();
    format!("{table}_{digits}")
}
