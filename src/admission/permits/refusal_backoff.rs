//! Models whose refusals say nothing of the account's units.
//!
//! A refusal is believed, and what it says corrects what we know. But a model can be refused again
//! and again although each time we were told in between that there are units, because of a bound of
//! its own, say. Were that believed every time, one such model would keep all others waiting. Such
//! a model's queue is held: its requests wait aside, and one at a time is sent, to learn whether
//! the model is let in again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::admission::request::Ticket;

/// This many refusals of one model in a row, each of a request that was sent after the last, are
/// believed.
const BELIEVED: u32 = 3;

/// A model that was not refused for this long is believed again.
const AGE_MAX: Duration = Duration::from_secs(60);

/// How many models are remembered. With one more, all are forgotten: it's only a matter of being
/// believed again.
const MODELS_MAX: usize = 256;

/// How many models may be held. A further one isn't: its request fails.
const HELD_MAX: usize = 256;

/// How long it takes until the next request of a held model is sent: doubled each time, from the
/// first to the last.
pub(super) const PROBE_WAITS: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(8));

/// A longer wait of upstream's isn't kept for all who wait for a model: who knows whether it will
/// be so for them.
const TOLD_MAX: Duration = Duration::from_secs(30);

/// A request that waits for a held model has failed after this many refusals of the model, its own
/// included.
pub(super) const REFUSALS_MAX: u32 = 3;

/// How often each model was refused since it was last answered, and the models that are held for
/// it.
#[derive(Debug, Default)]
pub(super) struct RefusalBackoff {
    refused: HashMap<Arc<str>, RefusalStreak>,
    held: HashMap<Arc<str>, ModelBackoff>,
}

#[derive(Debug)]
struct RefusalStreak {
    refusals: u32,
    last: Instant,
}

#[derive(Debug)]
struct ModelBackoff {
    /// Those who wait for the model, with the request that is sent; and how often it had been
    /// refused before each came.
    members: BTreeMap<Ticket, u32>,
    /// The request that is sent, or is about to be.
    probe: Option<Ticket>,
    /// When the next one is sent.
    probe_at: Instant,
    wait: Duration,
    refusals: u32,
}

/// What a refusal says of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefusalVerdict {
    /// It is believed to be about the account.
    pub(super) is_believed: bool,
    /// It is of a request that was sent after the last refusal had come.
    pub(super) is_news: bool,
}

impl RefusalBackoff {
    /// A request of this model was refused.
    ///
    /// Those that were under way together count once: what is free now is news to them all.
    pub(super) fn refused(
        &mut self,
        model: &Arc<str>,
        sent_at: Instant,
        now: Instant,
    ) -> RefusalVerdict {
        let is_old = |row: &RefusalStreak| now.saturating_duration_since(row.last) > AGE_MAX;
        if self.refused.len() >= MODELS_MAX && !self.refused.contains_key(model) {
            self.refused.clear();
        }
        let row = self
            .refused
            .entry(Arc::clone(model))
            .or_insert(RefusalStreak {
                refusals: 0,
                last: sent_at,
            });
        if is_old(row) {
            row.refusals = 0;
        }
        let is_news = sent_at >= row.last;
        if is_news {
            row.refusals = row.refusals.saturating_add(1);
            row.last = now;
        }
        RefusalVerdict {
            is_believed: row.refusals <= BELIEVED,
            is_news,
        }
    }

    /// A request of this model was let in. Given are those who waited aside for that.
    pub(super) fn let_in(&mut self, model: &str) -> Vec<Ticket> {
        // Usually no model is refused.
        if self.refused.is_empty() && self.held.is_empty() {
            return Vec::new();
        }
        self.refused.remove(model);
        let Some(hold) = self.held.remove(model) else {
            return Vec::new();
        };
        hold.members
            .into_keys()
            .filter(|ticket| Some(*ticket) != hold.probe)
            .collect()
    }

    /// Whether requests of this model wait aside.
    pub(super) fn is_held(&mut self, model: &str, now: Instant) -> bool {
        let Some(hold) = self.held.get(model) else {
            return false;
        };
        let is_old =
            hold.members.is_empty() && now.saturating_duration_since(hold.probe_at) > AGE_MAX;
        if is_old {
            self.held.remove(model);
        }
        !is_old
    }

    /// Holds a model, or goes on: this request of it was refused, and upstream told it to wait for
    /// so long. The first one is sent again after `wait`. Given are those who have failed, this one
    /// among them perhaps; none at all if no more models may be held.
    pub(super) fn hold(
        &mut self,
        model: &Arc<str>,
        ticket: Ticket,
        is_news: bool,
        (wait, told): (Duration, Duration),
        now: Instant,
    ) -> Option<Vec<Ticket>> {
        if self.held.len() >= HELD_MAX && !self.held.contains_key(model) {
            self.held.retain(|_, hold| !hold.members.is_empty());
            if self.held.len() >= HELD_MAX {
                return None;
            }
        }
        let hold = self
            .held
            .entry(Arc::clone(model))
            .or_insert_with(|| ModelBackoff {
                members: BTreeMap::new(),
                probe: None,
                probe_at: now,
                wait,
                refusals: 0,
            });
        hold.probe.take_if(|probe| *probe == ticket);
        if is_news || hold.refusals == 0 {
            hold.refusals = hold.refusals.saturating_add(1);
            hold.probe_at = now + hold.wait.max(told.min(TOLD_MAX));
            hold.wait = (hold.wait * 2).min(PROBE_WAITS.1);
        }
        let refusals = hold.refusals;
        hold.members
            .entry(ticket)
            .or_insert(refusals.saturating_sub(1));
        let has_failed = |before: u32| refusals.saturating_sub(before) >= REFUSALS_MAX;
        let failed: Vec<_> = hold
            .members
            .iter()
            .filter(|(_, before)| has_failed(**before))
            .map(|(&t, _)| t)
            .collect();
        hold.members.retain(|_, before| !has_failed(*before));
        Some(failed)
    }

    /// This one waits for a model that is held: since now, or since before the first of the
    /// refusals.
    pub(super) fn join(&mut self, model: &str, ticket: Ticket, is_new: bool) {
        if let Some(hold) = self.held.get_mut(model) {
            hold.members
                .insert(ticket, if is_new { hold.refusals } else { 0 });
        }
    }

    /// This one waits for its model no more, or has ended without telling anything of it.
    pub(super) fn leave(&mut self, model: &str, ticket: Ticket) {
        if let Some(hold) = self.held.get_mut(model) {
            hold.members.remove(&ticket);
            hold.probe.take_if(|probe| *probe == ticket);
        }
    }

    /// When the next request of a held model is sent.
    pub(super) fn probe_at(&self, model: &str) -> Option<Instant> {
        Some(self.held.get(model)?.probe_at)
    }

    /// The next request that is sent of a held model, if it is time.
    pub(super) fn next_probe(&mut self, now: Instant) -> Option<Ticket> {
        let mut holds = self.held.values_mut();
        holds.find_map(|hold| {
            let first = *hold.members.first_key_value()?.0;
            (hold.probe.is_none() && hold.probe_at <= now).then(|| *hold.probe.insert(first))
        })
    }

    /// Those that are sent of held models.
    pub(super) fn probes(&self) -> impl Iterator<Item = Ticket> {
        self.held.values().filter_map(|hold| hold.probe)
    }

    /// When the next one will be, if nothing happens before.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let waiting = self
            .held
            .values()
            .filter(|hold| hold.probe.is_none() && !hold.members.is_empty());
        waiting.map(|hold| hold.probe_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const WAIT: (Duration, Duration) = (SECOND, Duration::ZERO);

    #[test]
    fn a_model_that_is_refused_again_and_again_is_not_believed_until_it_is_let_in() {
        let (mut holds, model, mut now) = (RefusalBackoff::default(), "a/b".into(), Instant::now());
        let mut is_believed = |holds: &mut RefusalBackoff| {
            let sent_at = now;
            now += SECOND;
            holds.refused(&model, sent_at, now).is_believed
        };
        let told: Vec<_> = (0..6).map(|_| is_believed(&mut holds)).collect();
        assert_eq!(told, [true, true, true, false, false, false]);
        holds.let_in("a/b");
        assert!(is_believed(&mut holds));
    }

    #[test]
    fn refusals_that_are_old_say_nothing() {
        let (mut holds, model, now) = (RefusalBackoff::default(), "a/b".into(), Instant::now());
        for hour in 0..10 {
            let now = now + SECOND * 3600 * hour;
            assert!(holds.refused(&model, now, now).is_believed, "once an hour");
        }
    }

    #[test]
    fn those_that_were_under_way_together_count_once_and_models_apart() {
        let (mut holds, now) = (RefusalBackoff::default(), Instant::now());
        for answered_after in 1..20 {
            assert!(
                holds
                    .refused(&"a/b".into(), now, now + SECOND * answered_after)
                    .is_believed
            );
        }
        for model in 0..1000 {
            assert!(
                holds
                    .refused(&format!("a/{model}").into(), now, now)
                    .is_believed
            );
        }
        assert!(holds.refused.len() <= MODELS_MAX);
    }

    #[test]
    fn one_at_a_time_is_sent_and_all_fail_together() {
        let (mut holds, model, mut now) =
            (RefusalBackoff::default(), Arc::from("a/b"), Instant::now());
        assert_eq!(holds.hold(&model, Ticket(0), true, WAIT, now), Some(vec![]));
        holds.join("a/b", Ticket(1), false);
        for wait in [1, 2_u32] {
            assert_eq!(
                (holds.next_probe(now), holds.next_wake()),
                (None, Some(now + SECOND * wait))
            );
            now += SECOND * wait;
            assert_eq!(holds.next_probe(now), Some(Ticket(0)));
            assert_eq!(
                (holds.next_probe(now), holds.next_wake()),
                (None, None),
                "one at a time"
            );
            holds.join("a/b", Ticket(1 + u64::from(wait)), true);
            let failed = holds.hold(&model, Ticket(0), true, WAIT, now).unwrap();
            assert_eq!(
                failed,
                if wait == 1 {
                    vec![]
                } else {
                    vec![Ticket(0), Ticket(1)]
                }
            );
        }
        now += SECOND * 4;
        assert_eq!(holds.next_probe(now), Some(Ticket(2)));
        holds.leave("a/b", Ticket(2));
        assert_eq!(
            holds.next_probe(now),
            Some(Ticket(3)),
            "who leaves lets the next one try"
        );
        holds.join("a/b", Ticket(9), true);
        assert_eq!(
            holds.let_in("a/b"),
            [Ticket(9)],
            "all but the probe, which was let in"
        );
        assert!(!holds.is_held("a/b", now));
    }

    #[test]
    fn upstreams_own_wait_is_kept_and_refusals_of_before_are_no_news() {
        let (mut holds, model, now) = (RefusalBackoff::default(), Arc::from("a/b"), Instant::now());
        holds.hold(&model, Ticket(0), true, (SECOND, SECOND * 20), now);
        holds.hold(
            &model,
            Ticket(1),
            false,
            (SECOND, Duration::ZERO),
            now + SECOND,
        );
        assert_eq!(holds.probe_at("a/b"), Some(now + SECOND * 20));
        holds.leave("a/b", Ticket(0));
        holds.leave("a/b", Ticket(1));
        assert!(
            holds.is_held("a/b", now + SECOND * 21),
            "for those who come"
        );
        assert!(
            !holds.is_held("a/b", now + SECOND * 21 + AGE_MAX),
            "but not for ever"
        );
        for model in 0..1000 {
            holds.hold(&format!("a/{model}").into(), Ticket(model), true, WAIT, now);
        }
        assert!(holds.held.len() <= HELD_MAX);
    }
}
