//! The units of the plan, and the units that other processes of the account hold.

use std::time::Instant;

use super::state::Scheduler;
use crate::admission::request::Ticket;

impl Scheduler {
    /// Sets the units of the plan; `None` if no limit is known, and then every request starts at
    /// once. With fewer units than are in use, no request starts until it fits.
    ///
    /// Returns the requests that can never start now. They have left the queue.
    ///
    /// A number replaces what a refusal said. `None` does not.
    #[must_use = "the returned requests have left the queue and must be rejected"]
    pub fn set_capacity(&mut self, capacity: Option<u32>, now: Instant) -> Vec<Ticket> {
        self.set_unconfirmed_capacity(capacity, capacity, now)
    }

    /// Like [`Self::set_capacity`], but only `confirmed` is certain; `None` if nothing is.
    /// `capacity` may be a mistake: requests that cost more than `capacity` and at most `confirmed`
    /// wait.
    #[must_use = "the returned requests have left the queue and must be rejected"]
    pub fn set_unconfirmed_capacity(
        &mut self,
        capacity: Option<u32>,
        confirmed: Option<u32>,
        now: Instant,
    ) -> Vec<Ticket> {
        if capacity.is_some() {
            self.refusal_capacity = None;
        }
        self.capacity = capacity;
        let before = std::mem::replace(&mut self.confirmed_capacity, confirmed);
        if before == confirmed && !self.must_recheck_costs {
            return Vec::new();
        }
        self.must_recheck_costs = false;
        let cost_max = confirmed.unwrap_or(u32::MAX);
        let never_fits: Vec<_> = self
            .waiting
            .iter()
            .chain(&self.parked)
            .filter(|(_, waiting)| waiting.request.cost > cost_max)
            .map(|(&ticket, _)| ticket)
            .collect();
        for &ticket in &never_fits {
            self.remove(ticket, now);
        }
        never_fits
    }

    /// Sets the units of the plan that a refusal names; `None` to use only
    /// [`Self::set_capacity`]. The refusal may mean something else, so requests that do not fit
    /// wait.
    pub fn set_capacity_from_refusal(&mut self, capacity: Option<u32>) {
        self.refusal_capacity = capacity;
    }

    /// Sets the units that other processes hold, from a snapshot of the feed that has just arrived.
    pub fn set_external_usage(&mut self, external_units: u32, now: Instant) {
        self.headroom.apply_snapshot(external_units, None, now);
    }

    /// Sets the units that other processes hold, from a snapshot that was requested at
    /// `requested_at` and has just arrived.
    pub fn set_requested_external_usage(
        &mut self,
        external_units: u32,
        requested_at: Instant,
        now: Instant,
    ) {
        self.headroom
            .apply_snapshot(external_units, Some(requested_at), now);
    }

    /// Sets the units that other processes hold, from a refusal that has just arrived. A refusal
    /// describes the present. A snapshot that comes soon after it can be older, and then cannot
    /// lower the number.
    pub fn set_external_usage_from_refusal(&mut self, external_units: u32, now: Instant) {
        self.headroom.apply_refusal(external_units, now);
    }

    /// Sets the units that other processes may hold, because the last value is too old to use.
    pub fn reset_external_usage(&mut self, external_units: u32) {
        self.headroom.reset(external_units);
    }

    /// Leaves this number of units to other processes, whether they use them or not; 0 to use all that
    /// are free. A request that costs more than `share` can never fit beside them:
    /// [`Self::start_beyond_share`] starts it. If this process `is_alone`, others start requests of
    /// which it hears only by snapshots: units are free then if this process has just released them,
    /// or if a snapshot that describes the present shows it.
    pub fn leave_units(&mut self, units: u32, share: u32, is_alone: bool) {
        self.headroom.leave(units, share, is_alone);
    }

    /// Whether only a refusal says that other processes hold units.
    pub fn is_external_usage_from_refusal(&self) -> bool {
        self.headroom.is_from_refusal() && self.headroom.external_units() > 0
    }
}
