//! Finds the identity that a secret belongs to.

use std::{collections::HashMap, iter, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};

use super::{
    digest::{BuildDigestHasher, Digest},
    identity::Identity,
};

/// The keys that the gateway accepts. Cheap to clone; all clones share one snapshot.
///
/// A lookup hashes the secret and probes a map. It takes no lock and does not wait for anything. A
/// change replaces the whole snapshot.
#[derive(Clone, Debug)]
pub struct Directory(Arc<ArcSwap<Snapshot>>);

/// All keys at one moment.
#[derive(Debug)]
struct Snapshot {
    identities: HashMap<Digest, Identity, BuildDigestHasher>,
    /// Who calls if no key is needed.
    everyone: Option<Identity>,
}

impl Directory {
    /// The keys of `FEATHERWIRE_API_KEYS`. `weights` are those of the first keys; the others have
    /// the weight 1. Without keys, the gateway is open.
    pub fn new(secrets: &[SecretString], weights: &[u32]) -> Self {
        let weights = weights.iter().copied().chain(iter::repeat(1));
        let mut identities = HashMap::with_hasher(BuildDigestHasher::default());
        for ((number, secret), weight) in (0..).zip(secrets).zip(weights) {
            let identity = Identity::new(format!("env-{}", number + 1), number, weight.max(1));
            // Of two equal secrets, the first one counts.
            identities
                .entry(Digest::of(secret.expose_secret().as_bytes()))
                .or_insert(identity);
        }
        let everyone = identities.is_empty().then(Identity::everyone);
        Self(Arc::new(ArcSwap::from_pointee(Snapshot {
            identities,
            everyone,
        })))
    }

    /// Who calls without a key, if the gateway needs none.
    pub fn everyone(&self) -> Option<Identity> {
        self.0.load().everyone.clone()
    }

    /// Whether the gateway needs no key.
    pub fn is_open(&self) -> bool {
        self.0.load().everyone.is_some()
    }

    /// The identity that `secret` belongs to. The time of a lookup depends only on the length of
    /// `secret`.
    pub fn find(&self, secret: &[u8]) -> Option<Identity> {
        let snapshot = self.0.load();
        if snapshot.identities.is_empty() {
            return None;
        }
        snapshot.identities.get(&Digest::of(secret)).cloned()
    }

    /// Whether `secret` is known.
    pub fn knows(&self, secret: &[u8]) -> bool {
        let snapshot = self.0.load();
        !snapshot.identities.is_empty() && snapshot.identities.contains_key(&Digest::of(secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(secrets: &[&str], weights: &[u32]) -> Directory {
        let secrets: Vec<_> = secrets.iter().map(|key| SecretString::from(*key)).collect();
        Directory::new(&secrets, weights)
    }

    #[test]
    fn keys_of_the_variable_are_identities_in_their_order() {
        let directory = directory(&["gw_a", "gw_b", "gw_a", "gw_c"], &[3]);
        let found = |secret: &str| {
            let identity = directory.find(secret.as_bytes())?;
            Some((
                identity.name().to_owned(),
                identity.number(),
                identity.weight(),
            ))
        };
        assert_eq!(found("gw_a"), Some(("env-1".to_owned(), 0, 3)));
        assert_eq!(found("gw_b"), Some(("env-2".to_owned(), 1, 1)));
        assert_eq!(found("gw_c"), Some(("env-4".to_owned(), 3, 1)));
        for unknown in ["", "gw_", "gw_A", "gw_a ", "gw_ab"] {
            assert_eq!(found(unknown), None, "{unknown:?}");
        }
        assert!(directory.everyone().is_none());
    }

    #[test]
    fn only_a_directory_without_keys_is_open() {
        let open = directory(&[], &[]);
        assert!(open.is_open() && open.find(b"").is_none());
        assert!(!directory(&["gw_a"], &[]).is_open());
        assert_ne!(
            open.everyone().map(|identity| identity.number()),
            Some(Identity::gateway().number())
        );
    }
}
