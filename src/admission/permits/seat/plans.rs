//! Notices that gateways of one cluster have accounts with different plans: then they are not of one
//! account, and must not share a queue.

use std::time::{Duration, Instant};

/// For how long plans must differ. Gateways learn of a changed plan at different times.
const TOLD_AFTER: Duration = Duration::from_secs(15);

/// The plans of the cluster, as members tell them.
#[derive(Debug, Default)]
pub(super) struct Plans {
    differ_since: Option<Instant>,
    is_told: bool,
}

impl Plans {
    /// Compares this gateway's units, if they are known, with those of the other members. Returns the
    /// units of another member if that must be told now.
    pub(super) fn compare(
        &mut self,
        now: Instant,
        own: Option<u32>,
        others: impl IntoIterator<Item = u32>,
    ) -> Option<u32> {
        let other = own.and_then(|own| others.into_iter().find(|&other| other != own));
        let Some(other) = other else {
            *self = Self::default();
            return None;
        };
        let since = *self.differ_since.get_or_insert(now);
        let is_due = now.saturating_duration_since(since) >= TOLD_AFTER;
        (is_due && !std::mem::replace(&mut self.is_told, is_due)).then_some(other)
    }
}

/// What a member tells of its plan.
pub(super) fn note(units: Option<u32>) -> Vec<u8> {
    units.map_or_else(Vec::new, |units| units.to_be_bytes().to_vec())
}

/// The units that such a note tells, if any.
pub(super) fn read(note: &[u8]) -> Option<u32> {
    note.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_plans_are_told_once_and_only_if_they_last() {
        let (mut plans, begin) = (Plans::default(), Instant::now());
        let mut compare = |seconds: u64, own, others: &[u32]| {
            let now = begin + Duration::from_secs(seconds);
            plans.compare(now, own, others.iter().copied())
        };
        assert_eq!(compare(0, Some(8), &[8, 4]), None, "one has just changed");
        assert_eq!(compare(14, Some(8), &[8, 4]), None);
        assert_eq!(compare(15, Some(8), &[8, 4]), Some(4));
        assert_eq!(compare(16, Some(8), &[8, 4]), None, "it is told");
        assert_eq!(compare(17, Some(8), &[8]), None);
        assert_eq!(compare(18, Some(8), &[4]), None, "it begins again");
        assert_eq!(compare(99, None, &[4]), None, "nothing to compare");
        assert_eq!(compare(100, Some(8), &[4]), None);
    }

    #[test]
    fn others_read_what_a_member_notes() {
        assert_eq!(read(&note(Some(8))), Some(8));
        assert_eq!(read(&note(None)), None);
        assert_eq!(read(b"of another version"), None);
    }
}
