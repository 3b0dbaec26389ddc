//! The tables of the database, and how they come to be.
//!
//! Migrations only go forward. Each is a file for each database, and is run once. All that are
//! missing run in one transaction under a lock, so that of several gateways that start together
//! one does it, and a failure leaves the database as it was.

use std::time::Duration;

use sqlx::{PgConnection, SqliteConnection};
use tokio::time::{Instant, sleep};

use super::{
    error::{StoreError, StoreErrorKind},
    pool::{BeginWrite, Pool, Store},
};

/// The longest wait for a gateway that migrates the same PostgreSQL database.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// The time between two attempts to lock it.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// The number of the advisory lock: "feathers" in ASCII.
const LOCK_NUMBER: i64 = 0x6665_6174_6865_7273;

/// One step to the present tables.
struct Migration {
    sqlite: &'static str,
    postgres: &'static str,
}

/// A migration from the files with this name.
macro_rules! migration {
    ($name:literal) => {
        Migration {
            sqlite: include_str!(concat!("migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("migrations/postgres/", $name, ".sql")),
        }
    };
}

/// All migrations, in order. The version of a database is the number of those that it has had. A
/// migration that has been released must not be changed.
const MIGRATIONS: &[Migration] = &[
    migration!("0001_keys"),
    migration!("0002_spending"),
    migration!("0003_ledger"),
    migration!("0004_account_usage"),
];

/// What [`Store::migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before.
    pub from: usize,
    /// The version now.
    pub to: usize,
}

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS featherwire_migrations (
    version BIGINT PRIMARY KEY NOT NULL,
    applied_by TEXT NOT NULL
)";

const READ_VERSION: &str = "SELECT COALESCE(MAX(version), 0) FROM featherwire_migrations";

const WRITE_VERSION: &str =
    "INSERT INTO featherwire_migrations (version, applied_by) VALUES ($1, $2)";

/// Runs the missing migrations in the transaction `$connection`, by their text in `$column`.
macro_rules! run_missing {
    ($connection:expr, $column:ident) => {{
        sqlx::raw_sql(CREATE_TABLE)
            .execute(&mut *$connection)
            .await?;
        let from: i64 = sqlx::query_scalar(READ_VERSION)
            .fetch_one(&mut *$connection)
            .await?;
        let from = usize::try_from(from).unwrap_or_default();
        for (number, migration) in (1_i64..).zip(MIGRATIONS).skip(from) {
            sqlx::raw_sql(migration.$column)
                .execute(&mut *$connection)
                .await?;
            sqlx::query(WRITE_VERSION)
                .bind(number)
                .bind(env!("CARGO_PKG_VERSION"))
                .execute(&mut *$connection)
                .await?;
        }
        Ok(Migrated {
            from,
            to: from.max(MIGRATIONS.len()),
        })
    }};
}

async fn run_on_sqlite(connection: &mut SqliteConnection) -> sqlx::Result<Migrated> {
    run_missing!(connection, sqlite)
}

async fn run_on_postgres(connection: &mut PgConnection) -> sqlx::Result<Migrated> {
    run_missing!(connection, postgres)
}

impl Store {
    /// Creates the tables, or brings them to the present version.
    ///
    /// # Errors
    /// [`StoreErrorKind::Newer`] if a newer version of the gateway has written the database,
    /// [`StoreErrorKind::Locked`] if another process holds its lock for too long. Nothing has
    /// changed then.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let migrated = match self.pool() {
            Pool::Sqlite(pool) => {
                let run = async {
                    // The lock of SQLite is that of each transaction that writes.
                    let mut transaction = pool.begin_write().await?;
                    let migrated = run_on_sqlite(&mut transaction).await?;
                    transaction.commit().await?;
                    Ok(Some(migrated))
                };
                run.await
            }
            Pool::Postgres(pool) => {
                let run = async {
                    let mut transaction = pool.begin_write().await?;
                    if !lock(&mut transaction).await? {
                        return Ok(None);
                    }
                    let migrated = run_on_postgres(&mut transaction).await?;
                    transaction.commit().await?;
                    Ok(Some(migrated))
                };
                run.await
            }
        };
        let migrated = migrated.map_err(|error| self.error(error))?;
        let Some(migrated) = migrated else {
            let what = format!("another process has been changing its tables for {LOCK_TIMEOUT:?}");
            return Err(self.failure(StoreErrorKind::Locked, &what));
        };
        let known = MIGRATIONS.len();
        if migrated.from > known {
            let what = format!(
                "its tables have version {}, but Featherwire {} knows versions up to {known}",
                migrated.from,
                env!("CARGO_PKG_VERSION"),
            );
            return Err(self.failure(StoreErrorKind::Newer, &what));
        }
        Ok(migrated)
    }

    fn failure(&self, kind: StoreErrorKind, what: &str) -> StoreError {
        StoreError::of_kind(kind, self.place_name(), what)
    }
}

/// Takes the lock for the rest of the transaction. Returns false if it is not free in time.
/// PostgreSQL's own wait would have no limit.
async fn lock(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        let is_locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(LOCK_NUMBER)
            .fetch_one(&mut *connection)
            .await?;
        if is_locked || Instant::now() >= until {
            return Ok(is_locked);
        }
        sleep(LOCK_RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseLocation;

    #[tokio::test]
    async fn migrations_run_once() {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        let to = MIGRATIONS.len();
        assert_eq!(store.migrate().await.unwrap(), Migrated { from: 0, to });
        assert_eq!(store.migrate().await.unwrap(), Migrated { from: to, to });
    }

    #[tokio::test]
    async fn a_database_of_a_newer_version_is_refused_and_not_changed() {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        let Pool::Sqlite(pool) = store.pool() else {
            panic!("memory is SQLite's");
        };
        sqlx::query(WRITE_VERSION)
            .bind(9999_i64)
            .bind("9.9.9")
            .execute(pool)
            .await
            .unwrap();
        let error = store.migrate().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Newer);
        let message = error.to_string();
        assert!(
            message.contains("9999") && message.contains("newer"),
            "{message}"
        );
    }
}
