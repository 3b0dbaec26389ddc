//! The connections to the database.

use std::{fmt, future::Future, path::Path, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use sqlx::{
    Acquire as _, ConnectOptions, Connection as _, Database, Encode, Executor as _, PgConnection,
    PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction, Type,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::time::{Instant, sleep};

use super::{
    error::{StoreError, is_locked},
    health::Health,
    location::PlaceName,
    permissions::create_private,
    presence::Presence,
    release::is_clean,
};
use crate::config::DatabaseLocation;

/// The largest number of connections for what a gateway needs to serve calls: one each for keys,
/// for notices of their changes, for their use, for budgets and for records. No call waits for one.
const CONNECTIONS_MAX: u32 = 5;

/// The largest number of connections for what callers ask and change.
const QUERY_CONNECTIONS_MAX: u32 = 4;

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest wait of SQLite for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The time between two attempts where SQLite itself does not wait.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// The database. Cheap to clone; all clones share the same connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// For [`queries`](Self::queries).
    query_pool: Pool,
    place: PlaceName,
    is_in_memory: bool,
    /// The file, for SQLite.
    path: Option<Arc<Path>>,
    health: Arc<Health>,
}

/// The connections.
#[derive(Clone)]
pub enum Pool {
    /// To SQLite.
    Sqlite(SqlitePool),
    /// To PostgreSQL.
    Postgres(PgPool),
}

/// Evaluates `$body` for the pool of `$store`. It is compiled once for each database.
macro_rules! on_each {
    ($store:expr, $pool:ident => $body:expr) => {
        match $store.pool() {
            $crate::store::Pool::Sqlite($pool) => $body,
            $crate::store::Pool::Postgres($pool) => $body,
        }
    };
}
pub(crate) use on_each;

impl Store {
    /// Connects to the database at `location`. An SQLite file and its directory are created if they
    /// do not exist. The tables are not changed: see [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// The database cannot be reached or opened.
    pub async fn open(location: &DatabaseLocation) -> Result<Self, StoreError> {
        let place = PlaceName::of(location);
        let pools = match location {
            DatabaseLocation::Memory => Self::in_memory().await,
            DatabaseLocation::File(path) => {
                create_private(path).map_err(|error| StoreError::file(&place, &error))?;
                Self::sqlite(SqliteConnectOptions::new().filename(path)).await
            }
            DatabaseLocation::Postgres(url) => match url.expose_secret().parse() {
                Ok(options) => Self::postgres(options).await,
                Err(error) => Err(error),
            },
        };
        match pools {
            Ok((pool, query_pool)) => Ok(Self {
                pool,
                query_pool,
                place,
                is_in_memory: matches!(location, DatabaseLocation::Memory),
                path: match location {
                    DatabaseLocation::File(path) => Some(path.as_path().into()),
                    _ => None,
                },
                health: Arc::default(),
            }),
            Err(error) => Err(StoreError::new(&place, error)),
        }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    /// Connects once, so that a command fails at once where [`open`](Self::open) tries again for
    /// some seconds, such as at a port on which nothing listens. SQLite is not asked.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn try_once(location: &DatabaseLocation) -> Result<(), StoreError> {
        let DatabaseLocation::Postgres(url) = location else {
            return Ok(());
        };
        let try_once = async {
            let options: PgConnectOptions = url.expose_secret().parse()?;
            let connect = options.connect();
            let connection = tokio::time::timeout(CONNECT_TIMEOUT, connect).await;
            connection
                .map_err(|_| sqlx::Error::PoolTimedOut)??
                .close()
                .await
        };
        let tried: sqlx::Result<()> = try_once.await;
        tried.map_err(|error| StoreError::new(&PlaceName::of(location), error))
    }

    async fn in_memory() -> sqlx::Result<(Pool, Pool)> {
        let options = sqlite_options(SqliteConnectOptions::new().in_memory(true));
        // Each further connection would have a database of its own, which ends with it.
        let pool = sqlite_pool(1).connect_with(options).await?;
        Ok((Pool::Sqlite(pool.clone()), Pool::Sqlite(pool)))
    }

    async fn sqlite(options: SqliteConnectOptions) -> sqlx::Result<(Pool, Pool)> {
        let options = sqlite_options(options);
        // A database in memory would end with its connection. No disk of it can be full.
        let pool = |connections_max| {
            sqlite_pool(connections_max)
                .after_release(|connection, _| Box::pin(is_clean(connection)))
        };
        let queries = pool(QUERY_CONNECTIONS_MAX).connect_lazy_with(options.clone());
        // The first connection to a new file changes how the file is written. If two processes do so
        // at once, SQLite fails without waiting for BUSY_TIMEOUT.
        let until = Instant::now() + BUSY_TIMEOUT;
        let pool = loop {
            match pool(CONNECTIONS_MAX).connect_with(options.clone()).await {
                Err(error) if is_locked(&error) && Instant::now() < until => {
                    sleep(BUSY_RETRY).await;
                }
                connected => break connected?,
            }
        };
        Ok((Pool::Sqlite(pool), Pool::Sqlite(queries)))
    }

    async fn postgres(options: PgConnectOptions) -> sqlx::Result<(Pool, Pool)> {
        let options = options.application_name("featherwire");
        let options = options.disable_statement_logging();
        let pool = |connections_max| {
            PgPoolOptions::new()
                .max_connections(connections_max)
                .acquire_timeout(CONNECT_TIMEOUT)
                // The server may not learn that a connection was lost in the middle of a
                // transaction, whose locks others wait for.
                .after_connect(|connection, _| {
                    Box::pin(async { connection.execute(END_IDLE_TRANSACTIONS).await.map(|_| ()) })
                })
        };
        let queries = pool(QUERY_CONNECTIONS_MAX).connect_lazy_with(options.clone());
        let pool = pool(CONNECTIONS_MAX).connect_with(options).await?;
        Ok((Pool::Postgres(pool), Pool::Postgres(queries)))
    }

    /// The connections, for [`on_each!`].
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The same database through other connections: for what callers ask and change, however long
    /// it takes and however often they do. A database in memory has only one connection.
    #[must_use]
    pub fn queries(&self) -> Self {
        Self {
            pool: self.query_pool.clone(),
            ..self.clone()
        }
    }

    /// Whether it is in the memory of this process.
    pub fn is_in_memory(&self) -> bool {
        self.is_in_memory
    }

    /// Tells other processes that this one serves from an SQLite file, as long as the result lives.
    /// `None` for another database, or if the file system has no locks.
    pub fn enter(&self) -> Option<Presence> {
        let path = self.path.as_ref()?;
        Presence::enter(path)
            .inspect_err(|error| {
                tracing::debug!(%error, "it is not known who else uses the database");
            })
            .ok()
    }

    /// The meaning of an error of a statement.
    pub fn error(&self, error: sqlx::Error) -> StoreError {
        StoreError::new(&self.place, error)
    }

    /// What messages call the database. It contains no password.
    pub fn place(&self) -> impl fmt::Display + '_ {
        &self.place
    }

    pub(super) fn place_name(&self) -> &PlaceName {
        &self.place
    }

    /// Ends all connections. SQLite then moves its log into the file.
    pub async fn close(&self) {
        on_each!(self, pool => pool.close().await);
        on_each!(self.queries(), pool => pool.close().await);
    }
}

fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        // A revocation must survive a power failure.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        .disable_statement_logging()
}

fn sqlite_pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(CONNECT_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        // A caller who leaves during the test would end the connection, and a database in memory
        // ends with it. There is no network that could have ended it.
        .test_before_acquire(false)
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.place).finish()
    }
}

/// A value that is a parameter of statements.
pub(crate) trait Bind<D: Database>: Type<D> + for<'t> Encode<'t, D> {}

impl<D: Database, T: Type<D> + for<'t> Encode<'t, D>> Bind<D> for T {}

/// A pool on which a transaction that writes can begin.
pub trait BeginWrite {
    /// The database.
    type Database: sqlx::Database;

    /// Whether parameters need numbers: `$1` instead of `?`. SQLite understands both, but it looks
    /// for the name of each parameter among all others, which takes long in a long statement.
    const NEEDS_NUMBERS: bool;

    /// The end of a query that locks its rows in their order. SQLite locks everything at once.
    const LOCK_ROWS: &'static str;

    /// Begins a transaction that writes. SQLite takes its lock at once: a transaction that begins
    /// with a read and then writes fails at once if another process writes, however long it may
    /// wait.
    fn begin_write(
        &self,
    ) -> impl Future<Output = sqlx::Result<Transaction<'static, Self::Database>>> + Send;

    /// As [`begin_write`](Self::begin_write), on a connection of the pool.
    fn begin_write_on(
        connection: &mut PoolConnection<Self::Database>,
    ) -> impl Future<Output = sqlx::Result<Transaction<'_, Self::Database>>> + Send;

    /// The time of the database's clock, in Unix milliseconds. All gateways have the same.
    fn now(
        &self,
        connection: &mut <Self::Database as sqlx::Database>::Connection,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// Wakes the gateways that listen on `channel`, after the transaction of `connection`. SQLite
    /// has no channels.
    fn notify(
        &self,
        connection: &mut <Self::Database as sqlx::Database>::Connection,
        channel: &'static str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;
}

/// Between two statements of a transaction, a gateway waits for nothing.
const END_IDLE_TRANSACTIONS: &str = "SET idle_in_transaction_session_timeout = '10s'";

/// Takes the lock of SQLite for writing at once.
const BEGIN_IMMEDIATE: &str = "BEGIN IMMEDIATE";

impl BeginWrite for SqlitePool {
    type Database = Sqlite;

    const NEEDS_NUMBERS: bool = false;

    const LOCK_ROWS: &'static str = "";

    async fn begin_write(&self) -> sqlx::Result<Transaction<'static, Sqlite>> {
        self.begin_with(BEGIN_IMMEDIATE).await
    }

    async fn begin_write_on(
        connection: &mut PoolConnection<Sqlite>,
    ) -> sqlx::Result<Transaction<'_, Sqlite>> {
        connection.begin_with(BEGIN_IMMEDIATE).await
    }

    async fn now(&self, connection: &mut SqliteConnection) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")
            .fetch_one(connection)
            .await
    }

    async fn notify(&self, _: &mut SqliteConnection, _: &'static str) -> sqlx::Result<()> {
        Ok(())
    }
}

impl BeginWrite for PgPool {
    type Database = Postgres;

    const NEEDS_NUMBERS: bool = true;

    const LOCK_ROWS: &'static str = " FOR NO KEY UPDATE";

    async fn begin_write(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin().await
    }

    async fn begin_write_on(
        connection: &mut PoolConnection<Postgres>,
    ) -> sqlx::Result<Transaction<'_, Postgres>> {
        connection.begin().await
    }

    async fn now(&self, connection: &mut PgConnection) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")
            .fetch_one(connection)
            .await
    }

    async fn notify(
        &self,
        connection: &mut PgConnection,
        channel: &'static str,
    ) -> sqlx::Result<()> {
        sqlx::query("SELECT pg_notify($1, '')")
            .bind(channel)
            .execute(connection)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_database_in_memory_outlives_callers_who_leave() {
        let store = Store::open(&DatabaseLocation::Memory).await.unwrap();
        store.migrate().await.unwrap();
        let Pool::Sqlite(pool) = store.pool() else {
            panic!("memory is SQLite's");
        };
        let count = "SELECT COUNT(*) FROM featherwire_keys";
        for _ in 0..2000 {
            // They leave while they wait for a connection, or for an answer.
            let _ = pool.acquire().now_or_never();
            let _ = sqlx::query(count).fetch_one(pool).now_or_never();
            while pool.num_idle() == 0 && pool.size() > 0 {
                tokio::task::yield_now().await;
            }
        }
        let count: i64 = sqlx::query_scalar(count).fetch_one(pool).await.unwrap();
        assert_eq!(count, 0);
    }
}
