//! The keys of `FEATHERWIRE_API_KEYS`, which can be read again while the gateway runs.

use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};

use super::{Configured, Digest, Directory, Identity, take};

/// What a key keeps as long as the process runs, also while it is not among the keys: its running
/// calls and its records count by these.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// The number in its name. At the start, this is its place.
    name: u32,
    number: u32,
}

/// All keys that there were since the start.
#[derive(Default)]
pub(super) struct History {
    known: HashMap<Digest, Known>,
    next_name: u32,
}

impl History {
    /// The keys with these `secrets`, at the start.
    pub(super) fn new(secrets: &[SecretString]) -> Self {
        let mut known = HashMap::new();
        for (place, digest) in (0..).zip(digests(secrets)) {
            // Of two equal secrets, the first one counts.
            known.entry(digest).or_insert(Known {
                name: place,
                number: place,
            });
        }
        Self {
            known,
            next_name: u32::try_from(secrets.len()).unwrap_or(u32::MAX),
        }
    }

    /// The keys with these `secrets`. `weights` are those of the first ones. A new key gets a name
    /// that no other key had.
    pub(super) fn keys(
        &mut self,
        secrets: &[SecretString],
        weights: &[u32],
        next_number: &mut u32,
    ) -> Vec<Configured> {
        let weights = weights.iter().copied().chain(iter::repeat(1));
        let mut seen = HashSet::new();
        digests(secrets)
            .zip(weights)
            .filter(|(digest, _)| seen.insert(*digest))
            .map(|(digest, weight)| {
                let known = self.known.entry(digest).or_insert_with(|| Known {
                    name: take(&mut self.next_name),
                    number: take(next_number),
                });
                let name = format!("env-{}", u64::from(known.name) + 1);
                let identity = Identity::configured(name, known.number, digest.number(), weight);
                (digest, identity)
            })
            .collect()
    }
}

fn digests(secrets: &[SecretString]) -> impl Iterator<Item = Digest> {
    let secrets = secrets.iter();
    secrets.map(|secret| Digest::of(secret.expose_secret().as_bytes()))
}

impl Directory {
    /// Replaces the keys of `FEATHERWIRE_API_KEYS`. Calls that run with another key go on. A
    /// gateway that had a key never opens again, as in [`apply`](Self::apply).
    pub fn set_configured(&self, secrets: &[SecretString], weights: &[u32]) {
        let mut guard = self.stored();
        let stored = &mut *guard;
        let configured = stored
            .history
            .keys(secrets, weights, &mut stored.next_number);
        self.0.configured.store(Arc::new(configured));
        self.take_snapshot(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(keys: &[&str]) -> Vec<SecretString> {
        keys.iter().map(|key| SecretString::from(*key)).collect()
    }

    #[test]
    fn a_key_keeps_its_name_and_number_when_others_go_and_no_other_key_gets_them() {
        let directory = Directory::new(&secrets(&["gw_a", "gw_b", "gw_c"]), &[3]);
        let found = |key: &str| {
            let identity = directory.find(key.as_bytes()).unwrap()?;
            Some((identity.name().to_owned(), identity.number()))
        };
        let named = |name: &str, number| Some((name.to_owned(), number));
        let number_of_c = found("gw_c").unwrap().1;

        directory.set_configured(&secrets(&["gw_c"]), &[]);
        assert_eq!((found("gw_a"), found("gw_b")), (None, None));
        assert_eq!(found("gw_c"), named("env-3", number_of_c));

        directory.set_configured(&secrets(&["gw_d", "gw_c", "gw_d"]), &[]);
        let number_of_d = found("gw_d").unwrap().1;
        assert_eq!(found("gw_d"), named("env-4", number_of_d));
        assert_eq!(found("gw_c"), named("env-3", number_of_c));
        assert!(number_of_d > number_of_c);

        // A key that comes back is the same as before.
        directory.set_configured(&secrets(&["gw_e", "gw_a"]), &[]);
        assert_eq!(found("gw_a"), named("env-1", 0));
        let (name, number_of_e) = found("gw_e").unwrap();
        assert_eq!(name, "env-5");
        assert!(![0, number_of_c, number_of_d].contains(&number_of_e));
    }
}
