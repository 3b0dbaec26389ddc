//! The plan's concurrency units: who holds how many, and a refusal for whoever would hold too many.
//!
//! Units belong to the account, and an emulator is one account: every key shares them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::models::Model;
use super::refusal::Refusal;

pub struct Ledger {
    limit: Option<u32>,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    /// In order of arrival, which the snapshot shows.
    held: BTreeMap<u64, Held>,
    arrivals: u64,
}

struct Held {
    request_id: String,
    model: String,
    cost: u32,
    started: Instant,
    started_unix_ms: u64,
}

impl Ledger {
    pub fn new(limit: Option<u32>) -> Self {
        Self { limit, book: Mutex::default() }
    }

    pub fn limit(&self) -> Option<u32> {
        self.limit
    }

    /// Takes `cost` units, which the permit gives back when it is dropped.
    pub fn acquire(self: &Arc<Self>, request_id: String, model: &Model, cost: u32) -> Result<Permit, Refusal> {
        let mut book = self.book();
        let used = book.used();
        if let Some(limit) = self.limit
            && used.saturating_add(cost) > limit
        {
            return Err(Refusal::concurrency(&model.id, used, cost, limit));
        }
        let arrival = book.arrivals;
        book.arrivals += 1;
        let held =
            Held { request_id, model: model.id.clone(), cost, started: Instant::now(), started_unix_ms: unix_ms() };
        book.held.insert(arrival, held);
        Ok(Permit { ledger: Arc::clone(self), arrival })
    }

    pub fn snapshot(&self) -> Snapshot {
        let book = self.book();
        Snapshot {
            limit: self.limit,
            used_cost: book.used(),
            request_count: book.held.len(),
            requests: book.held.values().map(InFlight::of).collect(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while the lock is held, and the book is whole after every statement.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn used(&self) -> u32 {
        self.held.values().map(|held| held.cost).sum()
    }
}

/// Units held; they return when this is dropped, by whatever way the request ends.
pub struct Permit {
    ledger: Arc<Ledger>,
    arrival: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.ledger.book().held.remove(&self.arrival);
    }
}

#[derive(Serialize)]
pub struct Snapshot {
    limit: Option<u32>,
    used_cost: u32,
    request_count: usize,
    requests: Vec<InFlight>,
}

#[derive(Serialize)]
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The `created` of an answer.
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}
