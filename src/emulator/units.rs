//! The plan's concurrency units: the requests that hold units, and the refusal of a request that
//! would exceed the limit.
//!
//! Units belong to the account. An emulator has one account, and all keys share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::time::Instant;

use super::models::Model;
use super::refusal::Refusal;

pub struct Ledger {
    /// The time that the units of a cancelled request stay in use.
    release_after: Duration,
    book: Mutex<Book>,
}

struct Book {
    limit: Option<u32>,
    /// By order of arrival, which is the order in a snapshot.
    held: BTreeMap<u64, Held>,
    arrivals: u64,
}

struct Held {
    request_id: String,
    model: String,
    cost: u32,
    started: Instant,
    started_unix_ms: u64,
    /// The time when the units of a cancelled request are released. `None` while the request
    /// runs.
    until: Option<Instant>,
}

impl Ledger {
    pub fn new(limit: Option<u32>, release_after: Duration) -> Self {
        Self {
            release_after,
            book: Mutex::new(Book {
                limit,
                held: BTreeMap::new(),
                arrivals: 0,
            }),
        }
    }

    pub fn limit(&self) -> Option<u32> {
        self.book().limit
    }

    /// Changes the limit of the plan. Running requests continue.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.book().limit = limit;
    }

    /// Takes the units that `model` costs, until the permit is released.
    pub fn acquire(self: &Arc<Self>, request_id: String, model: &Model) -> Result<Permit, Refusal> {
        let cost = model.concurrency_cost;
        let mut book = self.book();
        let used = book.used();
        if let Some(limit) = book.limit
            && used.saturating_add(cost) > limit
        {
            return Err(Refusal::concurrency(&model.id, used, cost, limit));
        }
        let arrival = book.arrivals;
        book.arrivals += 1;
        let held = Held {
            request_id,
            model: model.id.clone(),
            cost,
            started: Instant::now(),
            started_unix_ms: unix_ms(),
            until: None,
        };
        book.held.insert(arrival, held);
        Ok(Permit {
            ledger: Arc::clone(self),
            arrival,
        })
    }

    pub fn snapshot(&self) -> Snapshot {
        let book = self.book();
        Snapshot {
            limit: book.limit,
            used_cost: book.used(),
            request_count: book.held.len(),
            requests: book.held.values().map(InFlight::of).collect(),
        }
    }

    /// Locks the state and removes the units of cancelled requests that are due.
    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while the lock is held, and the state is consistent after every
        // statement.
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        book.held
            .retain(|_, held| held.until.is_none_or(|until| until > now));
        book
    }
}

impl Book {
    fn used(&self) -> u32 {
        self.held.values().map(|held| held.cost).sum()
    }
}

/// The units of a running request. [`Permit::release`] frees them immediately. A dropped permit
/// belongs to a cancelled request, and its units are freed later, because Featherless needs some
/// time to notice a cancelled request.
pub struct Permit {
    ledger: Arc<Ledger>,
    arrival: u64,
}

impl Permit {
    pub fn release(self) {
        self.ledger.book().held.remove(&self.arrival);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let until = Instant::now() + self.ledger.release_after;
        if let Some(held) = self.ledger.book().held.get_mut(&self.arrival) {
            held.until = Some(until);
        }
    }
}

#[derive(Clone, Serialize)]
pub struct Snapshot {
    limit: Option<u32>,
    used_cost: u32,
    request_count: usize,
    requests: Vec<InFlight>,
}

#[derive(Clone, Serialize)]
struct InFlight {
    id: String,
    cost: u32,
    model: String,
    started_at: u64,
    duration_ms: u64,
}

impl InFlight {
    fn of(held: &Held) -> Self {
        Self {
            id: held.request_id.clone(),
            cost: held.cost,
            model: held.model.clone(),
            started_at: held.started_unix_ms,
            duration_ms: u64::try_from(held.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The value of `created` in an answer.
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}
