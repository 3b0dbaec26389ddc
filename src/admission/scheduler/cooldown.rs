//! Units that were given back but are not free yet: the upstream needs a moment to notice that a
//! request was cancelled.

use std::{collections::BTreeMap, time::Instant};

use crate::admission::request::Ticket;

/// What is free when.
#[derive(Debug, Default)]
pub(super) struct Cooldown {
    until: BTreeMap<(Instant, Ticket), u32>,
    units: u32,
}

impl Cooldown {
    /// How many have not settled.
    pub(super) fn units(&self) -> u32 {
        self.units
    }

    pub(super) fn push(&mut self, until: Instant, ticket: Ticket, units: u32) {
        if self.until.insert((until, ticket), units).is_none() {
            self.units = self.units.saturating_add(units);
        }
    }

    /// The next that has settled by now: since when, and how many units.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, u32)> {
        let next = self
            .until
            .first_entry()
            .filter(|next| next.key().0 <= now)?;
        let ((until, _), units) = next.remove_entry();
        self.units -= units;
        Some((until, units))
    }

    /// When the next will have settled.
    pub(super) fn next(&self) -> Option<Instant> {
        Some(self.until.first_key_value()?.0.0)
    }
}
