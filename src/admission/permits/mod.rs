//! Permits: the scheduler, for requests that wait in tasks.
//!
//! In reading order:
//!
//! - this file: [`Permits`], the handle. [`Permits::acquire`] waits for units, and
//!   [`Permits::drive`] does what time alone brings.
//! - `permit`: [`Permit`], the guard of a running request's units.
//! - `waiter`: the wait of a request, and its [`QueuePosition`].
//! - `shared`: the lock, and what follows each change.
//! - `progress`: starts requests and ends waits.
//! - `refusals`: what a refusal of upstream changes.
//! - `knowledge`: what snapshots and the plan change, and for how long they apply.
//! - `state`: the data behind the lock, and its bookkeeping.
//! - `plan`, `capacity_probe`, `refusal_backoff`, `refusal_budget`: parts of the state, each a
//!   small state machine without a clock.
//! - `outlook`: what a request would meet in the queue.
//! - `room`: units that are free while no request waits, for those that wait at another account.
//! - `errors`: why requests do not get units.
//! - `driver`: what time alone brings, and the end.
//! - `seat`: in a cluster, the queue is that of one gateway, and the others ask it.
//!
//! # Words
//!
//! - *pending*: the request waits for units. It is in the scheduler's queue, or *parked*: out of
//!   the queue until a certain time, or until upstream admits its model again.
//! - *grant*: the message that ends the wait. It carries the units of the request, or the error.
//! - *running*: the request has its units. Its [`Permit`] gives them back.
//! - *cooldown*: the units of a cancelled request stay taken for a short time, because upstream
//!   must first notice that its connection was closed.
//! - *refusal*: upstream answers 429 for lack of units. A *credible* one says something about the
//!   account; after several in a row for one model, they say something about the model only.
//! - *backing off*: the model was refused without a credible reason. Its requests are parked, and
//!   one of them at a time is sent, as the *probe* of the model.
//! - *capacity probe*: a request that starts although its units may not be free, to learn the
//!   present limits.
//! - *advance*: what follows each change of the state: requests start, waits end, and the driver's
//!   next wake is set.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use self::{
    errors::Rejection,
    permit::Claim,
    plan::PlanLimit,
    seat::{Link, Seat},
    shared::Shared,
    waiter::{WaitTimes, granted},
};
use super::{
    external_usage::ListedRequest,
    request::{EnqueueError, PermitRequest, Ticket},
    settings::Settings,
    status::QueueStatus,
};
use crate::{
    cluster::{message::MemberId, redis::Redis},
    error::Result,
};

mod capacity_probe;
mod driver;
mod errors;
mod knowledge;
mod outlook;
mod permit;
mod plan;
mod progress;
mod refusal_backoff;
mod refusal_budget;
mod refusals;
mod room;
mod seat;
mod shared;
mod state;
mod waiter;

pub use permit::Permit;
pub use seat::{ClusterStatus, Role};
pub use waiter::{QueuePosition, Wait};

/// How long the first requests wait until the plan is known.
const PLAN_WAIT: Duration = Duration::from_secs(2);

/// The permits of one account. Cheap to clone; all clones share one queue.
///
/// ```
/// use std::time::Duration;
///
/// use featherwire::admission::{
///     Caller, KeyId, PermitRequest, Permits, QueuePosition, Settings,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let permits = Permits::new(Settings::default(), Duration::from_secs(300), "");
/// permits.set_capacity(Some(4));
/// let request = PermitRequest::new(Caller { key: KeyId(0), weight: 1 }, 4);
/// let position = QueuePosition::default();
/// let permit = permits.acquire("org/model", request, &position).await.unwrap();
/// assert_eq!(permits.status().in_use, 4);
/// permit.finish();
/// assert_eq!(permits.status().in_use, 0);
/// # }
/// ```
#[derive(Clone)]
pub struct Permits {
    shared: Arc<Shared>,
    seat: Option<Arc<Seat>>,
    link: Option<Arc<Link>>,
}

/// A request that came into the queue.
enum Enqueued {
    /// It has started, and holds `cost` units.
    Started { ticket: Ticket, cost: u32 },
    /// It waits for its grant.
    Waiting {
        ticket: Ticket,
        grant: oneshot::Receiver<Result<u32>>,
    },
}

impl Permits {
    /// Permits of a plan that is not known yet. Until it is known, requests wait for up to two
    /// seconds and then start without a limit. No request waits for longer than `queue_timeout`.
    /// Lines of the log name the `account`, unless it is empty.
    pub fn new(settings: Settings, queue_timeout: Duration, account: &str) -> Self {
        Self {
            shared: Arc::new(Shared::new(settings, queue_timeout, account, false)),
            seat: None,
            link: None,
        }
    }

    /// Permits of a plan that the gateways of a cluster share, through `redis`. Requests start when
    /// the cluster has a leader: within a second as a rule, and three seconds after the start of the
    /// first gateway. Without Redis for three seconds, this
    /// gateway goes on alone: with its share of the units, and more only in its turn, if snapshots show
    /// that they are free.
    pub fn in_cluster(
        settings: Settings,
        queue_timeout: Duration,
        account: &str,
        redis: Redis,
    ) -> Self {
        // The last 62 bits are random.
        let (_, member) = Uuid::now_v7().as_u64_pair();
        let permits = Self::of_member(settings, queue_timeout, account, MemberId(member));
        let link = |seat: &Arc<Seat>| Arc::new(Link::new(Arc::clone(seat), redis));
        Self {
            link: permits.seat.as_ref().map(link),
            ..permits
        }
    }

    /// Permits of a cluster whose messages are carried by the caller.
    fn of_member(
        settings: Settings,
        queue_timeout: Duration,
        account: &str,
        member: MemberId,
    ) -> Self {
        let shared = Arc::new(Shared::new(settings, queue_timeout, account, true));
        let seat = Seat::new(member, Arc::clone(&shared), settings.queue_limit);
        Self {
            shared,
            seat: Some(Arc::new(seat)),
            link: None,
        }
    }

    /// Waits for the units of a request for `model`, and takes them. `position` tells how many
    /// requests are ahead while it waits. If the future is dropped, the request leaves the queue.
    ///
    /// # Errors
    ///
    /// - [`Kind::Saturated`](crate::error::Kind::Saturated) if the queue is full, if the request
    ///   cannot start in time, or if it has waited for `queue_timeout`.
    /// - [`Kind::Timeout`](crate::error::Kind::Timeout) if the caller's deadline has passed.
    /// - [`Kind::Forbidden`](crate::error::Kind::Forbidden) if the request costs more units than
    ///   the plan has.
    pub async fn acquire(
        &self,
        model: impl Into<Arc<str>>,
        request: PermitRequest,
        position: &QueuePosition,
    ) -> Result<Permit> {
        let (shared, model, since) = (&self.shared, model.into(), Instant::now());
        self.wait_for_plan(&request).await;
        if let Some(seat) = &self.seat {
            // In memory of its own, so that calls without a cluster do not carry it.
            let asked = Box::pin(seat.ask(&model, &request, since, position));
            let (id, units) = asked.await?;
            let claim = Claim::in_cluster(seat, id, units);
            let shared = Arc::clone(shared);
            return Ok(Permit::new(
                shared, model, request, units.cost, claim, since,
            ));
        }
        let (ticket, cost) = match self.enqueue(&model, &request, since)? {
            Enqueued::Started { ticket, cost } => (ticket, cost),
            Enqueued::Waiting { ticket, grant } => {
                let times = WaitTimes {
                    since,
                    before_pause: Duration::ZERO,
                    before: request.waited,
                };
                let cost = granted(shared, ticket, times, grant, position).await?;
                (ticket, cost)
            }
        };
        let shared = Arc::clone(shared);
        let claim = Claim::Ticket(ticket);
        Ok(Permit::new(shared, model, request, cost, claim, since))
    }

    /// Waits until the plan is known, but not too long: at least half of the longest wait is for
    /// the units themselves.
    async fn wait_for_plan(&self, request: &PermitRequest) {
        let is_plan_known = &self.shared.is_plan_known;
        if *is_plan_known.borrow() {
            return;
        }
        let mut known = is_plan_known.subscribe();
        let limit = PLAN_WAIT.min(self.shared.wait_max(request) / 2);
        let _ = tokio::time::timeout(limit, known.wait_for(|known| *known)).await;
    }

    fn enqueue(
        &self,
        model: &Arc<str>,
        request: &PermitRequest,
        since: Instant,
    ) -> Result<Enqueued> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let now = Instant::now();
        let std_now = now.into_std();
        let cost = if request.is_cost_estimated {
            state.bounded_cost(request.cost)
        } else {
            request.cost
        };
        let queued = PermitRequest {
            cost,
            deadline: Some(shared.wait_deadline(since, request).into_std()),
            ..*request
        };
        let ticket = state.enqueue(model, queued, now, now).map_err(|error| {
            let has_deadline_passed = request.deadline.is_some_and(|at| at <= std_now);
            let rejection = match error {
                EnqueueError::TooLate { .. } if has_deadline_passed => Rejection::WaitEnded {
                    by_caller_deadline: true,
                    queue_timeout: shared.queue_timeout,
                },
                error => Rejection::NotAccepted(error),
            };
            rejection.into_error(model)
        })?;
        if state.start_alone(ticket, model, cost, now) {
            return Ok(Enqueued::Started { ticket, cost });
        }
        let (sender, grant) = oneshot::channel();
        let pending = shared.pending(model, request, cost, since, sender);
        state.insert_pending(ticket, pending, now);
        shared.advance(&mut state);
        Ok(Enqueued::Waiting { ticket, grant })
    }

    /// Sets the units of the plan when they are certain; `None` for a plan without a limit.
    pub fn set_capacity(&self, capacity: Option<u32>) {
        self.change_plan(|plan| {
            plan.set(capacity);
            true
        });
    }

    /// Ends the wait for the plan, because no source tells its units. It changes nothing if a limit
    /// is known already.
    pub fn set_plan_unknown(&self) {
        if !self.shared.is_plan_known.send_replace(true) {
            tracing::info!(
                account = self.account(),
                "no limit of concurrency units is known: requests start at once until Featherless \
                 refuses one"
            );
        }
    }

    /// Takes over a snapshot: the units of the plan, and the requests in flight. The gateway's own
    /// requests are found among them; the others are external usage. `requested_at` is when the
    /// snapshot was requested; the feed's snapshots come without a request.
    ///
    /// Returns `false` if the snapshot is impossible. It is then ignored and counted.
    ///
    /// One snapshot with a smaller plan does not reject requests, and one without a limit does not
    /// start requests: the next one must say so too.
    pub fn apply_snapshot(
        &self,
        requested_at: Option<Instant>,
        capacity: Option<u32>,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
    ) -> bool {
        let now = Instant::now();
        if !self.change_plan(|plan| plan.observe(capacity, used_cost, now.into_std())) {
            self.count_ignored_message();
            return false;
        }
        // The queue is elsewhere: what others use is of no concern here.
        if self.seat.as_ref().is_some_and(|seat| !seat.has_queue()) {
            return true;
        }
        let mut state = self.shared.lock();
        state.apply_snapshot(requested_at, used_cost, requests, now);
        self.shared.advance(&mut state);
        true
    }

    /// Applies `change` to the limit of the plan. Returns what `change` returns: `false` if it
    /// changed nothing.
    fn change_plan(&self, change: impl FnOnce(&mut PlanLimit) -> bool) -> bool {
        let mut state = self.shared.lock();
        let before = state.plan.bounds();
        if !change(&mut state.plan) {
            return false;
        }
        let was_known = self.shared.is_plan_known.send_replace(true);
        let capacity = state.plan.bounds().capacity;
        if !was_known || before.capacity != capacity {
            let account = self.account();
            match capacity {
                Some(capacity) => tracing::info!(account, capacity, "scheduling concurrency units"),
                None => tracing::info!(account, "the plan has no limit of concurrency units"),
            }
        }
        state.apply_plan(Instant::now());
        self.shared.advance(&mut state);
        true
    }

    /// Counts a message about the units that was ignored: it did not name a limit and the units in
    /// use in a known form, or it was impossible.
    pub fn count_ignored_message(&self) {
        let count = {
            let mut state = self.shared.lock();
            state.ignored_messages = state.ignored_messages.saturating_add(1);
            state.ignored_messages
        };
        // A message comes every two seconds, so not every ignored one is logged.
        if count.is_power_of_two() {
            tracing::warn!(
                account = self.account(),
                count,
                "ignoring a message of Featherless about concurrency units: its form is unknown, \
                 or its numbers are impossible"
            );
        }
    }

    /// The name of the account for lines of the log. Empty if it is the only one.
    pub fn account(&self) -> &str {
        &self.shared.account
    }

    /// How many messages about the units were ignored.
    pub fn ignored_messages(&self) -> u64 {
        self.shared.lock().ignored_messages
    }

    /// Completes when a snapshot could let a request start.
    pub async fn snapshot_wanted(&self) {
        self.shared.snapshot_wanted.notified().await;
    }

    /// The status of the queue, for monitoring.
    pub fn status(&self) -> QueueStatus {
        if let Some(seat) = &self.seat {
            return seat.status();
        }
        self.shared
            .lock()
            .scheduler
            .status(Instant::now().into_std())
    }

    /// The status, and the indices of those of the listed `requests` that were the gateway's own and
    /// have ended: upstream lists them for some time. The list has come at `arrived_at`.
    pub fn status_and_ended(
        &self,
        requests: &[ListedRequest<'_>],
        arrived_at: Instant,
    ) -> (QueueStatus, Vec<usize>) {
        let now = Instant::now();
        if let Some(seat) = self.seat.as_ref().filter(|seat| !seat.has_queue()) {
            return (seat.status(), Vec::new());
        }
        let mut state = self.shared.lock();
        let ended = state.ended(requests, arrived_at, now);
        (state.scheduler.status(now.into_std()), ended)
    }

    /// How often upstream has refused a request for lack of units; in a cluster a request of any
    /// gateway, since the start of its leader. Callers see only the refusals of
    /// requests that were refused too often.
    pub fn refusals(&self) -> u64 {
        if let Some(seat) = &self.seat {
            return seat.cluster_status().refusals;
        }
        self.shared.lock().refusals
    }

    /// The same, only of this gateway's requests.
    pub fn own_refusals(&self) -> u64 {
        match &self.seat {
            Some(seat) => seat.refusals(),
            None => self.shared.lock().refusals,
        }
    }

    /// What is known of the cluster. `None` without one.
    pub fn cluster_status(&self) -> Option<ClusterStatus> {
        Some(self.seat.as_ref()?.cluster_status())
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
