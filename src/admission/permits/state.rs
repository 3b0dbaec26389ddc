//! What all permits of an account share, behind one lock: the scheduler, the waiting and running
//! requests, and what upstream has said about the units. Its bookkeeping is here; `knowledge`,
//! `refusals` and `progress` act on it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    capacity_probe::CapacityProbe, errors::Rejection, plan::PlanLimit,
    refusal_backoff::RefusalBackoff,
};
use crate::{
    admission::{
        external_usage::{LAG, RequestMatcher},
        request::{EnqueueError, PermitRequest, Ticket},
        scheduler::Scheduler,
        settings::Settings,
    },
    error::Error,
};

/// How long the units of a cancelled request are kept back: the time that upstream needs to notice
/// that the connection was closed.
pub(super) const CANCELLED_COOLDOWN: Duration = Duration::from_millis(250);

/// How long an ended request is remembered: a snapshot of the feed can be as old as [`LAG`] when it
/// arrives, and is the last one for about as long.
const ENDED_KEPT: Duration = LAG.saturating_mul(2);

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    /// The requests that wait, in the queue and parked.
    pub(super) pending: HashMap<Ticket, PendingRequest>,
    pub(super) running: HashMap<Ticket, TrackedRequest>,
    /// Requests that ended so recently that a snapshot may still list them, and when they ended.
    pub(super) ended: VecDeque<(TrackedRequest, Instant)>,
    pub(super) plan: PlanLimit,
    /// The limit that the last refusal named, until another source names one.
    pub(super) refusal_limit: Option<u32>,
    /// Until when the driver sleeps.
    pub(super) driver_wakes_at: Option<Instant>,
    /// When the external usage that is known now becomes too old.
    pub(super) usage_expires_at: Option<Instant>,
    /// The external usage by the last snapshot, and when it came.
    pub(super) last_snapshot: Option<(u32, Instant)>,
    pub(super) backoff: RefusalBackoff,
    pub(super) probe: CapacityProbe,
    /// The pending requests whose cost is an estimate.
    pub(super) with_estimated_cost: BTreeSet<Ticket>,
    /// When pending requests return to the queue: those that obey a `Retry-After` or wait for their
    /// next attempt.
    pub(super) returns: BTreeSet<(Instant, Ticket)>,
    /// How often upstream has refused a request for lack of units.
    pub(super) refusals: u64,
    /// How many messages about the units were ignored.
    pub(super) ignored_messages: u64,
    /// Finds the gateway's own requests in the feed's snapshots.
    pub(super) feed_matcher: RequestMatcher,
    /// Finds them in requested snapshots, which are fresher.
    pub(super) requested_matcher: RequestMatcher,
    /// No request may start.
    pub(super) is_held: bool,
    /// No request may start that costs more than the share of this gateway.
    pub(super) is_held_beyond_share: bool,
    /// Since when this gateway goes on without the others of its cluster. Refusals then come from
    /// their requests, and say nothing about a model.
    pub(super) alone_since: Option<Instant>,
    /// The units of others' requests that started before, by the last snapshot that describes a moment
    /// since then.
    pub(super) units_from_before: Option<u32>,
    /// What became of requests whose waiter is not a task of this process.
    pub(super) answers: Vec<(Ticket, Result<u32, Rejection>)>,
}

/// A request that waits for its units.
pub(super) struct PendingRequest {
    pub(super) tracked: TrackedRequest,
    /// The cost before it was bounded by the plan's limit, if it is an estimate.
    pub(super) estimated_cost: Option<u32>,
    /// The caller's own deadline ends the wait, and not the longest wait of the queue.
    pub(super) has_caller_deadline: bool,
    /// When it returns to the queue, if it is parked until a certain time.
    pub(super) returns_at: Option<Instant>,
    /// Who is told the cost of the request when it starts, or why it does not start.
    pub(super) waiter: PendingWaiter,
}

/// Who waits for a request.
pub(super) enum PendingWaiter {
    /// A task.
    Task(oneshot::Sender<Result<u32, Error>>),
    /// The cluster, which takes [`State::answers`].
    Cluster,
}

/// A request of the gateway, as upstream may list it in a snapshot.
#[derive(Clone)]
pub(super) struct TrackedRequest {
    pub(super) model: Arc<str>,
    pub(super) cost: u32,
    /// When it started. While it waits: when it came.
    pub(super) started_at: Instant,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            pending: HashMap::new(),
            running: HashMap::new(),
            ended: VecDeque::new(),
            plan: PlanLimit::default(),
            refusal_limit: None,
            driver_wakes_at: None,
            usage_expires_at: None,
            last_snapshot: None,
            backoff: RefusalBackoff::default(),
            probe: CapacityProbe::default(),
            with_estimated_cost: BTreeSet::new(),
            returns: BTreeSet::new(),
            refusals: 0,
            ignored_messages: 0,
            feed_matcher: RequestMatcher::default(),
            requested_matcher: RequestMatcher::default(),
            is_held: false,
            is_held_beyond_share: false,
            alone_since: None,
            units_from_before: None,
            answers: Vec::new(),
        }
    }

    /// Forgets all requests, because another gateway has them now, or tells of them again. What is
    /// known of the plan stays.
    pub(super) fn begin_again(&mut self) {
        let empty = Self::new(self.scheduler.settings());
        *self = Self {
            plan: std::mem::take(&mut self.plan),
            refusal_limit: self.refusal_limit,
            refusals: self.refusals,
            ignored_messages: self.ignored_messages,
            ..empty
        };
        self.apply_plan(Instant::now());
    }

    /// The model of a running request.
    pub(super) fn model_of(&self, ticket: Ticket) -> Option<Arc<str>> {
        Some(Arc::clone(&self.running.get(&ticket)?.model))
    }

    /// Puts a request for `model` into the queue that has been waiting since `since`. Its `cost` is
    /// bounded, and its `deadline` is that of its wait.
    ///
    /// # Errors
    /// The scheduler does not accept it.
    pub(super) fn enqueue(
        &mut self,
        model: &str,
        request: PermitRequest,
        since: Instant,
        now: Instant,
    ) -> Result<Ticket, EnqueueError> {
        let (since, now) = (since.into_std(), now.into_std());
        if self.backoff.is_backing_off(model, now) {
            let ticket = self.scheduler.enqueue_parked(now, since, request)?;
            self.backoff.add_new_member(model, ticket);
            return Ok(ticket);
        }
        self.scheduler.enqueue_since(now, since, request)
    }

    /// Tells what became of a pending request.
    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        pending: PendingRequest,
        answer: Result<u32, Rejection>,
    ) {
        match pending.waiter {
            // If the waiter has left, it removes the request itself.
            PendingWaiter::Task(grant) => {
                let model = pending.tracked.model;
                let answer = answer.map_err(|rejection| rejection.into_error(&model));
                _ = grant.send(answer);
            }
            PendingWaiter::Cluster => self.answers.push((ticket, answer)),
        }
    }

    /// Adds a pending request that the scheduler knows already.
    pub(super) fn insert_pending(&mut self, ticket: Ticket, pending: PendingRequest, now: Instant) {
        if let Some(at) = pending.returns_at {
            self.returns.insert((at, ticket));
        }
        let is_estimate = pending.estimated_cost.is_some();
        self.pending.insert(ticket, pending);
        if is_estimate {
            self.with_estimated_cost.insert(ticket);
            self.update_estimated_cost(ticket, now);
        }
    }

    /// Removes a pending request that the scheduler does not know any more.
    pub(super) fn take_pending(&mut self, ticket: Ticket) -> Option<PendingRequest> {
        let pending = self.pending.remove(&ticket)?;
        self.with_estimated_cost.remove(&ticket);
        if let Some(at) = pending.returns_at {
            self.returns.remove(&(at, ticket));
        }
        self.backoff.remove_member(&pending.tracked.model, ticket);
        Some(pending)
    }

    /// Removes a request whose caller has left. It may have been started without the caller knowing
    /// it yet.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        if self.take_pending(ticket).is_some() {
            self.scheduler.remove(ticket, Instant::now().into_std());
        } else {
            self.cancel_unsent(ticket);
        }
    }

    /// Removes a started request that was not sent to upstream: it is charged nothing, and its
    /// units are free at once.
    pub(super) fn cancel_unsent(&mut self, ticket: Ticket) {
        if let Some(tracked) = self.running.remove(&ticket) {
            let now = Instant::now().into_std();
            self.scheduler.requeue(ticket, now);
            self.scheduler.remove(ticket, now);
            self.backoff.remove_member(&tracked.model, ticket);
            self.probe.cancel(ticket);
        }
    }

    /// Ends a running request. Its units are free after `cooldown`.
    pub(super) fn end(&mut self, ticket: Ticket, cooldown: Duration) {
        let now = Instant::now();
        self.move_to_ended(ticket, now);
        self.scheduler.release(ticket, now.into_std(), cooldown);
        self.forget_ended(now);
    }

    /// Ends a running request for a while. It is `pending` again, until `deadline` at most. Its
    /// units are free after `cooldown`.
    pub(super) fn pause(
        &mut self,
        ticket: Ticket,
        pending: PendingRequest,
        deadline: Instant,
        cooldown: Duration,
    ) {
        let now = Instant::now();
        self.move_to_ended(ticket, now);
        let deadline = Some(deadline.into_std());
        self.scheduler
            .pause(ticket, now.into_std(), cooldown, deadline);
        self.forget_ended(now);
        self.insert_pending(ticket, pending, now);
    }

    fn move_to_ended(&mut self, ticket: Ticket, now: Instant) {
        if let Some(tracked) = self.running.remove(&ticket) {
            self.backoff.remove_member(&tracked.model, ticket);
            self.ended.push_back((tracked, now));
        }
        self.probe.cancel(ticket);
    }

    /// Forgets ended requests that the last snapshot of the feed cannot list any more. Each end and each
    /// snapshot calls it, so the list stays short.
    pub(super) fn forget_ended(&mut self, now: Instant) {
        while self
            .ended
            .front()
            .is_some_and(|(_, ended_at)| now.duration_since(*ended_at) > ENDED_KEPT)
        {
            self.ended.pop_front();
        }
    }

    /// An estimated cost, lowered to the limit of the plan.
    pub(super) fn bounded_cost(&self, estimated_cost: u32) -> u32 {
        [self.plan.bounds().capacity, self.refusal_limit]
            .into_iter()
            .flatten()
            .min()
            .map_or(estimated_cost, |limit| estimated_cost.min(limit.max(1)))
    }

    /// Bounds all estimated costs again, because the limit of the plan has changed.
    pub(super) fn update_estimated_costs(&mut self, now: Instant) {
        if self.with_estimated_cost.is_empty() {
            return;
        }
        for ticket in std::mem::take(&mut self.with_estimated_cost) {
            self.update_estimated_cost(ticket, now);
            self.with_estimated_cost.insert(ticket);
        }
    }

    fn update_estimated_cost(&mut self, ticket: Ticket, now: Instant) {
        let Some(PendingRequest {
            tracked,
            estimated_cost: Some(estimated_cost),
            ..
        }) = self.pending.get(&ticket)
        else {
            return;
        };
        let (before, cost) = (tracked.cost, self.bounded_cost(*estimated_cost));
        if before != cost
            && self.scheduler.set_cost(ticket, cost, now.into_std())
            && let Some(pending) = self.pending.get_mut(&ticket)
        {
            pending.tracked.cost = cost;
        }
    }
}
