//! The scheduler: what happens to it, and what it decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use self::{
    bypassed::BypassedRequests,
    cooldown::Cooldown,
    fair_queue::{CreditAccrual, FairQueue},
    headroom::Headroom,
    service_time::{ServiceStats, Work},
};
use super::{
    request::{EnqueueError, KeyId, PerPriority, PermitRequest, Priority, Ticket},
    settings::Settings,
};

mod bypassed;
mod cooldown;
mod fair_queue;
mod headroom;
mod key_queue;
mod parked;
mod release;
mod selection;
mod service_time;
mod status;

/// A key is billed for no more than so much time when its request starts; for what it takes beyond,
/// when it has ended. What was a key's usual until lately says little of its next requests.
const BILLED_MAX: Duration = Duration::from_secs(60);

/// The queue for one account's units. Whatever happened, ask [`Self::start`] until it says that
/// nobody may start.
#[derive(Debug)]
pub struct Scheduler {
    settings: Settings,
    /// The units of the plan.
    capacity: Option<u32>,
    /// The units that the plan surely doesn't exceed: what costs more never starts. No less than
    /// `capacity`.
    capacity_max: Option<u32>,
    /// What a refusal said that they are.
    refused_capacity: Option<u32>,
    /// Somebody has come back who may be too dear for the plan by now.
    may_not_fit: bool,
    tickets: u64,
    waiting: BTreeMap<Ticket, Waiter>,
    /// Those who wait outside the queue, and keep their places.
    aside: BTreeMap<Ticket, Waiter>,
    /// The sum of the costs of all who wait.
    waiting_units: u64,
    classes: PerPriority<FairQueue>,
    passed_over: BypassedRequests,
    deadlines: BTreeSet<(Instant, Ticket)>,
    running: BTreeMap<Ticket, Running>,
    in_use: u32,
    settling: Cooldown,
    guard: Headroom,
    accounts: BTreeMap<KeyId, Account>,
    pace: ServiceStats,
    /// What units were last kept for, while nobody else has had them.
    kept_for: Option<Reservation>,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ask: PermitRequest,
    arrived: Instant,
    /// When it is due, if it was passed over.
    due: Option<Instant>,
    /// It had started before, and upstream refused it.
    is_back: bool,
}

#[derive(Debug)]
struct Running {
    waiter: Waiter,
    started: Instant,
    /// What the other classes are owed for it.
    owed: PerPriority<CreditAccrual>,
    /// What its key was charged.
    billed: Work,
    /// What [`FairQueue::contended`] was when it started.
    contended: Duration,
    /// What its class could demand before it started.
    claims: (Work, Work),
}

/// What there is to tell of a key.
#[derive(Debug, Default)]
struct Account {
    weight: u32,
    in_use: u32,
    /// How many of its requests wait outside the queue.
    aside: usize,
    /// By requests that have ended.
    granted: Work,
}

/// Room that was kept.
#[derive(Clone, Copy, Debug)]
struct Reservation {
    cost: u32,
    /// How much may still be started in it out of turn.
    left: Work,
}

/// The units there are for us.
#[derive(Clone, Copy, Debug)]
struct Availability {
    /// What outsiders leave of the plan.
    whole: u32,
    /// What of it our requests hold.
    held: u32,
    /// What of it may be started on now.
    free: u32,
}

impl Scheduler {
    /// One without a bound, until [`Self::set_capacity`] sets it.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            capacity: None,
            capacity_max: None,
            refused_capacity: None,
            may_not_fit: false,
            tickets: 0,
            waiting: BTreeMap::new(),
            aside: BTreeMap::new(),
            waiting_units: 0,
            classes: PerPriority::default(),
            passed_over: BypassedRequests::default(),
            deadlines: BTreeSet::new(),
            running: BTreeMap::new(),
            in_use: 0,
            settling: Cooldown::default(),
            guard: Headroom::default(),
            accounts: BTreeMap::new(),
            pace: ServiceStats::default(),
            kept_for: None,
        }
    }

    /// How many units the plan has; none: no bound is known, everything starts at once. With fewer
    /// than are in use, nothing starts until it fits. Returned are those who now can never start:
    /// they wait no longer.
    ///
    /// A number replaces what a refusal told. That nothing is known doesn't.
    #[must_use = "those who never fit have left the queue and have to be told"]
    pub fn set_capacity(&mut self, capacity: Option<u32>, now: Instant) -> Vec<Ticket> {
        self.set_unconfirmed_capacity(capacity, capacity, now)
    }

    /// The same where only `most` is sure (none: nothing is), while requests are started on
    /// `capacity`. Those who cost more than `capacity` and no more than `most` wait: it may have
    /// been said by mistake.
    #[must_use = "those who never fit have left the queue and have to be told"]
    pub fn set_unconfirmed_capacity(
        &mut self,
        capacity: Option<u32>,
        most: Option<u32>,
        now: Instant,
    ) -> Vec<Ticket> {
        if capacity.is_some() {
            self.refused_capacity = None;
        }
        self.capacity = capacity;
        if std::mem::replace(&mut self.capacity_max, most) == most && !self.may_not_fit {
            return Vec::new();
        }
        self.may_not_fit = false;
        let most = most.unwrap_or(u32::MAX);
        let waiting = self.waiting.iter().chain(&self.aside);
        let never: Vec<_> = waiting
            .filter(|(_, waiter)| waiter.ask.cost > most)
            .map(|(&ticket, _)| ticket)
            .collect();
        for &ticket in &never {
            self.leave(ticket, now);
        }
        never
    }

    /// How many units the plan has by a refusal, or none to go by what [`Self::set_capacity`] said.
    /// A refusal may have meant something else, so that those who don't fit wait for now.
    pub fn set_capacity_from_refusal(&mut self, capacity: Option<u32>) {
        self.refused_capacity = capacity;
    }

    /// How many units other processes of the account hold, by a snapshot that has just arrived.
    pub fn set_external_usage(&mut self, outside: u32, now: Instant) {
        self.guard.tell(outside, None, now);
    }

    /// How many units other processes of the account hold, by a snapshot that was asked for at that
    /// time and has just arrived.
    pub fn set_requested_external_usage(&mut self, outside: u32, asked_at: Instant, now: Instant) {
        self.guard.tell(outside, Some(asked_at), now);
    }

    /// How many units other processes of the account hold, by a refusal that has just arrived. A
    /// refusal tells of the moment itself: a snapshot that comes soon after can be older, and is
    /// not believed if it tells of fewer.
    pub fn set_external_usage_from_refusal(&mut self, outside: u32, now: Instant) {
        self.guard.refuse(outside, now);
    }

    /// Whether what others hold is known by a refusal's word alone.
    pub fn is_external_usage_from_refusal(&self) -> bool {
        self.guard.is_by_refusal() && self.guard.outside() > 0
    }

    /// How many units other processes may hold, now that what was last said of them is too old to
    /// be believed.
    pub fn reset_external_usage(&mut self, outside: u32) {
        self.guard.doubt(outside);
    }

    /// A request comes, and waits, be it only for the next [`Self::start`].
    ///
    /// # Errors
    ///
    /// If it may not even wait. One that can start at once is refused only if it doesn't fit into
    /// the plan. One is refused as too late only if the estimate is backed by observation, and
    /// clearly beyond the deadline.
    pub fn enqueue(&mut self, now: Instant, ask: PermitRequest) -> Result<Ticket, EnqueueError> {
        let ask = PermitRequest {
            weight: ask.weight.max(1),
            ..ask
        };
        self.fits(&ask)?;
        if !self.would_start(now, ask.cost) {
            self.admit(now, &ask)?;
        }
        let (ticket, waiter) = self.join(now, ask);
        self.wait(ticket, waiter, now);
        Ok(ticket)
    }

    fn fits(&self, ask: &PermitRequest) -> Result<(), EnqueueError> {
        match self.capacity_max {
            Some(capacity) if ask.cost > capacity => Err(EnqueueError::ExceedsPlan {
                cost: ask.cost,
                capacity,
            }),
            _ => Ok(()),
        }
    }

    fn join(&mut self, now: Instant, ask: PermitRequest) -> (Ticket, Waiter) {
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        self.accounts.entry(ask.key).or_default().weight = ask.weight;
        (
            ticket,
            Waiter {
                ask,
                arrived: now,
                due: None,
                is_back: false,
            },
        )
    }

    /// Who starts now, if anybody may: it runs from now on, and holds its units until
    /// [`Self::release`].
    pub fn start(&mut self, now: Instant) -> Option<Ticket> {
        self.settle(now);
        let room = self.room(now);
        let Some(ticket) = self.choose(room, now) else {
            let is_held_up = self.is_held_up(room, now)
                || (self.guard.is_by_refusal() && !self.waiting.is_empty())
                || self.has_request_above_unconfirmed_capacity();
            self.guard.want(is_held_up, now);
            return None;
        };
        self.begin(ticket, now);
        Some(ticket)
    }

    /// Whether the guard against outsiders, a refusal's word, or a capacity that only one message
    /// told, kept the last [`Self::start`] from starting a request: a snapshot asked for now would
    /// tell.
    pub fn wants_snapshot(&self) -> bool {
        self.guard.is_wanting()
    }

    /// One that waits goes away. The others keep their order. False if it didn't wait.
    pub fn leave(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.give_up(ticket, now)
            .or_else(|| self.unset_aside(ticket))
            .is_some()
    }

    /// Those whose deadline has passed while they waited: they wait no longer.
    #[must_use = "those who are too late have left the queue and have to be told"]
    pub fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        let mut late = Vec::new();
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.leave(ticket, now);
            late.push(ticket);
        }
        late
    }

    /// When time alone will change something, if nothing happens before: units have settled, a
    /// deadline has passed, or there is no use in waiting for a snapshot any more. That somebody
    /// becomes due lets nobody start.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|&(deadline, _)| deadline);
        let unguarded = self
            .guard
            .down_at(now, self.settings.headroom)
            .filter(|_| !self.waiting.is_empty());
        [self.settling.next(), deadline, unguarded]
            .into_iter()
            .flatten()
            .min()
    }

    /// The units our requests hold, those included that have ended and not yet settled.
    pub fn held(&self) -> u32 {
        self.in_use.saturating_add(self.settling.units())
    }

    fn begin(&mut self, ticket: Ticket, now: Instant) {
        let Some(ask) = self.waiting.get(&ticket).map(|waiter| waiter.ask) else {
            return;
        };
        let paid = self.expected(ask.priority, ask.key, ask.cost);
        let billed = paid.min(Work::of(ask.cost, BILLED_MAX));
        let whole = self.whole();
        let class = self.classes.of_mut(ask.priority);
        class.count_to(now);
        let claims = class.claims();
        class.charge(ask.key, billed, whole);
        let Some(waiter) = self.unwait(ticket, now) else {
            return;
        };
        let class = self.classes.of_mut(ask.priority);
        class.hold(ask.key, ask.cost);
        if waiter.due.is_some_and(|due| due <= now) {
            class.make_up(paid);
            let left = Work::of(whole, self.patience(ask.priority, ask.cost, whole))
                .share(self.settings.reservation_reuse_share);
            self.kept_for = Some(Reservation {
                cost: ask.cost,
                left,
            });
        }
        let mut owed = PerPriority::<CreditAccrual>::default();
        for priority in Priority::ALL {
            let class = self.classes.of_mut(priority);
            if priority == ask.priority {
                class.pay(paid);
            } else {
                *owed.of_mut(priority) = class.owe(paid, *self.settings.credit_share.of(priority));
            }
        }
        self.in_use = self.in_use.saturating_add(ask.cost);
        self.guard.take(ask.cost);
        if let Some(account) = self.accounts.get_mut(&ask.key) {
            account.in_use = account.in_use.saturating_add(ask.cost);
        }
        if !waiter.is_back {
            self.pace
                .waited(now, now.saturating_duration_since(waiter.arrived));
        }
        let contended = self.classes.of(ask.priority).contended(ask.key);
        self.running.insert(
            ticket,
            Running {
                waiter,
                started: now,
                owed,
                billed,
                contended,
                claims,
            },
        );
    }

    fn wait(&mut self, ticket: Ticket, waiter: Waiter, now: Instant) {
        let ask = waiter.ask;
        let class = self.classes.of_mut(ask.priority);
        class.count_to(now);
        class.push(ask.key, ask.weight, ticket, ask.cost, now);
        self.waiting_units += u64::from(ask.cost);
        if let Some(deadline) = ask.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        if let Some(due) = waiter.due {
            self.passed_over.insert(due, ticket, ask.cost);
        }
        self.waiting.insert(ticket, waiter);
    }

    fn unwait(&mut self, ticket: Ticket, now: Instant) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        let ask = waiter.ask;
        let class = self.classes.of_mut(ask.priority);
        class.count_to(now);
        class.remove(ask.key, ticket, ask.cost);
        self.waiting_units -= u64::from(ask.cost);
        if let Some(deadline) = ask.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(due) = waiter.due {
            self.passed_over.remove(due, ticket, ask.cost);
        }
        Some(waiter)
    }

    /// One leaves the queue that has not been served.
    fn give_up(&mut self, ticket: Ticket, now: Instant) -> Option<Waiter> {
        let waiter = self.unwait(ticket, now)?;
        self.classes.of_mut(waiter.ask.priority).given_up(now);
        Some(waiter)
    }

    fn settle(&mut self, now: Instant) {
        while let Some((since, units)) = self.settling.pop(now) {
            self.guard.hand_over(units, since);
        }
    }

    fn room(&self, now: Instant) -> Availability {
        let whole = self.whole();
        if self.units().is_none() {
            return Availability {
                whole,
                held: 0,
                free: whole,
            };
        }
        let held = self.held();
        let ceiling = self.guard.ceiling(now, whole, held, self.settings.headroom);
        Availability {
            whole,
            held,
            free: ceiling.saturating_sub(held),
        }
    }

    fn whole(&self) -> u32 {
        self.units()
            .map_or(u32::MAX, |units| units.saturating_sub(self.guard.outside()))
    }

    /// The units of the plan, as far as is known; none for no bound.
    pub fn units(&self) -> Option<u32> {
        [self.capacity, self.refused_capacity]
            .into_iter()
            .flatten()
            .min()
    }
}

#[cfg(test)]
mod tests;
