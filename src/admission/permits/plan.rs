//! The units of the plan, as messages of upstream name them. Any message may be a mistake. So one
//! message alone neither rejects a request nor removes the limit.

use std::time::{Duration, Instant};

/// A smaller plan is confirmed after all messages have named less for this long. The feed sends a
/// message every two seconds.
const DECREASE_CONFIRMED_AFTER: Duration = Duration::from_secs(5);

/// The units of a plan; `None` for a plan without a limit.
type Units = Option<u32>;

/// What messages have said about the plan's limit.
#[derive(Debug, Default)]
pub(super) struct PlanLimit {
    /// What the last message named; `None` before the first message.
    last: Option<Units>,
    /// The units that the plan certainly does not exceed; `None` if nothing is confirmed.
    confirmed: Option<Units>,
    /// Since when all messages name less than is confirmed, and the greatest number they named.
    decrease: Option<(Instant, u32)>,
    /// The last message named no limit, and the one before it named a number.
    is_removal_pending: bool,
    /// The units in use in the last message. Requests that started before the plan became smaller
    /// still run.
    used: u32,
}

/// The limits that apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlanBounds {
    /// The units that requests may use; `None` for no limit.
    pub(super) capacity: Units,
    /// The units that the plan certainly does not exceed; `None` if nothing is confirmed, or if
    /// there is no limit.
    pub(super) confirmed: Units,
}

impl PlanLimit {
    /// The limits that apply now.
    pub(super) fn bounds(&self) -> PlanBounds {
        PlanBounds {
            capacity: self.last.flatten(),
            confirmed: self.confirmed.flatten(),
        }
    }

    /// Whether a message has named the limit, or that there is none.
    pub(super) fn is_known(&self) -> bool {
        self.last.is_some()
    }

    /// Sets a limit that is certain.
    pub(super) fn set(&mut self, units: Units) {
        *self = Self {
            last: Some(units),
            confirmed: Some(units),
            ..Self::default()
        };
    }

    /// Takes over a message that names the plan's units and how many of them are used. Returns
    /// `false` and ignores the message if it is impossible: a plan of 0 units, or more units in use
    /// than the plan has or had.
    pub(super) fn observe(&mut self, units: Units, used: u32, now: Instant) -> bool {
        let Some(number) = units else {
            self.observe_no_limit();
            self.used = used;
            return true;
        };
        let before = self.last.map_or(0, |last| last.unwrap_or(u32::MAX));
        if number == 0 || used > number.max(before).max(self.used) {
            return false;
        }
        (self.is_removal_pending, self.used) = (false, used);
        self.last = Some(units);
        self.observe_number(number, now);
        true
    }

    fn observe_no_limit(&mut self) {
        let was_limited = matches!(self.last, Some(Some(_)));
        if was_limited && !std::mem::replace(&mut self.is_removal_pending, true) {
            return;
        }
        self.set(None);
    }

    fn observe_number(&mut self, number: u32, now: Instant) {
        let confirmed = self
            .confirmed
            .map(|confirmed| confirmed.unwrap_or(u32::MAX));
        if confirmed.is_some_and(|confirmed| number >= confirmed) {
            (self.confirmed, self.decrease) = (Some(Some(number)), None);
            return;
        }
        let Some((since, greatest)) = self.decrease else {
            self.decrease = Some((now, number));
            return;
        };
        let greatest = greatest.max(number);
        // The first limit is confirmed by the second message.
        let wait = if confirmed.is_some() {
            DECREASE_CONFIRMED_AFTER
        } else {
            Duration::ZERO
        };
        if now.saturating_duration_since(since) < wait {
            self.decrease = Some((since, greatest));
            return;
        }
        self.confirmed = Some(Some(greatest));
        self.decrease = (number < greatest).then_some((now, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The bounds after these messages, one per second.
    fn after(messages: &[Units]) -> (Units, Units) {
        let (mut plan, begin) = (PlanLimit::default(), Instant::now());
        for (second, &units) in (0..).zip(messages) {
            plan.observe(units, 0, begin + SECOND * second);
        }
        (plan.bounds().capacity, plan.bounds().confirmed)
    }

    #[test]
    fn the_first_number_applies_and_is_confirmed_by_a_second_message() {
        assert_eq!(after(&[]), (None, None));
        assert_eq!(after(&[Some(2)]), (Some(2), None));
        assert_eq!(after(&[Some(2), Some(2)]), (Some(2), Some(2)));
        assert_eq!(
            after(&[Some(1), Some(8)]),
            (Some(8), Some(8)),
            "the message that named less was a mistake"
        );
        assert_eq!(after(&[Some(8), Some(1)]), (Some(1), Some(8)));
    }

    #[test]
    fn a_smaller_plan_is_confirmed_only_after_a_while() {
        let (eight, four) = (Some(8), Some(4));
        assert_eq!(
            after(&[eight, eight, four]),
            (four, eight),
            "it applies at once"
        );
        assert_eq!(
            after(&[eight, eight, four, four, four, four, four]),
            (four, eight)
        );
        assert_eq!(
            after(&[eight, eight, four, four, four, four, four, four]),
            (four, four)
        );
        assert_eq!(
            after(&[eight, eight, four, four, eight, four, four, four, four]),
            (four, eight),
            "the time starts again"
        );
        let all = [
            eight,
            eight,
            Some(1),
            Some(6),
            Some(1),
            Some(1),
            Some(1),
            Some(1),
        ];
        assert_eq!(after(&all), (Some(1), Some(6)), "the greatest number named");
    }

    #[test]
    fn a_limit_is_removed_when_two_messages_in_a_row_name_none() {
        assert_eq!(after(&[None]), (None, None));
        assert_eq!(after(&[Some(8), Some(8), None]), (Some(8), Some(8)));
        assert_eq!(
            after(&[Some(8), Some(8), None, Some(8), None]),
            (Some(8), Some(8))
        );
        assert_eq!(after(&[Some(8), Some(8), None, None]), (None, None));
        assert_eq!(
            after(&[None, Some(8), Some(8)]),
            (Some(8), None),
            "it is back when a message names it, and confirmed later"
        );
    }

    #[test]
    fn impossible_messages_are_ignored() {
        let (mut plan, now) = (PlanLimit::default(), Instant::now());
        assert!(!plan.observe(Some(0), 0, now) && !plan.observe(Some(8), 9, now));
        assert_eq!(plan.last, None);
        assert!(
            plan.observe(Some(8), 8, now)
                && !plan.observe(Some(4), 1_000_000_000, now)
                && !plan.observe(Some(0), 0, now)
        );
        assert_eq!(plan.bounds().capacity, Some(8));
        assert!(
            plan.observe(Some(4), 8, now),
            "requests that started before the plan became smaller still run"
        );
        assert_eq!(plan.bounds().capacity, Some(4));
        assert!(
            plan.observe(Some(4), 7, now) && plan.observe(Some(4), 7, now),
            "for as long as they run"
        );
        assert!(!plan.observe(Some(4), 8, now), "but no new one starts");
    }
}
