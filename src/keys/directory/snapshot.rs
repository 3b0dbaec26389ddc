//! All keys at one moment.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{Ended, StoredKey, by_name};
use crate::keys::{
    Identity, Role,
    clock::{UnixMs, now},
    digest::{BuildDigestHasher, Digest},
};

/// The secrets, and the keys that they belong to.
pub(super) type Entries = HashMap<Digest, Entry, BuildDigestHasher>;

/// All keys at one moment.
#[derive(Default)]
pub(super) struct Snapshot {
    pub(super) entries: Entries,
    /// Who calls if no key is needed.
    pub(super) everyone: Option<Identity>,
    /// Who manages keys if no key is needed for that.
    pub(super) administrators: Option<Identity>,
    /// Whether several keys were valid for calls of models.
    pub(super) has_several_callers: bool,
    /// The keys with the names of `Shared::names`.
    pub(super) named: HashMap<Arc<str>, Vec<Entry>>,
}

pub(super) struct Entry {
    pub(super) identity: Identity,
    /// Until when the secret is valid, and why it ends then.
    pub(super) ends: Option<(UnixMs, Ended)>,
}

impl Snapshot {
    pub(super) fn new(
        configured: &[(Digest, Identity)],
        stored: &HashMap<Uuid, StoredKey>,
        everyone: Option<Identity>,
        administrators: Option<Identity>,
        names: Option<&HashSet<Arc<str>>>,
    ) -> Self {
        let named = names.map_or_else(HashMap::new, |names| {
            by_name::index(configured, stored, names)
        });
        let stored = stored.values().flat_map(|key| {
            let entry = |ends| Entry {
                identity: key.identity.clone(),
                ends,
            };
            let secrets = key.secrets.iter();
            secrets.map(move |(digest, ends)| (*digest, entry(*ends)))
        });
        let configured = configured.iter().map(|(digest, identity)| {
            let identity = identity.clone();
            (
                *digest,
                Entry {
                    identity,
                    ends: None,
                },
            )
        });
        // A key of the variable counts before one of the database, because it comes last here.
        let entries = stored.chain(configured).collect();
        let mut callers = callers(&entries);
        let first = callers.next();
        let has_several_callers = callers.any(|number| Some(number) != first);
        drop(callers);
        Self {
            entries,
            everyone,
            administrators,
            has_several_callers,
            named,
        }
    }

    pub(super) fn find(&self, secret: &[u8]) -> Option<&Entry> {
        // Without keys, nothing is hashed.
        if self.entries.is_empty() {
            return None;
        }
        self.entries.get(&Digest::of(secret))
    }
}

impl Entry {
    /// Why the secret is not valid now. `None` if it is.
    pub(super) fn end(&self) -> Option<Ended> {
        self.ends
            .and_then(|(at, ended)| (at <= now()).then_some(ended))
    }
}

/// The numbers of the keys that are valid now for calls of models, one for each secret.
pub(super) fn callers(entries: &Entries) -> impl Iterator<Item = u32> {
    let callers = entries
        .values()
        .filter(|entry| entry.end().is_none() && entry.identity.role() == Role::Inference);
    callers.map(|entry| entry.identity.number())
}
