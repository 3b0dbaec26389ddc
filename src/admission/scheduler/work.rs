//! Work: concurrency units multiplied by the time they are held.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// Unit-seconds, stored as unit-nanoseconds. 64 bits hold five years of 100 units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Work(u64);

impl Work {
    pub(super) const fn unit_seconds(unit_seconds: u64) -> Self {
        Self(unit_seconds * 1_000_000_000)
    }

    /// The work of holding `units` for `time`.
    pub(super) fn new(units: u32, time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self(nanos.saturating_mul(u64::from(units)))
    }

    /// The inverse of [`Self::per_weight`].
    pub(super) fn from_virtual_time(virtual_time: u64, weight: u32) -> Self {
        Self(virtual_time.saturating_mul(u64::from(weight)))
    }

    /// By how much this work advances the virtual time of a key with this `weight`.
    pub(super) fn per_weight(self, weight: u32) -> u64 {
        self.0 / u64::from(weight.max(1))
    }

    /// The part `share`, from 0 to 1, of this work.
    pub(super) fn share(self, share: f64) -> Self {
        Self((self.0 as f64 * share) as u64)
    }

    pub(super) fn as_unit_seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Work {
    type Output = Self;

    /// The difference, or zero if `other` is greater.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
