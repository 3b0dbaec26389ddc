//! The scheduler as the leader's queue: a short form of what the gateway has.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use featherwire::{
    admission::{EnqueueError, PermitRequest, Scheduler, Settings, Ticket},
    cluster::{
        message::{Again, End, Units},
        queue::{Arrival, Lost, Outcome, Queue},
    },
};

/// How long the units of a cancelled request are kept back.
const COOLDOWN: Duration = Duration::from_millis(250);

/// The scheduler, and the cost of each of its requests.
pub struct SchedulerQueue {
    scheduler: Scheduler,
    costs: HashMap<Ticket, u32>,
    tells_positions: bool,
}

impl SchedulerQueue {
    /// An empty queue for `capacity` units. With `tells_positions`, the leader tells members how many
    /// requests start before theirs, as it does in the gateway.
    pub fn new(capacity: u32, now: Instant, tells_positions: bool) -> Self {
        let mut scheduler = Scheduler::new(Settings {
            queue_limit: usize::MAX,
            ..Settings::default()
        });
        let _ = scheduler.set_capacity(Some(capacity), now);
        Self {
            scheduler,
            costs: HashMap::new(),
            tells_positions,
        }
    }
}

impl Queue for SchedulerQueue {
    type Request = PermitRequest;
    type Refusal = ();
    type Ticket = Ticket;
    type Error = EnqueueError;

    fn enqueue(
        &mut self,
        now: Instant,
        arrival: Arrival<PermitRequest>,
    ) -> Result<Ticket, EnqueueError> {
        let request = arrival.request;
        let ticket = self.scheduler.enqueue_since(now, arrival.since, request)?;
        self.costs.insert(ticket, request.cost);
        Ok(ticket)
    }

    fn adopt(
        &mut self,
        now: Instant,
        started_at: Instant,
        cost: u32,
        request: PermitRequest,
    ) -> Ticket {
        let request = PermitRequest { cost, ..request };
        let ticket = self.scheduler.adopt(now, started_at, request);
        self.costs.insert(ticket, cost);
        ticket
    }

    fn advance(&mut self, now: Instant, may_start: bool) -> Vec<Outcome<Ticket, EnqueueError>> {
        let mut started = Vec::new();
        while may_start && let Some(ticket) = self.scheduler.start(now) {
            let units = Units {
                cost: self.costs[&ticket],
                tell_admitted: false,
            };
            started.push(Outcome::Started(ticket, units));
        }
        started
    }

    fn put_back(&mut self, now: Instant, ticket: Ticket) {
        self.scheduler.requeue(ticket, now);
    }

    fn wait_again(
        &mut self,
        now: Instant,
        ticket: Ticket,
        _: Arrival<PermitRequest>,
        _: Again<()>,
    ) -> Result<(), EnqueueError> {
        self.scheduler.requeue(ticket, now);
        Ok(())
    }

    fn admitted(&mut self, _: Instant, _: Ticket) {}

    fn remove(&mut self, now: Instant, ticket: Ticket) {
        self.costs.remove(&ticket);
        self.scheduler.remove(ticket, now);
    }

    fn end(&mut self, now: Instant, ticket: Ticket, end: End) {
        self.costs.remove(&ticket);
        let cooldown = match end {
            End::Cancelled => COOLDOWN,
            End::Finished | End::Unsent => Duration::ZERO,
        };
        self.scheduler.release(ticket, now, cooldown);
    }

    fn abandon(&mut self, now: Instant, ticket: Ticket) {
        self.end(now, ticket, End::Cancelled);
    }

    fn units_of(&self, ticket: Ticket) -> u32 {
        self.costs.get(&ticket).copied().unwrap_or_default()
    }

    fn requests_ahead(&self, ticket: Ticket) -> Option<u32> {
        if !self.tells_positions {
            return None;
        }
        let ahead = self.scheduler.requests_ahead(ticket)?;
        u32::try_from(ahead).ok()
    }

    fn leave_to_lost(&mut self, _: Instant, _: Lost) -> bool {
        // Nobody is lost here.
        true
    }
}
