//! A guard against outsiders: other processes that use the account, of which we hear once in two
//! seconds.
//!
//! What they took since the last snapshot is not known, and a request of ours started on it is
//! refused. But they can only take what was free: a unit that one of our requests has just given
//! back, and that the next one takes at once, is safe. So are units of which a snapshot that was
//! asked for has just said that they are free. Only the last units, idle and not heard of for a
//! while, are worth asking, and only while outsiders are about. Under full load our units go from
//! hand to hand, and the guard costs nothing.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::admission::external_usage::LAG;

/// For so long a snapshot that was asked for is as good as the present.
const FRESH: Duration = Duration::from_millis(30);

/// For so long a unit that we gave back is as good as ours.
const HANDED_OVER: Duration = Duration::from_millis(100);

/// Outsiders are about until nothing was seen of them for so long.
const ABOUT: Duration = Duration::from_secs(300);

/// The feed's snapshots are older than those that are asked for. But when one that is wanted hasn't
/// come for so long, the feed's next one has to do.
const UNANSWERED: Duration = Duration::from_secs(1);

/// After so long without a snapshot, there is no use in waiting for the next one.
const LOST: Duration = Duration::from_secs(7);

/// What is known of outsiders, and how well.
#[derive(Debug, Default)]
pub(super) struct Headroom {
    outside: u32,
    /// When outsiders were last seen to hold something.
    seen: Option<Instant>,
    /// When a snapshot last told.
    told: Option<Instant>,
    /// When it last told of the present.
    fresh: Option<Instant>,
    /// Since when a snapshot is wanted.
    wanted: Option<Instant>,
    /// When a refusal last told.
    refused: Option<Instant>,
    /// Nobody has told anything since.
    is_by_refusal: bool,
    /// What we gave back of late and have not taken again.
    handed_over: VecDeque<(Instant, u32)>,
}

impl Headroom {
    /// The units outsiders hold, as far as is known.
    pub(super) fn outside(&self) -> u32 {
        self.outside
    }

    /// A snapshot tells: the feed's, or one that was asked for at that time. One that may be older
    /// than a refusal can't say that there are fewer.
    pub(super) fn tell(&mut self, outside: u32, asked_at: Option<Instant>, now: Instant) {
        let as_of = asked_at.or_else(|| now.checked_sub(LAG));
        let is_outdated = self
            .refused
            .is_some_and(|refused| as_of.is_none_or(|as_of| as_of < refused));
        self.outside = if is_outdated {
            outside.max(self.outside)
        } else {
            outside
        };
        self.told = Some(now);
        self.is_by_refusal = is_outdated && self.is_by_refusal;
        let is_unanswered = self
            .wanted
            .is_some_and(|wanted| now.saturating_duration_since(wanted) >= UNANSWERED);
        if asked_at.is_some() || is_unanswered {
            self.fresh = Some(now);
            self.wanted = None;
        }
        if outside > 0 {
            self.seen = Some(now);
        }
    }

    /// A refusal tells. It promises no snapshot: where none comes, there is none to wait for.
    pub(super) fn refuse(&mut self, outside: u32, now: Instant) {
        self.refused = None;
        let told = self.told;
        self.tell(outside, Some(now), now);
        self.told = told;
        self.refused = Some(now);
        self.is_by_refusal = true;
    }

    /// What was told is not believed any more, and this is. It is no news of anybody's.
    pub(super) fn doubt(&mut self, outside: u32) {
        self.outside = outside;
        self.is_by_refusal = false;
    }

    /// A snapshot is wanted, or not any more.
    pub(super) fn want(&mut self, is_wanted: bool, now: Instant) {
        self.wanted = is_wanted.then(|| self.wanted.unwrap_or(now));
    }

    /// Whether what is known of outsiders is a refusal's word alone: it may have meant something
    /// else, and a snapshot tells.
    pub(super) fn is_by_refusal(&self) -> bool {
        self.is_by_refusal
    }

    pub(super) fn is_wanting(&self) -> bool {
        self.wanted.is_some()
    }

    pub(super) fn hand_over(&mut self, units: u32, at: Instant) {
        while self
            .handed_over
            .front()
            .is_some_and(|(then, _)| at.saturating_duration_since(*then) > HANDED_OVER)
        {
            self.handed_over.pop_front();
        }
        self.handed_over.push_back((at, units));
    }

    pub(super) fn take(&mut self, mut units: u32) {
        while units > 0
            && let Some((_, oldest)) = self.handed_over.front_mut()
        {
            let taken = units.min(*oldest);
            *oldest -= taken;
            units -= taken;
            if *oldest == 0 {
                self.handed_over.pop_front();
            }
        }
    }

    /// How many units may be held in all, if outsiders leave us `whole` and we hold `held`.
    pub(super) fn ceiling(&self, now: Instant, whole: u32, held: u32, headroom: u32) -> u32 {
        if !self.is_up(now, headroom) {
            return whole;
        }
        let recent = |at: Instant| now.saturating_duration_since(at) <= HANDED_OVER;
        let ours = self
            .handed_over
            .iter()
            .rev()
            .take_while(|(at, _)| recent(*at))
            .map(|(_, units)| units)
            .sum::<u32>();
        whole
            .saturating_sub(headroom)
            .max(held.saturating_add(ours))
            .min(whole)
    }

    /// When it comes down, if it is up: nobody has said anything for too long.
    pub(super) fn down_at(&self, now: Instant, headroom: u32) -> Option<Instant> {
        self.told
            .filter(|_| self.is_up(now, headroom))
            .map(|told| told + LOST)
    }

    fn is_up(&self, now: Instant, headroom: u32) -> bool {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        let about = since(self.seen).is_some_and(|since| since <= ABOUT);
        let is_stale = since(self.fresh).is_none_or(|since| since > FRESH);
        let is_heard = since(self.told).is_some_and(|since| since < LOST);
        headroom > 0 && about && is_stale && is_heard
    }
}
