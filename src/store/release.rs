//! What a connection must be before it goes back to its pool: in no transaction.
//!
//! A statement or a commit that fails because the disk is full ends the transaction of SQLite at
//! once. The rollback that follows then fails, and sqlx counts the transaction as open for ever: no
//! other can begin on this connection. With PostgreSQL, sqlx does not count a transaction whose
//! caller left while it began, but the server has it.

use sqlx::{Connection as _, PgConnection, SqliteConnection};

/// Whether the time of the transaction is that of this statement, which has none around it.
const IS_OUTSIDE: &str = "SELECT transaction_timestamp() = statement_timestamp()";

/// Whether the pool may give this connection to others. Otherwise it ends the connection.
pub(super) async fn is_clean_sqlite(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // The rollback of a transaction that was dropped may still wait for its turn.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// The same for PostgreSQL.
pub(super) async fn is_clean_postgres(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let is_outside = sqlx::query_scalar(IS_OUTSIDE);
    let is_outside: bool = is_outside.fetch_one(&mut *connection).await?;
    Ok(is_outside && !connection.is_in_transaction())
}
