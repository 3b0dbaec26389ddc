//! A limit for the time that a database may take.

use std::{future::Future, time::Duration};

use sqlx::{Database, Transaction, pool::PoolConnection};

use super::{
    error::is_away,
    pool::{BeginWrite, Store},
};

impl Store {
    /// Waits for `step`, at most for `limit`. A database in memory always answers, and would end
    /// with its connection.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        step: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        if self.is_in_memory() {
            return step.await;
        }
        let step = tokio::time::timeout(limit, step).await;
        let result = step.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match &result {
            Ok(_) => self.note_answer(true),
            Err(error) if is_away(error) => self.note_answer(false),
            Err(_) => {}
        }
        result
    }
}

/// Ends the connection of a `step` that took too long, without a farewell, which its server may not
/// answer either. Otherwise the pool waits for it, and soon has no others.
pub(crate) fn end_if_late<D: Database, T>(connection: PoolConnection<D>, step: &sqlx::Result<T>) {
    if matches!(step, Err(sqlx::Error::PoolTimedOut)) {
        drop(connection.detach());
    }
}

/// Begins a transaction that writes, on a connection of this pool.
pub(crate) async fn begin_on<'c, P: BeginWrite>(
    _: &P,
    connection: &'c mut PoolConnection<P::Database>,
) -> sqlx::Result<Transaction<'c, P::Database>> {
    P::begin_write_on(connection).await
}
