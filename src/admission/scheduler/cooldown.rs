//! Units of cancelled requests. They are not free at once: upstream needs a moment to notice that a
//! connection was closed.

use std::{collections::BTreeMap, time::Instant};

use crate::admission::request::Ticket;

/// The units that are cooling down, by the time at which they become free.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    free_at: BTreeMap<(Instant, Ticket), u32>,
    units: u32,
}

impl Cooldown {
    /// The number of units that are not free yet.
    pub(super) fn units(&self) -> u32 {
        self.units
    }

    pub(super) fn push(&mut self, free_at: Instant, ticket: Ticket, units: u32) {
        if self.free_at.insert((free_at, ticket), units).is_none() {
            self.units = self.units.saturating_add(units);
        }
    }

    /// Removes the first units whose cooldown has ended by `now`. Returns when it ended, and how
    /// many units are free.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, u32)> {
        let next = self
            .free_at
            .first_entry()
            .filter(|next| next.key().0 <= now)?;
        let ((free_at, _), units) = next.remove_entry();
        self.units -= units;
        Some((free_at, units))
    }

    /// When the next cooldown ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        Some(self.free_at.first_key_value()?.0.0)
    }
}
