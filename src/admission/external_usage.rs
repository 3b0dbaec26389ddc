//! How many units other processes of the account hold.
//!
//! Upstream lists what is in flight, a moment late and without saying who asked. What is listed and
//! not ours is theirs. Start times are compared by our clock alone: what was told at `t` to be
//! running for `d` started at `t - d`.
//!
//! In doubt, a listed request is ours. Theirs taken for ours leads to a refusal, which corrects us
//! with numbers at once and which no caller sees. Ours taken for theirs would be counted twice, in
//! every snapshot and most of all under load, and leave units idle that nobody holds.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// How old what a snapshot says can be when it arrives: upstream sends one every two seconds.
pub const LAG: Duration = Duration::from_secs(2);

/// How far apart the start of one request can seem to us and to upstream: the lag, and its way
/// there.
pub const START_TOLERANCE: Duration = Duration::from_secs(3);

/// The lag is the same for all that one snapshot lists, and so is most of the way there: what
/// remains of the difference, from one request to the other.
pub const START_SPREAD: Duration = Duration::from_millis(600);

/// What upstream says is in flight.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// When it arrived.
    pub received_at: Instant,
    /// How old it can be: [`LAG`] if it is the feed's.
    pub lag: Duration,
    /// The units held in all.
    pub used_cost: u32,
    /// Who holds them, if that is told.
    pub requests: &'a [ListedRequest<'a>],
}

/// A request that upstream lists.
#[derive(Clone, Copy, Debug)]
pub struct ListedRequest<'a> {
    /// Its model.
    pub model: &'a str,
    /// The units it holds.
    pub cost: u32,
    /// For how long it has been running.
    pub duration: Duration,
}

/// A request of ours: one that runs, or has ended no longer than [`LAG`] ago.
#[derive(Clone, Copy, Debug)]
pub struct OwnRequest<'a> {
    /// Its model.
    pub model: &'a str,
    /// The units it holds by our reckoning.
    pub cost: u32,
    /// When it was sent.
    pub started_at: Instant,
    /// When it ended, if it has.
    pub ended_at: Option<Instant>,
}

/// Each request that is listed is compared with each of our own, under the lock that all share.
/// With more pairs than this, they are only added up: no plan has that many requests in flight.
const COMPARISONS_MAX: usize = 250_000;

/// How many of the last shifts are remembered, and how many are enough to go by.
const SHIFTS_MAX: usize = 64;
const SHIFTS_MIN: usize = 8;

/// Tells ours from theirs. It remembers by how much upstream's starts are usually later than ours:
/// the lag of what it says and a request's way there. There is one for the feed, and one for what
/// is asked for, which is fresher.
#[derive(Debug, Default)]
pub struct RequestMatcher {
    /// Of the last of ours that were surely listed, and could be nobody else. On top of the
    /// tolerance the other way, so that they are never less than nothing.
    shifts: VecDeque<Duration>,
}

impl RequestMatcher {
    /// The units that others hold by this snapshot.
    pub fn outside(&mut self, snapshot: &Snapshot<'_>, ours: &[OwnRequest<'_>]) -> u32 {
        let listed = snapshot
            .requests
            .iter()
            .fold(0, |sum: u32, listed| sum.saturating_add(listed.cost));
        let is_long = snapshot.requests.len().saturating_mul(ours.len()) > COMPARISONS_MAX;
        if listed == snapshot.used_cost && !is_long {
            self.unmatched(snapshot, ours)
        } else {
            unaccounted(snapshot, ours)
        }
    }

    /// What is listed and can't be ours. Starts that differ by about what they usually do are
    /// likely the same, or, while that isn't known, by any difference there can be. Others are
    /// thinkable only for one of ours that must be listed: or else those of ours that were just
    /// sent or have just ended would explain whatever outsiders have begun at about the same time.
    /// One whose cost we got wrong is still ours, only its surplus isn't.
    fn unmatched(&mut self, snapshot: &Snapshot<'_>, ours: &[OwnRequest<'_>]) -> u32 {
        let pairs = pairs(snapshot, ours);
        self.remember(&pairs);
        let usual = self.usual(&pairs);
        let lag = usual.map_or(snapshot.lag, |usual| self.lag(usual, snapshot));
        let mut matching = Matching::new(snapshot, ours, lag);
        let near = match usual {
            Some(usual) => usual.saturating_sub(START_SPREAD / 2)..=usual + START_SPREAD / 2,
            None => Duration::ZERO..=START_TOLERANCE * 2,
        };
        // One that was long on its way, or was sent again and again, began much later than it
        // started here.
        let any = Duration::ZERO..=Duration::MAX;
        use Cost::{Any, Same};
        for (shifts, is_sure, cost) in [
            (&near, false, Same),
            (&near, false, Any),
            (&any, true, Same),
            (&any, true, Any),
        ] {
            matching.pair(shifts, is_sure, cost, Model::Same);
        }
        // Upstream may list a model by another name than it was asked for.
        matching.pair(&near, true, Same, Model::Any);
        matching.surplus
    }

    fn remember(&mut self, pairs: &[Pair]) {
        for pair in pairs
            .iter()
            .filter(|pair| pair.is_sure && pair.is_only(pairs))
        {
            if self.shifts.len() == SHIFTS_MAX {
                self.shifts.pop_front();
            }
            self.shifts.push_back(pair.shift);
        }
    }

    /// By how much the starts usually differ: by what is remembered, or else by what most of those
    /// here do that must be listed. Not known where there are none: those that were just sent or
    /// have just ended may be any of those listed.
    fn usual(&self, pairs: &[Pair]) -> Option<Duration> {
        let is_known = self.shifts.len() >= SHIFTS_MIN;
        let shifts: Vec<_> = if is_known {
            self.shifts.iter().copied().collect()
        } else if pairs.iter().any(|pair| pair.is_sure) {
            pairs.iter().map(|pair| pair.shift).collect()
        } else {
            Vec::new()
        };
        (!shifts.is_empty()).then(|| densest(shifts))
    }

    /// How old what the snapshot says can be. What usually is late by so much isn't older.
    fn lag(&self, usual: Duration, snapshot: &Snapshot<'_>) -> Duration {
        let is_known = self.shifts.len() >= SHIFTS_MIN;
        let known = usual.saturating_sub(START_TOLERANCE) + START_SPREAD / 2;
        if is_known {
            known.min(snapshot.lag)
        } else {
            snapshot.lag
        }
    }
}

/// The units that others hold by a refusal: upstream said how many are active, and we know how many
/// are ours, without the one that was refused.
pub fn from_refusal(active: u32, ours: u32) -> u32 {
    active.saturating_sub(ours)
}

/// The least that others hold if a request was refused without numbers: one more than would have
/// let it in; none, if ours alone left no room for it.
pub fn minimum_from_refusal(capacity: u32, ours: u32, cost: u32) -> u32 {
    capacity
        .saturating_add(1)
        .saturating_sub(ours.saturating_add(cost))
}

/// One listed request that can be one of ours.
struct Pair {
    listed: usize,
    ours: usize,
    shift: Duration,
    /// Ours must be listed.
    is_sure: bool,
}

impl Pair {
    /// Neither of the two can be another's.
    fn is_only(&self, pairs: &[Pair]) -> bool {
        pairs
            .iter()
            .filter(|pair| pair.listed == self.listed || pair.ours == self.ours)
            .count()
            == 1
    }
}

/// All pairs there can be.
fn pairs(snapshot: &Snapshot<'_>, ours: &[OwnRequest<'_>]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (theirs, listed) in snapshot.requests.iter().enumerate() {
        for (mine, request) in ours
            .iter()
            .enumerate()
            .filter(|(_, request)| request.model == listed.model)
        {
            let shift = shift(snapshot, listed, request);
            if let Some(shift) = shift.filter(|&shift| shift <= START_TOLERANCE * 2) {
                let is_sure = is_sure(snapshot, request);
                pairs.push(Pair {
                    listed: theirs,
                    ours: mine,
                    shift,
                    is_sure,
                });
            }
        }
        if pairs.len() > PAIRS_MAX {
            break;
        }
    }
    pairs
}

/// So many pairs say enough about how much starts differ.
const PAIRS_MAX: usize = 512;

/// By how much the listed one's start is later than ours, on top of the tolerance the other way;
/// none if it is earlier.
fn shift(
    snapshot: &Snapshot<'_>,
    listed: &ListedRequest<'_>,
    ours: &OwnRequest<'_>,
) -> Option<Duration> {
    let been = snapshot
        .received_at
        .saturating_duration_since(ours.started_at);
    (been + START_TOLERANCE).checked_sub(listed.duration)
}

/// Whether it must be listed.
fn is_sure(snapshot: &Snapshot<'_>, ours: &OwnRequest<'_>) -> bool {
    ours.ended_at.is_none() && ours.started_at + START_TOLERANCE < snapshot.received_at
}

/// What cost one of ours must have to be a listed one.
#[derive(Clone, Copy, PartialEq)]
enum Cost {
    Same,
    Any,
}

/// What model.
#[derive(Clone, Copy, PartialEq)]
enum Model {
    Same,
    Any,
}

/// Which listed ones are ours.
struct Matching<'a> {
    snapshot: &'a Snapshot<'a>,
    /// By their starts, the first one first.
    left: Vec<&'a ListedRequest<'a>>,
    ours: Vec<&'a OwnRequest<'a>>,
    /// What is not ours.
    surplus: u32,
}

impl<'a> Matching<'a> {
    fn new(snapshot: &'a Snapshot<'a>, ours: &'a [OwnRequest<'a>], lag: Duration) -> Self {
        let mut left: Vec<_> = snapshot.requests.iter().collect();
        left.sort_unstable_by_key(|listed| std::cmp::Reverse(listed.duration));
        let is_over = |end| snapshot.received_at.saturating_duration_since(end) > lag;
        let mut ours: Vec<_> = ours
            .iter()
            .filter(|ours| !ours.ended_at.is_some_and(is_over))
            .collect();
        ours.sort_unstable_by_key(|ours| ours.started_at);
        let surplus = left
            .iter()
            .fold(0, |sum: u32, listed| sum.saturating_add(listed.cost));
        Self {
            snapshot,
            left,
            ours,
            surplus,
        }
    }

    /// Gives each listed one the first of ours that will do. As all are allowed the same shifts, no
    /// other way would give more of them one.
    fn pair(
        &mut self,
        shifts: &RangeInclusive<Duration>,
        is_sure_only: bool,
        cost: Cost,
        model: Model,
    ) {
        let Self {
            snapshot,
            left,
            ours,
            surplus,
        } = self;
        left.retain(|listed| {
            let will_do = |ours: &&OwnRequest<'_>| {
                (model == Model::Any || ours.model == listed.model)
                    && (cost == Cost::Any || ours.cost == listed.cost)
                    && (!is_sure_only || is_sure(snapshot, ours))
                    && shift(snapshot, listed, ours).is_some_and(|shift| shifts.contains(&shift))
            };
            let Some(index) = ours.iter().position(will_do) else {
                return true;
            };
            let found = ours.remove(index);
            *surplus = surplus.saturating_sub(listed.cost.min(found.cost));
            false
        });
    }
}

/// The middle of the densest stretch of [`START_SPREAD`]. Of equals the first: the one with the
/// least lag.
fn densest(mut shifts: Vec<Duration>) -> Duration {
    shifts.sort_unstable();
    let mut densest: Option<(usize, Duration, Duration)> = None;
    let mut first = shifts.iter();
    let mut begin = first.next();
    let mut within = 0;
    for &last in &shifts {
        within += 1;
        while let Some(&from) = begin
            && last > from + START_SPREAD
        {
            begin = first.next();
            within -= 1;
        }
        if let Some(&from) = begin
            && densest.is_none_or(|(count, ..)| within > count)
        {
            densest = Some((within, from, last));
        }
    }
    densest.map_or(START_TOLERANCE, |(_, from, to)| (from + to) / 2)
}

/// Without a list that adds up: what is left of the total when as much of it is ours as can be, at
/// any one moment that the snapshot can be of.
fn unaccounted(snapshot: &Snapshot<'_>, ours: &[OwnRequest<'_>]) -> u32 {
    let to = snapshot.received_at;
    let from = to.checked_sub(snapshot.lag).unwrap_or(to);
    // What was held at the beginning, and how it changed until now. Of one moment, what starts
    // comes before what ends.
    let (mut held, mut changes) = (0_u64, Vec::new());
    for request in ours.iter().filter(|request| request.started_at <= to) {
        if request.ended_at.is_some_and(|ended| ended < from) {
            continue;
        }
        if request.started_at <= from {
            held += u64::from(request.cost);
        } else {
            changes.push((request.started_at, false, request.cost));
        }
        changes.extend(request.ended_at.map(|ended| (ended, true, request.cost)));
    }
    changes.sort_unstable();
    let mut most = held;
    for (_, is_end, cost) in changes {
        held = if is_end {
            held.saturating_sub(u64::from(cost))
        } else {
            held + u64::from(cost)
        };
        most = most.max(held);
    }
    let ours_most = u32::try_from(most).unwrap_or(u32::MAX);
    snapshot.used_cost.saturating_sub(ours_most)
}

#[cfg(test)]
mod tests;
