//! Units that are free while no request waits for them. A request that waits at another account may
//! take them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::{sync::Notify, time::Instant};

use super::{Claim, Permit, Permits};
use crate::admission::request::PermitRequest;

/// Signals that units may be free. One request at a time looks.
#[derive(Default)]
pub(super) struct Room {
    notify: Notify,
    /// How often units have become free.
    changes: AtomicU64,
}

impl Room {
    pub(super) fn signal(&self) {
        self.changes.fetch_add(1, Relaxed);
        self.notify.notify_one();
    }
}

impl Permits {
    /// Completes when units may be free that no request waits for. Returns the number of this change.
    /// Of all that wait for it, the first one learns of it: it takes the units
    /// ([`try_acquire`](Self::try_acquire)), or passes the news on.
    pub async fn room(&self) -> u64 {
        self.shared.room.notify.notified().await;
        self.shared.room.changes.load(Relaxed)
    }

    /// Lets another request look, because this one cannot use what is free.
    pub fn pass_room_on(&self) {
        self.shared.room.notify.notify_one();
    }

    /// Takes the units of a request for `model` if it can start now. It has been waiting elsewhere since
    /// `since`. In a cluster it never can: only the leader knows.
    pub fn try_acquire(
        &self,
        model: &Arc<str>,
        request: PermitRequest,
        since: Instant,
    ) -> Option<Permit> {
        let shared = &self.shared;
        if self.seat.is_some() || !*shared.is_plan_known.borrow() {
            return None;
        }
        let mut state = shared.lock();
        let now = Instant::now();
        if !state.pending.is_empty() || state.backoff.is_backing_off(model, now.into_std()) {
            return None;
        }
        let cost = match request.is_cost_estimated {
            true => state.bounded_cost(request.cost),
            false => request.cost,
        };
        let queued = PermitRequest {
            cost,
            deadline: Some(shared.wait_deadline(since, &request).into_std()),
            ..request
        };
        let now_std = now.into_std();
        if !state.scheduler.outlook(&queued, now_std).starts_now {
            if state.scheduler.is_headroom_in_the_way(cost, now_std) {
                shared.snapshot_wanted.notify_one();
            }
            return None;
        }
        let ticket = state
            .scheduler
            .enqueue_since(now_std, since.into_std(), queued)
            .ok()?;
        if !state.start_alone(ticket, model, cost, now) {
            state.scheduler.remove(ticket, now_std);
            return None;
        }
        drop(state);
        let (shared, model) = (Arc::clone(shared), Arc::clone(model));
        let claim = Claim::Ticket(ticket);
        Some(Permit::new(shared, model, request, cost, claim, since))
    }
}
