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
    Ask, Priority, Scheduler, Settings, Ticket, View,
    distrust::Distrust,
    outside::{self, LAG, Listed, Ours, Recognition, Snapshot},
    permit::{CANCELLED_SETTLE, Permit},
    refused::{never_fits, refused, waited_too_long},
    scheduler::Aside,
    tries::Worth,
};
use crate::error::{Error, Result, UnitRefusal};

/// How long the first requests wait for the plan to be known.
const PLAN_WAIT: Duration = Duration::from_secs(2);

/// How long what a snapshot said of outsiders is believed when no other follows.
const SNAPSHOT_BELIEVED: Duration = Duration::from_secs(60);

/// How long what a refusal said is believed when no snapshot comes to say otherwise: as long as its `Retry-After`, and this
/// at least. A longer wait than the greatest is nobody's, so that the next request finds out how things are.
const REFUSAL_BELIEVED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The permits of one account. Cheap to clone; all clones share one queue.
#[derive(Clone)]
pub struct Permits {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) queue_timeout: Duration,
    state: Mutex<State>,
    /// Rings when the driver has to look at its clock again.
    sooner: Notify,
    /// Rings when a snapshot would let somebody start.
    news: Notify,
    is_plan_known: watch::Sender<bool>,
}

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    /// Those who wait, and how to tell them.
    pub(super) waiting: HashMap<Ticket, Waiting>,
    pub(super) running: HashMap<Ticket, Own>,
    /// Those who ended so lately that a snapshot may still have them.
    pub(super) ended: VecDeque<(Own, Instant)>,
    pub(super) capacity: Option<u32>,
    /// Until when the driver sleeps.
    armed: Option<Instant>,
    /// When what was last said of outsiders stops being believed.
    pub(super) doubt_at: Option<Instant>,
    /// What the last snapshot said that outsiders hold, and when.
    told: Option<(u32, Instant)>,
    pub(super) distrust: Distrust,
    /// How often upstream refused a request for want of units.
    pub(super) refusals: u64,
    /// What is ours in the feed's snapshots, and in those that were asked for.
    feed: Recognition,
    asked: Recognition,
}

pub(super) struct Waiting {
    pub(super) own: Own,
    /// Its caller stops waiting before we would.
    pub(super) is_hurried: bool,
    pub(super) tell: oneshot::Sender<Result<()>>,
}

/// A request of ours, as upstream may list it.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) model: Arc<str>,
    pub(super) cost: u32,
    /// When it came, while it waits.
    pub(super) started_at: Instant,
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
    /// Nothing is known of the model, and the cost is a guess: it is not held against the request if the plan has fewer.
    pub is_guess: bool,
    /// When its caller stops waiting.
    pub deadline: Option<Instant>,
    /// How long its call has waited for units of other models.
    pub waited: Duration,
}

/// How long a fallback may wait for units even if the models before it have waited for as long as a call may: it may cost
/// fewer units, and these may be free.
const FALLBACK_WAIT_MIN: Duration = Duration::from_secs(1);

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
        } else {
            // Started just now, and nobody to know of it.
            state.undo(self.ticket);
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
            told: None,
            distrust: Distrust::default(),
            refusals: 0,
            feed: Recognition::default(),
            asked: Recognition::default(),
        };
        let is_plan_known = watch::Sender::new(false);
        let (sooner, news) = (Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { queue_timeout, state: state.into(), sooner, news, is_plan_known }) }
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
        self.acquire_since(Instant::now(), want, place).await
    }

    async fn acquire_since(&self, asked_at: Instant, mut want: Want, place: &Place) -> Result<Permit> {
        let (tell, told) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            if let Some(capacity) = state.capacity.filter(|_| want.is_guess) {
                want.cost = want.cost.min(capacity.max(1));
            }
            let (now, ask) = (Instant::now().into_std(), self.ask(asked_at, &want));
            let ticket = state.scheduler.enqueue(now, ask).map_err(|no| refused(no, &want))?;
            self.insert(&mut state, ticket, asked_at, &want, tell);
            ticket
        };
        self.wait(want, ticket, asked_at, told, place).await
    }

    /// Waits for units for one that had stepped aside, and has been asking since then.
    ///
    /// # Errors
    /// Saturated if it has waited too long.
    pub(super) async fn acquire_again(&self, asked_at: Instant, want: Want, place: &Place) -> Result<Permit> {
        let (tell, told) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let (now, ask) = (Instant::now().into_std(), self.ask(asked_at, &want));
            let ticket = state.scheduler.enqueue_again(now, ask);
            self.insert(&mut state, ticket, asked_at, &want, tell);
            ticket
        };
        self.wait(want, ticket, asked_at, told, place).await
    }

    /// Waits for units for one that has stepped aside, from its old place in the queue.
    ///
    /// # Errors
    /// Saturated if it has waited too long.
    pub(super) async fn acquire_in_place(
        &self,
        aside: Aside,
        asked_at: Instant,
        want: Want,
        place: &Place,
    ) -> Result<Permit> {
        let (tell, told) = oneshot::channel();
        let ticket = {
            let mut state = self.state();
            let ticket = state.scheduler.step_back(Instant::now().into_std(), aside);
            self.insert(&mut state, ticket, asked_at, &want, tell);
            ticket
        };
        self.wait(want, ticket, asked_at, told, place).await
    }

    fn ask(&self, asked_at: Instant, want: &Want) -> Ask {
        Ask {
            key: want.caller.key,
            weight: want.caller.weight,
            priority: want.priority,
            cost: want.cost,
            deadline: Some(self.until(asked_at, want).into_std()),
        }
    }

    pub(super) fn is_hurried(&self, asked_at: Instant, want: &Want) -> bool {
        want.deadline.is_some_and(|deadline| deadline <= asked_at + self.patience(want))
    }

    pub(super) fn insert(
        &self,
        state: &mut State,
        ticket: Ticket,
        asked_at: Instant,
        want: &Want,
        tell: oneshot::Sender<Result<()>>,
    ) {
        let own = Own { model: Arc::clone(&want.model), cost: want.cost, started_at: Instant::now() };
        let is_hurried = self.is_hurried(asked_at, want);
        state.waiting.insert(ticket, Waiting { own, is_hurried, tell });
        self.advance(state);
    }

    pub(super) async fn wait(
        &self,
        want: Want,
        ticket: Ticket,
        asked_at: Instant,
        told: oneshot::Receiver<Result<()>>,
        place: &Place,
    ) -> Result<Permit> {
        let waiter = Waiter { permits: self, ticket, place };
        place.set(Some((self.clone(), ticket)));
        told.await.unwrap_or_else(|_| Err(Error::internal("a waiter was forgotten")))?;
        place.set(None);
        std::mem::forget(waiter);
        Ok(Permit::new(self.clone(), want, ticket, asked_at))
    }

    /// The plan's units; none for no bound.
    pub fn set_capacity(&self, capacity: Option<u32>) {
        let mut state = self.state();
        self.bound(&mut state, capacity);
        self.advance(&mut state);
    }

    fn bound(&self, state: &mut State, capacity: Option<u32>) {
        let was_known = self.shared.is_plan_known.send_replace(true);
        let before = std::mem::replace(&mut state.capacity, capacity);
        match capacity {
            _ if was_known && before == capacity => {}
            Some(units) => tracing::info!(units, "so many concurrency units are scheduled"),
            None => {
                tracing::info!("no limit of concurrency units is known: nobody waits for them")
            }
        }
        for ticket in state.scheduler.set_capacity(capacity) {
            if let Some(Waiting { own, tell, .. }) = state.waiting.remove(&ticket) {
                let _ = tell.send(Err(never_fits(own.cost, capacity.unwrap_or_default(), &own.model)));
            }
        }
    }

    /// What upstream says of the plan, and is in flight: what is not ours is taken from the plan. It may have been asked
    /// for; the feed's own snapshots come unasked.
    pub fn take_snapshot(
        &self,
        asked_at: Option<Instant>,
        capacity: Option<u32>,
        used_cost: u32,
        requests: &[Listed<'_>],
    ) {
        let now = Instant::now();
        let mut state = self.state();
        self.bound(&mut state, capacity);
        // What ended may be listed for as long as upstream needs to notice a cancelled request.
        let lag = asked_at.map_or(LAG, |asked_at| now.duration_since(asked_at) + CANCELLED_SETTLE);
        let outside = state.outside(asked_at.is_some(), now, lag, used_cost, requests);
        match asked_at {
            Some(asked_at) => state.scheduler.set_outside_asked(outside, asked_at.into_std(), now.into_std()),
            None => state.scheduler.set_outside(outside, now.into_std()),
        }
        state.told = Some((outside, now));
        state.doubt_at = Some(now + SNAPSHOT_BELIEVED);
        self.advance(&mut state);
    }

    /// Completes when a snapshot would let somebody start.
    pub async fn news_wanted(&self) {
        self.shared.news.notified().await;
    }

    /// All there is to see of the queue.
    pub fn view(&self) -> View {
        self.state().scheduler.view(Instant::now().into_std())
    }

    /// How often upstream has refused a request for want of units so far. A caller is told only of a request that was
    /// refused too often.
    pub fn refusals(&self) -> u64 {
        self.state().refusals
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
    pub(super) fn advance(&self, state: &mut State) {
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
            state.doubt(now);
        }
        for ticket in state.scheduler.expire(now.into_std()) {
            if let Some(waiting) = state.waiting.remove(&ticket) {
                let _ = waiting.tell.send(Err(waited_too_long(waiting.is_hurried, self.shared.queue_timeout)));
            }
        }
        while let Some(ticket) = state.scheduler.start(now.into_std()) {
            if let Some(Waiting { own, tell, .. }) = state.waiting.remove(&ticket) {
                state.running.insert(ticket, Own { started_at: now, ..own });
                // One who has left takes itself out.
                let _ = tell.send(Ok(()));
            }
        }
        if state.scheduler.wants_news() {
            self.shared.news.notify_one();
        }
        let wake = state.scheduler.next_wake(now.into_std()).map(Instant::from_std);
        [wake, state.doubt_at].into_iter().flatten().min()
    }

    /// Until when a request waits that asks since then.
    pub(super) fn until(&self, from: Instant, want: &Want) -> Instant {
        let limit = from + self.patience(want);
        want.deadline.map_or(limit, |deadline| deadline.min(limit))
    }

    /// How long a request may wait. All models of a call share the longest wait, so that each fallback doesn't wait for as
    /// long again.
    fn patience(&self, want: &Want) -> Duration {
        let limit = self.shared.queue_timeout;
        limit.saturating_sub(want.waited).max(FALLBACK_WAIT_MIN.min(limit))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, and the state is whole after every call of the scheduler's.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn outside(&mut self, is_asked: bool, now: Instant, lag: Duration, used_cost: u32, requests: &[Listed<'_>]) -> u32 {
        self.forget_ended(now);
        let running = self.running.values().map(|own| (own, None));
        let ended = self.ended.iter().map(|(own, at)| (own, Some(at.into_std())));
        let ours = running.chain(ended).map(|(own, ended_at)| Ours {
            model: &own.model,
            cost: own.cost,
            started_at: own.started_at.into_std(),
            ended_at,
        });
        let ours: Vec<_> = ours.collect();
        let recognition = if is_asked { &mut self.asked } else { &mut self.feed };
        recognition.outside(&Snapshot { received_at: now.into_std(), lag, used_cost, requests }, &ours)
    }

    /// What was last said is too old. If that was a refusal, the last snapshot counts again, for as long as it is believed.
    fn doubt(&mut self, now: Instant) {
        let told = self.told.map(|(outside, at)| (outside, at + SNAPSHOT_BELIEVED)).filter(|(_, until)| *until > now);
        self.scheduler.set_outside_doubted(told.map_or(0, |(outside, _)| outside));
        self.doubt_at = told.map(|(_, until)| until);
        if self.capacity.is_some() {
            self.scheduler.set_capacity_refused(None);
        }
    }

    /// Upstream refused one that was started: it waits again, and what upstream says corrects what we know, if that is worth
    /// anything. Tells what it is worth.
    pub(super) fn refused(&mut self, ticket: Ticket, want: &Want, refusal: UnitRefusal, now: Instant) -> Worth {
        self.scheduler.put_back(ticket, now.into_std());
        self.refusals = self.refusals.saturating_add(1);
        let sent_at = self.running.remove(&ticket).map_or(now, |own| own.started_at);
        let is_believed = self.distrust.refused(&want.model, sent_at.into_std(), now.into_std());
        let Some(units) = [self.capacity, refusal.limit].into_iter().flatten().min() else { return Worth::Blind };
        if !is_believed {
            return Worth::NotBelieved;
        }
        let ours = self.scheduler.held();
        let least = outside::by_silent_refusal(units, ours, want.cost);
        let told = refusal.active.map_or(0, |active| outside::by_refusal(active, ours));
        self.scheduler.set_capacity_refused(refusal.limit);
        self.scheduler.set_outside_refused(least.max(told), now.into_std());
        let told = refusal.retry_after.filter(|told| *told <= REFUSAL_BELIEVED.1).unwrap_or_default();
        self.doubt_at = Some(now + told.max(REFUSAL_BELIEVED.0));
        Worth::Believed
    }

    /// Upstream was not asked after all: the request never ran, and has cost nothing.
    pub(super) fn undo(&mut self, ticket: Ticket) {
        if self.running.remove(&ticket).is_some() {
            self.scheduler.put_back(ticket, Instant::now().into_std());
            self.scheduler.leave(ticket);
        }
    }

    /// A snapshot comes every two seconds and clears this; without one nobody needs it.
    pub(super) fn forget_ended(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(_, ended_at)| now.duration_since(*ended_at) > LAG) {
            self.ended.pop_front();
        }
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
