//! `KeyService`: creates, shows, changes and ends keys.

use std::future::Future;

use secrecy::ExposeSecret;
use uuid::Uuid;

use super::{
    messages, paging,
    settings::{self, Change},
    times,
};
use crate::{
    error::{Error, ErrorCode, Result},
    keys::{Actor, Key, KeysError, Manager, NewSecret, Role, SecretKind},
    proto::{
        admin::v1::{
            self as admin, CreateKeyRequest, CreateKeyResponse, DeleteKeyRequest,
            DeleteKeyResponse, GetKeyRequest, ListAuditEventsRequest, ListAuditEventsResponse,
            ListKeysRequest, ListKeysResponse, RevokeKeyRequest, RotateKeyRequest,
            RotateKeyResponse, UpdateKeyRequest,
        },
        v1::{KeyRole, KeyState},
    },
    service::{Accounts, Call},
};

/// What the owner of a gateway is told whose first key is for calls.
const CLOSED: &str = "This gateway had no keys and answered every caller on its machine. It \
                      requires a key now. To manage keys, create an admin key: `featherwire keys \
                      create --admin admin --name NAME` on the gateway's database";

/// The same for a gateway whose keys are in its memory.
const CLOSED_IN_MEMORY: &str = "This gateway had no keys and answered every caller on its \
                                machine. Calls of models require a key now. Keys are managed \
                                without one until there is an admin key (role KEY_ROLE_ADMIN)";

/// The service of keys.
#[derive(Clone, Debug)]
pub struct AdminKeys {
    manager: Option<Manager>,
    accounts: Accounts,
}

impl AdminKeys {
    /// The service over the keys of `manager`, which may be pinned to `accounts`. Without a
    /// manager, all calls fail.
    pub fn new(manager: Option<Manager>, accounts: Accounts) -> Self {
        Self { manager, accounts }
    }

    fn manager(&self) -> Result<&Manager> {
        self.manager.as_ref().ok_or_else(|| {
            let message = "This gateway runs without a database, so it has no keys to manage";
            Error::new(ErrorCode::DatabaseUnavailable, message)
        })
    }

    /// Creates a key.
    ///
    /// # Errors
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) for a key that may not change keys;
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong setting;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the database fails.
    pub async fn create(&self, call: Call, request: CreateKeyRequest) -> Result<CreateKeyResponse> {
        call.note_rpc("CreateKey");
        let create = async |actor: Actor, manager: &Manager| {
            let was_open = manager.directory().is_open();
            let role = role(request.role)?.unwrap_or(Role::Inference);
            let kind = match role {
                Role::Admin | Role::Viewer if request.test => {
                    let problem = "a key that manages keys begins with gw_admin_: leave it out";
                    return Err(Error::invalid("test", problem));
                }
                Role::Admin | Role::Viewer => SecretKind::Admin,
                Role::Inference if request.test => SecretKind::Test,
                Role::Inference => SecretKind::Live,
            };
            let settings = settings::of_new_key(request)?;
            let (key, new) = manager.create(&actor, role, kind, settings).await?;
            let closed = match () {
                () if !was_open || role == Role::Admin => None,
                () if manager.is_in_memory() => Some(CLOSED_IN_MEMORY.to_owned()),
                () => Some(CLOSED.to_owned()),
            };
            let unknown = self.accounts.unknown(&key.settings.limits.accounts);
            let notices: Vec<_> = closed.into_iter().chain(unknown).collect();
            Ok(CreateKeyResponse {
                id: key.id.to_string(),
                name: key.settings.name.clone(),
                secret: secret(&new),
                key: Some(changed(manager, &key).await),
                notice: notices.join(". "),
            })
        };
        self.change(&call, create).await
    }

    /// One key, and what is left of its budgets.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::error::Kind::NotFound), and those of the database.
    pub async fn get(&self, call: Call, request: GetKeyRequest) -> Result<admin::Key> {
        call.note_rpc("GetKey");
        let get = async {
            let manager = self.manager()?;
            let keys = [manager.get(id(&request.id)?).await?];
            let left = manager.budgets(&keys).await?;
            let [key] = &keys;
            Ok(messages::key(key, &left))
        };
        call.run(get).await
    }

    /// A page of keys, and what is left of their budgets.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong token or filter, and those of the
    /// database.
    pub async fn list(&self, call: Call, request: ListKeysRequest) -> Result<ListKeysResponse> {
        call.note_rpc("ListKeys");
        let list = async {
            let size = paging::size(request.page_size)?;
            let filter = Filter::of(&request)?;
            let parse = |place: &str| Uuid::try_parse(place).ok();
            let text = filter.text();
            let after = paging::place(&request.page_token, &text, parse)?;
            let after = after.unwrap_or(Uuid::nil());
            let manager = self.manager()?;
            let (keys, has_more) = manager.page(after, size, |key| filter.passes(key)).await?;
            let last = keys.last().filter(|_| has_more);
            let token = last.map(|last| paging::token(&last.id.simple().to_string(), &text));
            let left = manager.budgets(&keys).await?;
            let message = |key| messages::key(key, &left);
            Ok(ListKeysResponse {
                keys: keys.iter().map(message).collect(),
                next_page_token: token.unwrap_or_default(),
            })
        };
        call.run(list).await
    }

    /// Changes the settings of a key.
    ///
    /// # Errors
    /// [`Kind::Forbidden`](crate::error::Kind::Forbidden) for a key that may not change keys;
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a wrong setting or mask;
    /// [`Kind::NotFound`](crate::error::Kind::NotFound), and those of the database.
    pub async fn update(&self, call: Call, request: UpdateKeyRequest) -> Result<admin::Key> {
        call.note_rpc("UpdateKey");
        let update = async |actor: Actor, manager: &Manager| {
            let id = id(&request.id)?;
            let change = Change::of(request)?;
            if change.enables() {
                let key = manager.get(id).await?;
                if key.revoked_at.is_some() {
                    return Err(KeysError::revoked(&key).into());
                }
            }
            let key = manager
                .update(&actor, id, |settings| change.apply(settings))
                .await?;
            Ok(changed(manager, &key).await)
        };
        self.change(&call, update).await
    }

    /// Gives a key another secret.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn rotate(&self, call: Call, request: RotateKeyRequest) -> Result<RotateKeyResponse> {
        call.note_rpc("RotateKey");
        let rotate = async |actor: Actor, manager: &Manager| {
            let (id, grace) = (id(&request.id)?, times::grace(request.grace)?);
            let (key, new) = manager.rotate(&actor, id, grace).await?;
            Ok(RotateKeyResponse {
                id: key.id.to_string(),
                name: key.settings.name.clone(),
                secret: secret(&new),
                key: Some(changed(manager, &key).await),
            })
        };
        self.change(&call, rotate).await
    }

    /// Ends a key for ever.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn revoke(&self, call: Call, request: RevokeKeyRequest) -> Result<admin::Key> {
        call.note_rpc("RevokeKey");
        let revoke = async |actor: Actor, manager: &Manager| {
            let key = manager
                .revoke(&actor, id(&request.id)?, request.cut_calls)
                .await?;
            Ok(changed(manager, &key).await)
        };
        self.change(&call, revoke).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn delete(&self, call: Call, request: DeleteKeyRequest) -> Result<DeleteKeyResponse> {
        call.note_rpc("DeleteKey");
        let delete = async |actor: Actor, manager: &Manager| {
            manager.delete(&actor, id(&request.id)?).await?;
            Ok(DeleteKeyResponse {})
        };
        self.change(&call, delete).await
    }

    /// A page of changes, newest first.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn audit(
        &self,
        call: Call,
        request: ListAuditEventsRequest,
    ) -> Result<ListAuditEventsResponse> {
        call.note_rpc("ListAuditEvents");
        let list = async {
            let size = paging::size(request.page_size)?;
            let key = match request.key_id.as_str() {
                "" => None,
                text => Some(uuid("key_id", text)?),
            };
            let parse = |place: &str| place.parse().ok();
            let before = paging::place(&request.page_token, &request.key_id, parse)?;
            let limit = i64::try_from(size + 1).unwrap_or(i64::MAX);
            let before = before.unwrap_or(i64::MAX);
            let mut events = self.manager()?.audit(before, limit, key).await?;
            let has_more = events.len() > size;
            events.truncate(size);
            let last = events.last().filter(|_| has_more);
            let token = last.map(|last| paging::token(&last.id.to_string(), &request.key_id));
            Ok(ListAuditEventsResponse {
                next_page_token: token.unwrap_or_default(),
                events: events.into_iter().map(messages::event).collect(),
            })
        };
        call.run(list).await
    }

    /// Runs a change by the caller of `call`.
    async fn change<'a, T, F: Future<Output = Result<T>>>(
        &'a self,
        call: &Call,
        change: impl FnOnce(Actor, &'a Manager) -> F,
    ) -> Result<T> {
        let run = async {
            call.identity.check_may_change_keys()?;
            change(Actor::of(&call.identity), self.manager()?).await
        };
        call.run(run).await
    }
}

/// A key that was changed, and what is left of its budgets. If the latter cannot be read, the
/// answer is without it, because the change is made.
async fn changed(manager: &Manager, key: &Key) -> admin::Key {
    let left = manager.budgets(std::slice::from_ref(key)).await;
    messages::key(key, &left.unwrap_or_default())
}

/// Which keys a list has.
struct Filter {
    name: String,
    owner: String,
    label: Option<(String, Option<String>)>,
    state: Option<KeyState>,
    role: Option<Role>,
}

impl Filter {
    fn of(request: &ListKeysRequest) -> Result<Self> {
        let state = KeyState::try_from(request.state).map_err(|_| {
            let problem = "expected KEY_STATE_ACTIVE, KEY_STATE_DISABLED, KEY_STATE_EXPIRED or \
                           KEY_STATE_REVOKED";
            Error::invalid("state", problem)
        })?;
        let label = (!request.label.is_empty()).then(|| match request.label.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (request.label.clone(), None),
        });
        Ok(Self {
            name: request.name.to_lowercase(),
            owner: request.owner.to_lowercase(),
            label,
            state: Some(state).filter(|state| *state != KeyState::Unspecified),
            role: role(request.role)?,
        })
    }

    fn passes(&self, key: &Key) -> bool {
        let settings = &key.settings;
        settings.name.to_lowercase().contains(&self.name)
            && (self.owner.is_empty() || settings.owner.to_lowercase() == self.owner)
            && self.label.as_ref().is_none_or(|(name, value)| {
                let label = settings.labels.get(name);
                label.is_some_and(|label| value.as_ref().is_none_or(|value| value == label))
            })
            && self
                .state
                .is_none_or(|state| state == messages::state(key.state()))
            && self.role.is_none_or(|role| role == key.role)
    }

    /// What tells it from other filters.
    fn text(&self) -> String {
        let Self {
            name,
            owner,
            label,
            state,
            role,
        } = self;
        format!("{name:?} {owner:?} {label:?} {state:?} {role:?}")
    }
}

/// The role in a request. `None` if it is not set.
fn role(number: i32) -> Result<Option<Role>> {
    match KeyRole::try_from(number) {
        Ok(KeyRole::Unspecified) => Ok(None),
        Ok(KeyRole::Inference) => Ok(Some(Role::Inference)),
        Ok(KeyRole::Admin) => Ok(Some(Role::Admin)),
        Ok(KeyRole::Viewer) => Ok(Some(Role::Viewer)),
        Err(_) => {
            let problem = "expected KEY_ROLE_INFERENCE, KEY_ROLE_ADMIN or KEY_ROLE_VIEWER";
            Err(Error::invalid("role", problem))
        }
    }
}

fn id(text: &str) -> Result<Uuid> {
    uuid("id", text)
}

fn uuid(param: &str, text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| {
        let problem = "expected the id of a key, such as 0198c5f2-8a41-7cc3-98b2-3f0f5a6d7e10: GET \
                       /admin/v1/keys lists them (gRPC: ListKeys)";
        Error::invalid(param, problem)
    })
}

fn secret(new: &NewSecret) -> String {
    new.secret.expose_secret().to_owned()
}
