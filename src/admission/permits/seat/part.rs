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
    /// The units that others hold beyond their shares.
    pub(super) excess_units: u32,
    /// What others hold when none of them holds more than its share any more.
    pub(super) settled_units: u32,
}

impl Share {
    /// The share of the member `me`, if the members hold these units, and other programs
    /// `external_units`.
    pub(super) fn new(
        me: MemberId,
        members: &BTreeSet<MemberId>,
        held: &BTreeMap<MemberId, u32>,
        units: u32,
        external_units: u32,
    ) -> Self {
        let (mut excess_units, mut settled_units) = (0, external_units);
        let mut own = Self::of(0, members.len());
        for (rank, &member) in members.iter().enumerate() {
            let share = Self::of(rank, members.len());
            let held = held.get(&member).copied().unwrap_or_default();
            if member == me {
                own = share;
            } else {
                let fair = units - share.left(units);
                excess_units += held.saturating_sub(fair);
                settled_units += held.min(fair);
            }
        }
        Self {
            excess_units,
            settled_units,
            ..own
        }
    }

    /// The share of the member with this `rank` of a number of members.
    pub(super) fn of(rank: usize, members: usize) -> Self {
        Self {
            rank,
            members,
            excess_units: 0,
            settled_units: 0,
        }
    }

    /// How many of `units` are left to others.
    fn left(self, units: u32) -> u32 {
        let of = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        if self.members == 0 {
            return units;
        }
        let members = of(self.members);
        let rest = u32::from(of(self.rank) < units % members);
        let left = units - units / members - rest;
        left.saturating_add(self.excess_units).min(units)
    }
}

impl Part {
    /// The most of `units` that it can ever give out.
    pub(super) fn share(self, units: u32) -> u32 {
        match self {
            Self::Share(share) => {
                let settled = Share {
                    excess_units: 0,
                    ..share
                };
                units - settled.left(units)
            }
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
            Self::Share(share) => share.left(units),
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
        let share = |&me: &MemberId| Share::new(me, &members, &held, units, 0);
        members.iter().map(share).collect()
    }

    #[test]
    fn shares_add_up_to_the_plan() {
        for (units, members) in [(8, 4), (9, 4), (3, 4), (1, 1), (100, 16)] {
            let shares = shares(units, &vec![0; members]);
            let sum: u32 = shares.iter().map(|share| units - share.left(units)).sum();
            assert_eq!(sum, units, "{members} members");
        }
        assert_eq!(Share::of(0, 0).left(8), 8, "nothing, as nobody is known");
    }

    #[test]
    fn what_others_hold_beyond_their_shares_is_left_to_them_too() {
        let shares = shares(8, &[6, 0, 2, 0]);
        assert_eq!(shares[0].left(8), 6, "no other member has too many");
        for share in &shares[1..] {
            assert_eq!(share.left(8), 8, "four units are missing");
        }
        assert_eq!(
            shares[1].settled_units, 4,
            "two of the first, two of the third"
        );
    }

    #[test]
    fn the_shares_of_lost_members_are_left_to_them() {
        let left = |lost, members| Part::WithoutLost { lost, members }.left(8);
        assert_eq!((left(1, 4), left(1, 3), left(4, 4)), (2, 3, 8));
        assert_eq!(Part::Whole.left(8), 0);
    }
}
