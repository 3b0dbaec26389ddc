//! What a running gateway asks and tells: which keys have changed, and which were used.

use std::{collections::HashMap, time::Duration};

use sqlx::{Database, QueryBuilder, postgres::PgListener};
use uuid::Uuid;

use super::{
    CHANNEL, KeysError, Repository,
    rows::{KeyRow, SecretRow},
};
use crate::{
    keys::{
        clock::UnixMs,
        digest::DIGEST_BYTES,
        directory::{Changes, Unreadable},
    },
    store::{BeginWrite, Bind, Pool, StoreError, end_if_late, on_each},
};

/// The longest time for a look at the database. One that has stopped does not answer at all.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest time to load keys: at the start, these are all.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How many uses one statement records.
const USES_MAX: usize = 500;

const VERSION: &str = "SELECT version FROM featherwire_versions WHERE name = 'keys'";

const CHANGED_SECRETS: &str =
    select_secrets!("WHERE key_id IN (SELECT id FROM featherwire_keys WHERE version > $1)");

const DELETED: &str =
    "SELECT id FROM featherwire_keys WHERE deleted_at IS NOT NULL AND version > $1";

impl Repository {
    /// A number that changes with every change of a key.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn version(&self) -> Result<i64, StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let mut connection = self.store.within(LOOK_TIMEOUT, pool.acquire()).await?;
                let look = sqlx::query_scalar::<_, i64>(VERSION).fetch_one(&mut *connection);
                let version = self.store.within(LOOK_TIMEOUT, look).await;
                end_if_late(connection, &version);
                version
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
                let mut connection = self.store.within(LOOK_TIMEOUT, pool.acquire()).await?;
                let load = async {
                    let keys: Vec<KeyRow> = sqlx::query_as(select_keys!("AND version > $1"))
                        .bind(version)
                        .fetch_all(&mut *connection)
                        .await?;
                    let secrets: Vec<SecretRow> = sqlx::query_as(CHANGED_SECRETS)
                        .bind(version)
                        .fetch_all(&mut *connection)
                        .await?;
                    let deleted: Vec<Uuid> = sqlx::query_scalar(DELETED)
                        .bind(version)
                        .fetch_all(&mut *connection)
                        .await?;
                    Ok((keys, secrets, deleted))
                };
                let loaded = self.store.within(LOAD_TIMEOUT, load).await;
                end_if_late(connection, &loaded);
                loaded
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
        let mut changes = Changes {
            deleted,
            ..Changes::default()
        };
        for row in keys {
            let (id, is_cut) = (row.0, row.10.is_some());
            match self.key(row) {
                Ok(key) => {
                    let digests = digests.remove(&id).unwrap_or_default();
                    changes.changed.push((key, digests));
                }
                // The other changes count: a revocation must not wait for this key.
                Err(error) => changes.unreadable.push(Unreadable {
                    id,
                    problem: error.to_string(),
                    is_cut,
                }),
            }
        }
        Ok(changes)
    }

    /// Records that keys were used at `at`. It does not change the version.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record_use(&self, ids: &[Uuid], at: UnixMs) -> Result<(), StoreError> {
        for ids in ids.chunks(USES_MAX) {
            let run = async {
                on_each!(self.store, pool => {
                    let mut connection = self.store.within(LOOK_TIMEOUT, pool.acquire()).await?;
                    let mut query = record_uses(pool, ids, at);
                    let query = query.build().persistent(false);
                    let record = query.execute(&mut *connection);
                    let recorded = self.store.within(LOOK_TIMEOUT, record).await;
                    end_if_late(connection, &recorded);
                    recorded.map(|_| ())
                })
            };
            run.await.map_err(|error| self.store.error(error))?;
        }
        Ok(())
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
        let listener = self.store.within(LOOK_TIMEOUT, listen).await;
        listener.map_err(|error| self.store.error(error))
    }
}

/// Sets the time of the last use of these keys. Two gateways lock the rows in the same order, and
/// so cannot wait for each other.
fn record_uses<D: Database, P: BeginWrite<Database = D>>(
    _: &P,
    ids: &[Uuid],
    at: UnixMs,
) -> QueryBuilder<D>
where
    Uuid: Bind<D>,
    i64: Bind<D>,
{
    let mut query = QueryBuilder::new("UPDATE featherwire_keys SET last_used_at = ");
    query
        .push_bind(at)
        .push(" WHERE id IN (SELECT id FROM featherwire_keys WHERE id IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    query.push(") ORDER BY id").push(P::LOCK_ROWS).push(")");
    query
}
