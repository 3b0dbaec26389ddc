//! How requests come into the queue, leave it for a while, and leave it for good without a start.

use std::time::{Duration, Instant};

use super::state::{Scheduler, WaitingRequest};
use crate::admission::request::{Caller, EnqueueError, PermitRequest, Ticket};

/// A request is rejected as too late only if its deadline is before its estimated wait divided by
/// this number. The estimate is an average: about half of the requests wait for less time. A wrong
/// rejection costs an answer; a useless place in the queue costs nothing.
const TOO_LATE_MARGIN: u32 = 2;

/// The bounds of the `retry_after` of a full queue.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Adds a request to the queue. It waits at least until the next [`Self::start`].
    ///
    /// # Errors
    ///
    /// - [`EnqueueError::ExceedsPlan`] if it costs more than the plan certainly has.
    /// - [`EnqueueError::ExceedsKey`] if it costs more than its key may hold.
    /// - [`EnqueueError::QueueFull`] if it cannot start at once and the queue, or the key's part of
    ///   it, is full.
    /// - [`EnqueueError::TooLate`] if it cannot start at once, and its deadline has passed or is
    ///   clearly before its estimated start. Before enough requests have ended, there is no
    ///   estimate.
    pub fn enqueue(
        &mut self,
        now: Instant,
        request: PermitRequest,
    ) -> Result<Ticket, EnqueueError> {
        self.enqueue_since(now, now, request)
    }

    /// As [`Self::enqueue`], for a request that has been waiting since `since`, elsewhere. Its
    /// position is behind the requests that are in the queue already.
    ///
    /// # Errors
    ///
    /// As in [`Self::enqueue`].
    pub fn enqueue_since(
        &mut self,
        now: Instant,
        since: Instant,
        request: PermitRequest,
    ) -> Result<Ticket, EnqueueError> {
        let request = with_positive_weight(request);
        self.check_plan(&request)?;
        self.check_key_limit(&request)?;
        self.end_cooldowns(now);
        if self.must_be_held_back(&request, None) || !self.can_start_at_once(now, request.cost) {
            self.check_queue(now, &request)?;
        }
        let (ticket, waiting) = self.new_waiting(since, request);
        self.insert_waiting_or_hold_back(ticket, waiting, now);
        Ok(ticket)
    }

    /// Adds a request that must not start yet, even if units are free. It is parked until
    /// [`Self::unpark`]. It has been waiting since `since`.
    ///
    /// # Errors
    ///
    /// As in [`Self::enqueue`]. Parked requests count as waiting.
    pub fn enqueue_parked(
        &mut self,
        now: Instant,
        since: Instant,
        request: PermitRequest,
    ) -> Result<Ticket, EnqueueError> {
        let request = with_positive_weight(request);
        self.check_plan(&request)?;
        self.check_key_limit(&request)?;
        self.check_queue(now, &request)?;
        let (ticket, waiting) = self.new_waiting(since, request);
        self.insert_parked(ticket, waiting);
        Ok(ticket)
    }

    /// Takes a request out of the queue for a while. It does not block other requests, but it still
    /// counts as waiting, and its deadline applies. Returns `false` if it is not in the queue.
    pub fn park(&mut self, ticket: Ticket, now: Instant) -> bool {
        let waiting = match self.cancel_waiting(ticket, now) {
            Some(waiting) => waiting,
            // A request that is held back stays parked for longer.
            None if self.is_held_back(ticket) => match self.take_parked(ticket) {
                Some(waiting) => waiting,
                None => return false,
            },
            None => return false,
        };
        self.insert_parked(ticket, waiting);
        true
    }

    /// Puts a parked request back into the queue, before all requests of the same key, class and
    /// cost that came after it. Returns `false` if it is not parked.
    pub fn unpark(&mut self, ticket: Ticket, now: Instant) -> bool {
        let Some(waiting) = self.take_parked(ticket) else {
            return false;
        };
        self.insert_waiting_or_hold_back(ticket, waiting, now);
        true
    }

    /// Changes the cost of a waiting request. Returns `false` if it does not wait.
    pub fn set_cost(&mut self, ticket: Ticket, cost: u32, now: Instant) -> bool {
        let with_cost = |waiting: WaitingRequest| WaitingRequest {
            request: PermitRequest {
                cost,
                ..waiting.request
            },
            ..waiting
        };
        if let Some(waiting) = self.cancel_waiting(ticket, now) {
            self.insert_waiting_or_hold_back(ticket, with_cost(waiting), now);
        } else if self.is_held_back(ticket) {
            let Some(waiting) = self.take_parked(ticket) else {
                return false;
            };
            self.insert_waiting_or_hold_back(ticket, with_cost(waiting), now);
        } else if let Some(waiting) = self.take_parked(ticket) {
            self.insert_parked(ticket, with_cost(waiting));
        } else {
            return false;
        }
        true
    }

    /// Removes the waiting requests whose deadline has passed, and returns them.
    #[must_use = "the returned requests have left the queue and must be rejected"]
    pub fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        let mut expired = Vec::new();
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.remove(ticket, now);
            expired.push(ticket);
        }
        expired
    }

    pub(super) fn new_waiting(
        &mut self,
        since: Instant,
        request: PermitRequest,
    ) -> (Ticket, WaitingRequest) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let Caller { key, weight } = request.caller;
        self.accounts.entry(key).or_default().weight = weight;
        let waiting = WaitingRequest {
            request,
            arrived: since,
            due_at: None,
            has_run: false,
        };
        (ticket, waiting)
    }

    fn check_plan(&self, request: &PermitRequest) -> Result<(), EnqueueError> {
        match self.confirmed_capacity {
            Some(capacity) if request.cost > capacity => Err(EnqueueError::ExceedsPlan {
                cost: request.cost,
                capacity,
            }),
            _ => Ok(()),
        }
    }

    /// Whether a new request starts at the next [`Self::start`]: if its cost is free, only a due
    /// request could be before it.
    fn can_start_at_once(&self, now: Instant, cost: u32) -> bool {
        let available = self.availability(now);
        cost <= available.free && self.bypassed.first_due(now, available.usable).is_none()
    }

    /// Whether the request may wait.
    fn check_queue(&self, now: Instant, request: &PermitRequest) -> Result<(), EnqueueError> {
        let limit = self.settings.queue_limit;
        let key = request.caller.key;
        let limit_of_key = match request.is_only_key {
            true => limit,
            false => self.settings.queue_limit_per_key,
        };
        if self.waiting.len() + self.parked.len() >= limit || self.queued_of(key) >= limit_of_key {
            let retry_after = self
                .estimate_wait(1, 0, now)
                .clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
            return Err(EnqueueError::QueueFull { limit, retry_after });
        }
        let Some(deadline) = request.deadline else {
            return Ok(());
        };
        let own = self.queues.of(request.priority).queued_of(key);
        let ahead = self.estimate_requests_ahead(request, own);
        let wait = self.estimate_wait(request.cost, ahead, now);
        let is_clearly_late = self.stats.is_reliable() && now + wait / TOO_LATE_MARGIN > deadline;
        if deadline <= now || is_clearly_late {
            Err(EnqueueError::TooLate { wait })
        } else {
            Ok(())
        }
    }
}

pub(super) fn with_positive_weight(request: PermitRequest) -> PermitRequest {
    let Caller { key, weight } = request.caller;
    PermitRequest {
        caller: Caller {
            key,
            weight: weight.max(1),
        },
        ..request
    }
}
