//! How many units the plan has, as messages tell it. Any one of them may be a mistake: one alone
//! ends nobody's wait, and lets nobody start whom a number kept waiting.

use std::time::{Duration, Instant};

/// A plan that was larger before is surely smaller only if all messages have said so for so long.
/// The feed has one every two seconds.
const SHRINK_SURE_AFTER: Duration = Duration::from_secs(5);

/// The units of a plan, or none for no limit.
type Units = Option<u32>;

/// What is known of the plan.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What the last message told; none if nothing was told.
    told: Option<Units>,
    /// What the plan surely doesn't exceed; none if nothing is sure.
    sure: Option<Units>,
    /// Since when messages tell of less than is sure, and the most of that.
    less: Option<(Instant, u32)>,
    /// The last message told of no limit, after those before had told of a number.
    is_limit_gone: bool,
    /// The units in use by the last message: what ran before the plan shrank still runs.
    used: u32,
}

/// What to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The units that requests are started on; none for no limit.
    pub(super) capacity: Units,
    /// The units that the plan surely doesn't exceed; none for no limit that is sure.
    pub(super) most: Units,
}

impl Plan {
    /// What to go by.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            capacity: self.told.flatten(),
            most: self.sure.flatten(),
        }
    }

    /// It is sure how many units there are.
    pub(super) fn set(&mut self, units: Units) {
        *self = Self {
            told: Some(units),
            sure: Some(units),
            ..Self::default()
        };
    }

    /// A message tells of the units there are, and of those in use. False if it tells of what can't
    /// be, and is ignored: a plan without units, or more units in use than there are or were.
    pub(super) fn hear(&mut self, units: Units, used: u32, now: Instant) -> bool {
        let Some(number) = units else {
            self.hear_no_limit();
            self.used = used;
            return true;
        };
        let before = self.told.map_or(0, |told| told.unwrap_or(u32::MAX));
        if number == 0 || used > number.max(before).max(self.used) {
            return false;
        }
        (self.is_limit_gone, self.used) = (false, used);
        self.told = Some(units);
        self.hear_number(number, now);
        true
    }

    fn hear_no_limit(&mut self) {
        let is_new = matches!(self.told, Some(Some(_)));
        if is_new && !std::mem::replace(&mut self.is_limit_gone, true) {
            return;
        }
        self.set(None);
    }

    fn hear_number(&mut self, number: u32, now: Instant) {
        let sure = self.sure.map(|sure| sure.unwrap_or(u32::MAX));
        if sure.is_some_and(|sure| number >= sure) {
            (self.sure, self.less) = (Some(Some(number)), None);
            return;
        }
        let Some((since, most)) = self.less else {
            self.less = Some((now, number));
            return;
        };
        let most = most.max(number);
        let wait = if sure.is_some() {
            SHRINK_SURE_AFTER
        } else {
            Duration::ZERO
        };
        if now.saturating_duration_since(since) < wait {
            self.less = Some((since, most));
            return;
        }
        self.sure = Some(Some(most));
        self.less = (number < most).then_some((now, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What the plan is like after these messages, one a second.
    fn after(messages: &[Units]) -> (Units, Units) {
        let (mut plan, begin) = (Plan::default(), Instant::now());
        for (second, &units) in (0..).zip(messages) {
            plan.hear(units, 0, begin + SECOND * second);
        }
        (plan.bounds().capacity, plan.bounds().most)
    }

    #[test]
    fn the_first_number_is_gone_by_and_sure_when_a_second_message_tells_it() {
        assert_eq!(after(&[]), (None, None));
        assert_eq!(after(&[Some(2)]), (Some(2), None));
        assert_eq!(after(&[Some(2), Some(2)]), (Some(2), Some(2)));
        assert_eq!(
            after(&[Some(1), Some(8)]),
            (Some(8), Some(8)),
            "the message that told of less was a mistake"
        );
        assert_eq!(after(&[Some(8), Some(1)]), (Some(1), Some(8)));
    }

    #[test]
    fn a_plan_that_shrinks_is_surely_smaller_only_after_a_while() {
        let (eight, four) = (Some(8), Some(4));
        assert_eq!(
            after(&[eight, eight, four]),
            (four, eight),
            "gone by at once"
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
            "from the beginning"
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
        assert_eq!(after(&all), (Some(1), Some(6)), "the most of what was told");
    }

    #[test]
    fn a_limit_is_gone_when_two_messages_in_a_row_say_so() {
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
            "and there again when it is told, and sure later"
        );
    }

    #[test]
    fn what_cant_be_is_ignored() {
        let (mut plan, now) = (Plan::default(), Instant::now());
        assert!(!plan.hear(Some(0), 0, now) && !plan.hear(Some(8), 9, now));
        assert_eq!(plan.told, None);
        assert!(
            plan.hear(Some(8), 8, now)
                && !plan.hear(Some(4), 1_000_000_000, now)
                && !plan.hear(Some(0), 0, now)
        );
        assert_eq!(plan.bounds().capacity, Some(8));
        assert!(
            plan.hear(Some(4), 8, now),
            "what ran before the plan shrank still runs"
        );
        assert_eq!(plan.bounds().capacity, Some(4));
        assert!(
            plan.hear(Some(4), 7, now) && plan.hear(Some(4), 7, now),
            "for as long as it runs"
        );
        assert!(!plan.hear(Some(4), 8, now), "but nothing more begins");
    }
}
