//! Changes of keys. Each raises the version of the keys, by which gateways notice it, and leaves a
//! line in the audit.

use std::time::Duration;

use uuid::Uuid;

use super::{
    CHANNEL, KeysError, Repository,
    rows::{KeyRow, labels_json},
};
use crate::{
    keys::{
        actor::Actor,
        audit::Detail,
        clock::{milliseconds, now},
        key::{Key, KeySettings, Role},
        secret::{NewSecret, SecretKind},
    },
    store::{BeginWrite as _, on_each},
};

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

/// Secrets that have ended are kept for this time, so that their callers are told why.
const ENDED_SECRETS_KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);

const PRUNE_SECRETS: &str = "DELETE FROM featherwire_secrets WHERE key_id = $1 AND ends_at < $2";

const REVOKED_AT: &str =
    "SELECT revoked_at FROM featherwire_keys WHERE id = $1 AND deleted_at IS NULL";

const DELETE_KEY: &str =
    "UPDATE featherwire_keys SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL";

/// What is removed with a key. A call that is running may still add to what was spent.
const DELETE_PARTS: [&str; 3] = [
    "DELETE FROM featherwire_secrets WHERE key_id = $1",
    "DELETE FROM featherwire_spending WHERE key_id = $1",
    "DELETE FROM featherwire_leases WHERE key_id = $1",
];

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
            on_each!(self.queries, pool => {
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
            on_each!(self.queries, pool => {
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
        let last = before.secrets.last().map(|last| last.public_id.as_str());
        let kind = SecretKind::following(before.role, last);
        let new = NewSecret::generate(kind).map_err(KeysError::NoRandomness)?;
        let at = now();
        let ends_at = at.saturating_add(milliseconds(grace));
        let run = async {
            on_each!(self.queries, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let revoked_at: Option<Option<i64>> = sqlx::query_scalar(REVOKED_AT)
                    .bind(id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                match revoked_at {
                    Some(None) => {}
                    Some(Some(_)) => return Ok(Err(KeysError::revoked(&before))),
                    None => return Ok(Err(KeysError::NotFound(id.to_string()))),
                }
                let detail = Detail::rotated(&new.public_id, grace);
                record_change!(pool, transaction, actor, "rotate", id, detail);
                sqlx::query(PRUNE_SECRETS)
                    .bind(id)
                    .bind(at.saturating_sub(milliseconds(ENDED_SECRETS_KEPT)))
                    .execute(&mut *transaction)
                    .await?;
                sqlx::query(END_SECRETS)
                    .bind(id)
                    .bind(ends_at)
                    .execute(&mut *transaction)
                    .await?;
                insert_secret!(transaction, id, new, at);
                transaction.commit().await?;
                Ok(Ok(()))
            })
        };
        let rotated: sqlx::Result<_> = run.await;
        rotated.map_err(|error| self.store.error(error))??;
        Ok((self.get(id).await?, new))
    }

    /// Ends a key for ever. `cuts_calls`: also its running calls. A key that was revoked before
    /// stays revoked.
    ///
    /// # Errors
    /// [`KeysError::NotFound`]. [`KeysError::Invalid`] if the key cannot be read: it is revoked.
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: Uuid,
        cuts_calls: bool,
    ) -> Result<Key, KeysError> {
        let at = now();
        let run = async {
            on_each!(self.queries, pool => {
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
            true => self.get(id).await.map_err(|error| after("revoked", error)),
            false => Err(KeysError::NotFound(id.to_string())),
        }
    }

    /// Removes a key and its secrets. Records of its calls stay, and its running calls may finish.
    /// Returns the key as it was.
    ///
    /// # Errors
    /// [`KeysError::NotFound`]. [`KeysError::Invalid`] if the key cannot be read: it is deleted.
    pub async fn delete(&self, actor: &Actor, id: Uuid) -> Result<Key, KeysError> {
        let key = self.get(id).await;
        let name = match &key {
            Ok(key) => key.settings.name.clone(),
            Err(KeysError::Invalid(_)) => id.to_string(),
            Err(_) => return key,
        };
        let at = now();
        let run = async {
            on_each!(self.queries, pool => {
                let mut transaction = pool.begin_write().await?;
                raise_version!(transaction, id);
                let detail = Detail::deleted(&name);
                record_change!(pool, transaction, actor, "delete", id, detail);
                let deleted = sqlx::query(DELETE_KEY)
                    .bind(id)
                    .bind(at)
                    .execute(&mut *transaction)
                    .await?;
                if deleted.rows_affected() == 0 {
                    return Ok(false);
                }
                for statement in DELETE_PARTS {
                    sqlx::query(statement)
                        .bind(id)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                Ok(true)
            })
        };
        match run.await.map_err(|error| self.store.error(error))? {
            true => key.map_err(|error| after("deleted", error)),
            false => Err(KeysError::NotFound(id.to_string())),
        }
    }
}

/// The error after a key that cannot be read was changed.
fn after(change: &str, error: KeysError) -> KeysError {
    match error {
        KeysError::Invalid(problem) => {
            KeysError::Invalid(format!("the key was {change}. {problem}"))
        }
        other => other,
    }
}
