//! The scheduler's data, and the bookkeeping that every operation uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use super::{
    bypassed::BypassedRequests,
    claims::{Claims, CreditAccrual},
    cooldown::Cooldown,
    fair_queue::FairQueue,
    headroom::Headroom,
    service_time::ServiceStats,
    work::Work,
};
use crate::admission::{
    request::{KeyId, PerPriority, PermitRequest, Priority, Ticket},
    settings::Settings,
};

/// The queue for one account's units.
///
/// The caller tells it what happens and what time it is. After every change, call [`Self::start`]
/// until it returns `None`.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use featherwire::admission::{Caller, KeyId, PermitRequest, Scheduler, Settings};
///
/// let now = Instant::now();
/// let mut scheduler = Scheduler::new(Settings::default());
/// let rejected = scheduler.set_capacity(Some(1), now);
/// assert!(rejected.is_empty());
/// let request = PermitRequest::new(Caller { key: KeyId(0), weight: 1 }, 1);
/// let first = scheduler.enqueue(now, request).unwrap();
/// let second = scheduler.enqueue(now, request).unwrap();
/// assert_eq!(scheduler.start(now), Some(first));
/// assert_eq!(scheduler.start(now), None, "the plan has one unit");
/// scheduler.release(first, now, Duration::ZERO);
/// assert_eq!(scheduler.start(now), Some(second));
/// ```
#[derive(Debug)]
pub struct Scheduler {
    pub(super) settings: Settings,
    /// The units of the plan, as the last message says.
    pub(super) capacity: Option<u32>,
    /// The units that the plan certainly does not exceed. A request that costs more can never
    /// start. Not less than `capacity`.
    pub(super) confirmed_capacity: Option<u32>,
    /// The units of the plan, as a refusal says.
    pub(super) refusal_capacity: Option<u32>,
    /// A request that ran is waiting again. Its cost may exceed `confirmed_capacity`, which may
    /// have changed since the request came.
    pub(super) must_recheck_costs: bool,
    pub(super) next_ticket: u64,
    pub(super) waiting: BTreeMap<Ticket, WaitingRequest>,
    /// Requests that wait outside the queue. They keep their position.
    pub(super) parked: BTreeMap<Ticket, WaitingRequest>,
    /// The sum of the costs in `waiting`.
    pub(super) waiting_units: u64,
    pub(super) queues: PerPriority<FairQueue>,
    pub(super) bypassed: BypassedRequests,
    pub(super) deadlines: BTreeSet<(Instant, Ticket)>,
    pub(super) running: BTreeMap<Ticket, RunningRequest>,
    pub(super) in_use: u32,
    pub(super) cooldown: Cooldown,
    pub(super) headroom: Headroom,
    pub(super) accounts: BTreeMap<KeyId, KeyAccount>,
    /// The keys with requests that are held back.
    pub(super) keys_held_back: BTreeSet<KeyId>,
    pub(super) stats: ServiceStats,
    /// The last reservation, as long as it can be reused.
    pub(super) reservation: Option<Reservation>,
}

/// A request in the queue, or parked.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitingRequest {
    pub(super) request: PermitRequest,
    pub(super) arrived: Instant,
    /// When it is due, if it was bypassed.
    pub(super) due_at: Option<Instant>,
    /// It ran before, and waits again.
    pub(super) has_run: bool,
}

/// A request that holds units.
#[derive(Debug)]
pub(super) struct RunningRequest {
    pub(super) waiting: WaitingRequest,
    pub(super) started: Instant,
    /// The credit that other classes accrued for its start.
    pub(super) accruals: PerPriority<CreditAccrual>,
    /// The expected work that its key was charged for.
    pub(super) charged: Work,
    /// [`FairQueue::contended_time`] of its key at the start.
    pub(super) contended_before: Duration,
    /// The claims of its class before the start.
    pub(super) claims_before: Claims,
}

/// The figures of one key.
#[derive(Debug, Default)]
pub(super) struct KeyAccount {
    pub(super) weight: u32,
    pub(super) in_use: u32,
    /// The sum of the costs of its requests in the queue.
    pub(super) queued_units: u32,
    /// The number of its parked requests.
    pub(super) parked: usize,
    /// The parked requests that wait for units of the key itself, in their order.
    pub(super) held_back: BTreeSet<(Priority, Ticket)>,
    /// The work of its requests that have ended.
    pub(super) finished_work: Work,
}

impl KeyAccount {
    /// Whether a request that costs `cost` may come into the queue, if the key may hold `units_max`.
    /// An estimated cost may be above that; such a request runs alone.
    pub(super) fn has_room_for(&self, cost: u32, units_max: u32) -> bool {
        let taken = self.in_use.saturating_add(self.queued_units);
        taken.saturating_add(cost.min(units_max)) <= units_max
    }
}

/// Units that were reserved for a due request. Reserved units are expensive, so after the due
/// request has started, other requests of at least the same cost may follow on the same units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reservation {
    pub(super) cost: u32,
    /// The work that may still start on it out of order.
    pub(super) remaining: Work,
}

/// The units that the gateway can use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Availability {
    /// The units of the plan that external usage leaves.
    pub(super) usable: u32,
    /// How many of them the gateway's requests hold.
    pub(super) held: u32,
    /// How many of them may be given out now.
    pub(super) free: u32,
}

impl Scheduler {
    /// A scheduler without a limit, until [`Self::set_capacity`] sets one.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            capacity: None,
            confirmed_capacity: None,
            refusal_capacity: None,
            must_recheck_costs: false,
            next_ticket: 0,
            waiting: BTreeMap::new(),
            parked: BTreeMap::new(),
            waiting_units: 0,
            queues: PerPriority::default(),
            bypassed: BypassedRequests::default(),
            deadlines: BTreeSet::new(),
            running: BTreeMap::new(),
            in_use: 0,
            cooldown: Cooldown::default(),
            headroom: Headroom::default(),
            accounts: BTreeMap::new(),
            keys_held_back: BTreeSet::new(),
            stats: ServiceStats::default(),
            reservation: None,
        }
    }

    /// How it decides.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The units of the plan, as far as is known; `None` if no limit is known.
    pub fn units(&self) -> Option<u32> {
        [self.capacity, self.refusal_capacity]
            .into_iter()
            .flatten()
            .min()
    }

    /// The units that the gateway's requests hold. Includes the units of cancelled requests whose
    /// cooldown has not ended.
    pub fn held(&self) -> u32 {
        self.in_use.saturating_add(self.cooldown.units())
    }

    /// Removes a waiting request. The others keep their order. Returns `false` if it does not wait.
    pub fn remove(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.cancel_waiting(ticket, now)
            .or_else(|| self.take_parked(ticket))
            .is_some()
    }

    /// The units that external usage leaves of the plan.
    pub(super) fn usable(&self) -> u32 {
        self.units().map_or(u32::MAX, |units| {
            units.saturating_sub(self.headroom.external_units())
        })
    }

    /// Whether units are free, as far as is known.
    pub fn has_free_units(&self) -> bool {
        self.held() < self.usable()
    }

    pub(super) fn availability(&self, now: Instant) -> Availability {
        let usable = self.usable();
        if self.units().is_none() {
            return Availability {
                usable,
                held: 0,
                free: usable,
            };
        }
        let held = self.held();
        let headroom = self.settings.headroom;
        let ceiling = self.headroom.ceiling(now, usable, held, headroom);
        Availability {
            usable,
            held,
            free: ceiling.saturating_sub(held),
        }
    }

    /// Frees the units whose cooldown has ended.
    pub fn end_cooldowns(&mut self, now: Instant) {
        while let Some((since, units)) = self.cooldown.pop(now) {
            self.headroom.record_release(units, since);
        }
    }

    /// Puts a request into the queue, at the position of its ticket.
    pub(super) fn insert_waiting(&mut self, ticket: Ticket, waiting: WaitingRequest, now: Instant) {
        let PermitRequest {
            caller,
            priority,
            cost,
            deadline,
            ..
        } = waiting.request;
        let queue = self.queues.of_mut(priority);
        queue.count_contended_time(now);
        queue.push(caller, ticket, cost, now);
        let account = self.accounts.entry(caller.key).or_default();
        account.queued_units = account.queued_units.saturating_add(cost);
        self.waiting_units += u64::from(cost);
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, ticket));
        }
        if let Some(due_at) = waiting.due_at {
            self.bypassed.insert(due_at, ticket, cost);
        }
        self.waiting.insert(ticket, waiting);
    }

    /// Takes a request out of the queue.
    pub(super) fn take_waiting(&mut self, ticket: Ticket, now: Instant) -> Option<WaitingRequest> {
        let waiting = self.waiting.remove(&ticket)?;
        let PermitRequest {
            caller,
            priority,
            cost,
            deadline,
            ..
        } = waiting.request;
        let queue = self.queues.of_mut(priority);
        queue.count_contended_time(now);
        queue.remove(caller.key, ticket, cost);
        if let Some(account) = self.accounts.get_mut(&caller.key) {
            account.queued_units = account.queued_units.saturating_sub(cost);
        }
        self.waiting_units -= u64::from(cost);
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(due_at) = waiting.due_at {
            self.bypassed.remove(due_at, ticket, cost);
        }
        Some(waiting)
    }

    /// Takes a request out of the queue that will not start now.
    pub(super) fn cancel_waiting(
        &mut self,
        ticket: Ticket,
        now: Instant,
    ) -> Option<WaitingRequest> {
        let waiting = self.take_waiting(ticket, now)?;
        let priority = waiting.request.priority;
        self.queues.of_mut(priority).record_cancelled(now);
        Some(waiting)
    }

    pub(super) fn insert_parked(&mut self, ticket: Ticket, waiting: WaitingRequest) {
        let PermitRequest {
            caller, deadline, ..
        } = waiting.request;
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, ticket));
        }
        self.accounts.entry(caller.key).or_default().parked += 1;
        self.parked.insert(ticket, waiting);
    }

    pub(super) fn take_parked(&mut self, ticket: Ticket) -> Option<WaitingRequest> {
        let waiting = self.parked.remove(&ticket)?;
        let PermitRequest {
            caller,
            priority,
            deadline,
            ..
        } = waiting.request;
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(account) = self.accounts.get_mut(&caller.key) {
            account.parked -= 1;
            account.held_back.remove(&(priority, ticket));
        }
        Some(waiting)
    }
}
