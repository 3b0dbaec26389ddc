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

pub struct UnitPool {
    /// The time that the units of a cancelled request stay in use.
    release_after: Duration,
    state: Mutex<PoolState>,
}

struct PoolState {
    limit: Option<u32>,
    /// By order of arrival, which is the order in a snapshot.
    allocations: BTreeMap<u64, Allocation>,
    next_sequence: u64,
}

struct Allocation {
    request_id: String,
    model: String,
    cost: u32,
    started: Instant,
    started_unix_ms: u64,
    /// The time when the units of a cancelled request are released. `None` while the request runs.
    until: Option<Instant>,
}

impl UnitPool {
    pub fn new(limit: Option<u32>, release_after: Duration) -> Self {
        Self {
            release_after,
            state: Mutex::new(PoolState {
                limit,
                allocations: BTreeMap::new(),
                next_sequence: 0,
            }),
        }
    }

    pub fn limit(&self) -> Option<u32> {
        self.state().limit
    }

    /// Changes the limit of the plan. Running requests continue.
    pub fn set_limit(&self, limit: Option<u32>) {
        self.state().limit = limit;
    }

    /// Takes the units that `model` costs, until the permit is released.
    pub fn acquire(self: &Arc<Self>, request_id: String, model: &Model) -> Result<Permit, Refusal> {
        let cost = model.concurrency_cost;
        let mut state = self.state();
        let used = state.used();
        if let Some(limit) = state.limit
            && used.saturating_add(cost) > limit
        {
            return Err(Refusal::concurrency(&model.id, used, cost, limit));
        }
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        let allocation = Allocation {
            request_id,
            model: model.id.clone(),
            cost,
            started: Instant::now(),
            started_unix_ms: unix_ms(),
            until: None,
        };
        state.allocations.insert(sequence, allocation);
        Ok(Permit {
            unit_pool: Arc::clone(self),
            sequence,
        })
    }

    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            limit: state.limit,
            used_cost: state.used(),
            request_count: state.allocations.len(),
            requests: state.allocations.values().map(InFlight::of).collect(),
        }
    }

    /// Locks the state and removes the units of cancelled requests that are due.
    fn state(&self) -> MutexGuard<'_, PoolState> {
        // Nothing panics while the lock is held, and the state is consistent after every statement.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state
            .allocations
            .retain(|_, allocation| allocation.until.is_none_or(|until| until > now));
        state
    }
}

impl PoolState {
    fn used(&self) -> u32 {
        self.allocations
            .values()
            .map(|allocation| allocation.cost)
            .sum()
    }
}

/// The units of a running request. [`Permit::release`] frees them immediately. A dropped permit
/// belongs to a cancelled request, and its units are freed later, because Featherless needs some
/// time to notice a cancelled request.
pub struct Permit {
    unit_pool: Arc<UnitPool>,
    sequence: u64,
}

impl Permit {
    pub fn release(self) {
        self.unit_pool.state().allocations.remove(&self.sequence);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let until = Instant::now() + self.unit_pool.release_after;
        if let Some(allocation) = self.unit_pool.state().allocations.get_mut(&self.sequence) {
            allocation.until = Some(until);
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
    fn of(allocation: &Allocation) -> Self {
        Self {
            id: allocation.request_id.clone(),
            cost: allocation.cost,
            model: allocation.model.clone(),
            started_at: allocation.started_unix_ms,
            duration_ms: u64::try_from(allocation.started.elapsed().as_millis())
                .unwrap_or(u64::MAX),
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
