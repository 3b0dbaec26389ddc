//! Those who wait outside the queue: they hold up nobody, and keep their places. And those who are
//! let through though units for them are not known to be free.

use std::time::Instant;

use super::{Scheduler, Waiter};
use crate::admission::request::{EnqueueError, PermitRequest, Priority, Ticket};

impl Scheduler {
    /// A request comes that may not start yet, whatever is free: it waits aside.
    ///
    /// # Errors
    /// If it may not even wait, as in [`Self::enqueue`]. Those aside count among those who wait.
    pub fn enqueue_parked(
        &mut self,
        now: Instant,
        ask: PermitRequest,
    ) -> Result<Ticket, EnqueueError> {
        let ask = PermitRequest {
            weight: ask.weight.max(1),
            ..ask
        };
        self.fits(&ask)?;
        self.admit(now, &ask)?;
        let (ticket, waiter) = self.join(now, ask);
        self.set_aside(ticket, waiter);
        Ok(ticket)
    }

    /// A request that waits leaves the queue for a while. It still waits: its deadline counts, and
    /// it counts among those who wait. False if it wasn't in the queue.
    pub fn step_aside(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(waiter) = self.give_up(ticket, now) else {
            return false;
        };
        self.set_aside(ticket, waiter);
        true
    }

    /// A request that stepped aside takes its place in the queue again: before all of its queue
    /// that came after it. False if it wasn't aside.
    pub fn unpark(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(waiter) = self.unset_aside(ticket) else {
            return false;
        };
        self.wait(ticket, waiter, now);
        true
    }

    /// The cost of a request that waits turned out to be something else. False if it doesn't wait.
    pub fn set_cost(&mut self, ticket: Ticket, cost: u32, now: Instant) -> bool {
        let with = |waiter: Waiter| Waiter {
            ask: PermitRequest { cost, ..waiter.ask },
            ..waiter
        };
        if let Some(waiter) = self.give_up(ticket, now) {
            self.wait(ticket, with(waiter), now);
        } else if let Some(waiter) = self.unset_aside(ticket) {
            self.set_aside(ticket, with(waiter));
        } else {
            return false;
        }
        true
    }

    /// The next in order starts though units for it are not known to be free: upstream's answer
    /// will tell. It fits into the plan beside what our requests hold; or, if only refusals told of
    /// the plan, into that unless `beyond`.
    pub fn start_probe(&mut self, now: Instant, beyond: bool) -> Option<Ticket> {
        self.settle(now);
        let units = self.capacity.or(self.refused_capacity.filter(|_| !beyond));
        let left = units.map_or(u32::MAX, |units| units.saturating_sub(self.held()));
        let due = self
            .passed_over
            .first_due(now, left)
            .map(|(ticket, _)| ticket);
        let ticket = due.or_else(|| Some(self.next(left, left)?.1.ticket))?;
        self.begin(ticket, now);
        Some(ticket)
    }

    /// Whether a request waits only because a single message, which may be a mistake, told of a
    /// smaller plan than it needs.
    pub(super) fn has_request_above_unconfirmed_capacity(&self) -> bool {
        let (Some(capacity), None) = (self.capacity, self.capacity_max) else {
            return false;
        };
        Priority::ALL.iter().any(|&priority| {
            self.classes
                .of(priority)
                .cost_max()
                .is_some_and(|cost| cost > capacity)
        })
    }

    pub(super) fn set_aside(&mut self, ticket: Ticket, waiter: Waiter) {
        if let Some(deadline) = waiter.ask.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        self.accounts.entry(waiter.ask.key).or_default().aside += 1;
        self.aside.insert(ticket, waiter);
    }

    pub(super) fn unset_aside(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.aside.remove(&ticket)?;
        if let Some(deadline) = waiter.ask.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        if let Some(account) = self.accounts.get_mut(&waiter.ask.key) {
            account.aside -= 1;
        }
        Some(waiter)
    }

    /// How many wait, in the queue and aside.
    pub(super) fn waiting_in_all(&self) -> usize {
        self.waiting.len() + self.aside.len()
    }
}
