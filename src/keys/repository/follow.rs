//! What a running gateway asks and tells: which keys have changed, and which were used.

use std::collections::HashMap;

use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::{
    CHANNEL, KeysError, Repository,
    rows::{KeyRow, SecretRow},
};
use crate::{
    keys::{clock::UnixMs, digest::DIGEST_BYTES, directory::Changes},
    store::{BeginWrite as _, Pool, StoreError, on_each},
};

impl Repository {
    /// A number that changes with every change of a key.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn version(&self) -> Result<i64, StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                sqlx::query_scalar::<_, i64>(
                    "SELECT version FROM featherwire_versions WHERE name = 'keys'",
                )
                .fetch_one(pool)
                .await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// The keys that have changed after `version`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn changes_after(&self, version: i64) -> Result<Changes, KeysError> {
        let run = async {
            on_each!(self.store, pool => {
                let keys: Vec<KeyRow> = sqlx::query_as(select_keys!("AND version > $1"))
                    .bind(version)
                    .fetch_all(pool)
                    .await?;
                let secrets: Vec<SecretRow> = sqlx::query_as(select_secrets!(
                    "WHERE key_id IN (SELECT id FROM featherwire_keys WHERE version > $1)"
                ))
                .bind(version)
                .fetch_all(pool)
                .await?;
                let deleted: Vec<Uuid> = sqlx::query_scalar(
                    "SELECT id FROM featherwire_keys WHERE deleted_at IS NOT NULL AND version > $1",
                )
                .bind(version)
                .fetch_all(pool)
                .await?;
                Ok((keys, secrets, deleted))
            })
        };
        let (keys, secrets, deleted) = run.await.map_err(|error| self.store.error(error))?;
        let mut digests = HashMap::<_, Vec<_>>::new();
        for (key, _, _, _, ends_at, digest) in secrets {
            // A digest of another length belongs to no secret.
            if let Ok(digest) = <[u8; DIGEST_BYTES]>::try_from(digest) {
                digests
                    .entry(key)
                    .or_default()
                    .push((digest.into(), ends_at));
            }
        }
        let changed = keys.into_iter().map(|row| {
            let key = self.key(row)?;
            let digests = digests.remove(&key.id).unwrap_or_default();
            Ok((key, digests))
        });
        Ok(Changes {
            changed: changed.collect::<Result<_, KeysError>>()?,
            deleted,
        })
    }

    /// Records that keys were used at `at`. It does not change the version.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record_use(&self, ids: &[Uuid], at: UnixMs) -> Result<(), StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                for id in ids {
                    sqlx::query("UPDATE featherwire_keys SET last_used_at = $2 WHERE id = $1")
                        .bind(id)
                        .bind(at)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// Hears of changes as soon as another gateway makes them. `None` for SQLite, which tells
    /// nobody.
    ///
    /// # Errors
    /// Those of the database.
    pub(in crate::keys) async fn listen(&self) -> Result<Option<PgListener>, StoreError> {
        let Pool::Postgres(pool) = self.store.pool() else {
            return Ok(None);
        };
        let listen = async {
            let mut listener = PgListener::connect_with(pool).await?;
            listener.listen(CHANNEL).await?;
            Ok(Some(listener))
        };
        listen.await.map_err(|error| self.store.error(error))
    }
}
