//! The keys in the database.

mod audit;
mod spending;

pub(super) use spending::{Exchange, ExchangeError, LEASE_TIME, Spent};

use std::{collections::HashMap, fmt, time::Duration};

use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::{
    actor::Actor,
    audit::Detail,
    clock::{UnixMs, milliseconds, now},
    digest::DIGEST_BYTES,
    directory::Changes,
    key::{Key, KeySettings, Role, SecretInfo},
    secret::{NewSecret, NoRandomness, SecretKind},
};
use crate::store::{BeginWrite, Pool, Store, StoreError, on_each};

/// The channel on which PostgreSQL tells other gateways of a change.
const CHANNEL: &str = "featherwire_keys";

/// The keys in the database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Repository {
    store: Store,
}

/// Why a change or a query of keys failed. `Display` says what to do.
#[derive(Debug)]
pub enum KeysError {
    /// There is no such key.
    NotFound(String),
    /// Several keys have this name.
    Ambiguous {
        /// The name.
        name: String,
        /// The number of keys with this name.
        keys: usize,
    },
    /// A setting is wrong, or the change is not possible.
    Invalid(String),
    /// The system has no random numbers.
    NoRandomness(NoRandomness),
    /// The database failed.
    Store(StoreError),
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(key) => write!(
                f,
                "there is no key with the id or the name {key:?}: `featherwire keys list` shows \
                 all keys"
            ),
            Self::Ambiguous { name, keys } => write!(
                f,
                "{keys} keys have the name {name:?}: use the id, which `featherwire keys list` \
                 shows"
            ),
            Self::Invalid(problem) => f.write_str(problem),
            Self::NoRandomness(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeysError {}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A row of `featherwire_keys`, in the order of `select_keys!`.
type KeyRow = (
    Uuid,
    String,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

/// A row of `featherwire_secrets`.
type SecretRow = (Uuid, String, String, i64, Option<i64>, Vec<u8>);

/// A query of [`KeyRow`]s with this condition, in this order.
macro_rules! select_keys {
    ($where:literal) => {
        select_keys!($where, "created_at, id")
    };
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT id, name, owner, labels, role, limits, created_at, expires_at, disabled_at, \
             revoked_at, calls_cut_at, last_used_at FROM featherwire_keys WHERE deleted_at IS NULL ",
            $where,
            " ORDER BY ",
            $order
        )
    };
}

/// A query of [`SecretRow`]s with this condition.
macro_rules! select_secrets {
    ($where:literal) => {
        concat!(
            "SELECT key_id, public_id, last_four, created_at, ends_at, digest FROM \
             featherwire_secrets ",
            $where,
            " ORDER BY created_at, public_id"
        )
    };
}

// Below the macros that it uses.
mod page;

const RAISE_VERSION: &str = "UPDATE featherwire_versions SET version = version + 1 WHERE name = \
                             'keys' RETURNING version";

const SET_VERSION: &str = "UPDATE featherwire_keys SET version = $2 WHERE id = $1";

const INSERT_KEY: &str = "INSERT INTO featherwire_keys (id, name, owner, labels, role, limits, \
                          created_at, expires_at, disabled_at, version) VALUES ($1, $2, $3, $4, \
                          $5, $6, $7, $8, $9, $10)";

const UPDATE_KEY: &str = "UPDATE featherwire_keys SET name = $2, owner = $3, labels = $4, limits = \
                          $5, expires_at = $6, disabled_at = $7 WHERE id = $1";

const INSERT_SECRET: &str = "INSERT INTO featherwire_secrets (public_id, key_id, digest, \
                             last_four, created_at) VALUES ($1, $2, $3, $4, $5)";

/// Only shortens the life of a secret.
const END_SECRETS: &str = "UPDATE featherwire_secrets SET ends_at = $2 WHERE key_id = $1 AND \
                           (ends_at IS NULL OR ends_at > $2)";

const INSERT_AUDIT: &str =
    "INSERT INTO featherwire_audit (at, actor, action, key_id, detail) VALUES ($1, $2, $3, $4, $5)";

/// Raises the version of the keys, which all changes do first, so that they wait for each other.
/// Evaluates to the version.
macro_rules! raise_version {
    ($transaction:ident, $id:expr) => {{
        let version: i64 = sqlx::query_scalar(RAISE_VERSION)
            .fetch_one(&mut *$transaction)
            .await?;
        sqlx::query(SET_VERSION)
            .bind($id)
            .bind(version)
            .execute(&mut *$transaction)
            .await?;
        version
    }};
}

/// Writes a line of the audit, and tells other gateways of the change.
macro_rules! record_change {
    ($pool:ident, $transaction:ident, $actor:expr, $action:literal, $id:expr, $detail:expr) => {{
        let detail: Detail = $detail;
        sqlx::query(INSERT_AUDIT)
            .bind(now())
            .bind($actor.to_string())
            .bind($action)
            .bind($id)
            .bind(detail.to_json())
            .execute(&mut *$transaction)
            .await?;
        $pool.notify(&mut $transaction, CHANNEL).await?;
    }};
}

/// Inserts `$new` as a secret of the key `$id`.
macro_rules! insert_secret {
    ($transaction:ident, $id:expr, $new:expr, $at:expr) => {
        sqlx::query(INSERT_SECRET)
            .bind(&$new.public_id)
            .bind($id)
            .bind($new.digest().as_bytes().as_slice())
            .bind(&$new.last_four)
            .bind($at)
            .execute(&mut *$transaction)
            .await?
    };
}

impl Repository {
    /// The keys in `store`, whose tables exist.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Whether the keys are in the memory of this process, where no other process can change them.
    pub(super) fn is_in_memory(&self) -> bool {
        self.store.is_in_memory()
    }

    /// Ends all connections to the database.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Creates a key with one secret.
    ///
    /// # Errors
    /// [`KeysError::Invalid`] if a setting is wrong.
    pub async fn create(
        &self,
        actor: &Actor,
        role: Role,
        kind: SecretKind,
        settings: KeySettings,
    ) -> Result<(Key, NewSecret), KeysError> {
        settings.check_for(role).map_err(KeysError::Invalid)?;
        let new = NewSecret::generate(kind).map_err(KeysError::NoRandomness)?;
        let (id, at) = (Uuid::now_v7(), now());
        let (labels, limits) = (labels_json(&settings), settings.limits.to_json());
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                let version = raise_version!(transaction, id);
                let detail = Detail::created(role, &settings);
                record_change!(pool, transaction, actor, "create", id, detail);
                sqlx::query(INSERT_KEY)
                    .bind(id)
                    .bind(&settings.name)
                    .bind(&settings.owner)
                    .bind(&labels)
                    .bind(role.name())
                    .bind(&limits)
                    .bind(at)
                    .bind(settings.expires_at)
                    .bind(settings.disabled_at)
                    .bind(version)
                    .execute(&mut *transaction)
                    .await?;
                insert_secret!(transaction, id, new, at);
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))?;
        Ok((self.get(id).await?, new))
    }

    /// All keys, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(&self) -> Result<Vec<Key>, KeysError> {
        let (keys, secrets) = self.rows().await?;
        let mut keys: Vec<_> = keys
            .into_iter()
            .map(|row| self.key(row))
            .collect::<Result<_, _>>()?;
        // Both are sorted by the time of their creation, so a key is found by its id.
        let places: HashMap<_, _> = keys
            .iter()
            .enumerate()
            .map(|(place, key)| (key.id, place))
            .collect();
        for row in secrets {
            if let Some(key) = places.get(&row.0).and_then(|place| keys.get_mut(*place)) {
                key.secrets.push(secret_info(row));
            }
        }
        Ok(keys)
    }

    /// The key with this id.
    ///
    /// # Errors
    /// [`KeysError::NotFound`].
    pub async fn get(&self, id: Uuid) -> Result<Key, KeysError> {
        let run = async {
            on_each!(self.store, pool => {
                let key: Option<KeyRow> = sqlx::query_as(select_keys!("AND id = $1"))
                    .bind(id)
                    .fetch_optional(pool)
                    .await?;
                let secrets: Vec<SecretRow> = sqlx::query_as(select_secrets!("WHERE key_id = $1"))
                    .bind(id)
                    .fetch_all(pool)
                    .await?;
                Ok((key, secrets))
            })
        };
        let (row, secrets) = run.await.map_err(|error| self.store.error(error))?;
        let row = row.ok_or_else(|| KeysError::NotFound(id.to_string()))?;
        let mut key = self.key(row)?;
        key.secrets = secrets.into_iter().map(secret_info).collect();
        Ok(key)
    }

    /// The id of the key that `text` names by its id, or by a name that only one key has.
    ///
    /// # Errors
    /// [`KeysError::NotFound`] and [`KeysError::Ambiguous`].
    pub async fn resolve(&self, text: &str) -> Result<Uuid, KeysError> {
        if let Ok(id) = Uuid::try_parse(text.trim()) {
            return Ok(id);
        }
        let run = async {
            on_each!(self.store, pool => {
                sqlx::query_scalar::<_, Uuid>(
                    "SELECT id FROM featherwire_keys WHERE name = $1 AND deleted_at IS NULL",
                )
                .bind(text)
                .fetch_all(pool)
                .await
            })
        };
        let ids = run.await.map_err(|error| self.store.error(error))?;
        match *ids {
            [] => Err(KeysError::NotFound(text.to_owned())),
            [id] => Ok(id),
            _ => Err(KeysError::Ambiguous {
                name: text.to_owned(),
                keys: ids.len(),
            }),
        }
    }

    /// Changes the settings of a key by `change`, and returns the key.
    ///
    /// # Errors
    /// [`KeysError::NotFound`], and [`KeysError::Invalid`] if a setting is wrong afterwards.
    pub async fn update(
        &self,
        actor: &Actor,
        id: Uuid,
        change: impl FnOnce(&mut KeySettings),
    ) -> Result<Key, KeysError> {
        let mut change = Some(change);
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let row: Option<KeyRow> = sqlx::query_as(select_keys!("AND id = $1"))
                    .bind(id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let Some(row) = row else {
                    return Ok(Err(KeysError::NotFound(id.to_string())));
                };
                let Key { role, mut settings, .. } = match self.key(row) {
                    Ok(key) => key,
                    Err(error) => return Ok(Err(error)),
                };
                let before = settings.clone();
                if let Some(change) = change.take() {
                    change(&mut settings);
                }
                if let Err(problem) = settings.check_for(role) {
                    return Ok(Err(KeysError::Invalid(problem)));
                }
                let detail = Detail::updated(&before, &settings);
                record_change!(pool, transaction, actor, "update", id, detail);
                sqlx::query(UPDATE_KEY)
                    .bind(id)
                    .bind(&settings.name)
                    .bind(&settings.owner)
                    .bind(labels_json(&settings))
                    .bind(settings.limits.to_json())
                    .bind(settings.expires_at)
                    .bind(settings.disabled_at)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                Ok(Ok(()))
            })
        };
        let changed: sqlx::Result<_> = run.await;
        changed.map_err(|error| self.store.error(error))??;
        self.get(id).await
    }

    /// Adds a secret to a key. The others end after `grace`.
    ///
    /// # Errors
    /// [`KeysError::NotFound`], and [`KeysError::Invalid`] if the key was revoked.
    pub async fn rotate(
        &self,
        actor: &Actor,
        id: Uuid,
        grace: Duration,
    ) -> Result<(Key, NewSecret), KeysError> {
        let before = self.get(id).await?;
        if before.revoked_at.is_some() {
            return Err(KeysError::Invalid(format!(
                "the key {:?} was revoked, which is for ever: create another key",
                before.settings.name
            )));
        }
        let last = before.secrets.last().map(|last| last.public_id.as_str());
        let kind = SecretKind::following(before.role, last);
        let new = NewSecret::generate(kind).map_err(KeysError::NoRandomness)?;
        let at = now();
        let ends_at = at.saturating_add(milliseconds(grace));
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let detail = Detail::rotated(&new.public_id, grace);
                record_change!(pool, transaction, actor, "rotate", id, detail);
                sqlx::query(END_SECRETS)
                    .bind(id)
                    .bind(ends_at)
                    .execute(&mut *transaction)
                    .await?;
                insert_secret!(transaction, id, new, at);
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))?;
        Ok((self.get(id).await?, new))
    }

    /// Ends a key for ever. `cuts_calls`: also its running calls. A key that was revoked before stays
    /// revoked.
    ///
    /// # Errors
    /// [`KeysError::NotFound`].
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: Uuid,
        cuts_calls: bool,
    ) -> Result<Key, KeysError> {
        let at = now();
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let detail = Detail::revoked(cuts_calls);
                record_change!(pool, transaction, actor, "revoke", id, detail);
                let revoked = sqlx::query(
                    "UPDATE featherwire_keys SET revoked_at = COALESCE(revoked_at, $2), \
                     calls_cut_at = COALESCE(calls_cut_at, $3) WHERE id = $1 AND deleted_at IS NULL",
                )
                .bind(id)
                .bind(at)
                .bind(cuts_calls.then_some(at))
                .execute(&mut *transaction)
                .await?;
                if revoked.rows_affected() == 0 {
                    return Ok(false);
                }
                sqlx::query(END_SECRETS)
                    .bind(id)
                    .bind(at)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                Ok(true)
            })
        };
        match run.await.map_err(|error| self.store.error(error))? {
            true => self.get(id).await,
            false => Err(KeysError::NotFound(id.to_string())),
        }
    }

    /// Removes a key and its secrets. Records of its calls stay. Returns the key as it was.
    ///
    /// # Errors
    /// [`KeysError::NotFound`].
    pub async fn delete(&self, actor: &Actor, id: Uuid) -> Result<Key, KeysError> {
        let key = self.get(id).await?;
        let at = now();
        let run = async {
            on_each!(self.store, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let detail = Detail::deleted(&key.settings.name);
                record_change!(pool, transaction, actor, "delete", id, detail);
                sqlx::query("DELETE FROM featherwire_secrets WHERE key_id = $1")
                    .bind(id)
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query("UPDATE featherwire_keys SET deleted_at = $2 WHERE id = $1")
                    .bind(id)
                    .bind(at)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await
            })
        };
        run.await.map_err(|error| self.store.error(error))?;
        Ok(key)
    }

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
    pub(super) async fn listen(&self) -> Result<Option<PgListener>, StoreError> {
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

    async fn rows(&self) -> Result<(Vec<KeyRow>, Vec<SecretRow>), StoreError> {
        let run = async {
            on_each!(self.store, pool => {
                let keys: Vec<KeyRow> = sqlx::query_as(select_keys!("")).fetch_all(pool).await?;
                let secrets: Vec<SecretRow> =
                    sqlx::query_as(select_secrets!("")).fetch_all(pool).await?;
                Ok((keys, secrets))
            })
        };
        run.await.map_err(|error| self.store.error(error))
    }

    /// The key in a row, without its secrets.
    fn key(&self, row: KeyRow) -> Result<Key, KeysError> {
        let (
            id,
            name,
            owner,
            labels,
            role,
            limits,
            created_at,
            expires_at,
            disabled_at,
            revoked_at,
            calls_cut_at,
            last_used_at,
        ) = row;
        let unreadable = |column: &str| {
            KeysError::Invalid(format!(
                "{}: the column {column} of the key {id} cannot be read: it was changed by hand, \
                 or by another version of Featherwire",
                self.store.place()
            ))
        };
        Ok(Key {
            id,
            role: Role::from_name(&role).ok_or_else(|| unreadable("role"))?,
            settings: KeySettings {
                name,
                owner,
                labels: serde_json::from_str(&labels).map_err(|_| unreadable("labels"))?,
                expires_at,
                disabled_at,
                limits: serde_json::from_str(&limits).map_err(|_| unreadable("limits"))?,
            },
            created_at,
            revoked_at,
            calls_cut_at,
            last_used_at,
            secrets: Vec::new(),
        })
    }
}

fn secret_info((_, public_id, last_four, created_at, ends_at, _): SecretRow) -> SecretInfo {
    SecretInfo {
        public_id,
        last_four,
        created_at,
        ends_at,
    }
}

fn labels_json(settings: &KeySettings) -> String {
    // A map of texts always serialises.
    serde_json::to_string(&settings.labels).unwrap_or_default()
}
