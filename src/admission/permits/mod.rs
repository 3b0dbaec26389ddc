//! The scheduler's face to those who wait: a future for the wait, and a permit that gives its units
//! back exactly once, whatever way its request ends.
//!
//! One lock, held for a decision and never across an await. Whatever changes something starts
//! whoever may start then, and tells it; [`Permits::drive`] does so when time alone changes
//! something.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until},
};

use self::{
    errors::{refused, waited_too_long},
    plan::Plan,
    state::{Own, State, Waiting},
};
use super::{
    EnqueueError, PermitRequest, Priority, QueueStatus, Settings, Ticket,
    external_usage::ListedRequest,
};
use crate::error::{Error, Result};

mod capacity_probe;
mod errors;
mod permit;
mod plan;
mod refusal_backoff;
mod refusal_budget;
mod refusals;
mod state;

pub use permit::Permit;

/// How long the first requests wait for the plan to be known.
const PLAN_WAIT: Duration = Duration::from_secs(2);

/// The permits of one account. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Permits {
    shared: Arc<Shared>,
}

struct Shared {
    queue_timeout: Duration,
    state: Mutex<State>,
    /// Rings when the driver has to look at its clock again.
    sooner: Notify,
    /// Rings when a snapshot would let somebody start.
    news: Notify,
    is_plan_known: watch::Sender<bool>,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Want {
    /// Whose it is, and that key's share.
    pub caller: Caller,
    /// Its class.
    pub priority: Priority,
    /// The model it is for.
    pub model: Arc<str>,
    /// The units it holds while it runs.
    pub cost: u32,
    /// Nothing is known of the model, and the cost is a guess: it is not held against the request
    /// if the plan has fewer.
    pub is_guess: bool,
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
    /// How long its call has waited for units of other models.
    pub waited: Duration,
}

impl Want {
    /// The request, as upstream may list it.
    fn own(&self, cost: u32, now: Instant) -> Own {
        Own {
            model: Arc::clone(&self.model),
            cost,
            started_at: now,
        }
    }
}

/// How long a fallback may wait for units even if the models before it have waited for as long as a
/// call may: it may cost fewer units, and these may be free. Longer than what a refusal said of
/// others is believed, or it would wait in vain.
const FALLBACK_WAIT_MIN: Duration = Duration::from_secs(3);

/// A gateway key, as the scheduler knows it. The default is everybody, where no keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's place in the configuration, from 0.
    pub key: super::KeyId,
    /// Its share, against those of the others.
    pub weight: u32,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            key: super::KeyId(0),
            weight: 1,
        }
    }
}

/// A place in the queue, for those who tell the caller about it.
#[derive(Clone, Debug, Default)]
pub struct QueuePosition(Arc<Mutex<Option<(Permits, Ticket)>>>);

impl QueuePosition {
    /// How many will start before, about; none if this one doesn't wait.
    pub fn requests_ahead(&self) -> Option<usize> {
        let place = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let (permits, ticket) = place?;
        permits.state().scheduler.ahead(ticket)
    }

    fn set(&self, place: Option<(Permits, Ticket)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }
}

/// Somebody who waits. Dropped, it leaves.
struct Waiter<'a> {
    permits: &'a Permits,
    ticket: Ticket,
    place: &'a QueuePosition,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.place.set(None);
        let mut state = self.permits.state();
        state.leave(self.ticket);
        self.permits.advance(&mut state);
    }
}

impl Permits {
    /// Permits of a plan that isn't known yet: until it is, requests wait for [`PLAN_WAIT`] and
    /// then start unbounded.
    pub fn new(settings: Settings, queue_timeout: Duration) -> Self {
        let state = State::new(settings);
        let is_plan_known = watch::Sender::new(false);
        let (sooner, news) = (Notify::new(), Notify::new());
        Self {
            shared: Arc::new(Shared {
                queue_timeout,
                state: state.into(),
                sooner,
                news,
                is_plan_known,
            }),
        }
    }

    /// Waits for the units, and takes them. `place` tells meanwhile how far it has got.
    ///
    /// # Errors
    /// Saturated if it may not wait or has waited too long, Forbidden if the plan has fewer units
    /// than it costs.
    pub async fn acquire(&self, want: Want, place: &QueuePosition) -> Result<Permit> {
        let asked_at = Instant::now();
        if !*self.shared.is_plan_known.borrow() {
            let mut known = self.shared.is_plan_known.subscribe();
            // The rest of the longest wait is for the units themselves.
            let limit = PLAN_WAIT.min(self.patience(&want) / 2);
            let _ = tokio::time::timeout(limit, known.wait_for(|known| *known)).await;
        }
        let (tell, told) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let (now, std_now) = (Instant::now(), Instant::now().into_std());
            let cost = if want.is_guess {
                state.reckoned(want.cost)
            } else {
                want.cost
            };
            let ask = self.ask(asked_at, &want, cost);
            let is_held = state.holds.is_held(&want.model, std_now);
            let ticket = match is_held {
                false => state.scheduler.enqueue(std_now, ask),
                true => state.scheduler.enqueue_parked(std_now, ask),
            };
            let ticket = ticket.map_err(|no| match no {
                EnqueueError::TooLate { .. }
                    if want.deadline.is_some_and(|deadline| deadline <= now) =>
                {
                    waited_too_long(true, self.shared.queue_timeout)
                }
                no => refused(no, &want),
            })?;
            if is_held {
                state.holds.join(&want.model, ticket, true);
            }
            state.insert(
                ticket,
                Waiting {
                    own: want.own(cost, now),
                    ..self.waiting(asked_at, &want, tell)
                },
                now,
            );
            self.advance(&mut state);
            ticket
        };
        self.wait(want, ticket, asked_at, told, place).await
    }

    fn ask(&self, asked_at: Instant, want: &Want, cost: u32) -> PermitRequest {
        PermitRequest {
            key: want.caller.key,
            weight: want.caller.weight,
            priority: want.priority,
            cost,
            deadline: Some(self.until(asked_at, want).into_std()),
        }
    }

    /// How one waits that has been asking since then, and is told so.
    fn waiting(
        &self,
        asked_at: Instant,
        want: &Want,
        tell: oneshot::Sender<Result<u32>>,
    ) -> Waiting {
        let is_hurried = want
            .deadline
            .is_some_and(|deadline| deadline <= asked_at + self.patience(want));
        let guess = want.is_guess.then_some(want.cost);
        Waiting {
            own: want.own(want.cost, Instant::now()),
            guess,
            is_hurried,
            back_at: None,
            tell,
        }
    }

    async fn wait(
        &self,
        want: Want,
        ticket: Ticket,
        asked_at: Instant,
        told: oneshot::Receiver<Result<u32>>,
        place: &QueuePosition,
    ) -> Result<Permit> {
        let waiter = Waiter {
            permits: self,
            ticket,
            place,
        };
        place.set(Some((self.clone(), ticket)));
        let cost = told
            .await
            .unwrap_or_else(|_| Err(Error::internal("a waiter was forgotten")))?;
        place.set(None);
        std::mem::forget(waiter);
        Ok(Permit::new(self.clone(), want, cost, ticket, asked_at))
    }

    /// The plan's units, which are sure; none for no bound.
    pub fn set_capacity(&self, capacity: Option<u32>) {
        self.change_plan(|plan| {
            plan.set(capacity);
            true
        });
    }

    /// Nobody tells how many units the plan has. Those who wait to know it wait no longer. It is no
    /// news where something is known already.
    pub fn set_plan_unknown(&self) {
        if !self.shared.is_plan_known.send_replace(true) {
            tracing::info!(
                "no limit of concurrency units is known: nobody waits for them until Featherless \
                 refuses"
            );
        }
    }

    /// What upstream says of the plan, and is in flight: what is not ours is taken from the plan.
    /// It may have been asked for; the feed's own snapshots come unasked. False if it tells of what
    /// can't be: then it is ignored and counted.
    ///
    /// A single message that tells of a smaller plan lets nobody fail, and a single null after a
    /// number lets nobody start: the next message has to say so too.
    pub fn apply_snapshot(
        &self,
        asked_at: Option<Instant>,
        capacity: Option<u32>,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
    ) -> bool {
        let now = Instant::now();
        if !self.change_plan(|plan| plan.hear(capacity, used_cost, now.into_std())) {
            self.count_ignored_message();
            return false;
        }
        let mut state = self.state();
        state.snapshot(asked_at, used_cost, requests, now);
        self.advance(&mut state);
        true
    }

    fn change_plan(&self, change: impl FnOnce(&mut Plan) -> bool) -> bool {
        let mut state = self.state();
        let before = state.plan.bounds();
        if !change(&mut state.plan) {
            return false;
        }
        let was_known = self.shared.is_plan_known.send_replace(true);
        let capacity = state.plan.bounds().capacity;
        match capacity {
            _ if was_known && before.capacity == capacity => {}
            Some(units) => tracing::info!(units, "scheduling concurrency units"),
            None => {
                tracing::info!("the plan has no limit of concurrency units: nobody waits for them")
            }
        }
        state.bound(Instant::now());
        self.advance(&mut state);
        true
    }

    /// A message about the units was ignored: it had no limit and units in use in a form that is
    /// known, or told of what can't be.
    pub fn count_ignored_message(&self) {
        let count = {
            let mut state = self.state();
            state.ignored_messages = state.ignored_messages.saturating_add(1);
            state.ignored_messages
        };
        // Each message may be one, and they come every two seconds.
        if count.is_power_of_two() {
            tracing::warn!(
                count,
                "Featherless told of the concurrency units in a way that is not understood, and \
                 ignored"
            );
        }
    }

    /// How many messages about the units were ignored so far.
    pub fn ignored_messages(&self) -> u64 {
        self.state().ignored_messages
    }

    /// Completes when a snapshot would let somebody start.
    pub async fn snapshot_wanted(&self) {
        self.shared.news.notified().await;
    }

    /// All there is to see of the queue.
    pub fn view(&self) -> QueueStatus {
        self.state().scheduler.view(Instant::now().into_std())
    }

    /// How often upstream has refused a request for want of units so far. A caller is told only of
    /// a request that was refused too often.
    pub fn refusals(&self) -> u64 {
        self.state().refusals
    }

    /// Starts and ends the waits that only time starts and ends. Never completes.
    pub async fn drive(&self) {
        loop {
            let sooner = self.shared.sooner.notified();
            let armed = {
                let mut state = self.state();
                state.armed = state.serve(self.shared.queue_timeout);
                if state.scheduler.wants_snapshot() {
                    self.shared.news.notify_one();
                }
                state.armed
            };
            match armed {
                Some(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = sooner => {}
                },
                None => sooner.await,
            }
        }
    }

    /// Serves everybody, and sees to it that the driver wakes in time for what comes next.
    fn advance(&self, state: &mut State) {
        let wake = state.serve(self.shared.queue_timeout);
        if state.scheduler.wants_snapshot() {
            self.shared.news.notify_one();
        }
        if let Some(wake) = wake
            && state.armed.is_none_or(|armed| wake < armed)
        {
            state.armed = Some(wake);
            self.shared.sooner.notify_one();
        }
    }

    /// Until when a request waits that asks since then.
    fn until(&self, from: Instant, want: &Want) -> Instant {
        let limit = from + self.patience(want);
        want.deadline.map_or(limit, |deadline| deadline.min(limit))
    }

    /// How long a request may wait. All models of a call share the longest wait, so that each
    /// fallback doesn't wait for as long again.
    fn patience(&self, want: &Want) -> Duration {
        let limit = self.shared.queue_timeout;
        limit
            .saturating_sub(want.waited)
            .max(FALLBACK_WAIT_MIN.min(limit))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, and the state is whole after every call of the
        // scheduler's.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
