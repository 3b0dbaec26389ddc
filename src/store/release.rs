//! What a connection to SQLite must be before it goes back to its pool: in no transaction.
//!
//! A statement or a commit that fails because the disk is full ends the transaction of SQLite at
//! once. The rollback that follows then fails, and sqlx counts the transaction as open for ever: no
//! other can begin on this connection. PostgreSQL has no such end of a transaction.

use sqlx::{Connection as _, SqliteConnection};

/// Whether the pool may give this connection to others. Otherwise it ends the connection.
pub(super) async fn is_clean(connection: &mut SqliteConnection) -> sqlx::Result<bool> {
    // The rollback of a transaction that was dropped may still wait for its turn.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}
