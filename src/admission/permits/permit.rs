//! A permit: the guard of a running request's units.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    errors::Refusal,
    refusal_budget::RefusalBudget,
    seat::{Refused, Seat},
    shared::Shared,
    state::{CANCELLED_COOLDOWN, PendingRequest},
    waiter::{QueuePosition, WaitTimes, granted},
};
use crate::{
    admission::request::{PermitRequest, Ticket},
    cluster::message::{Again, End, RequestId, Units},
    error::{Error, Result},
};

/// The right to send one request to upstream. It holds units, and gives them back exactly once:
///
/// - [`Self::finish`] and [`Self::cancel_unsent`]: at once.
/// - [`Self::fail`]: at once, or after a short cooldown, as the error says.
/// - Drop: after a short cooldown, because upstream must first notice that the connection was
///   closed.
pub struct Permit {
    shared: Arc<Shared>,
    model: Arc<str>,
    request: PermitRequest,
    /// The units that it holds. Less than the cost of `request` if that was an estimate above the
    /// plan's limit.
    cost: u32,
    claim: Claim,
    /// Since when the request has been waiting; pauses are not counted.
    since: Instant,
    waited: Duration,
    budget: RefusalBudget,
    /// The units are given back, or passed on to the next attempt.
    is_over: bool,
}

/// Under which name the queue knows the request.
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// In this process.
    Ticket(Ticket),
    /// In the cluster. In memory of its own, so that permits without a cluster are small.
    Cluster(Box<ClusterClaim>),
}

/// A request of the cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterClaim {
    seat: Arc<Seat>,
    id: RequestId,
    /// The leader wants to know when upstream has begun to answer.
    tell_admitted: bool,
}

impl Claim {
    pub(super) fn in_cluster(seat: &Arc<Seat>, id: RequestId, units: Units) -> Self {
        Self::Cluster(Box::new(ClusterClaim {
            seat: Arc::clone(seat),
            id,
            tell_admitted: units.tell_admitted,
        }))
    }
}

impl Permit {
    pub(super) fn new(
        shared: Arc<Shared>,
        model: Arc<str>,
        request: PermitRequest,
        cost: u32,
        claim: Claim,
        since: Instant,
    ) -> Self {
        Self {
            shared,
            model,
            request,
            cost,
            claim,
            since,
            waited: since.elapsed(),
            budget: RefusalBudget::default(),
            is_over: false,
        }
    }

    /// How long the request waited for its units.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The number of units that it holds.
    pub fn units(&self) -> u32 {
        self.cost
    }

    /// Records that upstream has begun to answer: the units were free.
    pub fn mark_admitted(&self) {
        let ticket = match &self.claim {
            Claim::Ticket(ticket) => *ticket,
            Claim::Cluster(claim) => {
                if claim.tell_admitted {
                    claim.seat.tell_admitted(claim.id);
                }
                return;
            }
        };
        let mut state = self.shared.lock();
        if state.mark_admitted(ticket, &self.model, Instant::now()) {
            self.shared.advance(&mut state);
        }
    }

    /// Gives the units back at once, because upstream has finished the request.
    pub fn finish(mut self) {
        self.give_back(End::Finished);
    }

    /// Gives the units of a request back that failed with `error`. If upstream refused it, they are
    /// free at once. If the gateway gave up or the connection was cut, upstream may go on until it
    /// notices that the connection is closed, so they are free after the cooldown.
    pub fn fail(self, error: &Error) {
        if !error.may_go_on_upstream() {
            self.finish();
        }
    }

    /// Gives the units back at once, because the request was not sent. It is charged nothing.
    pub fn cancel_unsent(mut self) {
        self.give_back(End::Unsent);
    }

    /// Waits for the units again, because upstream refused the request for lack of units: another
    /// process of the account was faster. The request is again before all others of its key, class
    /// and cost that came after it. It is not sent before upstream's `Retry-After` has passed. What
    /// the `refusal` says corrects what is known about the units.
    ///
    /// If upstream refuses a model again and again although units are free, the refusals say
    /// nothing about the account. Then all requests for the model are parked, and one at a time is
    /// sent.
    ///
    /// # Errors
    ///
    /// - [`Kind::Saturated`](crate::error::Kind::Saturated) if the request was refused too often,
    ///   if it may not be sent again before its wait ends, or if it has waited too long.
    /// - [`Kind::Timeout`](crate::error::Kind::Timeout) if the caller's deadline has passed.
    /// - [`Kind::Forbidden`](crate::error::Kind::Forbidden) if the plan has become too small.
    pub async fn requeue_after_refusal(
        mut self,
        refusal: &Error,
        position: &QueuePosition,
    ) -> Result<Self> {
        self.is_over = true;
        let refusal = Refusal::of(refusal);
        let is_alone = match &self.claim {
            Claim::Ticket(_) => false,
            Claim::Cluster(claim) => claim.seat.count_refusal(),
        };
        // Gateways without Redis refuse each other; that says nothing about the request.
        if !is_alone {
            self.budget
                .spend(refusal.units.retry_after.unwrap_or_default());
        }
        let ticket = match &self.claim {
            Claim::Ticket(ticket) => *ticket,
            Claim::Cluster(_) => {
                let budget = self.budget;
                let again = Again::Refused(Refused { refusal, budget });
                let since = self.since;
                return Box::pin(self.ask_again(since, None, again, position)).await;
            }
        };
        let (grant, granted) = oneshot::channel();
        {
            let pending = self.pending(self.since, grant);
            let deadline = self.shared.wait_deadline(self.since, &self.request);
            let mut state = self.shared.lock();
            let (budget, account) = (self.budget, &self.shared.account);
            let refused = state.refuse(ticket, pending, &refusal, budget, deadline, account);
            self.shared.advance(&mut state);
            refused.map_err(|rejection| rejection.into_error(&self.model))?;
        }
        let since = self.since;
        self.reacquire(ticket, since, granted, position).await
    }

    /// Gives the units to other requests for `pause`, because the request will be sent again only
    /// after that time, for a reason other than units. Then it waits for units again, before all
    /// others of its key, class and cost that came after it. `is_upstream_busy` if upstream may
    /// still work on the last attempt.
    ///
    /// # Errors
    ///
    /// As for [`Permits::acquire`](super::Permits::acquire). The pause does not count as a wait.
    pub async fn pause(
        mut self,
        pause: Duration,
        is_upstream_busy: bool,
        position: &QueuePosition,
    ) -> Result<Self> {
        self.is_over = true;
        let returns_at = Instant::now() + pause;
        // After the pause, the request has waited for as long as before it.
        let since = returns_at.checked_sub(self.waited).unwrap_or(returns_at);
        let ticket = match &self.claim {
            Claim::Ticket(ticket) => *ticket,
            Claim::Cluster(_) => {
                let again = Again::Paused { is_upstream_busy };
                let asked = self.ask_again(since, Some(returns_at), again, position);
                return Box::pin(asked).await;
            }
        };
        let cooldown = if is_upstream_busy {
            CANCELLED_COOLDOWN
        } else {
            Duration::ZERO
        };
        let (grant, granted) = oneshot::channel();
        {
            let pending = PendingRequest {
                returns_at: Some(returns_at),
                ..self.pending(since, grant)
            };
            let deadline = self.shared.wait_deadline(since, &self.request);
            let mut state = self.shared.lock();
            state.pause(ticket, pending, deadline, cooldown);
            self.shared.advance(&mut state);
        }
        self.reacquire(ticket, since, granted, position).await
    }

    fn pending(&self, since: Instant, grant: oneshot::Sender<Result<u32>>) -> PendingRequest {
        self.shared
            .pending(&self.model, &self.request, self.cost, since, grant)
    }

    /// Waits for the units of the next attempt.
    async fn reacquire(
        self,
        ticket: Ticket,
        since: Instant,
        grant: oneshot::Receiver<Result<u32>>,
        position: &QueuePosition,
    ) -> Result<Self> {
        let times = WaitTimes {
            since,
            before_pause: self.waited,
            before: self.request.waited,
        };
        let cost = granted(&self.shared, ticket, times, grant, position).await?;
        Ok(self.next(cost, Claim::Ticket(ticket), since))
    }

    /// Waits for the units of the next attempt, in a cluster.
    async fn ask_again(
        self,
        since: Instant,
        pause_until: Option<Instant>,
        again: Again<Refused>,
        position: &QueuePosition,
    ) -> Result<Self> {
        let Claim::Cluster(claim) = &self.claim else {
            return Err(Error::internal("the request is not of the cluster"));
        };
        let (seat, id) = (&claim.seat, claim.id);
        let times = WaitTimes {
            since,
            before_pause: self.waited,
            before: self.request.waited,
        };
        let (model, request) = (&self.model, &self.request);
        let units = seat
            .ask_again(id, model, request, times, pause_until, again, position)
            .await?;
        let claim = Claim::in_cluster(seat, id, units);
        Ok(self.next(units.cost, claim, since))
    }

    /// The permit of the next attempt.
    fn next(&self, cost: u32, claim: Claim, since: Instant) -> Self {
        let (shared, model) = (Arc::clone(&self.shared), Arc::clone(&self.model));
        let mut permit = Self::new(shared, model, self.request, cost, claim, since);
        permit.budget = self.budget;
        permit
    }

    fn give_back(&mut self, end: End) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let ticket = match &self.claim {
            Claim::Ticket(ticket) => *ticket,
            Claim::Cluster(claim) => return claim.seat.end(claim.id, end),
        };
        let mut state = self.shared.lock();
        match end {
            End::Finished => {
                state.mark_admitted(ticket, &self.model, Instant::now());
                state.end(ticket, Duration::ZERO);
            }
            End::Cancelled => state.end(ticket, CANCELLED_COOLDOWN),
            End::Unsent => state.cancel_unsent(ticket),
        }
        self.shared.advance(&mut state);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(End::Cancelled);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("claim", &self.claim)
            .field("model", &self.model)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
