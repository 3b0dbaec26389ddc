//! The cache of results: the same unknown id is often asked for again and again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
};

/// The number of ids whose results are cached.
pub(super) const CACHED_MAX: usize = 256;

/// The results for the last ids. Each id has one slot, by a hash that callers cannot predict.
#[derive(Debug)]
pub(super) struct Cache {
    hasher: RandomState,
    pub(super) slots: Mutex<Vec<Option<Found>>>,
}

#[derive(Debug)]
pub(super) struct Found {
    id: Box<str>,
    near: Box<[u32]>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: Mutex::default(),
        }
    }
}

impl Cache {
    /// What was found for this id, if it is still cached.
    pub(super) fn get(&self, id: &str) -> Option<Vec<u32>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let found = slots.get(self.slot(id))?.as_ref()?;
        (*found.id == *id).then(|| found.near.to_vec())
    }

    /// Caches what was found for this id.
    pub(super) fn put(&self, id: &str, near: &[u32]) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.resize_with(CACHED_MAX, || None);
        if let Some(slot) = slots.get_mut(self.slot(id)) {
            *slot = Some(Found {
                id: id.into(),
                near: near.into(),
            });
        }
    }

    fn slot(&self, id: &str) -> usize {
        // The remainder fits into any integer type.
        usize::try_from(self.hasher.hash_one(id) % CACHED_MAX as u64).unwrap_or_default()
    }
}
