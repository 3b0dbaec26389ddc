//! What Redis does not know yet of the limits that gateways share.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::name::Name;
use crate::cluster::redis::{CORRECTIONS_MAX, Problem, Redis};

/// What Redis does not know yet, in nanoseconds: at most one number for each limit of a key.
pub(super) struct Corrections {
    redis: Redis,
    waiting: Mutex<HashMap<Name, i64>>,
    has_some: Notify,
    /// The batch that Redis is told. It stays here if nobody waits for the answer any more, so that
    /// it is neither lost nor sent twice.
    sending: AsyncMutex<Option<Sending>>,
}

type Batch = Vec<(Name, i64)>;

type Sending = Pin<Box<dyn Future<Output = (Batch, Result<(), Problem>)> + Send>>;

impl Corrections {
    pub(super) fn new(redis: Redis) -> Self {
        Self {
            redis,
            waiting: Mutex::default(),
            has_some: Notify::new(),
            sending: AsyncMutex::default(),
        }
    }

    /// Moves the time of a limit forward, or back if the number is negative, when Redis is told.
    pub(super) fn add(&self, name: Name, by_ns: i64) {
        if by_ns != 0 {
            self.keep(name, by_ns);
            self.has_some.notify_one();
        }
    }

    /// Waits until there is something new to tell.
    pub(super) async fn added(&self) {
        self.has_some.notified().await;
    }

    /// Tells Redis what it does not know now, and first what another call of this has begun to tell.
    ///
    /// # Errors
    /// Redis cannot be used. What it has certainly not counted stays for the next attempt. Of the
    /// rest, only what limits calls more: nothing is given back twice.
    pub(super) async fn send(&self) -> Result<(), Problem> {
        let mut sending = self.sending.lock().await;
        // What is added in the meantime waits for the next attempt, so that this one has an end.
        let mut left = self.waiting().len();
        loop {
            let attempt = match sending.as_mut() {
                Some(attempt) => attempt,
                None => {
                    let batch = self.next_batch(left);
                    if batch.is_empty() {
                        return Ok(());
                    }
                    left = left.saturating_sub(batch.len());
                    sending.insert(Box::pin(send(self.redis.clone(), batch)))
                }
            };
            let (batch, sent) = attempt.as_mut().await;
            *sending = None;
            if let Err(problem) = sent {
                for (name, by_ns) in batch {
                    if by_ns > 0 || !problem.may_be_done() {
                        self.keep(name, by_ns);
                    }
                }
                return Err(problem);
            }
        }
    }

    /// Takes at most `most` corrections, and no more than one script makes.
    fn next_batch(&self, most: usize) -> Batch {
        let mut waiting = self.waiting();
        let names = waiting.keys().take(most.min(CORRECTIONS_MAX));
        let names: Vec<_> = names.copied().collect();
        let batch = names
            .iter()
            .filter_map(|name| waiting.remove_entry(name))
            .collect();
        if waiting.is_empty() {
            // A large table would stay large.
            waiting.shrink_to_fit();
        }
        batch
    }

    fn keep(&self, name: Name, by_ns: i64) {
        let mut waiting = self.waiting();
        let sum = waiting.entry(name).or_default();
        *sum = sum.saturating_add(by_ns);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Name, i64>> {
        // No code panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What waits for this limit.
    #[cfg(test)]
    pub(super) fn of(&self, name: Name) -> i64 {
        self.waiting().get(&name).copied().unwrap_or_default()
    }
}

async fn send(redis: Redis, batch: Batch) -> (Batch, Result<(), Problem>) {
    let named = batch.iter().map(|(name, by_ns)| (name.text(), *by_ns));
    let named: Vec<_> = named.collect();
    let sent = redis.correct(&named).await;
    (batch, sent)
}

impl fmt::Debug for Corrections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Corrections")
            .field("waiting", &self.waiting().len())
            .finish_non_exhaustive()
    }
}
