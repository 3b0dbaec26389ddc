//! The largest number of units that one key's requests may hold at once.
//!
//! A request of a key at its limit is *held back*: it is parked, so it blocks nobody, counts as
//! waiting, and its deadline applies. Units in use and the costs of the key's requests in the queue
//! count together, so that all requests in the queue may start. When there is room again, the key's
//! requests come into the queue in the order of their classes, and in a class in the order in which
//! they came. None of them bypasses another.

use std::time::Instant;

use super::state::{Scheduler, WaitingRequest};
use crate::admission::request::{EnqueueError, KeyId, PermitRequest, Ticket};

impl Scheduler {
    /// Puts a request into the queue, or holds it back.
    pub(super) fn insert_waiting_or_hold_back(
        &mut self,
        ticket: Ticket,
        waiting: WaitingRequest,
        now: Instant,
    ) {
        let request = &waiting.request;
        if !self.must_be_held_back(request, Some(ticket)) {
            self.insert_waiting(ticket, waiting, now);
            return;
        }
        let key = request.caller.key;
        let rank = (request.priority, ticket);
        self.insert_parked(ticket, waiting);
        if let Some(account) = self.accounts.get_mut(&key) {
            account.held_back.insert(rank);
        }
        self.keys_held_back.insert(key);
    }

    /// Whether a request must wait for units of its own key. `ticket` is `None` for a new request.
    pub(super) fn must_be_held_back(
        &self,
        request: &PermitRequest,
        ticket: Option<Ticket>,
    ) -> bool {
        let Some(units_max) = request.units_max else {
            return false;
        };
        let Some(account) = self.accounts.get(&request.caller.key) else {
            return false;
        };
        let is_after_another = account.held_back.first().is_some_and(|&(priority, first)| {
            (priority, Some(first)) < (request.priority, ticket.or(Some(Ticket(u64::MAX))))
        });
        is_after_another || !account.has_room_for(request.cost, units_max)
    }

    /// Checks that a request does not cost more than its key may ever hold. An estimate may be
    /// wrong, so it is not refused.
    pub(super) fn check_key_limit(&self, request: &PermitRequest) -> Result<(), EnqueueError> {
        match request.units_max {
            Some(units_max) if request.cost > units_max && !request.is_cost_estimated => {
                Err(EnqueueError::ExceedsKey {
                    cost: request.cost,
                    units_max,
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether a request is held back.
    pub(super) fn is_held_back(&self, ticket: Ticket) -> bool {
        let Some(PermitRequest {
            caller, priority, ..
        }) = self.parked.get(&ticket).map(|parked| parked.request)
        else {
            return false;
        };
        let account = self.accounts.get(&caller.key);
        account.is_some_and(|account| account.held_back.contains(&(priority, ticket)))
    }

    /// Puts the requests into the queue that their keys have room for again.
    pub(super) fn admit_held_back(&mut self, now: Instant) {
        if self.keys_held_back.is_empty() {
            return;
        }
        let keys: Vec<KeyId> = self.keys_held_back.iter().copied().collect();
        for key in keys {
            while let Some(ticket) = self.next_held_back(key) {
                let Some(waiting) = self.take_parked(ticket) else {
                    break;
                };
                self.insert_waiting(ticket, waiting, now);
            }
            let has_more = |key| {
                let account = self.accounts.get(key);
                account.is_some_and(|account| !account.held_back.is_empty())
            };
            if !has_more(&key) {
                self.keys_held_back.remove(&key);
            }
        }
    }

    /// The first request of `key` that is held back, if there is room for it.
    fn next_held_back(&self, key: KeyId) -> Option<Ticket> {
        let account = self.accounts.get(&key)?;
        let &(_, ticket) = account.held_back.first()?;
        let request = self.parked.get(&ticket)?.request;
        let has_room = request
            .units_max
            .is_none_or(|units_max| account.has_room_for(request.cost, units_max));
        has_room.then_some(ticket)
    }
}
