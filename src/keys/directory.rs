//! Finds the identity that a secret belongs to.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    check::Purpose,
    clock::UnixMs,
    digest::Digest,
    identity::{Identity, Record},
    key::{Key, KeyState, Role},
    repository::Spent,
    shared_rates::{SharedRates, Sharing},
    spending_news::SpendingNews,
    status::BudgetStatus,
};

pub use by_name::NotNamed;
use configured::History;
use snapshot::{Snapshot, callers};

/// The keys that the gateway accepts. Cheap to clone; all clones share one snapshot.
///
/// A lookup hashes the secret and probes a map. It takes no lock and does not wait for anything. A
/// change replaces the whole snapshot.
#[derive(Clone)]
pub struct Directory(Arc<Shared>);

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// The keys of the variable. They change only under the lock of `stored`.
    configured: ArcSwap<Vec<Configured>>,
    /// The keys of the database.
    stored: Mutex<Stored>,
    /// The names by which [`Directory::find_named`] finds keys.
    names: OnceLock<HashSet<Arc<str>>>,
    /// Is raised when running calls of a key must end.
    cuts: watch::Sender<u64>,
}

/// A key of the variable.
type Configured = (Digest, Identity);

/// The digest of a secret, and when it ends.
pub type DigestUntil = (Digest, Option<UnixMs>);

/// Keys of the database that have changed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The keys as they are now, each with the digests of its secrets and the times of their ends.
    pub changed: Vec<(Key, Vec<DigestUntil>)>,
    /// The ids of keys that were deleted.
    pub deleted: Vec<Uuid>,
    /// Keys that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A key that cannot be read, because it was changed by hand or by another version of the gateway.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The id of the key.
    pub id: Uuid,
    /// What cannot be read.
    pub problem: String,
    /// Whether its running calls end.
    pub is_cut: bool,
}

/// The keys of the database.
#[derive(Default)]
struct Stored {
    keys: HashMap<Uuid, StoredKey>,
    /// The keys that cannot be read. Their secrets are not valid.
    unreadable: HashSet<Uuid>,
    /// The records of all keys that are not deleted. A number is never given to another key.
    records: HashMap<Uuid, Arc<Record>>,
    next_number: u32,
    /// The keys of the variable since the start.
    history: History,
    news: SpendingNews,
    /// Whether their limits are shared with other gateways.
    sharing: Sharing,
    /// Whether they are only in the memory of this process.
    are_in_memory: bool,
}

struct StoredKey {
    identity: Identity,
    /// Until when the key is valid, whatever its secrets are.
    ends: Option<(UnixMs, Ended)>,
    /// The digests of its secrets, and until when each is valid.
    secrets: Vec<(Digest, Option<(UnixMs, Ended)>)>,
}

/// Why a secret that the gateway knows is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time of its key has passed.
    Expired,
    /// Another secret of its key has replaced it.
    Rotated,
    /// Its key was revoked.
    Revoked,
    /// Its key is disabled.
    Disabled,
}

impl Directory {
    /// The keys of `FEATHERWIRE_API_KEYS`. `weights` are those of the first keys; the others have
    /// the weight 1. Without keys, the gateway is open.
    pub fn new(secrets: &[SecretString], weights: &[u32]) -> Self {
        let mut history = History::new(secrets);
        let numbers = u32::try_from(secrets.len()).unwrap_or(u32::MAX);
        let mut next_number = numbers.max(Identity::EVERYONE + 1);
        let configured = history.keys(secrets, weights, &mut next_number);
        let is_open = configured.is_empty();
        Self(Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::new(
                &configured,
                &HashMap::new(),
                is_open.then(Identity::everyone),
                is_open.then(Identity::everyone),
                None,
            )),
            configured: ArcSwap::from_pointee(configured),
            names: OnceLock::new(),
            stored: Mutex::new(Stored {
                next_number,
                history,
                ..Stored::default()
            }),
            cuts: watch::Sender::new(0),
        }))
    }

    /// Says that the keys are in the memory of this process, where only this gateway can change
    /// them. Call it before the first [`apply`](Self::apply).
    pub(super) fn set_in_memory(&self) {
        self.stored().are_in_memory = true;
    }

    /// Shares the limits for a minute with other gateways from now on. Only the first call counts.
    pub fn share_rates(&self, rates: SharedRates) {
        // Those that are shared already stay.
        let _ = self.stored().sharing.set(rates);
    }

    /// Takes over changes of the keys of the database. The keys of the variable stay.
    ///
    /// A gateway that had a key never opens again while it runs: deleting the last key must not let
    /// everyone in. If its keys are only in its memory, no key is needed to manage them until there
    /// is one for that: nobody else could create it.
    pub fn apply(&self, changes: Changes) {
        let mut stored = self.stored();
        let mut has_cut = false;
        for (key, secrets) in changes.changed {
            has_cut |= stored.set(key, secrets);
        }
        for key in changes.unreadable {
            has_cut |= stored.set_unreadable(&key);
        }
        for id in changes.deleted {
            stored.keys.remove(&id);
            stored.unreadable.remove(&id);
            // Its running calls have it as long as they need it.
            stored.records.remove(&id);
        }
        self.take_snapshot(&stored);
        if has_cut {
            self.0.cuts.send_modify(|cuts| *cuts += 1);
        }
    }

    /// Replaces the snapshot by one of these keys. `stored` is locked, so that a later change is
    /// not overwritten by an earlier one.
    fn take_snapshot(&self, stored: &Stored) {
        let before = self.0.snapshot.load();
        let configured = self.0.configured.load();
        let has_no_stored = stored.keys.is_empty() && stored.unreadable.is_empty();
        let is_open = has_no_stored && configured.is_empty();
        let may_all_manage = is_open || (stored.are_in_memory && !stored.has_admin());
        let snapshot = Snapshot::new(
            &configured,
            &stored.keys,
            before.everyone.clone().filter(|_| is_open),
            before.administrators.clone().filter(|_| may_all_manage),
            self.0.names.get(),
        );
        self.0.snapshot.store(Arc::new(snapshot));
    }

    /// Changes whenever running calls of a key must end: [`Identity::is_cut`] says of which.
    pub fn cuts(&self) -> watch::Receiver<u64> {
        self.0.cuts.subscribe()
    }

    /// Who calls without a key for this `purpose`, if the gateway needs none for it.
    pub fn everyone(&self, purpose: Purpose) -> Option<Identity> {
        let snapshot = self.0.snapshot.load();
        match purpose {
            Purpose::Models | Purpose::Own => snapshot.everyone.clone(),
            Purpose::Admin => snapshot.administrators.clone(),
        }
    }

    /// Whether the gateway needs no key.
    pub fn is_open(&self) -> bool {
        self.0.snapshot.load().everyone.is_some()
    }

    /// Whether a key of the database has the role admin.
    pub fn has_admin(&self) -> bool {
        self.stored().has_admin()
    }

    /// A sentence that tells how keys are managed, for a caller with a key that may not.
    pub fn how_to_manage(&self) -> &'static str {
        let stored = self.stored();
        if stored.has_admin() {
            "The owner of the gateway has one"
        } else if !stored.are_in_memory {
            "`featherwire keys create --admin admin --name NAME` on the gateway's database creates \
             one"
        } else if self.everyone(Purpose::Admin).is_some() {
            "This gateway has none: create one without a key (role KEY_ROLE_ADMIN)"
        } else {
            "This gateway has none and cannot get one, because its database is in memory: start it \
             with another database (FEATHERWIRE_DATABASE_URL), in which `featherwire keys create \
             --admin admin --name NAME` creates one"
        }
    }

    /// The number of keys for calls of models that are valid now.
    pub fn valid_keys(&self) -> usize {
        let snapshot = self.0.snapshot.load();
        let numbers: HashSet<_> = callers(&snapshot.entries).collect();
        numbers.len()
    }

    /// Whether there are several keys for calls of models. Keys that have expired since the last
    /// change of the keys still count, so that this looks at no key.
    pub fn has_several_callers(&self) -> bool {
        self.0.snapshot.load().has_several_callers
    }

    /// The identity that `secret` belongs to. `None` if nobody knows it. The time of a lookup
    /// depends only on the length of `secret`.
    ///
    /// # Errors
    /// The secret is known, but not valid any more.
    pub fn find(&self, secret: &[u8]) -> Result<Option<Identity>, Ended> {
        let snapshot = self.0.snapshot.load();
        match snapshot.find(secret) {
            Some(entry) => match entry.end() {
                None => Ok(Some(entry.identity.clone())),
                Some(ended) => Err(ended),
            },
            None => Ok(None),
        }
    }

    /// Whether `secret` is known and valid.
    pub fn accepts(&self, secret: &[u8]) -> bool {
        let snapshot = self.0.snapshot.load();
        snapshot
            .find(secret)
            .is_some_and(|entry| entry.end().is_none())
    }

    /// What the keys of the database spend.
    pub(super) fn spending_news(&self) -> SpendingNews {
        self.stored().news.clone()
    }

    /// Takes over what keys have spent.
    pub(super) fn take_spent(&self, spent: &[Spent]) {
        let stored = self.stored();
        for spent in spent {
            if let Some(key) = stored.keys.get(&spent.key) {
                let spending = key.identity.spending();
                spending.take_spent(spent.name, spent.window, spent.amount);
            }
        }
    }

    /// What is left of the budgets of these keys of the database at `now`, as this gateway knows.
    pub(super) fn budgets(
        &self,
        ids: impl Iterator<Item = Uuid>,
        now: UnixMs,
    ) -> HashMap<Uuid, Vec<BudgetStatus>> {
        let stored = self.stored();
        let of_key = |id| Some((id, stored.keys.get(&id)?.identity.budgets(now)));
        ids.filter_map(of_key).collect()
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        // No code panics while it holds the lock.
        self.0.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the database that were used since the last call of this.
    pub(super) fn take_used(&self) -> Vec<Identity> {
        let snapshot = self.0.snapshot.load();
        let keys = snapshot.entries.values().map(|entry| &entry.identity);
        let used = keys.filter(|key| key.id().is_some() && key.take_use());
        used.cloned().collect()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.0.snapshot.load();
        f.debug_struct("Directory")
            .field("secrets", &snapshot.entries.len())
            .field("is_open", &snapshot.everyone.is_some())
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Sets a key as it is now. Returns whether its running calls must end, which is new.
    fn set(&mut self, key: Key, secrets: Vec<DigestUntil>) -> bool {
        let end_of_key = match key.state() {
            KeyState::Revoked => Some((UnixMs::MIN, Ended::Revoked)),
            KeyState::Disabled => Some((UnixMs::MIN, Ended::Disabled)),
            KeyState::Active | KeyState::Expired => {
                key.settings.expires_at.map(|at| (at, Ended::Expired))
            }
        };
        let with_end = |(digest, ends_at): DigestUntil| {
            let rotated = ends_at.map(|at| (at, Ended::Rotated));
            let ends = end_of_key.into_iter().chain(rotated);
            (digest, ends.min_by_key(|(at, _)| *at))
        };
        let record = self.record(key.id);
        let is_cut = key.calls_cut_at.is_some() && !record.cut();
        let settings = key.settings;
        let stored = StoredKey {
            identity: Identity::stored(
                key.id,
                settings.name,
                key.role,
                settings.limits,
                settings.expires_at,
                record,
            ),
            ends: end_of_key,
            secrets: secrets.into_iter().map(with_end).collect(),
        };
        self.unreadable.remove(&key.id);
        self.keys.insert(key.id, stored);
        is_cut
    }

    /// Refuses the secrets of a key until it can be read. Returns whether its running calls must
    /// end, which is new.
    fn set_unreadable(&mut self, key: &Unreadable) -> bool {
        self.keys.remove(&key.id);
        if self.unreadable.insert(key.id) {
            let problem = &key.problem;
            tracing::error!("{problem}. Calls with this key are refused");
        }
        let record = self.record(key.id);
        key.is_cut && !record.cut()
    }

    /// Whether a key may create others.
    fn has_admin(&self) -> bool {
        let mut roles = self.keys.values().map(|key| key.identity.role());
        roles.any(|role| role == Role::Admin)
    }

    /// The record of the key with this id.
    fn record(&mut self, id: Uuid) -> Arc<Record> {
        let next_number = &mut self.next_number;
        let record = self.records.entry(id).or_insert_with(|| {
            let number = take(next_number);
            Record::new(number, id, self.news.clone(), self.sharing.clone())
        });
        Arc::clone(record)
    }
}

/// A number that no other key has.
fn take(next_number: &mut u32) -> u32 {
    let number = *next_number;
    *next_number = number.saturating_add(1);
    number
}

mod by_name;
mod configured;
mod snapshot;
#[cfg(test)]
mod tests;
