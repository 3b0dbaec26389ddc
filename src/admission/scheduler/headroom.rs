//! Headroom: the last free units are not given out while other processes may have taken them.
//!
//! Snapshots come every two seconds. What other processes took since the last one is not known, and
//! upstream refuses a request that starts on it. But other processes can take only units that were
//! free:
//!
//! - A unit that a request of the gateway has just released, and that the next request takes at
//!   once, is safe.
//! - So are units that a snapshot, requested at this moment, reports as free.
//!
//! Only the last units, idle and unreported for a while, are at risk, and only while other
//! processes use the account. Under full load each unit passes from one request of the gateway to
//! the next, and headroom costs nothing.
//!
//! A gateway of a cluster that is alone takes no unit on old knowledge: the others surely use the account.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::admission::external_usage::LAG;

/// A requested snapshot describes the present for this long.
const FRESH_FOR: Duration = Duration::from_millis(30);

/// A unit that the gateway released is safe to take for this long.
const RELEASED_FOR: Duration = Duration::from_millis(100);

/// This number of fresh snapshots in a row show that units stay free, if the first of them is not older
/// than [`STEADY_WITHIN`].
const STEADY_SNAPSHOTS: usize = 3;

/// Snapshots of the feed, which stand in for those that fail, come every two seconds.
const STEADY_WITHIN: Duration = Duration::from_secs(5);

/// Headroom applies until no external usage was seen for this long.
const EXTERNAL_USAGE_EXPECTED_FOR: Duration = Duration::from_secs(300);

/// The feed's snapshots are older than requested ones. If a requested one has not come after this
/// time, the feed's next snapshot is used instead.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Without any snapshot for this long, requests no longer wait for the next one.
const SNAPSHOTS_LOST_AFTER: Duration = Duration::from_secs(7);

/// The external usage, and how fresh that knowledge is.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    external_units: u32,
    /// The units that are left to others, whether they use them or not.
    left_units: u32,
    /// The most that a request may cost to fit beside them.
    share: u32,
    /// Others start requests of which only snapshots tell.
    is_alone: bool,
    /// When external usage was last seen.
    usage_seen_at: Option<Instant>,
    /// When the last snapshot came.
    snapshot_at: Option<Instant>,
    /// When the last snapshot came that described the present.
    fresh_at: Option<Instant>,
    /// When the last ones of these came, and the external usage then. The latest is first.
    fresh: [Option<(Instant, u32)>; STEADY_SNAPSHOTS],
    /// Since when a snapshot is wanted.
    wanted_since: Option<Instant>,
    /// When the last refusal came.
    refused_at: Option<Instant>,
    /// `external_units` comes from a refusal, and no snapshot has confirmed it.
    is_from_refusal: bool,
    /// When the gateway released units that it has not taken again, and how many.
    released: VecDeque<(Instant, u32)>,
}

impl Headroom {
    /// The units that other processes hold, as far as is known, or may take at any time.
    pub(super) fn external_units(&self) -> u32 {
        self.external_units.max(self.left_units)
    }

    /// The units that other processes hold, as far as is known.
    pub(super) fn seen_units(&self) -> u32 {
        self.external_units
    }

    /// The most that a request may cost to fit beside what is left to others. `None` if nothing is.
    pub(super) fn share(&self) -> Option<u32> {
        (self.left_units > 0).then_some(self.share)
    }

    /// The units that other processes have held for a while, by the last [`STEADY_SNAPSHOTS`], of which
    /// the latest describes the present: those who may take free units at any time have not taken them.
    pub(super) fn steady_units(&self, now: Instant) -> Option<u32> {
        let (first_at, _) = (*self.fresh.last()?)?;
        let is_recent = now.saturating_duration_since(first_at) <= STEADY_WITHIN;
        let seen = self.fresh.iter().flatten().map(|(_, units)| *units);
        (is_recent && self.is_fresh(now)).then(|| seen.fold(self.external_units, u32::max))
    }

    /// Whether the last snapshot describes the present.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let age = |at: Instant| now.saturating_duration_since(at);
        self.fresh_at.is_some_and(|at| age(at) <= FRESH_FOR)
    }

    /// Leaves this number of units to other processes, whether they use them or not.
    pub(super) fn leave(&mut self, units: u32, share: u32, is_alone: bool) {
        (self.left_units, self.share, self.is_alone) = (units, share, is_alone);
    }

    /// Takes over a snapshot: one that was requested at `requested_at`, or one of the feed. A
    /// snapshot that may be older than the last refusal can raise the external usage, but not lower
    /// it.
    pub(super) fn apply_snapshot(
        &mut self,
        external_units: u32,
        requested_at: Option<Instant>,
        now: Instant,
    ) {
        let taken_at = requested_at.or_else(|| now.checked_sub(LAG));
        let is_outdated = self
            .refused_at
            .is_some_and(|refused| taken_at.is_none_or(|taken| taken < refused));
        self.external_units = if is_outdated {
            external_units.max(self.external_units)
        } else {
            external_units
        };
        self.snapshot_at = Some(now);
        self.is_from_refusal = is_outdated && self.is_from_refusal;
        let has_timed_out = self
            .wanted_since
            .is_some_and(|wanted| now.saturating_duration_since(wanted) >= REQUEST_TIMEOUT);
        if requested_at.is_some() || has_timed_out {
            self.fresh_at = Some(now);
            self.fresh.rotate_right(1);
            self.fresh[0] = Some((now, self.external_units));
            self.wanted_since = None;
        }
        if external_units > 0 {
            self.usage_seen_at = Some(now);
        }
    }

    /// Takes over the external usage that a refusal shows. A refusal is not a snapshot: where no
    /// snapshots come, requests must not wait for one.
    pub(super) fn apply_refusal(&mut self, external_units: u32, now: Instant) {
        self.refused_at = None;
        let snapshot_at = self.snapshot_at;
        self.apply_snapshot(external_units, Some(now), now);
        self.snapshot_at = snapshot_at;
        self.refused_at = Some(now);
        self.is_from_refusal = true;
    }

    /// Replaces an old value of the external usage. The new value does not count as a fresh
    /// snapshot.
    pub(super) fn reset(&mut self, external_units: u32) {
        self.external_units = external_units;
        self.is_from_refusal = false;
    }

    /// Sets whether a snapshot is wanted.
    pub(super) fn set_snapshot_wanted(&mut self, is_wanted: bool, now: Instant) {
        self.wanted_since = is_wanted.then(|| self.wanted_since.unwrap_or(now));
    }

    /// Whether only a refusal tells of the external usage. It may have had another reason; a
    /// snapshot tells.
    pub(super) fn is_from_refusal(&self) -> bool {
        self.is_from_refusal
    }

    pub(super) fn is_snapshot_wanted(&self) -> bool {
        self.wanted_since.is_some()
    }

    /// Records that the gateway released units.
    pub(super) fn record_release(&mut self, units: u32, at: Instant) {
        while self
            .released
            .front()
            .is_some_and(|(then, _)| at.saturating_duration_since(*then) > RELEASED_FOR)
        {
            self.released.pop_front();
        }
        self.released.push_back((at, units));
    }

    /// Records that the gateway took units. The units released first are taken first.
    pub(super) fn record_start(&mut self, mut units: u32) {
        while units > 0
            && let Some((_, released)) = self.released.front_mut()
        {
            let taken = units.min(*released);
            *released -= taken;
            units -= taken;
            if *released == 0 {
                self.released.pop_front();
            }
        }
    }

    /// How many units the gateway may hold, if external usage leaves it `usable` units and it
    /// holds `held`.
    pub(super) fn ceiling(&self, now: Instant, usable: u32, held: u32, headroom: u32) -> u32 {
        if !self.is_active(now, headroom) {
            return usable;
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= RELEASED_FOR;
        let released = self
            .released
            .iter()
            .rev()
            .take_while(|(at, _)| is_recent(*at))
            .map(|(_, units)| units)
            .sum::<u32>();
        let headroom = if self.is_alone { usable } else { headroom };
        usable
            .saturating_sub(headroom)
            .max(held.saturating_add(released))
            .min(usable)
    }

    /// When active headroom ends because no snapshot comes any more.
    pub(super) fn ends_at(&self, now: Instant, headroom: u32) -> Option<Instant> {
        self.snapshot_at
            .filter(|_| self.is_active(now, headroom))
            .map(|snapshot| snapshot + SNAPSHOTS_LOST_AFTER)
    }

    fn is_active(&self, now: Instant, headroom: u32) -> bool {
        let age = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let is_usage_expected = self.is_alone
            || age(self.usage_seen_at).is_some_and(|age| age <= EXTERNAL_USAGE_EXPECTED_FOR);
        let has_snapshots = age(self.snapshot_at).is_some_and(|age| age < SNAPSHOTS_LOST_AFTER);
        headroom > 0 && is_usage_expected && !self.is_fresh(now) && has_snapshots
    }
}
