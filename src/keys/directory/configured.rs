//! The keys of `FEATHERWIRE_API_KEYS`, which can be read again while the gateway runs.

use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::Arc,
};

use secrecy::{ExposeSecret, SecretString};

use super::{Configured, Digest, Directory, Identity, take};

/// The keys with these `secrets`. `weights` are those of the first ones. `number_of` returns the
/// number of a key, by its place and its digest.
pub(super) fn keys(
    secrets: &[SecretString],
    weights: &[u32],
    mut number_of: impl FnMut(u32, &Digest) -> u32,
) -> Vec<Configured> {
    let weights = weights.iter().copied().chain(iter::repeat(1));
    let mut seen = HashSet::new();
    (0_u32..)
        .zip(secrets)
        .zip(weights)
        .map(|((place, secret), weight)| {
            let digest = Digest::of(secret.expose_secret().as_bytes());
            (place, digest, weight)
        })
        // Of two equal secrets, the first one counts.
        .filter(|(_, digest, _)| seen.insert(*digest))
        .map(|(place, digest, weight)| {
            let name = format!("env-{}", u64::from(place) + 1);
            let number = number_of(place, &digest);
            (digest, Identity::configured(name, number, weight))
        })
        .collect()
}

impl Directory {
    /// Replaces the keys of `FEATHERWIRE_API_KEYS`. Calls that run with another key go on. A
    /// gateway that had a key never opens again, as in [`apply`](Self::apply).
    pub fn set_configured(&self, secrets: &[SecretString], weights: &[u32]) {
        let mut stored = self.stored();
        let before = self.0.configured.load_full();
        let numbers: HashMap<_, _> = before
            .iter()
            .map(|(digest, identity)| (*digest, identity.number()))
            .collect();
        // A key that stays keeps its number, by which its running calls count.
        let configured = keys(secrets, weights, |_, digest| match numbers.get(digest) {
            Some(number) => *number,
            None => take(&mut stored.next_number),
        });
        self.0.configured.store(Arc::new(configured));
        self.take_snapshot(&stored);
    }
}
