//! Where the commands read and change keys: in the database, or through a running gateway. Both
//! give the same answers.

use std::time::Duration;

use secrecy::SecretString;
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};
use uuid::Uuid;

use super::remote::{budget_statuses, differences, key, new_key};
use crate::{
    cli::{
        client::{self, AdminErrors},
        database,
        failure::Failure,
        output,
        progress::Progress,
    },
    config,
    keys::{Actor, BudgetStatus, Key, KeySettings, KeysError, Repository, Role, SecretKind},
    proto::admin::v1::{
        DeleteKeyRequest, GetKeyRequest, ListKeysRequest, RevokeKeyRequest, RotateKeyRequest,
        key_service_client::KeyServiceClient,
    },
};

/// Who makes the changes, in the audit of the database.
const ACTOR: &Actor = &Actor::Local;

/// How many keys a gateway sends at a time.
const PAGE: i32 = 1000;

type Client = KeyServiceClient<InterceptedService<Channel, client::Key>>;

/// Where keys are read and changed.
pub(super) enum Source {
    /// In the database itself.
    Database(Repository),
    /// Through a gateway.
    Gateway(Client, AdminErrors),
}

/// A new secret, and what is known of its key.
pub(super) struct Issued {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) secret: SecretString,
    /// The key, or why it cannot be shown. The secret is valid even so.
    pub(super) key: Result<Key, Failure>,
    /// What the gateway tells its owner. Empty if it tells nothing.
    pub(super) notice: String,
}

impl Issued {
    fn here(key: Key, secret: SecretString) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.settings.name.clone(),
            secret,
            key: Ok(key),
            notice: String::new(),
        }
    }
}

/// The failure of a change of settings.
fn of_settings(error: KeysError) -> Failure {
    match error {
        KeysError::Invalid(problem) => Failure::Usage(problem),
        other => other.into(),
    }
}

/// The failure of a call about the key with this id.
fn of(errors: AdminErrors, id: Uuid) -> impl Fn(Status) -> Failure {
    move |status| errors.of_named(&status, &[id.to_string()])
}

impl Source {
    /// Opens the database, which must exist, or connects to the gateway.
    pub(super) async fn open(from: &config::AdminPlace) -> Result<Self, Failure> {
        let _progress = Progress::start("opening the keys");
        match from.gateway() {
            Some(gateway) => Self::connect(&gateway).await,
            None => {
                let store = database::open(&from.database).await?;
                Ok(Self::Database(Repository::new(store)))
            }
        }
    }

    /// The same. A database that does not exist is created.
    pub(super) async fn create_or_open(from: &config::AdminPlace) -> Result<Self, Failure> {
        let _progress = Progress::start("opening the keys");
        match from.gateway() {
            Some(gateway) => Self::connect(&gateway).await,
            None => {
                let store = database::create(&from.database).await?;
                Ok(Self::Database(Repository::new(store)))
            }
        }
    }

    async fn connect(gateway: &config::Gateway) -> Result<Self, Failure> {
        let (channel, key, errors) = client::connect_as_admin(gateway).await?;
        let client = KeyServiceClient::with_interceptor(channel, key);
        let client = client.max_decoding_message_size(client::MESSAGE_BYTES_MAX);
        Ok(Self::Gateway(client, errors))
    }

    /// Ends all connections to the database.
    pub(super) async fn close(self) {
        if let Self::Database(repository) = self {
            repository.close().await;
        }
    }

    /// The id of the key that `text` names by its id, or by a name that only one key has.
    pub(super) async fn resolve(&mut self, text: &str) -> Result<Uuid, Failure> {
        if let Self::Database(repository) = self {
            return Ok(repository.resolve(text).await?);
        }
        if let Ok(id) = Uuid::try_parse(text.trim()) {
            return Ok(id);
        }
        let named = self.list_named(text).await?;
        let named: Vec<_> = named
            .into_iter()
            .filter(|key| key.settings.name == text)
            .collect();
        match named.as_slice() {
            [] => Err(KeysError::NotFound(text.to_owned()).into()),
            [key] => Ok(key.id),
            keys => Err(KeysError::Ambiguous {
                name: text.to_owned(),
                keys: keys.len(),
            }
            .into()),
        }
    }

    pub(super) async fn create(
        &mut self,
        role: Role,
        kind: SecretKind,
        settings: KeySettings,
    ) -> Result<Issued, Failure> {
        match self {
            Self::Database(repository) => {
                let created = repository.create(ACTOR, role, kind, settings).await;
                let (key, new) = created.map_err(of_settings)?;
                Ok(Issued::here(key, new.secret))
            }
            Self::Gateway(client, errors) => {
                let made = client.create_key(new_key(role, kind, settings)).await;
                let made = made.map_err(|status| errors.of_settings(&status, &[]))?;
                let made = made.into_inner();
                Ok(Issued {
                    id: made.id,
                    name: made.name,
                    key: key(made.key),
                    secret: made.secret.into(),
                    notice: made.notice,
                })
            }
        }
    }

    pub(super) async fn get(&mut self, id: Uuid) -> Result<Key, Failure> {
        match self {
            Self::Database(repository) => Ok(repository.get(id).await?),
            Self::Gateway(client, errors) => {
                let request = GetKeyRequest { id: id.to_string() };
                let got = client.get_key(request).await.map_err(of(*errors, id))?;
                key(Some(got.into_inner()))
            }
        }
    }

    /// A key, and what is left of its budgets. An older gateway does not tell the latter.
    pub(super) async fn get_with_budgets(
        &mut self,
        id: Uuid,
    ) -> Result<(Key, Vec<BudgetStatus>), Failure> {
        match self {
            Self::Database(repository) => {
                let keys = [repository.get(id).await?];
                let mut left = repository.budgets(&keys).await.map_err(KeysError::from)?;
                let [key] = keys;
                let left = left.remove(&key.id).unwrap_or_default();
                Ok((key, left))
            }
            Self::Gateway(client, errors) => {
                let request = GetKeyRequest { id: id.to_string() };
                let got = client.get_key(request).await.map_err(of(*errors, id))?;
                let mut got = got.into_inner();
                let left = std::mem::take(&mut got.budgets);
                let key = key(Some(got))?;
                let left = budget_statuses(&key, left);
                Ok((key, left))
            }
        }
    }

    pub(super) async fn list(&mut self) -> Result<Vec<Key>, Failure> {
        match self {
            Self::Database(repository) => {
                let (keys, unreadable) = repository.list().await?;
                for problem in unreadable {
                    output::warn(format_args!("! {problem}"));
                }
                Ok(keys)
            }
            Self::Gateway(..) => self.list_named("").await,
        }
    }

    /// The keys of a gateway with this text in their name.
    async fn list_named(&mut self, name: &str) -> Result<Vec<Key>, Failure> {
        let Self::Gateway(client, errors) = self else {
            return Ok(Vec::new());
        };
        let (mut keys, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListKeysRequest {
                page_size: PAGE,
                page_token,
                name: name.to_owned(),
                ..ListKeysRequest::default()
            };
            let page = client.list_keys(request).await;
            let page = page.map_err(|status| errors.of(&status))?.into_inner();
            for listed in page.keys {
                keys.push(key(Some(listed))?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(keys);
            }
        }
    }

    pub(super) async fn update(
        &mut self,
        id: Uuid,
        change: impl FnOnce(&mut KeySettings),
    ) -> Result<Key, Failure> {
        if let Self::Database(repository) = self {
            let updated = repository.update(ACTOR, id, change).await;
            return updated.map_err(of_settings);
        }
        let before = self.get(id).await?;
        let mut after = before.settings.clone();
        change(&mut after);
        let request = differences(id, &before.settings, after);
        match self {
            Self::Gateway(client, errors) if request.update_mask.is_some() => {
                let updated = client.update_key(request).await;
                let ids = [id.to_string()];
                let updated = updated.map_err(|status| errors.of_settings(&status, &ids))?;
                key(Some(updated.into_inner()))
            }
            // The key is already as it should be.
            _ => Ok(before),
        }
    }

    pub(super) async fn rotate(&mut self, id: Uuid, grace: Duration) -> Result<Issued, Failure> {
        match self {
            Self::Database(repository) => {
                let (key, new) = repository.rotate(ACTOR, id, grace).await?;
                Ok(Issued::here(key, new.secret))
            }
            Self::Gateway(client, errors) => {
                let request = RotateKeyRequest {
                    id: id.to_string(),
                    grace: grace.try_into().ok(),
                };
                let rotated = client.rotate_key(request).await;
                let rotated = rotated.map_err(of(*errors, id))?.into_inner();
                Ok(Issued {
                    id: rotated.id,
                    name: rotated.name,
                    key: key(rotated.key),
                    secret: rotated.secret.into(),
                    notice: String::new(),
                })
            }
        }
    }

    pub(super) async fn revoke(&mut self, id: Uuid, cut_calls: bool) -> Result<Key, Failure> {
        match self {
            Self::Database(repository) => Ok(repository.revoke(ACTOR, id, cut_calls).await?),
            Self::Gateway(client, errors) => {
                let request = RevokeKeyRequest {
                    id: id.to_string(),
                    cut_calls,
                };
                let revoked = client.revoke_key(request).await.map_err(of(*errors, id))?;
                key(Some(revoked.into_inner()))
            }
        }
    }

    /// Removes a key. Returns it as it was.
    pub(super) async fn delete(&mut self, id: Uuid) -> Result<Key, Failure> {
        if let Self::Database(repository) = self {
            return Ok(repository.delete(ACTOR, id).await?);
        }
        let before = self.get(id).await?;
        if let Self::Gateway(client, errors) = self {
            let request = DeleteKeyRequest { id: id.to_string() };
            client.delete_key(request).await.map_err(of(*errors, id))?;
        }
        Ok(before)
    }
}
