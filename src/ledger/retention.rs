//! Removes records of single calls that are old. Their sums stay.
//!
//! PostgreSQL has a partition for each day, which is made before the day and dropped as a whole.

use std::{ops::Range, time::Duration};

use sqlx::{Connection as _, PgConnection};

use super::{
    rows::{end_if_late, in_time},
    time::Grain,
};
use crate::{
    clock::{self, UnixMs, milliseconds, system_time},
    store::{Pool, Store, StoreError, on_each},
};

/// The largest number of records that are deleted in one transaction.
const PORTION: i64 = 10_000;

/// The largest number of records in a database in memory.
const IN_MEMORY_MAX: i64 = 100_000;

/// For how many days PostgreSQL has partitions in advance.
const DAYS_AHEAD: i64 = 7;

/// The longest wait for a lock of a table, in PostgreSQL. Later it is tried again.
const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// The number of the advisory lock for partitions: "partitio" in ASCII.
const LOCK: &str = "SELECT pg_try_advisory_xact_lock(8097879449299872111)";

const PARTITIONS: &str = "SELECT child.relname::text FROM pg_inherits JOIN pg_class AS child ON \
                          child.oid = inhrelid WHERE inhparent = 'featherwire_calls'::regclass";

/// The name of a partition, before its day.
const PARTITION: &str = "featherwire_calls_";

const DELETE: &str = "DELETE FROM featherwire_calls WHERE (ended_at, id) IN (SELECT ended_at, id \
                      FROM featherwire_calls WHERE ended_at < $1 ORDER BY ended_at, id LIMIT $2)";

const NEWEST: &str = "SELECT ended_at FROM featherwire_calls ORDER BY ended_at DESC, id DESC \
                      LIMIT 1 OFFSET $1";

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
                let mut connection = in_time(&self.store, pool.acquire()).await?;
                let arranged = arrange_partitions(&mut connection, now, oldest);
                let arranged = in_time(&self.store, arranged).await;
                end_if_late(connection, &arranged);
                arranged?;
            }
            on_each!(self.store, pool => {
                let mut connection = in_time(&self.store, pool.acquire()).await?;
                let deleted = in_time(&self.store, async {
                    let newest: Option<i64> = match self.store.is_in_memory() {
                        true => {
                            let newest = sqlx::query_scalar(NEWEST).bind(IN_MEMORY_MAX);
                            newest.fetch_optional(&mut *connection).await?
                        }
                        false => None,
                    };
                    let deleted = sqlx::query(DELETE)
                        .bind(newest.map_or(oldest, |newest| newest.max(oldest)))
                        .bind(PORTION);
                    Ok(deleted.execute(&mut *connection).await?.rows_affected())
                });
                let deleted = deleted.await;
                end_if_late(connection, &deleted);
                Ok(deleted? < PORTION.unsigned_abs())
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }
}

/// Makes the partitions of today and of the next days, and drops those that end before `oldest`.
/// Another gateway may do the same at the same time, so one of them does it.
async fn arrange_partitions(
    connection: &mut PgConnection,
    now: UnixMs,
    oldest: UnixMs,
) -> sqlx::Result<()> {
    let partitions: Vec<String> = sqlx::query_scalar(PARTITIONS)
        .fetch_all(&mut *connection)
        .await?;
    let today = Grain::Day.start(now);
    let missing = (-1..=DAYS_AHEAD)
        .map(|day| today + day * Grain::Day.ms())
        .filter(|day| !partitions.contains(&name(*day)));
    for day in missing {
        let Range { start, end } = day..day + Grain::Day.ms();
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {} PARTITION OF featherwire_calls FOR VALUES FROM \
             ({start}) TO ({end})",
            name(day)
        );
        // It fails if the partition for all other days has rows of this one. They stay there.
        if let Err(error) = run_locked(connection, create).await {
            tracing::debug!(%error, "a partition for records of calls was not made");
        }
    }
    let last_kept = name(Grain::Day.start(oldest));
    let is_day = |name: &&String| {
        let day = name.strip_prefix(PARTITION).unwrap_or_default();
        day.len() == last_kept.len() - PARTITION.len() && day.bytes().all(|b| b.is_ascii_digit())
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

/// The name of the partition of a day, such as `featherwire_calls_20261129`.
fn name(day: UnixMs) -> String {
    let date = humantime::format_rfc3339_seconds(system_time(day)).to_string();
    let digits: String = date.chars().take(10).filter(char::is_ascii_digit).collect();
    format!("{PARTITION}{digits}")
}
