//! External usage: the units that other processes of the account hold.
//!
//! Upstream lists the requests in flight, a moment late and without naming who sent them. A listed
//! request that is not one of the gateway's own is external. Only the gateway's clock is used: a
//! request that is reported at `t` to have been running for `d` started at `t - d`.
//!
//! In doubt, a listed request counts as the gateway's own. An external request that is counted as
//! own leads to a refusal, whose numbers correct the mistake at once, and which no caller sees. An
//! own request that is counted as external would be counted twice, in every snapshot and most often
//! under load, and would leave units idle.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

/// How old the content of a feed snapshot can be when it arrives: upstream sends one every two
/// seconds.
pub const LAG: Duration = Duration::from_secs(2);

/// How much the start of one request can differ between the gateway and upstream: by the lag of the
/// snapshot and the time the request was on its way.
pub const START_TOLERANCE: Duration = Duration::from_secs(3);

/// How much that difference varies between the requests of one snapshot. The lag is the same for
/// all of them, and so is most of the time on the way.
pub const START_SPREAD: Duration = Duration::from_millis(600);

/// A message of upstream about the requests in flight.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// When it arrived.
    pub received_at: Instant,
    /// How old its content can be: [`LAG`] for a snapshot of the feed.
    pub lag: Duration,
    /// The units that all requests hold together.
    pub used_cost: u32,
    /// The requests; empty if they are not listed.
    pub requests: &'a [ListedRequest<'a>],
}

/// A request in a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct ListedRequest<'a> {
    /// Its model.
    pub model: &'a str,
    /// The units that it holds.
    pub cost: u32,
    /// For how long it has been running.
    pub duration: Duration,
}

/// A request of the gateway that runs, or that ended at most [`LAG`] ago.
#[derive(Clone, Copy, Debug)]
pub struct OwnRequest<'a> {
    /// Its model.
    pub model: &'a str,
    /// The units that it holds, as the gateway knows.
    pub cost: u32,
    /// When it was sent.
    pub started_at: Instant,
    /// When it ended, if it has.
    pub ended_at: Option<Instant>,
}

/// Each listed request is compared with each own request, while the lock is held. With more pairs
/// than this, their costs are only added up: no plan has that many requests in flight.
const COMPARISONS_MAX: usize = 250_000;

/// This many pairs are enough to find the usual delay.
const PAIRS_MAX: usize = 512;

/// How many of the last delays are remembered.
const DELAYS_MAX: usize = 64;

/// This many remembered delays are enough to know the usual one.
const DELAYS_MIN: usize = 8;

/// Finds the gateway's own requests in snapshots. It remembers by how much later they usually start
/// for upstream than for the gateway. The feed and the requested snapshots, which are fresher, have
/// one matcher each.
#[derive(Debug, Default)]
pub struct RequestMatcher {
    /// The [`delay`]s of the last own requests that certainly were listed, each by the only request
    /// that could be it.
    delays: VecDeque<Duration>,
}

impl RequestMatcher {
    /// The units of the snapshot that are not held by `own` requests.
    pub fn external_units(&mut self, snapshot: &Snapshot<'_>, own: &[OwnRequest<'_>]) -> u32 {
        let listed_cost = snapshot
            .requests
            .iter()
            .fold(0, |sum: u32, listed| sum.saturating_add(listed.cost));
        let is_too_long = snapshot.requests.len().saturating_mul(own.len()) > COMPARISONS_MAX;
        if listed_cost == snapshot.used_cost && !is_too_long {
            self.unmatched_units(snapshot, own)
        } else {
            unexplained_units(snapshot, own)
        }
    }

    /// The units of listed requests that match no own request. If the gateway's cost of a matched
    /// request is too low, the difference counts as external.
    fn unmatched_units(&mut self, snapshot: &Snapshot<'_>, own: &[OwnRequest<'_>]) -> u32 {
        let pairs = possible_pairs(snapshot, own);
        self.remember_delays(&pairs);
        let usual = self.usual_delay(&pairs);
        let mut matching = self.matching(snapshot, own, usual);
        matching.match_all(usual);
        matching.unmatched_units
    }

    /// The indices of the listed requests that are requests of the gateway, but have ended.
    ///
    /// A listed request that may be a running one counts as running: one request too many is gone
    /// with the next snapshot, but a running request that is missing looks like an error.
    pub fn ended(
        &self,
        requests: &[ListedRequest<'_>],
        own: &[OwnRequest<'_>],
        lag: Duration,
        received_at: Instant,
    ) -> Vec<usize> {
        let snapshot = &Snapshot {
            received_at,
            lag,
            used_cost: 0,
            requests,
        };
        let is_too_long = snapshot.requests.len().saturating_mul(own.len()) > COMPARISONS_MAX;
        if is_too_long || own.iter().all(|own| own.ended_at.is_none()) {
            return Vec::new();
        }
        let usual = self.usual_delay(&possible_pairs(snapshot, own));
        let mut matching = self.matching(snapshot, own, usual);
        let (ended, running) = matching.own.iter().partition(|own| own.ended_at.is_some());
        matching.own = running;
        matching.match_all(usual);
        let before = matching.listed.clone();
        matching.own = ended;
        matching.match_all(usual);
        let is_left = |index| matching.listed.iter().any(|(left, _)| *left == index);
        let indices = before.into_iter().map(|(index, _)| index);
        indices.filter(|index| !is_left(*index)).collect()
    }

    fn matching<'a>(
        &self,
        snapshot: &'a Snapshot<'a>,
        own: &'a [OwnRequest<'a>],
        usual: Option<Duration>,
    ) -> Matching<'a> {
        let lag = usual.map_or(snapshot.lag, |usual| self.lag(usual, snapshot));
        Matching::new(snapshot, own, lag)
    }

    fn remember_delays(&mut self, pairs: &[Pair]) {
        for pair in pairs
            .iter()
            .filter(|pair| pair.must_be_listed && pair.is_only_match(pairs))
        {
            if self.delays.len() == DELAYS_MAX {
                self.delays.pop_front();
            }
            self.delays.push_back(pair.delay);
        }
    }

    /// The usual delay: of the remembered ones or, if these are too few, of these `pairs`, if an
    /// own request among them must be listed. `None` if there is none: requests that have just
    /// started or ended may be any of those listed.
    fn usual_delay(&self, pairs: &[Pair]) -> Option<Duration> {
        let delays: Vec<_> = if self.delays.len() >= DELAYS_MIN {
            self.delays.iter().copied().collect()
        } else if pairs.iter().any(|pair| pair.must_be_listed) {
            pairs.iter().map(|pair| pair.delay).collect()
        } else {
            Vec::new()
        };
        (!delays.is_empty()).then(|| densest(delays))
    }

    /// How old the content of the snapshot can be. It is not older than the `usual` delay, if that
    /// is known from remembered requests.
    fn lag(&self, usual: Duration, snapshot: &Snapshot<'_>) -> Duration {
        let usual_lag = usual.saturating_sub(START_TOLERANCE) + START_SPREAD / 2;
        if self.delays.len() >= DELAYS_MIN {
            usual_lag.min(snapshot.lag)
        } else {
            snapshot.lag
        }
    }
}

/// The external usage by a refusal that reports `active` units, while the gateway's requests hold
/// `own` units, without the refused request.
pub fn from_refusal(active: u32, own: u32) -> u32 {
    active.saturating_sub(own)
}

/// The least external usage if a request that costs `cost` was refused without numbers. It is one
/// unit more than would have left room for the request, and 0 if the gateway's `own` units alone
/// left no room.
pub fn minimum_from_refusal(capacity: u32, own: u32, cost: u32) -> u32 {
    capacity
        .saturating_add(1)
        .saturating_sub(own.saturating_add(cost))
}

/// A listed request and an own request, by their indices, that can be the same.
struct Pair {
    listed: usize,
    own: usize,
    delay: Duration,
    /// The own request must be in the list.
    must_be_listed: bool,
}

impl Pair {
    /// Whether neither of its two requests is in another pair.
    fn is_only_match(&self, pairs: &[Pair]) -> bool {
        pairs
            .iter()
            .filter(|pair| pair.listed == self.listed || pair.own == self.own)
            .count()
            == 1
    }
}

/// The pairs of one model with a possible delay.
fn possible_pairs(snapshot: &Snapshot<'_>, own: &[OwnRequest<'_>]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (listed_index, listed) in snapshot.requests.iter().enumerate() {
        for (own_index, request) in own
            .iter()
            .enumerate()
            .filter(|(_, request)| request.model == listed.model)
        {
            let delay = delay(snapshot, listed, request);
            if let Some(delay) = delay.filter(|&delay| delay <= START_TOLERANCE * 2) {
                pairs.push(Pair {
                    listed: listed_index,
                    own: own_index,
                    delay,
                    must_be_listed: must_be_listed(snapshot, request),
                });
            }
        }
        if pairs.len() > PAIRS_MAX {
            break;
        }
    }
    pairs
}

/// By how much later the listed request started than the own one, plus [`START_TOLERANCE`], so that
/// it is never negative. `None` if it started earlier by more than the tolerance.
fn delay(
    snapshot: &Snapshot<'_>,
    listed: &ListedRequest<'_>,
    own: &OwnRequest<'_>,
) -> Option<Duration> {
    let age = snapshot
        .received_at
        .saturating_duration_since(own.started_at);
    (age + START_TOLERANCE).checked_sub(listed.duration)
}

/// Whether the snapshot must list an own request, because it runs and did not start just now.
fn must_be_listed(snapshot: &Snapshot<'_>, own: &OwnRequest<'_>) -> bool {
    own.ended_at.is_none() && own.started_at + START_TOLERANCE < snapshot.received_at
}

/// When a listed request and an own request are the same.
struct MatchRule<'a> {
    delays: &'a RangeInclusive<Duration>,
    /// Only own requests match that must be listed.
    must_be_listed: bool,
    is_same_cost: bool,
    is_same_model: bool,
}

impl MatchRule<'_> {
    fn accepts(
        &self,
        snapshot: &Snapshot<'_>,
        listed: &ListedRequest<'_>,
        own: &OwnRequest<'_>,
    ) -> bool {
        (!self.is_same_model || own.model == listed.model)
            && (!self.is_same_cost || own.cost == listed.cost)
            && (!self.must_be_listed || must_be_listed(snapshot, own))
            && delay(snapshot, listed, own).is_some_and(|delay| self.delays.contains(&delay))
    }
}

/// The requests that are not matched yet.
struct Matching<'a> {
    snapshot: &'a Snapshot<'a>,
    /// With their indices, in the order of their starts.
    listed: Vec<(usize, &'a ListedRequest<'a>)>,
    /// The one that started first is first.
    own: Vec<&'a OwnRequest<'a>>,
    unmatched_units: u32,
}

impl<'a> Matching<'a> {
    fn new(snapshot: &'a Snapshot<'a>, own: &'a [OwnRequest<'a>], lag: Duration) -> Self {
        let mut listed: Vec<_> = snapshot.requests.iter().enumerate().collect();
        listed.sort_unstable_by_key(|(_, listed)| std::cmp::Reverse(listed.duration));
        let is_before_snapshot = |end| snapshot.received_at.saturating_duration_since(end) > lag;
        let mut own: Vec<_> = own
            .iter()
            .filter(|own| !own.ended_at.is_some_and(is_before_snapshot))
            .collect();
        own.sort_unstable_by_key(|own| own.started_at);
        let unmatched_units = listed
            .iter()
            .fold(0, |sum: u32, (_, listed)| sum.saturating_add(listed.cost));
        Self {
            snapshot,
            listed,
            own,
            unmatched_units,
        }
    }

    /// Matches by all rules, the surest first. `usual` is the usual delay, if it is known.
    ///
    /// A pair with about the usual delay is likely the same request. While the usual delay is not
    /// known, every possible delay counts as usual. A pair with another delay is accepted only for
    /// an own request that must be listed. Otherwise own requests that have just started or ended
    /// would explain external requests that started at about the same time.
    fn match_all(&mut self, usual: Option<Duration>) {
        let usual_delays = match usual {
            Some(usual) => usual.saturating_sub(START_SPREAD / 2)..=usual + START_SPREAD / 2,
            None => Duration::ZERO..=START_TOLERANCE * 2,
        };
        // A request that was long on its way, or was sent several times, starts much later for
        // upstream.
        let all_delays = Duration::ZERO..=Duration::MAX;
        for (delays, must_be_listed, is_same_cost) in [
            (&usual_delays, false, true),
            (&usual_delays, false, false),
            (&all_delays, true, true),
            (&all_delays, true, false),
        ] {
            self.match_requests(&MatchRule {
                delays,
                must_be_listed,
                is_same_cost,
                is_same_model: true,
            });
        }
        // Upstream may list a model by another name than the request had.
        self.match_requests(&MatchRule {
            delays: &usual_delays,
            must_be_listed: true,
            is_same_cost: true,
            is_same_model: false,
        });
    }

    /// Matches each listed request with the first own request that the rule accepts. The rule
    /// allows the same delays for all, so no other order would match more of them.
    fn match_requests(&mut self, rule: &MatchRule<'_>) {
        let Self {
            snapshot,
            listed,
            own,
            unmatched_units,
        } = self;
        listed.retain(|(_, listed)| {
            let Some(index) = own
                .iter()
                .position(|own| rule.accepts(snapshot, listed, own))
            else {
                return true;
            };
            let found = own.remove(index);
            *unmatched_units = unmatched_units.saturating_sub(listed.cost.min(found.cost));
            false
        });
    }
}

/// The middle of the interval of length [`START_SPREAD`] with the most delays in it. Of several
/// such intervals, the one with the smallest delays.
fn densest(mut delays: Vec<Duration>) -> Duration {
    delays.sort_unstable();
    let mut densest: Option<(usize, Duration, Duration)> = None;
    let mut first = delays.iter();
    let mut begin = first.next();
    let mut within = 0;
    for &last in &delays {
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

/// The units that own requests cannot explain, for a snapshot without a list that adds up. Own
/// requests explain as many units as they held together at any one moment that the snapshot can
/// describe.
fn unexplained_units(snapshot: &Snapshot<'_>, own: &[OwnRequest<'_>]) -> u32 {
    let to = snapshot.received_at;
    let from = to.checked_sub(snapshot.lag).unwrap_or(to);
    // The units held at `from`, and each change since. At the same moment, a start comes before an
    // end.
    let (mut held, mut changes) = (0_u64, Vec::new());
    for request in own.iter().filter(|request| request.started_at <= to) {
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
    let mut held_max = held;
    for (_, is_end, cost) in changes {
        held = if is_end {
            held.saturating_sub(u64::from(cost))
        } else {
            held + u64::from(cost)
        };
        held_max = held_max.max(held);
    }
    let own_max = u32::try_from(held_max).unwrap_or(u32::MAX);
    snapshot.used_cost.saturating_sub(own_max)
}

#[cfg(test)]
mod tests;
