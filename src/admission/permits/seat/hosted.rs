//! The scheduler as the queue of the cluster: its requests are those of all members.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::Instant as TokioInstant;

use super::super::{
    errors::{Refusal, Rejection},
    refusal_budget::RefusalBudget,
    shared::Shared,
    state::{CANCELLED_COOLDOWN, PendingRequest, PendingWaiter, State, TrackedRequest},
};
use super::{part::Part, turns::Turns};
use crate::{
    admission::{
        external_usage::LAG,
        request::{PermitRequest, Ticket},
    },
    cluster::{
        message::{Again, End, Units},
        queue::{Arrival, Lost, Outcome, Queue},
    },
};

/// For how long the units of a request are kept back whose member is gone. Then the account's
/// snapshots count them as external usage, if upstream still works on it.
const ABANDONED_COOLDOWN: Duration = LAG.saturating_mul(2);

/// Members are gone for good if a snapshot that came so late after their last message shows no
/// external usage.
const LOST_SHOWN_AFTER: Duration = LAG.saturating_mul(2);

/// Without any snapshot they are gone after this time.
const LOST_WITHOUT_SNAPSHOT_FOR: Duration = Duration::from_secs(30);

/// If snapshots always show external usage, they are gone after this time. A gateway that cannot reach Redis for
/// longer uses its share all the same, and upstream may refuse requests then.
const LOST_FOR_MAX: Duration = Duration::from_secs(600);

/// For how long a new leader waits for a snapshot if members are lost, before requests start.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(1);

/// A gateway that was left alone believes for no longer than this that others hold more than their
/// shares.
const EXCESS_FOR_MAX: Duration = Duration::from_secs(30);

/// What the queue must know of a request.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::admission::permits) struct Asked {
    pub(in crate::admission::permits) model: Arc<str>,
    /// Its cost may be an estimate above the plan's limit. Its deadline is the end of its wait.
    pub(in crate::admission::permits) request: PermitRequest,
    /// The caller's own deadline ends the wait, and not the longest wait of the queue.
    pub(in crate::admission::permits) has_caller_deadline: bool,
}

/// A refusal of upstream, and all refusals of the request so far.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::admission::permits) struct Refused {
    pub(in crate::admission::permits) refusal: Refusal,
    pub(in crate::admission::permits) budget: RefusalBudget,
}

/// The scheduler, as the leader's queue.
#[derive(Clone)]
pub(super) struct Hosted {
    shared: Arc<Shared>,
    part: Part,
    began_at: TokioInstant,
    /// When requests may start that cost more than the share. `None` for any time.
    turns: Option<Turns>,
    /// Since when members are lost.
    lost_since: Option<Instant>,
    /// How many are silent.
    silent: usize,
    next_wake: Option<TokioInstant>,
}

impl Hosted {
    /// An empty queue. What is known of the plan stays.
    pub(super) fn new(shared: Arc<Shared>, part: Part, turns: Option<Turns>) -> Self {
        {
            let mut state = shared.lock();
            state.begin_again();
            let is_alone = matches!(part, Part::Share(_));
            state.alone_since = is_alone.then(TokioInstant::now);
        }
        // What others use is not known yet.
        shared.snapshot_wanted.notify_one();
        Self {
            shared,
            part,
            began_at: TokioInstant::now(),
            turns,
            lost_since: None,
            silent: 0,
            next_wake: None,
        }
    }

    /// When the queue must advance even if nothing happens.
    pub(super) fn next_wake(&self) -> Option<TokioInstant> {
        self.next_wake
    }

    /// Whether the silent members are gone for good.
    fn are_gone(&mut self, now: Instant) -> bool {
        let since = *self.lost_since.get_or_insert(now);
        let last_snapshot = self.shared.lock().last_snapshot;
        match last_snapshot {
            Some((0, at)) if at.into_std() >= since + LOST_SHOWN_AFTER => true,
            Some(_) => now >= since + LOST_FOR_MAX,
            None => now >= since + LOST_WITHOUT_SNAPSHOT_FOR,
        }
    }

    /// Whether it is known what members use that the queue does not hear, or whether it does not
    /// become known.
    fn knows_others(&self, state: &State) -> bool {
        let waits = |since: TokioInstant| since.elapsed() < SNAPSHOT_WAIT;
        let since = match self.part {
            Part::Share(_) => Some(self.began_at),
            Part::Whole | Part::WithoutLost { .. } => self.lost_since.map(TokioInstant::from_std),
        };
        state.last_snapshot.is_some() || !since.is_some_and(waits)
    }

    /// Others may have held more than their shares when this gateway was left alone. Snapshots show
    /// how much of that can be left.
    fn settle_excess(&mut self, state: &State, units: u32) {
        let Part::Share(share) = &mut self.part else {
            return;
        };
        if share.is_left || self.began_at.elapsed() >= EXCESS_FOR_MAX {
            share.excess_units = 0;
        } else if let Some(units_from_before) = state.units_from_before {
            share.bound_excess(units, units_from_before);
        }
    }

    /// Whether each gateway can take its share, if it wants to. Before, units may be free only because
    /// others must not take them yet.
    fn is_settled(&self, state: &State) -> bool {
        let Part::Share(share) = self.part else {
            return true;
        };
        let is_known = share.members > 0 && !share.is_left;
        !is_known || state.units_from_before == Some(0) || self.began_at.elapsed() >= EXCESS_FOR_MAX
    }

    fn pending(&self, state: &State, asked: &Asked, now: TokioInstant) -> PendingRequest {
        let request = &asked.request;
        let cost = match request.is_cost_estimated {
            true => state.bounded_cost(request.cost),
            false => request.cost,
        };
        PendingRequest {
            tracked: TrackedRequest {
                model: Arc::clone(&asked.model),
                cost,
                started_at: now,
            },
            estimated_cost: request.is_cost_estimated.then_some(request.cost),
            has_caller_deadline: asked.has_caller_deadline,
            returns_at: None,
            waiter: PendingWaiter::Cluster,
        }
    }
}

impl Queue for Hosted {
    type Request = Asked;
    type Refusal = Refused;
    type Ticket = Ticket;
    type Error = Rejection;

    fn enqueue(&mut self, now: Instant, arrival: Arrival<Asked>) -> Result<Ticket, Rejection> {
        let mut state = self.shared.lock();
        let now = TokioInstant::from_std(now);
        let asked = arrival.request;
        let mut pending = self.pending(&state, &asked, now);
        let request = PermitRequest {
            cost: pending.tracked.cost,
            ..asked.request
        };
        let since = TokioInstant::from_std(arrival.since);
        let ticket = match arrival.pause_until {
            Some(until) => {
                pending.returns_at = Some(TokioInstant::from_std(until));
                let since = since.into_std();
                state
                    .scheduler
                    .enqueue_parked(now.into_std(), since, request)
            }
            None => state.enqueue(&asked.model, request, since, now),
        };
        let ticket = ticket.map_err(Rejection::NotAccepted)?;
        state.insert_pending(ticket, pending, now);
        Ok(ticket)
    }

    fn adopt(&mut self, now: Instant, started_at: Instant, cost: u32, asked: Asked) -> Ticket {
        let mut state = self.shared.lock();
        let request = PermitRequest {
            cost,
            is_cost_estimated: false,
            ..asked.request
        };
        let ticket = state.scheduler.adopt(now, started_at, request);
        let running = TrackedRequest {
            model: asked.model,
            cost,
            started_at: TokioInstant::from_std(started_at),
        };
        state.running.insert(ticket, running);
        ticket
    }

    fn advance(&mut self, now: Instant, may_start: bool) -> Vec<Outcome<Ticket, Rejection>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let units = state.scheduler.units().unwrap_or_default();
        self.settle_excess(&state, units);
        let share = self.part.share(units);
        let is_alone = matches!(self.part, Part::Share(_));
        state
            .scheduler
            .leave_units(self.part.left(units), share, is_alone);
        let is_known = *self.shared.is_plan_known.borrow() && self.knows_others(&state);
        state.is_held = !(may_start && is_known);
        state.is_held_beyond_share =
            !self.is_settled(&state) || self.turns.is_some_and(|turns| !turns.is_own(now));
        self.next_wake = state.advance(self.shared.queue_timeout);
        self.shared.signal_wanted_snapshot(&state);
        let tell_admitted = !state.backoff.is_idle() || state.probe.running().is_some();
        std::mem::take(&mut state.answers)
            .into_iter()
            .map(|(ticket, answer)| match answer {
                Ok(cost) => {
                    let units = Units {
                        cost,
                        tell_admitted,
                    };
                    Outcome::Started(ticket, units)
                }
                Err(rejection) => Outcome::Rejected(ticket, rejection),
            })
            .collect()
    }

    fn put_back(&mut self, now: Instant, ticket: Ticket) {
        let mut state = self.shared.lock();
        let Some(tracked) = state.running.remove(&ticket) else {
            return;
        };
        state.backoff.remove_member(&tracked.model, ticket);
        state.probe.cancel(ticket);
        state.scheduler.requeue(ticket, now);
        let pending = PendingRequest {
            tracked,
            estimated_cost: None,
            has_caller_deadline: false,
            returns_at: None,
            waiter: PendingWaiter::Cluster,
        };
        state.insert_pending(ticket, pending, TokioInstant::from_std(now));
    }

    fn wait_again(
        &mut self,
        now: Instant,
        ticket: Ticket,
        arrival: Arrival<Asked>,
        again: Again<Refused>,
    ) -> Result<(), Rejection> {
        let mut state = self.shared.lock();
        let now = TokioInstant::from_std(now);
        let asked = arrival.request;
        let mut pending = self.pending(&state, &asked, now);
        if let Some(tracked) = state.running.get(&ticket) {
            pending.tracked.cost = tracked.cost;
        }
        let queue_end = now + self.shared.queue_timeout;
        let deadline = asked.request.deadline;
        let deadline = deadline.map_or(queue_end, TokioInstant::from_std);
        match again {
            Again::Refused(refused) => {
                let Refused { refusal, budget } = refused;
                let account = &self.shared.account;
                state.refuse(ticket, pending, &refusal, budget, deadline, account)
            }
            Again::Paused { is_upstream_busy } => {
                let cooldown = match is_upstream_busy {
                    true => CANCELLED_COOLDOWN,
                    false => Duration::ZERO,
                };
                // A pause that is over already ends at once.
                let until = arrival.pause_until.map_or(now, TokioInstant::from_std);
                pending.returns_at = Some(until);
                state.pause(ticket, pending, deadline, cooldown);
                Ok(())
            }
        }
    }

    fn admitted(&mut self, now: Instant, ticket: Ticket) {
        let mut state = self.shared.lock();
        if let Some(model) = state.model_of(ticket) {
            state.mark_admitted(ticket, &model, TokioInstant::from_std(now));
        }
    }

    fn remove(&mut self, _: Instant, ticket: Ticket) {
        self.shared.lock().remove(ticket);
    }

    fn end(&mut self, now: Instant, ticket: Ticket, end: End) {
        let mut state = self.shared.lock();
        match end {
            End::Finished => {
                if let Some(model) = state.model_of(ticket) {
                    state.mark_admitted(ticket, &model, TokioInstant::from_std(now));
                }
                state.end(ticket, Duration::ZERO);
            }
            End::Cancelled => state.end(ticket, CANCELLED_COOLDOWN),
            End::Unsent => state.cancel_unsent(ticket),
        }
    }

    fn abandon(&mut self, now: Instant, ticket: Ticket) {
        let mut state = self.shared.lock();
        // It is not remembered as the gateway's own: from now on the snapshots tell of it.
        if let Some(tracked) = state.running.remove(&ticket) {
            state.backoff.remove_member(&tracked.model, ticket);
        }
        state.probe.cancel(ticket);
        state.scheduler.release(ticket, now, ABANDONED_COOLDOWN);
    }

    fn units_of(&self, ticket: Ticket) -> u32 {
        let state = self.shared.lock();
        state.running.get(&ticket).map_or(0, |running| running.cost)
    }

    fn requests_ahead(&self, ticket: Ticket) -> Option<u32> {
        let ahead = self.shared.lock().scheduler.requests_ahead(ticket)?;
        u32::try_from(ahead).ok()
    }

    fn leave_to_lost(&mut self, now: Instant, lost: Lost) -> bool {
        if matches!(self.part, Part::Share(_)) {
            return true;
        }
        let Lost {
            silent,
            alone,
            members,
        } = lost;
        if silent > self.silent {
            // The time begins again with the last of them.
            self.lost_since = None;
        }
        self.silent = silent;
        let is_gone = silent > 0 && self.are_gone(now);
        if silent == 0 || is_gone {
            self.lost_since = None;
        }
        self.part = match if is_gone { alone } else { alone + silent } {
            0 => Part::Whole,
            lost => Part::WithoutLost { lost, members },
        };
        !is_gone
    }
}
