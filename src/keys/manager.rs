//! Changes keys while the gateway runs.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use super::{
    actor::Actor,
    audit::AuditEvent,
    catch_up::CatchUp,
    clock,
    directory::Directory,
    key::{Key, KeySettings, Role},
    repository::{KeysError, Repository},
    secret::{NewSecret, SecretKind},
    status::BudgetStatus,
};
use crate::{
    error::{Error, ErrorCode, Result},
    store::StoreError,
};

/// Reads and changes the keys in the database. A change is valid on this gateway when its function
/// returns, and on others within two seconds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Manager(CatchUp);

impl Manager {
    pub(super) fn new(catch_up: CatchUp) -> Self {
        Self(catch_up)
    }

    /// The keys as callers of the gateway are recognised by them.
    pub fn directory(&self) -> &Directory {
        self.0.directory()
    }

    /// Whether the keys are only in the memory of this process.
    pub fn is_in_memory(&self) -> bool {
        self.repository().is_in_memory()
    }

    fn repository(&self) -> &Repository {
        self.0.repository()
    }

    /// See [`Repository::create`].
    ///
    /// # Errors
    /// See there.
    pub async fn create(
        &self,
        actor: &Actor,
        role: Role,
        kind: SecretKind,
        settings: KeySettings,
    ) -> Result<(Key, NewSecret), KeysError> {
        let created = self
            .repository()
            .create(actor, role, kind, settings)
            .await?;
        self.take_over().await;
        Ok(created)
    }

    /// The key with this id.
    ///
    /// # Errors
    /// See [`Repository::get`].
    pub async fn get(&self, id: Uuid) -> Result<Key> {
        self.repository().get(id).await.map_err(of_query)
    }

    /// See [`Repository::budgets`]. A gateway saves nothing in a database in memory, because only it
    /// has this database: there its own numbers count.
    ///
    /// # Errors
    /// See there.
    pub async fn budgets(&self, keys: &[Key]) -> Result<HashMap<Uuid, Vec<BudgetStatus>>> {
        if self.is_in_memory() {
            let ids = keys.iter().map(|key| key.id);
            return Ok(self.directory().budgets(ids, clock::now()));
        }
        let budgets = self.repository().budgets(keys).await;
        budgets.map_err(|error| of_query(error.into()))
    }

    /// See [`Repository::page`].
    ///
    /// # Errors
    /// See there.
    pub async fn page(
        &self,
        after: Uuid,
        limit: usize,
        filter: impl Fn(&Key) -> bool,
    ) -> Result<(Vec<Key>, bool)> {
        let page = self.repository().page(after, limit, filter).await;
        page.map_err(of_query)
    }

    /// See [`Repository::update`].
    ///
    /// # Errors
    /// See there.
    pub async fn update(
        &self,
        actor: &Actor,
        id: Uuid,
        change: impl FnOnce(&mut KeySettings),
    ) -> Result<Key, KeysError> {
        let updated = self.repository().update(actor, id, change).await?;
        self.take_over().await;
        Ok(updated)
    }

    /// See [`Repository::rotate`].
    ///
    /// # Errors
    /// See there.
    pub async fn rotate(
        &self,
        actor: &Actor,
        id: Uuid,
        grace: Duration,
    ) -> Result<(Key, NewSecret), KeysError> {
        let rotated = self.repository().rotate(actor, id, grace).await?;
        self.take_over().await;
        Ok(rotated)
    }

    /// See [`Repository::revoke`].
    ///
    /// # Errors
    /// See there.
    pub async fn revoke(
        &self,
        actor: &Actor,
        id: Uuid,
        cuts_calls: bool,
    ) -> Result<Key, KeysError> {
        let revoked = self.repository().revoke(actor, id, cuts_calls).await?;
        self.take_over().await;
        Ok(revoked)
    }

    /// See [`Repository::delete`].
    ///
    /// # Errors
    /// See there.
    pub async fn delete(&self, actor: &Actor, id: Uuid) -> Result<Key, KeysError> {
        let deleted = self.repository().delete(actor, id).await?;
        self.take_over().await;
        Ok(deleted)
    }

    /// See [`Repository::audit`].
    ///
    /// # Errors
    /// See there.
    pub async fn audit(
        &self,
        before: i64,
        limit: i64,
        key: Option<Uuid>,
    ) -> Result<Vec<AuditEvent>> {
        let events = self.repository().audit(before, limit, key).await;
        events.map_err(|error| of_query(error.into()))
    }

    /// Takes over what was changed. The change is made even if this fails: it is valid within two
    /// seconds then, when the database answers again.
    async fn take_over(&self) {
        if let Err(error) = self.0.run().await {
            tracing::warn!(%error, "a change of a key is not valid yet on this gateway");
        }
    }
}

/// The names of limits, as [`KeySettings::check`] has them at the beginning of its sentences.
const LIMITS: [&str; 8] = [
    "accounts",
    "models",
    "weight",
    "max_units",
    "highest_priority",
    "requests_per_minute",
    "tokens_per_minute",
    "budgets",
];

const SETTINGS: [&str; 4] = ["name", "owner", "labels", "expires_at"];

/// What the caller of a service is told.
impl From<KeysError> for Error {
    fn from(error: KeysError) -> Self {
        match error {
            KeysError::NotFound(key) => {
                let message = format!(
                    "There is no key {key:?}: GET /admin/v1/keys lists all keys (gRPC: ListKeys)"
                );
                Self::new(ErrorCode::KeyNotFound, message)
            }
            KeysError::Ambiguous { .. } => Self::invalid("id", error),
            KeysError::Invalid(problem) => invalid(&problem),
            KeysError::NoRandomness(error) => Self::internal(error.to_string()),
            KeysError::Store(error) => {
                let advice = "The change may or may not have happened: look before you try again";
                no_answer(error, advice)
            }
        }
    }
}

/// The error of a query, which changes nothing.
pub(crate) fn of_query(error: KeysError) -> Error {
    match error {
        KeysError::Store(error) => no_answer(error, "Try again when it answers"),
        other => other.into(),
    }
}

/// The error of a database that fails, with what to do.
fn no_answer(error: StoreError, advice: &str) -> Error {
    tracing::error!(%error, "the database with the keys fails");
    let message =
        format!("The gateway's database does not answer: its log has the cause. {advice}");
    Error::new(ErrorCode::DatabaseUnavailable, message).with_source(error)
}

/// The error for a setting that is wrong, with its path.
fn invalid(problem: &str) -> Error {
    let (name, rest) = problem.split_once(": ").unwrap_or(("", problem));
    if LIMITS.contains(&name) {
        Error::invalid(format!("limits.{name}"), rest)
    } else if SETTINGS.contains(&name) {
        Error::invalid(name, rest)
    } else {
        Error::new(ErrorCode::InvalidValue, problem)
    }
}
