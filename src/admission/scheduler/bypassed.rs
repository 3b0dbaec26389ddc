//! Requests that were next in order and did not fit while a smaller request started. Each of them
//! is due after its bypass limit, so that small requests cannot bypass it for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::admission::{
    request::{Priority, Ticket},
    settings::Settings,
};

/// When each bypassed request is due, by cost. With the costs apart, requests that cost more than
/// external usage leaves free need not be looked at.
#[derive(Debug, Default)]
pub(super) struct BypassedRequests(BTreeMap<u32, BTreeSet<(Instant, Ticket)>>);

impl BypassedRequests {
    pub(super) fn insert(&mut self, due_at: Instant, ticket: Ticket, cost: u32) {
        self.0.entry(cost).or_default().insert((due_at, ticket));
    }

    pub(super) fn remove(&mut self, due_at: Instant, ticket: Ticket, cost: u32) {
        let Some(lane) = self.0.get_mut(&cost) else {
            return;
        };
        lane.remove(&(due_at, ticket));
        if lane.is_empty() {
            self.0.remove(&cost);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// Of the requests that cost at most `cost_max`, the one that has been due for longest, and its
    /// cost. `None` if none of them is due.
    pub(super) fn first_due(&self, now: Instant, cost_max: u32) -> Option<(Ticket, u32)> {
        let heads = self
            .0
            .range(..=cost_max)
            .filter_map(|(&cost, lane)| Some((*lane.first()?, cost)));
        let ((due_at, ticket), cost) = heads.min()?;
        (due_at <= now).then_some((ticket, cost))
    }
}

/// How long smaller requests may bypass a request that costs `cost` of `usable` units, if a unit is
/// held for `service_time` on average.
///
/// While units are reserved for the request, the units that become free first stay idle until the
/// last one is free. Assume that all running requests cost one unit and end at any moment with
/// equal probability. Then the next of `usable - reserved` units becomes free after
/// `service_time / (usable - reserved)`, and `reserved` units are idle for that time. The sum of
/// these idle times is the price of one reservation. With one reservation in each
/// `price / (reserved_share * usable)`, reservations waste `reserved_share` of all units.
pub(super) fn bypass_limit(
    settings: &Settings,
    priority: Priority,
    cost: u32,
    usable: u32,
    service_time: Duration,
) -> Duration {
    let shortest = *settings.bypass_limit.of(priority);
    let usable = f64::from(usable);
    let idle_units: f64 = (0..cost.min(COST_MAX))
        .map(f64::from)
        .map(|reserved| reserved / (usable - reserved).max(1.0))
        .sum();
    let seconds = service_time.as_secs_f64() * idle_units / (settings.reserved_share * usable);
    // The result may be infinite or not a number. The bounds below still apply.
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    limit
        .max(shortest)
        .min(settings.bypass_limit_max.max(shortest))
}

/// No real model costs more. Without this bound, a wrong cost in the catalogue would make the loop
/// long.
const COST_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bypass_limit_grows_where_reserving_is_expensive_and_is_bounded() {
        let settings = Settings {
            reserved_share: 0.05,
            ..Settings::default()
        };
        let limit = |cost, usable, seconds| {
            bypass_limit(
                &settings,
                Priority::Interactive,
                cost,
                usable,
                Duration::from_secs(seconds),
            )
            .as_secs()
        };
        // (1/3 + 2/2 + 3/1) * 10 s = 43 unit-seconds: a twentieth of what four units do in 217 s.
        assert_eq!(limit(4, 4, 10), 216);
        assert_eq!(limit(4, 8, 10), 26);
        assert_eq!(limit(4, 100, 10), 10, "the limit of the class is the least");
        assert_eq!(limit(1, 4, 10), 10, "one unit needs no reservation");
        assert_eq!(limit(4, 4, 10_000), 1200, "there is a greatest limit");
        assert_eq!(limit(u32::MAX, 0, 10_000), 1200);
    }
}
