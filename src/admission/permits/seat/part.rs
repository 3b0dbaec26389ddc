//! Which part of the plan's units a queue gives out.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::message::MemberId;

/// The part of the plan's units that the queue gives out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// All of them.
    Whole,
    /// The others are left to `lost` of `members`.
    WithoutLost { lost: usize, members: usize },
    /// The share of one member.
    Share(Share),
}

/// The share of one of several members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    /// Which one it is, from 0.
    pub(super) rank: usize,
    /// How many there are. 0 if none is known, also not this one: then the share is empty.
    pub(super) members: usize,
    /// The units that it held when it was left alone. It may hold as many again, up to its share,
    /// whatever others hold: together, all of them held no more than the plan has.
    pub(super) base_units: u32,
    /// The units that others may hold beyond their shares.
    pub(super) excess_units: u32,
    /// The others have a leader, which leaves the share to this member.
    pub(super) is_left: bool,
}

impl Share {
    /// The share of the member `me`, if the members hold these units.
    pub(super) fn new(
        me: MemberId,
        members: &BTreeSet<MemberId>,
        held: &BTreeMap<MemberId, u32>,
        units: u32,
    ) -> Self {
        let mut excess_units = 0;
        let mut own = Self::of(0, members.len());
        for (rank, &member) in members.iter().enumerate() {
            let share = Self::of(rank, members.len());
            if member == me {
                own = share;
            } else {
                let held = held.get(&member).copied().unwrap_or_default();
                let excess = held.saturating_sub(share.units(units));
                excess_units = u32::saturating_add(excess_units, excess);
            }
        }
        Self {
            excess_units,
            ..own
        }
    }

    /// The share of the member with this `rank` of a number of members.
    pub(super) fn of(rank: usize, members: usize) -> Self {
        Self {
            rank,
            members,
            base_units: 0,
            excess_units: 0,
            is_left: false,
        }
    }

    /// How many of `units` it has when no other member holds more than its share.
    fn units(self, units: u32) -> u32 {
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        if self.members == 0 {
            return 0;
        }
        let members = of(self.members);
        units / members + u32::from(of(self.rank) < units % members)
    }

    /// How many of `units` it may hold now.
    fn usable(self, units: u32) -> u32 {
        let share = self.units(units);
        let base = self.base_units.min(share);
        share.saturating_sub(self.excess_units).max(base)
    }

    /// Others hold `units_from_before` units for requests that they started when there was one queue.
    /// A member that holds more than its share has started nothing since, so these units bound what it
    /// holds beyond its share.
    pub(super) fn bound_excess(&mut self, units: u32, units_from_before: u32) {
        let members = u32::try_from(self.members).unwrap_or(u32::MAX);
        let smallest_share = units / members.max(1);
        self.excess_units = units_from_before.saturating_sub(smallest_share);
    }
}

impl Part {
    /// The most of `units` that it can ever give out.
    pub(super) fn share(self, units: u32) -> u32 {
        match self {
            Self::Share(share) => share.units(units),
            Self::Whole | Self::WithoutLost { .. } => units - self.left(units),
        }
    }

    /// How many of `units` are left to others.
    pub(super) fn left(self, units: u32) -> u32 {
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        match self {
            Self::Whole => 0,
            Self::WithoutLost { lost, members } => {
                units.saturating_mul(of(lost)).div_ceil(of(members).max(1))
            }
            Self::Share(share) => units - share.usable(units),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of all members, if they hold these units.
    fn shares(units: u32, held: &[u32]) -> Vec<Share> {
        let held: BTreeMap<_, _> = (0..).map(MemberId).zip(held.iter().copied()).collect();
        let members: BTreeSet<_> = held.keys().copied().collect();
        let share = |&me: &MemberId| Share::new(me, &members, &held, units);
        members.iter().map(share).collect()
    }

    #[test]
    fn shares_add_up_to_the_plan() {
        for (units, members) in [(8, 4), (9, 4), (3, 4), (1, 1), (100, 16)] {
            let shares = shares(units, &vec![0; members]);
            let sum: u32 = shares.iter().map(|share| share.usable(units)).sum();
            assert_eq!(sum, units, "{members} members");
        }
        assert_eq!(Share::of(0, 0).usable(8), 0, "nothing, as nobody is known");
    }

    #[test]
    fn what_others_hold_beyond_their_shares_is_left_to_them_too() {
        let shares = shares(8, &[6, 0, 2, 0]);
        assert_eq!(shares[0].usable(8), 2, "no other member has too many");
        for share in &shares[1..] {
            assert_eq!(share.usable(8), 0, "four units are missing");
        }
    }

    #[test]
    fn what_a_member_held_it_may_hold_again_up_to_its_share() {
        let usable = |base_units| {
            let mut share = shares(8, &[6, 0])[1];
            share.base_units = base_units;
            share.usable(8)
        };
        assert_eq!([0, 1, 3, 4, 5].map(usable), [2, 2, 3, 4, 4]);
    }

    #[test]
    fn units_from_before_bound_what_others_hold_beyond_their_shares() {
        let usable = |units_from_before| {
            let mut share = shares(8, &[8, 0, 0, 0])[1];
            share.bound_excess(8, units_from_before);
            share.usable(8)
        };
        let expected = [2, 2, 2, 1, 0, 0];
        assert_eq!([0, 1, 2, 3, 4, 8].map(usable), expected);
    }

    #[test]
    fn the_shares_of_lost_members_are_left_to_them() {
        let left = |lost, members| Part::WithoutLost { lost, members }.left(8);
        assert_eq!((left(1, 4), left(1, 3), left(4, 4)), (2, 3, 8));
        assert_eq!(Part::Whole.left(8), 0);
    }
}
