//! The seat of the queue in a cluster: this gateway asks the leader for units, and may be the leader
//! itself.
//!
//! In reading order:
//!
//! - this file: [`Seat`], what the permits use of it.
//! - `core`: the member and the leader of this process, behind one lock.
//! - `hosted`: the scheduler, as the queue of the leader.
//! - `part`: which part of the units that queue gives out.
//! - `turns`: when a gateway that is alone starts what is beyond that part.
//! - `plans`: notices that the members have different plans.
//! - `view`: the state of the queue, as the leader tells it to all.
//! - `wire`: messages and views as bytes.
//! - `link`: the tasks that carry them through Redis.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use self::core::Core;
use super::{
    errors::Rejection,
    shared::Shared,
    waiter::{QueuePosition, WaitTimes},
};
use crate::{
    admission::{
        request::{EnqueueError, PermitRequest},
        status::QueueStatus,
    },
    cluster::message::{Again, End, MemberId, RequestId, Units},
    error::{Error, Result},
};

mod core;
mod hosted;
mod link;
mod part;
mod plans;
mod turns;
mod view;
mod wire;

pub(super) use hosted::{Asked, Refused};
pub(super) use link::Link;
pub use view::{ClusterStatus, Role};

/// How often the seat looks at the time.
const TICK: Duration = Duration::from_millis(250);

/// How many requests of this gateway may wait for the leader's answer, beyond the limit of the queue,
/// which the leader observes. It counts only while there is no leader.
const UNANSWERED_MAX: usize = 1_000;

/// The `retry_after` of a full queue, if this gateway alone has filled it.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// This gateway in a cluster.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    core: Mutex<Core>,
    /// Signals that messages wait to be sent.
    outgoing: Notify,
    queue_limit: usize,
    waiting_max: usize,
    refusals: AtomicU64,
}

impl Seat {
    pub(super) fn new(member: MemberId, shared: Arc<Shared>, queue_limit: usize) -> Self {
        let now = Instant::now().into_std();
        Self {
            core: Mutex::new(Core::new(member, now, Arc::clone(&shared))),
            shared,
            outgoing: Notify::new(),
            waiting_max: queue_limit.saturating_add(UNANSWERED_MAX),
            queue_limit,
            refusals: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // No code panics while it holds the lock, and every operation leaves the core complete.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the core, and moves on what can move.
    fn change<T>(&self, change: impl FnOnce(&mut Core, std::time::Instant) -> T) -> T {
        let mut core = self.lock();
        let now = Instant::now().into_std();
        let result = change(&mut core, now);
        core.settle(now);
        if core.has_outgoing() {
            self.outgoing.notify_one();
        }
        if core.must_wake_driver() {
            self.shared.driver_wake.notify_one();
        }
        result
    }

    /// Waits for the units of a new request.
    pub(super) async fn ask(
        self: &Arc<Self>,
        model: &Arc<str>,
        request: &PermitRequest,
        since: Instant,
        position: &QueuePosition,
    ) -> Result<(RequestId, Units)> {
        let deadline = self.shared.wait_deadline(since, request);
        let asked = self.asked(model, request, since);
        let (sender, answer) = oneshot::channel();
        let id = self.change(|core, now| {
            if core.waiting() >= self.waiting_max {
                return None;
            }
            Some(core.ask(now, asked, sender))
        });
        let Some(id) = id else {
            let full = EnqueueError::QueueFull {
                limit: self.queue_limit,
                retry_after: RETRY_AFTER,
            };
            return Err(Rejection::NotAccepted(full).into_error(model));
        };
        let times = WaitTimes {
            since,
            before_pause: Duration::ZERO,
            before: request.waited,
        };
        let wait = self.wait(id, model, answer, deadline, times, position);
        Ok((id, wait.await?))
    }

    /// Waits again for the units of a request that ran.
    #[expect(clippy::too_many_arguments, reason = "all that is known of the wait")]
    pub(super) async fn ask_again(
        self: &Arc<Self>,
        id: RequestId,
        model: &Arc<str>,
        request: &PermitRequest,
        times: WaitTimes,
        pause_until: Option<Instant>,
        again: Again<Refused>,
        position: &QueuePosition,
    ) -> Result<Units> {
        let deadline = self.shared.wait_deadline(times.since, request);
        let asked = self.asked(model, request, times.since);
        let (sender, answer) = oneshot::channel();
        let pause = pause_until.map(Instant::into_std);
        let since = times.since.into_std();
        self.change(|core, now| core.ask_again(now, id, since, pause, asked, again, sender));
        self.wait(id, model, answer, deadline, times, position)
            .await
    }

    fn asked(&self, model: &Arc<str>, request: &PermitRequest, since: Instant) -> Asked {
        let deadline = self.shared.wait_deadline(since, request);
        let has_caller_deadline = request
            .deadline
            .is_some_and(|at| Instant::from_std(at) <= deadline);
        Asked {
            model: Arc::clone(model),
            request: PermitRequest {
                deadline: Some(deadline.into_std()),
                ..*request
            },
            has_caller_deadline,
        }
    }

    /// Waits for an answer, for no longer than the wait may last: there may be no leader.
    async fn wait(
        self: &Arc<Self>,
        id: RequestId,
        model: &str,
        answer: oneshot::Receiver<Result<Units, Rejection>>,
        deadline: Instant,
        times: WaitTimes,
        position: &QueuePosition,
    ) -> Result<Units> {
        let waiter = Waiter {
            seat: self,
            id,
            position,
        };
        position.set_waiting_in_cluster(self, id, times);
        let units = match timeout_at(deadline, answer).await {
            Ok(Ok(Ok(units))) => units,
            Ok(Ok(Err(rejection))) => return Err(rejection.into_error(model)),
            Ok(Err(_)) => return Err(Error::internal("a waiting request was lost")),
            Err(_) => {
                let has_caller_deadline = self.lock().has_caller_deadline(id);
                let ended = Rejection::WaitEnded {
                    by_caller_deadline: has_caller_deadline,
                    queue_timeout: self.shared.queue_timeout,
                };
                return Err(ended.into_error(model));
            }
        };
        position.set_started(units.cost, times);
        // The request runs, and the permit will end it.
        std::mem::forget(waiter);
        Ok(units)
    }

    /// Counts a refusal of a request of this gateway. Returns whether the gateway is alone.
    pub(super) fn count_refusal(&self) -> bool {
        self.refusals.fetch_add(1, Relaxed);
        self.lock().is_alone()
    }

    /// How often upstream has refused a request of this gateway.
    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// Upstream has begun to answer a request.
    pub(super) fn tell_admitted(&self, id: RequestId) {
        self.change(|core, now| core.member.tell_admitted(now, id));
    }

    /// Ends a request.
    pub(super) fn end(&self, id: RequestId, end: End) {
        self.change(|core, now| core.end(now, id, end));
    }

    /// How many requests start before this one, as far as is known, and the units that it asks for.
    /// `None` if it does not wait.
    pub(super) fn place(&self, id: RequestId) -> Option<(usize, u32)> {
        self.lock().place(id)
    }

    /// The status of the cluster's queue.
    pub(super) fn status(&self) -> QueueStatus {
        self.lock().status(Instant::now().into_std())
    }

    /// What is known of the cluster.
    pub(super) fn cluster_status(&self) -> ClusterStatus {
        self.lock().cluster_status(Instant::now().into_std())
    }

    /// Whether the queue is in this process.
    pub(super) fn has_queue(&self) -> bool {
        self.lock().leader.is_some()
    }

    /// The driver's step. Returns until when it may sleep.
    pub(super) fn tick(&self) -> Instant {
        self.change(Core::tick);
        let mut core = self.lock();
        let next = core.next_wake();
        let tick = Instant::now() + TICK;
        let wakes_at = next.map_or(tick, |next| next.min(tick));
        core.wakes_at = Some(wakes_at);
        wakes_at
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").finish_non_exhaustive()
    }
}

/// Removes a waiting request when it is dropped.
struct Waiter<'a> {
    seat: &'a Seat,
    id: RequestId,
    position: &'a QueuePosition,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.position.set_nothing();
        self.seat.end(self.id, End::Unsent);
    }
}

#[cfg(test)]
mod tests;
