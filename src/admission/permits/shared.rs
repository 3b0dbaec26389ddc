//! The lock around the state, and what must happen whenever the state has changed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::Instant,
};

use super::{
    room::Room,
    state::{PendingRequest, PendingWaiter, State, TrackedRequest},
};
use crate::{
    admission::{request::PermitRequest, settings::Settings},
    error::Result,
};

/// A fallback model may wait for at least this long, even if the models before it have used up the
/// call's longest wait: it may cost fewer units, and these may be free. It is longer than a refusal
/// without `Retry-After` applies, because otherwise the wait would be useless.
const FALLBACK_WAIT_MIN: Duration = Duration::from_secs(3);

/// The state, its lock and its signals. The lock is held for one decision, and never across an
/// await.
pub(super) struct Shared {
    /// The name of the account in lines of the log. Empty if it is the only one.
    pub(super) account: Arc<str>,
    pub(super) queue_timeout: Duration,
    state: Mutex<State>,
    /// Signals that the driver must wake earlier than it planned.
    pub(super) driver_wake: Notify,
    /// Signals that a snapshot could let a request start.
    pub(super) snapshot_wanted: Notify,
    /// Signals that units may be free that no request waits for.
    pub(super) room: Room,
    pub(super) is_plan_known: watch::Sender<bool>,
    /// The requests are those of a cluster, whose seat alone moves them on.
    pub(super) is_clustered: bool,
    /// Snapshots of the account come. Without them headroom is of no use.
    pub(super) has_snapshots: bool,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        queue_timeout: Duration,
        account: &str,
        is_clustered: bool,
    ) -> Self {
        Self {
            account: account.into(),
            queue_timeout,
            state: State::new(settings).into(),
            driver_wake: Notify::new(),
            snapshot_wanted: Notify::new(),
            room: Room::default(),
            is_plan_known: watch::Sender::new(false),
            is_clustered,
            has_snapshots: settings.headroom > 0,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and every operation leaves the state complete.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves on what can move, and makes the driver wake in time for the next step. Call it after
    /// every change of the state.
    pub(super) fn advance(&self, state: &mut State) {
        if self.is_clustered {
            return self.driver_wake.notify_one();
        }
        let next = state.advance(self.queue_timeout);
        self.signal_wanted_snapshot(state);
        self.signal_room(state);
        if let Some(next) = next
            && state.driver_wakes_at.is_none_or(|planned| next < planned)
        {
            state.driver_wakes_at = Some(next);
            self.driver_wake.notify_one();
        }
    }

    /// The driver's own step: moves on what can move. Returns until when the driver may sleep.
    pub(super) fn advance_driver(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.driver_wakes_at = state.advance(self.queue_timeout);
        self.signal_wanted_snapshot(&state);
        self.signal_room(&state);
        state.driver_wakes_at
    }

    fn signal_room(&self, state: &State) {
        if state.pending.is_empty() && state.scheduler.has_free_units() {
            self.room.signal();
        }
    }

    pub(super) fn signal_wanted_snapshot(&self, state: &State) {
        if state.scheduler.wants_snapshot() {
            self.snapshot_wanted.notify_one();
        }
    }

    /// How long a request may wait. All models of a call share the longest wait, so that fallbacks
    /// do not multiply it.
    pub(super) fn wait_max(&self, request: &PermitRequest) -> Duration {
        self.queue_timeout
            .saturating_sub(request.waited)
            .max(FALLBACK_WAIT_MIN.min(self.queue_timeout))
    }

    /// Until when a request waits that has been waiting since `since`.
    pub(super) fn wait_deadline(&self, since: Instant, request: &PermitRequest) -> Instant {
        let limit = since + self.wait_max(request);
        request
            .deadline
            .map(Instant::from_std)
            .map_or(limit, |deadline| deadline.min(limit))
    }

    /// A pending request that holds `cost` units when it starts and has been waiting since `since`.
    /// Its result comes through `grant`.
    pub(super) fn pending(
        &self,
        model: &Arc<str>,
        request: &PermitRequest,
        cost: u32,
        since: Instant,
        grant: oneshot::Sender<Result<u32>>,
    ) -> PendingRequest {
        let limit = since + self.wait_max(request);
        PendingRequest {
            tracked: TrackedRequest {
                model: Arc::clone(model),
                cost,
                started_at: Instant::now(),
            },
            estimated_cost: request.is_cost_estimated.then_some(request.cost),
            has_caller_deadline: request
                .deadline
                .is_some_and(|deadline| Instant::from_std(deadline) <= limit),
            returns_at: None,
            waiter: PendingWaiter::Task(grant),
        }
    }
}
