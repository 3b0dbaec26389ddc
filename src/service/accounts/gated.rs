//! The models that accounts may not use, as far as upstream has said so: a licence that is not
//! accepted, or a plan that is too small.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long such a refusal is remembered. The owner of the account may accept the licence.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// How many refusals are remembered. Callers choose the ids of models, so their number is limited.
const REFUSALS_MAX: usize = 4096;

/// An account, by its index, and a model.
type Pair = (usize, Arc<str>);

/// The refusals that are remembered, and until when.
#[derive(Debug, Default)]
pub(super) struct Gated(Mutex<HashMap<Pair, Instant>>);

impl Gated {
    /// Remembers that this account may not use the model.
    pub(super) fn add(&self, account: usize, model: &Arc<str>, now: Instant) {
        let mut refusals = self.refusals();
        if refusals.len() >= REFUSALS_MAX {
            refusals.retain(|_, until| *until > now);
        }
        let pair = (account, Arc::clone(model));
        if refusals.len() < REFUSALS_MAX || refusals.contains_key(&pair) {
            refusals.insert(pair, now + REMEMBERED_FOR);
        }
    }

    /// Forgets it, because the account has answered with the model.
    pub(super) fn remove(&self, account: usize, model: &Arc<str>) {
        let mut refusals = self.refusals();
        if !refusals.is_empty() {
            refusals.remove(&(account, Arc::clone(model)));
        }
    }

    /// Whether the account may not use the model.
    pub(super) fn has(&self, account: usize, model: &Arc<str>, now: Instant) -> bool {
        let refusals = self.refusals();
        !refusals.is_empty()
            && refusals
                .get(&(account, Arc::clone(model)))
                .is_some_and(|until| *until > now)
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Pair, Instant>> {
        // Every statement leaves the map consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_remembered_for_a_time_and_their_number_is_limited() {
        let (gated, now) = (Gated::default(), Instant::now());
        let model = |number: usize| Arc::<str>::from(format!("org/model-{number}"));
        for number in 0..REFUSALS_MAX + 10 {
            gated.add(0, &model(number), now);
        }
        assert!(gated.has(0, &model(0), now) && !gated.has(1, &model(0), now));
        assert!(!gated.has(0, &model(REFUSALS_MAX), now));
        let soon = now + REMEMBERED_FOR / 2;
        gated.add(0, &model(1), soon);
        assert!(gated.has(0, &model(1), now + REMEMBERED_FOR), "renewed");
        let later = now + REMEMBERED_FOR;
        assert!(!gated.has(0, &model(0), later));
        gated.add(1, &model(0), later);
        assert!(gated.has(1, &model(0), later));
        gated.remove(1, &model(0));
        assert!(!gated.has(1, &model(0), later));
    }
}
