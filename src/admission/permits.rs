//! The scheduler's face to those who wait: a future for the wait, and a permit that gives its units back exactly once,
//! whatever way its request ends.
//!
//! One lock, held for a decision and never across an await. Whatever changes something starts whoever may start then, and
//! tells it; [`Permits::drive`] does so when time alone changes something.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Ask, Priority, Refusal, Scheduler, Settings, Ticket, View,
    outside::{self, LAG, Listed, Ours, Snapshot},
    words::{Numbers, numbers},
};
use crate::error::{Error, Kind, Result};

/// How long the units of a cancelled request are kept from others: until upstream has noticed that its connection closed.
const CANCELLED_SETTLE: Duration = Duration::from_millis(250);

/// How long the first requests wait for the plan to be known.
const PLAN_WAIT: Duration = Duration::from_secs(2);

/// How long what a refusal said of outsiders is believed when no snapshot comes to say otherwise.
const REFUSAL_BELIEVED: Duration = Duration::from_secs(2);

/// The wait after a refusal that says nothing, when the plan's units aren't known either.
const BLIND_WAIT: Duration = Duration::from_secs(1);

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
    is_plan_known: watch::Sender<bool>,
}

struct State {
    scheduler: Scheduler,
    /// Those who wait, and how to tell them.
    waiting: HashMap<Ticket, oneshot::Sender<Result<()>>>,
    running: HashMap<Ticket, Own>,
    /// Those who ended so lately that a snapshot may still have them.
    ended: VecDeque<(Own, Instant)>,
    capacity: Option<u32>,
    /// Until when the driver sleeps.
    armed: Option<Instant>,
    /// When what was last said of outsiders stops being believed.
    doubt_at: Option<Instant>,
}

#[derive(Clone)]
struct Own {
    model: Arc<str>,
    cost: u32,
    started_at: Instant,
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
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
}

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
        Self { key: super::KeyId(0), weight: 1 }
    }
}

/// Leave to ask upstream. Dropped, its units come back a moment later, when upstream has noticed that the connection was
/// closed; [ended](Self::end), at once.
pub struct Permit {
    permits: Permits,
    want: Want,
    ticket: Ticket,
    asked_at: Instant,
    waited: Duration,
    is_over: bool,
}

/// A place in the queue, for those who tell the caller about it.
#[derive(Clone, Debug, Default)]
pub struct Place(Arc<Mutex<Option<(Permits, Ticket)>>>);

impl Place {
    /// How many will start before, about; none if this one doesn't wait.
    pub fn ahead(&self) -> Option<usize> {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
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
    place: &'a Place,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.place.set(None);
        let mut state = self.permits.state();
        if state.waiting.remove(&self.ticket).is_some() {
            state.scheduler.leave(self.ticket);
        } else if state.running.remove(&self.ticket).is_some() {
            // Started just now, and nobody to know of it: upstream was not asked.
            state.scheduler.release(self.ticket, Instant::now().into_std(), Duration::ZERO);
        }
        self.permits.advance(&mut state);
    }
}

impl Permits {
    /// Permits of a plan that isn't known yet: until it is, requests wait for [`PLAN_WAIT`] and then start unbounded.
    pub fn new(settings: Settings, queue_timeout: Duration) -> Self {
        let state = State {
            scheduler: Scheduler::new(settings),
            waiting: HashMap::new(),
            running: HashMap::new(),
            ended: VecDeque::new(),
            capacity: None,
            armed: None,
            doubt_at: None,
        };
        let is_plan_known = watch::Sender::new(false);
        Self { shared: Arc::new(Shared { queue_timeout, state: state.into(), sooner: Notify::new(), is_plan_known }) }
    }

    /// Waits for the units, and takes them. `place` tells meanwhile how far it has got.
    ///
    /// # Errors
    /// Saturated if it may not wait or has waited too long, Forbidden if the plan has fewer units than it costs.
    pub async fn acquire(&self, want: Want, place: &Place) -> Result<Permit> {
        if !*self.shared.is_plan_known.borrow() {
            let mut known = self.shared.is_plan_known.subscribe();
            let _ = tokio::time::timeout(PLAN_WAIT, known.wait_for(|known| *known)).await;
        }
        let asked_at = Instant::now();
        let ask = Ask {
            key: want.caller.key,
            weight: want.caller.weight,
            priority: want.priority,
            cost: want.cost,
            deadline: Some(self.until(asked_at, want.deadline).into_std()),
        };
        let (tell, told) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let ticket = state.scheduler.enqueue(asked_at.into_std(), ask).map_err(|no| refused(no, &want))?;
            state.waiting.insert(ticket, tell);
            // Known to `advance`, which starts it at once if it may.
            state.running.insert(ticket, Own { model: Arc::clone(&want.model), cost: want.cost, started_at: asked_at });
            self.advance(&mut state);
            ticket
        };
        self.wait(want, ticket, asked_at, told, place).await
    }

    async fn wait(
        &self,
        want: Want,
        ticket: Ticket,
        asked_at: Instant,
        told: oneshot::Receiver<Result<()>>,
        place: &Place,
    ) -> Result<Permit> {
        let waiter = Waiter { permits: self, ticket, place };
        place.set(Some((self.clone(), ticket)));
        let verdict = told.await.unwrap_or_else(|_| Err(Error::internal("a waiter was forgotten")));
        if verdict.is_err() {
            self.state().running.remove(&ticket);
        }
        verdict?;
        place.set(None);
        std::mem::forget(waiter);
        let waited = asked_at.elapsed();
        Ok(Permit { permits: self.clone(), want, ticket, asked_at, waited, is_over: false })
    }

    /// The plan's units; none for no bound.
    pub fn set_capacity(&self, capacity: Option<u32>) {
        let mut state = self.state();
        self.bound(&mut state, capacity);
        self.advance(&mut state);
        drop(state);
        self.shared.is_plan_known.send_replace(true);
    }

    fn bound(&self, state: &mut State, capacity: Option<u32>) {
        if state.capacity != capacity {
            tracing::info!(units = capacity, "the plan's concurrency units; none for no bound");
        }
        state.capacity = capacity;
        for ticket in state.scheduler.set_capacity(capacity) {
            let cost = state.running.remove(&ticket).map_or(0, |own| own.cost);
            if let Some(tell) = state.waiting.remove(&ticket) {
                let _ = tell.send(Err(never_fits(cost, capacity.unwrap_or_default(), "the model")));
            }
        }
    }

    /// What upstream says is in flight: what is not ours is taken from the plan.
    pub fn take_snapshot(&self, used_cost: u32, requests: &[Listed<'_>]) {
        let now = Instant::now();
        let mut state = self.state();
        while state.ended.front().is_some_and(|(_, ended_at)| now.duration_since(*ended_at) > LAG) {
            state.ended.pop_front();
        }
        let outside = {
            let is_running = |(ticket, _): &(&Ticket, &Own)| !state.waiting.contains_key(*ticket);
            let running = state.running.iter().filter(is_running).map(|(_, own)| (own, None));
            let ended = state.ended.iter().map(|(own, at)| (own, Some(at.into_std())));
            let ours = |(own, ended_at): (&'_ Own, _)| (own.clone(), ended_at);
            let ours: Vec<(Own, _)> = running.chain(ended).map(ours).collect();
            let ours: Vec<_> = ours
                .iter()
                .map(|(own, ended_at)| Ours {
                    model: &own.model,
                    cost: own.cost,
                    started_at: own.started_at.into_std(),
                    ended_at: *ended_at,
                })
                .collect();
            outside::outside(&Snapshot { received_at: now.into_std(), used_cost, requests }, &ours)
        };
        state.scheduler.set_outside(outside, now.into_std());
        state.doubt_at = None;
        self.advance(&mut state);
    }

    /// All there is to see.
    pub fn view(&self) -> View {
        self.state().scheduler.view(Instant::now().into_std())
    }

    /// Starts and ends the waits that only time starts and ends. Never completes.
    pub async fn drive(&self) {
        loop {
            let sooner = self.shared.sooner.notified();
            let armed = {
                let mut state = self.state();
                state.armed = self.serve(&mut state);
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
        if let Some(wake) = self.serve(state)
            && state.armed.is_none_or(|armed| wake < armed)
        {
            state.armed = Some(wake);
            self.shared.sooner.notify_one();
        }
    }

    /// Starts whoever may start and tells those whose time is up. Gives the time when there is more to do.
    fn serve(&self, state: &mut State) -> Option<Instant> {
        let now = Instant::now();
        if state.doubt_at.is_some_and(|at| at <= now) {
            state.doubt_at = None;
            state.scheduler.set_outside(0, now.into_std());
        }
        for ticket in state.scheduler.expire(now.into_std()) {
            if let Some(tell) = state.waiting.remove(&ticket) {
                let _ = tell.send(Err(self.waited_too_long()));
            }
        }
        while let Some(ticket) = state.scheduler.start(now.into_std()) {
            if let Some(own) = state.running.get_mut(&ticket) {
                own.started_at = now;
            }
            if let Some(tell) = state.waiting.remove(&ticket) {
                // One who has left takes itself out.
                let _ = tell.send(Ok(()));
            }
        }
        let wake = state.scheduler.next_wake(now.into_std()).map(Instant::from_std);
        [wake, state.doubt_at].into_iter().flatten().min()
    }

    fn until(&self, from: Instant, deadline: Option<Instant>) -> Instant {
        let limit = from + self.shared.queue_timeout;
        deadline.map_or(limit, |deadline| deadline.min(limit))
    }

    fn waited_too_long(&self) -> Error {
        let seconds = self.shared.queue_timeout.as_secs_f64();
        let message = format!(
            "No concurrency units came free within {seconds} s (--queue-timeout) or the caller's own deadline: try again, \
             or use a model that costs fewer units"
        );
        Error::new(Kind::Saturated, "queue_timeout", message).with_retry_after(Duration::from_secs(10))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, and the state is whole after every call of the scheduler's.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Upstream has ended the request by itself: the units are free.
    pub fn end(mut self) {
        self.give_back(Duration::ZERO);
    }

    /// Upstream refused the request for want of units, in spite of all: somebody else was faster. The request waits again,
    /// before all others of its queue, and what upstream says corrects what we know.
    ///
    /// # Errors
    /// As of [`Permits::acquire`].
    pub async fn wait_again(mut self, refusal: &str, place: &Place) -> Result<Permit> {
        self.is_over = true;
        let (permits, want, ticket) = (self.permits.clone(), self.want.clone(), self.ticket);
        let (tell, told) = oneshot::channel();
        let is_blind = {
            let mut state = permits.state();
            let now = Instant::now();
            let Numbers { active, limit } = numbers(refusal);
            state.waiting.insert(ticket, tell);
            state.scheduler.put_back(ticket, now.into_std());
            if let Some(limit) = limit
                && state.capacity.is_none_or(|capacity| capacity > limit)
            {
                permits.bound(&mut state, Some(limit));
            }
            let view = state.scheduler.view(now.into_std());
            let ours = view.in_use + view.settling;
            if let Some(capacity) = state.capacity {
                let least = outside::by_silent_refusal(capacity, ours, want.cost);
                let told = active.map_or(0, |active| outside::by_refusal(active, ours));
                state.scheduler.set_outside_refused(least.max(told), now.into_std());
                state.doubt_at = Some(now + REFUSAL_BELIEVED);
                permits.advance(&mut state);
            }
            tracing::info!(active, limit, ours, "upstream refused for want of units; the request waits again");
            state.capacity.is_none()
        };
        if is_blind {
            let waiter = Waiter { permits: &permits, ticket, place };
            tokio::time::sleep(BLIND_WAIT).await;
            std::mem::forget(waiter);
            let mut state = permits.state();
            permits.advance(&mut state);
        }
        permits.wait(want, ticket, self.asked_at, told, place).await
    }

    fn give_back(&mut self, settle: Duration) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = Instant::now();
        let mut state = self.permits.state();
        if let Some(own) = state.running.remove(&self.ticket) {
            state.ended.push_back((own, now));
        }
        state.scheduler.release(self.ticket, now.into_std(), settle);
        // A snapshot comes every two seconds and clears this; without one nobody needs it.
        while state.ended.front().is_some_and(|(_, ended_at)| now.duration_since(*ended_at) > LAG) {
            state.ended.pop_front();
        }
        self.permits.advance(&mut state);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(CANCELLED_SETTLE);
    }
}

fn refused(refusal: Refusal, want: &Want) -> Error {
    let seconds = |time: Duration| time.as_secs_f64().ceil();
    match refusal {
        Refusal::NeverFits { cost, capacity } => never_fits(cost, capacity, &want.model),
        Refusal::QueueFull { limit, retry_after } => {
            let message =
                format!("{limit} calls wait for concurrency units already (--queue-limit): try again a little later");
            Error::new(Kind::Saturated, "queue_full", message).with_retry_after(retry_after)
        }
        Refusal::TooLate { wait } => {
            let message = format!(
                "The account's concurrency units are taken, and at the present rate this call could start in about {} s, \
                 after its deadline: allow more time, or try again later",
                seconds(wait)
            );
            Error::new(Kind::Saturated, "no_units_in_time", message).with_retry_after(wait)
        }
    }
}

fn never_fits(cost: u32, capacity: u32, model: &str) -> Error {
    let message = format!(
        "{model} costs {cost} concurrency units and the Featherless account's plan has {capacity}: change the plan, or use \
         a smaller model"
    );
    Error::new(Kind::Forbidden, "model_exceeds_plan", message)
        .with_param("model")
        .with_help("https://featherless.ai/account/subscription")
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).field("want", &self.want).finish_non_exhaustive()
    }
}
