//! What the permits share, behind one lock: the scheduler, those who wait and run, and what
//! upstream has said.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    capacity_probe::{CapacityProbe, ProbeTarget},
    errors::{never_fits, waited_too_long},
    permit::CANCELLED_SETTLE,
    plan::Plan,
    refusal_backoff::RefusalBackoff,
};
use crate::{
    admission::{
        Scheduler, Settings, Ticket,
        external_usage::{LAG, ListedRequest, OwnRequest, RequestMatcher, Snapshot},
    },
    error::Result,
};

/// How long what a snapshot said of outsiders is believed when no other follows.
const SNAPSHOT_BELIEVED: Duration = Duration::from_secs(60);

/// A request that was not refused within this time was let in, though its answer has not begun:
/// upstream refuses at once. Those who wait for what becomes of it need not wait for the answer.
const LET_IN_AFTER: Duration = Duration::from_secs(2);

pub(super) struct State {
    pub(super) scheduler: Scheduler,
    /// Those who wait, in the queue and aside, and how to tell them.
    pub(super) waiting: HashMap<Ticket, Waiting>,
    pub(super) running: HashMap<Ticket, Own>,
    /// Those who ended so lately that a snapshot may still have them.
    pub(super) ended: VecDeque<(Own, Instant)>,
    /// What is known of the plan's units.
    pub(super) plan: Plan,
    /// What the last refusal that told of a limit said it is, until another number is told.
    pub(super) refusal_limit: Option<u32>,
    /// Until when the driver sleeps.
    pub(super) armed: Option<Instant>,
    /// When what was last said of outsiders stops being believed.
    pub(super) doubt_at: Option<Instant>,
    /// What the last snapshot said that outsiders hold, and when.
    pub(super) told: Option<(u32, Instant)>,
    pub(super) holds: RefusalBackoff,
    pub(super) trials: CapacityProbe,
    /// Of those who wait, the ones whose cost is a guess.
    pub(super) guesses: BTreeSet<Ticket>,
    /// When those who are aside by upstream's word, or before another try, come back.
    pub(super) back: BTreeSet<(Instant, Ticket)>,
    /// How often upstream refused a request for want of units.
    pub(super) refusals: u64,
    /// How many messages about the units were ignored.
    pub(super) ignored_messages: u64,
    /// What is ours in the feed's snapshots, and in those that were asked for.
    pub(super) feed: RequestMatcher,
    pub(super) asked: RequestMatcher,
}

pub(super) struct Waiting {
    pub(super) own: Own,
    /// What it costs, if that is a guess: never more than the plan has.
    pub(super) guess: Option<u32>,
    /// Its caller stops waiting before we would.
    pub(super) is_hurried: bool,
    /// When it comes back into the queue, if it is aside until then.
    pub(super) back_at: Option<Instant>,
    /// Tells what it costs when it starts.
    pub(super) tell: oneshot::Sender<Result<u32>>,
}

/// A request of ours, as upstream may list it.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) model: Arc<str>,
    pub(super) cost: u32,
    /// When it came, while it waits.
    pub(super) started_at: Instant,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            scheduler: Scheduler::new(settings),
            waiting: HashMap::new(),
            running: HashMap::new(),
            ended: VecDeque::new(),
            plan: Plan::default(),
            refusal_limit: None,
            armed: None,
            doubt_at: None,
            told: None,
            holds: RefusalBackoff::default(),
            trials: CapacityProbe::default(),
            guesses: BTreeSet::new(),
            back: BTreeSet::new(),
            refusals: 0,
            ignored_messages: 0,
            feed: RequestMatcher::default(),
            asked: RequestMatcher::default(),
        }
    }

    /// Starts those who may start and tells those whose time is up. Gives the time when there is
    /// more to do.
    pub(super) fn serve(&mut self, queue_timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        if self.doubt_at.is_some_and(|at| at <= now) {
            self.doubt(now);
        }
        for ticket in self.scheduler.expire(now.into_std()) {
            if let Some(waiting) = self.forget(ticket) {
                let _ = waiting
                    .tell
                    .send(Err(waited_too_long(waiting.is_hurried, queue_timeout)));
            }
        }
        let let_in_at = self.let_in_by_time(now);
        self.bring_back(now);
        while let Some(ticket) = self.scheduler.start(now.into_std()) {
            self.run(ticket, now);
        }
        if let Some(trial) = self.trials.due(now.into_std())
            && let Some(ticket) = self
                .scheduler
                .start_probe(now.into_std(), trial == ProbeTarget::Limit)
        {
            self.trials.begin(ticket, trial);
            self.run(ticket, now);
        }
        let let_in_at =
            let_in_at.or_else(|| self.is_somebody_tried().then_some(now + LET_IN_AFTER));
        let now = now.into_std();
        let wakes = [
            self.scheduler.next_wake(now),
            self.holds.next_wake(),
            self.trials.next_wake(now),
        ];
        let back = self.back.first().map(|&(at, _)| at);
        let wakes = wakes.into_iter().flatten().map(Instant::from_std);
        wakes
            .chain([self.doubt_at, back, let_in_at].into_iter().flatten())
            .min()
    }

    pub(super) fn is_somebody_tried(&self) -> bool {
        self.trials.running().is_some() || self.holds.probes().next().is_some()
    }

    /// Those whose refusal would have come by now were let in. Tells when this is so of the next.
    fn let_in_by_time(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let tried: Vec<_> = self
            .trials
            .running()
            .into_iter()
            .chain(self.holds.probes())
            .collect();
        for ticket in tried {
            let Some(own) = self.running.get(&ticket) else {
                continue;
            };
            let (at, model) = (own.started_at + LET_IN_AFTER, Arc::clone(&own.model));
            if at <= now {
                self.let_in(ticket, &model, now);
            } else {
                next = next.into_iter().chain([at]).min();
            }
        }
        next
    }

    fn bring_back(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.back.first()
            && at <= now
        {
            self.back.pop_first();
            let Some(waiting) = self.waiting.get_mut(&ticket) else {
                continue;
            };
            waiting.back_at = None;
            if self.holds.is_held(&waiting.own.model, now.into_std()) {
                self.holds.join(&waiting.own.model, ticket, true);
            } else {
                self.scheduler.unpark(ticket, now.into_std());
            }
        }
        while let Some(ticket) = self.holds.next_probe(now.into_std()) {
            self.scheduler.unpark(ticket, now.into_std());
        }
    }

    fn run(&mut self, ticket: Ticket, now: Instant) {
        let Some(Waiting { own, tell, .. }) = self.waiting.remove(&ticket) else {
            return;
        };
        self.guesses.remove(&ticket);
        let cost = own.cost;
        self.running.insert(
            ticket,
            Own {
                started_at: now,
                ..own
            },
        );
        // One who has left takes itself out.
        let _ = tell.send(Ok(cost));
    }

    /// One waits that the scheduler knows of already.
    pub(super) fn insert(&mut self, ticket: Ticket, waiting: Waiting, now: Instant) {
        if let Some(at) = waiting.back_at {
            self.back.insert((at, ticket));
        }
        let guess = waiting.guess;
        self.waiting.insert(ticket, waiting);
        if guess.is_some() {
            self.guesses.insert(ticket);
            self.reckon(ticket, now);
        }
    }

    /// One waits no more.
    pub(super) fn forget(&mut self, ticket: Ticket) -> Option<Waiting> {
        let waiting = self.waiting.remove(&ticket)?;
        self.guesses.remove(&ticket);
        if let Some(at) = waiting.back_at {
            self.back.remove(&(at, ticket));
        }
        self.holds.leave(&waiting.own.model, ticket);
        Some(waiting)
    }

    /// One goes away, be it while it waits or when it was started and doesn't know yet.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        if self.forget(ticket).is_some() {
            self.scheduler.leave(ticket, Instant::now().into_std());
        } else {
            self.undo(ticket);
        }
    }

    /// Upstream was not asked after all: the request never ran, and has cost nothing.
    pub(super) fn undo(&mut self, ticket: Ticket) {
        if let Some(own) = self.running.remove(&ticket) {
            let now = Instant::now().into_std();
            self.scheduler.requeue(ticket, now);
            self.scheduler.leave(ticket, now);
            self.holds.leave(&own.model, ticket);
            self.trials.leave(ticket);
        }
    }

    /// A request that runs was let in by upstream: there were units for it. True if that lets
    /// others start.
    pub(super) fn let_in(&mut self, ticket: Ticket, model: &str, now: Instant) -> bool {
        let held = self.holds.let_in(model);
        held.iter()
            .for_each(|&ticket| _ = self.scheduler.unpark(ticket, now.into_std()));
        let trial = self.trials.let_in(ticket, now.into_std());
        match trial {
            Some(ProbeTarget::Outside) => self.forget_refusals(0),
            // As many again, that they need not be tried one by one.
            Some(ProbeTarget::Limit) if self.plan.bounds().capacity.is_none() => {
                let limit = self
                    .scheduler
                    .units()
                    .unwrap_or_default()
                    .saturating_mul(2)
                    .max(self.scheduler.held());
                self.refusal_limit = self.refusal_limit.map(|told| told.max(limit));
                self.scheduler.set_capacity_from_refusal(Some(limit));
                self.reckon_all(now);
            }
            Some(ProbeTarget::Limit) | None => {}
        }
        trial.is_some() || !held.is_empty()
    }

    /// A request that runs has ended. Its units are free after `settle`.
    pub(super) fn end(&mut self, ticket: Ticket, settle: Duration) {
        let now = Instant::now();
        if let Some(own) = self.running.remove(&ticket) {
            self.holds.leave(&own.model, ticket);
            self.ended.push_back((own, now));
        }
        self.trials.leave(ticket);
        self.scheduler.release(ticket, now.into_std(), settle);
        self.forget_ended(now);
    }

    /// A request that runs stops for a while, and waits in this way. Its units are free after
    /// `settle`.
    pub(super) fn pause(
        &mut self,
        ticket: Ticket,
        waiting: Waiting,
        until: Instant,
        settle: Duration,
    ) {
        let now = Instant::now();
        if let Some(own) = self.running.remove(&ticket) {
            self.holds.leave(&own.model, ticket);
            self.ended.push_back((own, now));
        }
        self.trials.leave(ticket);
        self.scheduler
            .pause(ticket, now.into_std(), settle, Some(until.into_std()));
        self.forget_ended(now);
        self.insert(ticket, waiting, now);
    }

    /// What was found out of the plan: those for whom it is too small are told.
    pub(super) fn bound(&mut self, now: Instant) {
        let bounds = self.plan.bounds();
        if bounds.capacity.is_some() {
            self.refusal_limit = None;
            self.trials.limit_known();
        }
        self.reckon_all(now);
        for ticket in
            self.scheduler
                .set_unconfirmed_capacity(bounds.capacity, bounds.most, now.into_std())
        {
            if let Some(Waiting { own, tell, .. }) = self.forget(ticket) {
                let _ = tell.send(Err(never_fits(
                    own.cost,
                    bounds.most.unwrap_or_default(),
                    &own.model,
                )));
            }
        }
    }

    /// A guessed cost is never more than the plan has.
    pub(super) fn reckoned(&self, guess: u32) -> u32 {
        let units = [self.plan.bounds().capacity, self.refusal_limit]
            .into_iter()
            .flatten()
            .min();
        units.map_or(guess, |units| guess.min(units.max(1)))
    }

    pub(super) fn reckon_all(&mut self, now: Instant) {
        if !self.guesses.is_empty() {
            std::mem::take(&mut self.guesses)
                .into_iter()
                .for_each(|ticket| {
                    self.reckon(ticket, now);
                    self.guesses.insert(ticket);
                });
        }
    }

    fn reckon(&mut self, ticket: Ticket, now: Instant) {
        let Some(Waiting {
            own,
            guess: Some(guess),
            ..
        }) = self.waiting.get(&ticket)
        else {
            return;
        };
        let (before, cost) = (own.cost, self.reckoned(*guess));
        if before != cost
            && self.scheduler.set_cost(ticket, cost, now.into_std())
            && let Some(waiting) = self.waiting.get_mut(&ticket)
        {
            waiting.own.cost = cost;
        }
    }

    /// What a snapshot says that others hold, which has just arrived, and was asked for at that
    /// time if it is not the feed's.
    pub(super) fn snapshot(
        &mut self,
        asked_at: Option<Instant>,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
        now: Instant,
    ) {
        // What ended may be listed for as long as upstream needs to notice a cancelled request.
        let lag = asked_at.map_or(LAG, |asked_at| {
            now.duration_since(asked_at) + CANCELLED_SETTLE
        });
        let outside = match self.scheduler.units() {
            Some(_) => self.outside(asked_at.is_some(), now, lag, used_cost, requests),
            // Nobody waits for units, whose they are is no matter.
            None => used_cost.saturating_sub(self.scheduler.held()),
        };
        match asked_at {
            Some(asked_at) => self.scheduler.set_requested_external_usage(
                outside,
                asked_at.into_std(),
                now.into_std(),
            ),
            None => self.scheduler.set_external_usage(outside, now.into_std()),
        }
        self.told = Some((outside, now));
        self.doubt_at = Some(now + SNAPSHOT_BELIEVED);
        self.trials.try_outside(None);
    }

    fn outside(
        &mut self,
        is_asked: bool,
        now: Instant,
        lag: Duration,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
    ) -> u32 {
        self.forget_ended(now);
        let running = self.running.values().map(|own| (own, None));
        let ended = self
            .ended
            .iter()
            .map(|(own, at)| (own, Some(at.into_std())));
        let ours = running.chain(ended).map(|(own, ended_at)| OwnRequest {
            model: &own.model,
            cost: own.cost,
            started_at: own.started_at.into_std(),
            ended_at,
        });
        let ours: Vec<_> = ours.collect();
        let recognition = if is_asked {
            &mut self.asked
        } else {
            &mut self.feed
        };
        recognition.outside(
            &Snapshot {
                received_at: now.into_std(),
                lag,
                used_cost,
                requests,
            },
            &ours,
        )
    }

    /// What was last said is too old. If that was a refusal, the last snapshot counts again, for as
    /// long as it is believed; and if there is none, a single request tries whether it is still so.
    fn doubt(&mut self, now: Instant) {
        let told = self
            .told
            .map(|(outside, at)| (outside, at + SNAPSHOT_BELIEVED))
            .filter(|(_, until)| *until > now);
        self.doubt_at = told.map(|(_, until)| until);
        if told.is_none() && self.scheduler.is_external_usage_from_refusal() {
            self.trials.try_outside(Some(now.into_std()));
        } else {
            self.forget_refusals(told.map_or(0, |(outside, _)| outside));
        }
    }

    /// What refusals said doesn't count any more, but for a limit that nobody else tells of.
    fn forget_refusals(&mut self, outside: u32) {
        self.scheduler.reset_external_usage(outside);
        if self.plan.bounds().capacity.is_some() {
            self.refusal_limit = None;
            self.scheduler.set_capacity_from_refusal(None);
        }
    }

    /// A snapshot comes every two seconds and clears this; without one nobody needs it.
    fn forget_ended(&mut self, now: Instant) {
        while self
            .ended
            .front()
            .is_some_and(|(_, ended_at)| now.duration_since(*ended_at) > LAG)
        {
            self.ended.pop_front();
        }
    }
}
