//! Those who were next and didn't fit while somebody smaller started: when they are due.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::admission::{
    request::{Priority, Ticket},
    settings::Settings,
};

/// When each of them is due, by cost: of those too dear for what outsiders leave, none is looked
/// at.
#[derive(Debug, Default)]
pub(super) struct BypassedRequests(BTreeMap<u32, BTreeSet<(Instant, Ticket)>>);

impl BypassedRequests {
    pub(super) fn insert(&mut self, due: Instant, ticket: Ticket, cost: u32) {
        self.0.entry(cost).or_default().insert((due, ticket));
    }

    pub(super) fn remove(&mut self, due: Instant, ticket: Ticket, cost: u32) {
        let Some(lane) = self.0.get_mut(&cost) else {
            return;
        };
        lane.remove(&(due, ticket));
        if lane.is_empty() {
            self.0.remove(&cost);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Who has been due for longest, of those that cost at most so much, and the cost.
    pub(super) fn first_due(&self, now: Instant, cost_max: u32) -> Option<(Ticket, u32)> {
        let heads = self
            .0
            .range(..=cost_max)
            .filter_map(|(&cost, lane)| Some((*lane.first()?, cost)));
        let ((due, ticket), cost) = heads.min()?;
        (due <= now).then_some((ticket, cost))
    }
}

/// How long one that costs so much of these units may be passed over, if a unit is held for
/// `service` on average.
///
/// While units are kept for it, those that are freed first are idle until the last one is. If
/// everything that runs costs one unit and ends at any moment with equal chance, the next of `units -
/// kept` ends after `service / (units - kept)`, and for so long `kept` units are idle. The sum of
/// these is what serving it costs. Once in a patience of `that / (kept_share * units)`, it costs
/// `kept_share` of all there is.
pub(super) fn patience(
    settings: &Settings,
    priority: Priority,
    cost: u32,
    units: u32,
    service: Duration,
) -> Duration {
    let least = *settings.passed_over.of(priority);
    let units = f64::from(units);
    // A cost above this bound is nobody's: without it, a wrong catalogue would buy a long loop.
    let idle: f64 = (0..cost.min(COST_MAX))
        .map(f64::from)
        .map(|kept| kept / (units - kept).max(1.0))
        .sum();
    let seconds = service.as_secs_f64() * idle / (settings.reserved_share * units);
    // No number, no end or no time at all: the bounds hold.
    let patience = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    patience
        .max(least)
        .min(settings.bypass_limit_max.max(least))
}

const COST_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_where_keeping_is_dear_and_is_bounded() {
        let settings = Settings {
            reserved_share: 0.05,
            ..Settings::default()
        };
        let patience = |cost, units, seconds| {
            super::patience(
                &settings,
                Priority::Interactive,
                cost,
                units,
                Duration::from_secs(seconds),
            )
            .as_secs()
        };
        // (1/3 + 2/2 + 3/1) * 10 s = 43 unit-seconds: a twentieth of what four units do in 217 s.
        assert_eq!(patience(4, 4, 10), 216);
        assert_eq!(patience(4, 8, 10), 26);
        assert_eq!(
            patience(4, 100, 10),
            10,
            "the class's own bound is the least"
        );
        assert_eq!(patience(1, 4, 10), 10, "one unit is never waited for");
        assert_eq!(patience(4, 4, 10_000), 1200, "and there is a greatest");
        assert_eq!(patience(u32::MAX, 0, 10_000), 1200);
    }
}
