//! Finds keys by their names, for callers whose certificate stands for a key.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use uuid::Uuid;

use super::{Directory, Ended, StoredKey, snapshot::Entry};
use crate::keys::{Identity, Role, digest::Digest};

/// Why no key is found by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNamed {
    /// No key has the name.
    Unknown,
    /// Several valid keys have the name.
    Ambiguous,
    /// The keys with the name are not valid.
    Ended(Ended),
}

impl Directory {
    /// Sets the names by which [`find_named`](Self::find_named) finds keys, once. Returns those that
    /// no key has yet.
    pub fn index_names(&self, names: HashSet<Arc<str>>) -> Vec<Arc<str>> {
        let stored = self.stored();
        let _ = self.0.names.set(names);
        self.take_snapshot(&stored);
        let snapshot = self.0.snapshot.load();
        let names = self.0.names.get().into_iter().flatten();
        let unknown = names.filter(|name| !snapshot.named.contains_key(*name));
        unknown.cloned().collect()
    }

    /// The key with this name and with a role that `may_be` accepts. Only for the names of
    /// [`index_names`](Self::index_names).
    ///
    /// # Errors
    /// No valid key has the name, or several have it.
    pub fn find_named(
        &self,
        name: &str,
        may_be: impl Fn(Role) -> bool,
    ) -> Result<Identity, NotNamed> {
        let snapshot = self.0.snapshot.load();
        let (mut found, mut not_found) = (None, NotNamed::Unknown);
        let named = snapshot.named.get(name).into_iter().flatten();
        for entry in named.filter(|entry| may_be(entry.identity.role())) {
            match entry.end() {
                Some(ended) => not_found = NotNamed::Ended(ended),
                None if found.is_some() => return Err(NotNamed::Ambiguous),
                None => found = Some(&entry.identity),
            }
        }
        found.cloned().ok_or(not_found)
    }
}

/// The keys with these names.
pub(super) fn index(
    configured: &[(Digest, Identity)],
    stored: &HashMap<Uuid, StoredKey>,
    names: &HashSet<Arc<str>>,
) -> HashMap<Arc<str>, Vec<Entry>> {
    let configured = configured.iter().map(|(_, identity)| (identity, None));
    let stored = stored.values().map(|key| (&key.identity, key.ends));
    let mut named: HashMap<_, Vec<_>> = HashMap::new();
    for (identity, ends) in configured.chain(stored) {
        if let Some(name) = names.get(identity.name()) {
            named.entry(Arc::clone(name)).or_default().push(Entry {
                identity: identity.clone(),
                ends,
            });
        }
    }
    named
}
