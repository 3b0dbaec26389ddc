//! Models that upstream refuses for a reason other than the account's units.
//!
//! Normally a refusal corrects what the gateway knows about the account. But upstream may refuse
//! one model again and again although units are free, for example because the model has a limit of
//! its own. If each of these refusals counted, one model would keep all other requests waiting. So
//! after a few refusals in a row, only this model backs off: its requests are parked, and one at a
//! time is sent as a probe, until upstream admits one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::admission::request::Ticket;

/// This many refusals of a model in a row count as refusals for the account's units. Refusals of
/// requests that were sent before the previous refusal came are not counted.
const CREDIBLE_REFUSALS_MAX: u32 = 3;

/// The refusals of a model are forgotten after this time without a refusal.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How many models are remembered. One more clears the list; their next refusals are then credible
/// again, which does no harm.
const MODELS_MAX: usize = 256;

/// How many models may back off at a time. A request of one more model fails instead.
const BACKOFFS_MAX: usize = 256;

/// The first and the longest backoff before the next probe of a model. It doubles each time.
pub(super) const PROBE_BACKOFF: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(8));

/// A longer `Retry-After` does not delay the probes of a model: it may be meant for one request
/// only.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// A parked request fails after this many refusals of its model, its own included.
pub(super) const PARKED_REFUSALS_MAX: u32 = 3;

/// The refusals of each model since upstream last admitted it, and the models that back off.
#[derive(Debug, Default)]
pub(super) struct RefusalBackoff {
    streaks: HashMap<Arc<str>, RefusalStreak>,
    backoffs: HashMap<Arc<str>, ModelBackoff>,
}

#[derive(Debug)]
struct RefusalStreak {
    refusals: u32,
    last: Instant,
}

#[derive(Debug)]
struct ModelBackoff {
    /// The requests that wait for the model, the probe included, and how often the model had been
    /// refused before each of them came.
    members: BTreeMap<Ticket, u32>,
    /// The request that is sent, or is about to be.
    probe: Option<Ticket>,
    /// When the next probe is sent.
    probe_at: Instant,
    backoff: Duration,
    refusals: u32,
}

impl ModelBackoff {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.members.is_empty() && now.saturating_duration_since(self.probe_at) > FORGOTTEN_AFTER
    }
}

/// How a refusal is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RefusalVerdict {
    /// It counts as a refusal for the account's units.
    pub(super) is_credible: bool,
    /// The request was sent after the previous refusal had come.
    pub(super) is_new: bool,
}

/// How long to wait before the next probe of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeDelay {
    /// The backoff of a model that has not backed off before.
    pub(super) first_backoff: Duration,
    /// The `Retry-After` of the refusal.
    pub(super) retry_after: Duration,
}

impl RefusalBackoff {
    /// Counts a refusal of `model`. Requests that were under way at the same time count once,
    /// because they do not know of each other's refusals.
    pub(super) fn record_refusal(
        &mut self,
        model: &Arc<str>,
        sent_at: Instant,
        now: Instant,
    ) -> RefusalVerdict {
        if self.streaks.len() >= MODELS_MAX && !self.streaks.contains_key(model) {
            self.streaks.clear();
        }
        let streak = self
            .streaks
            .entry(Arc::clone(model))
            .or_insert(RefusalStreak {
                refusals: 0,
                last: sent_at,
            });
        if now.saturating_duration_since(streak.last) > FORGOTTEN_AFTER {
            streak.refusals = 0;
        }
        let is_new = sent_at >= streak.last;
        if is_new {
            streak.refusals = streak.refusals.saturating_add(1);
            streak.last = now;
        }
        RefusalVerdict {
            is_credible: streak.refusals <= CREDIBLE_REFUSALS_MAX,
            is_new,
        }
    }

    /// Upstream admitted a request of `model`: the model no longer backs off. Returns the requests
    /// that were parked for it.
    pub(super) fn end(&mut self, model: &str) -> Vec<Ticket> {
        // The usual case.
        if self.is_idle() {
            return Vec::new();
        }
        self.streaks.remove(model);
        let Some(ended) = self.backoffs.remove(model) else {
            return Vec::new();
        };
        ended
            .members
            .into_keys()
            .filter(|ticket| Some(*ticket) != ended.probe)
            .collect()
    }

    /// Whether no model has been refused recently.
    pub(super) fn is_idle(&self) -> bool {
        self.streaks.is_empty() && self.backoffs.is_empty()
    }

    /// Whether requests of `model` are parked.
    pub(super) fn is_backing_off(&self, model: &str, now: Instant) -> bool {
        self.backoffs
            .get(model)
            .is_some_and(|backoff| !backoff.is_forgotten(now))
    }

    /// Makes `model` back off, or continue to, because it refused `ticket`. `is_new` is from
    /// [`RefusalVerdict`]: only a new refusal doubles the backoff.
    ///
    /// Returns the requests that have failed now, perhaps `ticket` too. Returns `None` if too many
    /// models back off already.
    pub(super) fn back_off(
        &mut self,
        model: &Arc<str>,
        ticket: Ticket,
        is_new: bool,
        delay: ProbeDelay,
        now: Instant,
    ) -> Option<Vec<Ticket>> {
        if self
            .backoffs
            .get(model)
            .is_some_and(|backoff| backoff.is_forgotten(now))
        {
            self.backoffs.remove(model);
        }
        if self.backoffs.len() >= BACKOFFS_MAX && !self.backoffs.contains_key(model) {
            self.backoffs
                .retain(|_, backoff| !backoff.members.is_empty());
            if self.backoffs.len() >= BACKOFFS_MAX {
                return None;
            }
        }
        let backoff = self
            .backoffs
            .entry(Arc::clone(model))
            .or_insert_with(|| ModelBackoff {
                members: BTreeMap::new(),
                probe: None,
                probe_at: now,
                backoff: delay.first_backoff,
                refusals: 0,
            });
        backoff.probe.take_if(|probe| *probe == ticket);
        if is_new || backoff.refusals == 0 {
            let retry_after = delay.retry_after.min(RETRY_AFTER_MAX);
            backoff.refusals = backoff.refusals.saturating_add(1);
            backoff.probe_at = now + backoff.backoff.max(retry_after);
            backoff.backoff = (backoff.backoff * 2).min(PROBE_BACKOFF.1);
        }
        let refusals = backoff.refusals;
        backoff
            .members
            .entry(ticket)
            .or_insert(refusals.saturating_sub(1));
        let has_failed = |before: u32| refusals.saturating_sub(before) >= PARKED_REFUSALS_MAX;
        let failed: Vec<_> = backoff
            .members
            .iter()
            .filter(|(_, before)| has_failed(**before))
            .map(|(&ticket, _)| ticket)
            .collect();
        backoff.members.retain(|_, before| !has_failed(*before));
        Some(failed)
    }

    /// Adds a request that came after the model's refusals so far. They do not count for it.
    pub(super) fn add_new_member(&mut self, model: &str, ticket: Ticket) {
        if let Some(backoff) = self.backoffs.get_mut(model) {
            backoff.members.insert(ticket, backoff.refusals);
        }
    }

    /// Adds a request that came before the first refusal. All refusals count for it.
    pub(super) fn add_old_member(&mut self, model: &str, ticket: Ticket) {
        if let Some(backoff) = self.backoffs.get_mut(model) {
            backoff.members.insert(ticket, 0);
        }
    }

    /// Removes a request that no longer waits for its model, or has ended without a usable result.
    pub(super) fn remove_member(&mut self, model: &str, ticket: Ticket) {
        if let Some(backoff) = self.backoffs.get_mut(model) {
            backoff.members.remove(&ticket);
            backoff.probe.take_if(|probe| *probe == ticket);
        }
    }

    /// When the next probe of `model` is sent.
    pub(super) fn probe_at(&self, model: &str) -> Option<Instant> {
        Some(self.backoffs.get(model)?.probe_at)
    }

    /// Selects a probe of a model whose backoff has passed, if there is one.
    pub(super) fn select_probe(&mut self, now: Instant) -> Option<Ticket> {
        self.backoffs.values_mut().find_map(|backoff| {
            let first = *backoff.members.first_key_value()?.0;
            let may_probe = backoff.probe.is_none() && backoff.probe_at <= now;
            may_probe.then(|| *backoff.probe.insert(first))
        })
    }

    /// The selected probes of all models.
    pub(super) fn probes(&self) -> impl Iterator<Item = Ticket> {
        self.backoffs.values().filter_map(|backoff| backoff.probe)
    }

    /// When the next probe can be selected.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.backoffs
            .values()
            .filter(|backoff| backoff.probe.is_none() && !backoff.members.is_empty())
            .map(|backoff| backoff.probe_at)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DELAY: ProbeDelay = ProbeDelay {
        first_backoff: SECOND,
        retry_after: Duration::ZERO,
    };

    #[test]
    fn refusals_of_one_model_in_a_row_are_not_credible_until_it_is_admitted() {
        let (mut backoff, model, mut now) =
            (RefusalBackoff::default(), "a/b".into(), Instant::now());
        let mut is_credible = |backoff: &mut RefusalBackoff| {
            let sent_at = now;
            now += SECOND;
            backoff.record_refusal(&model, sent_at, now).is_credible
        };
        let verdicts: Vec<_> = (0..6).map(|_| is_credible(&mut backoff)).collect();
        assert_eq!(verdicts, [true, true, true, false, false, false]);
        backoff.end("a/b");
        assert!(is_credible(&mut backoff));
    }

    #[test]
    fn old_refusals_are_forgotten() {
        let (mut backoff, model, now) = (RefusalBackoff::default(), "a/b".into(), Instant::now());
        for hour in 0..10 {
            let now = now + SECOND * 3600 * hour;
            let verdict = backoff.record_refusal(&model, now, now);
            assert!(verdict.is_credible, "once an hour");
        }
    }

    #[test]
    fn requests_under_way_at_the_same_time_count_once_and_each_model_on_its_own() {
        let (mut backoff, now) = (RefusalBackoff::default(), Instant::now());
        for answered_after in 1..20 {
            let answered_at = now + SECOND * answered_after;
            let verdict = backoff.record_refusal(&"a/b".into(), now, answered_at);
            assert!(verdict.is_credible);
        }
        for model in 0..1000 {
            let verdict = backoff.record_refusal(&format!("a/{model}").into(), now, now);
            assert!(verdict.is_credible);
        }
        assert!(backoff.streaks.len() <= MODELS_MAX);
    }

    #[test]
    fn one_probe_at_a_time_is_sent_and_all_members_fail_together() {
        let (mut backoff, model, mut now) =
            (RefusalBackoff::default(), Arc::from("a/b"), Instant::now());
        let failed = backoff.back_off(&model, Ticket(0), true, DELAY, now);
        assert_eq!(failed, Some(vec![]));
        backoff.add_old_member("a/b", Ticket(1));
        for wait in [1, 2_u32] {
            assert_eq!(
                (backoff.select_probe(now), backoff.next_wake()),
                (None, Some(now + SECOND * wait))
            );
            now += SECOND * wait;
            assert_eq!(backoff.select_probe(now), Some(Ticket(0)));
            assert_eq!(
                (backoff.select_probe(now), backoff.next_wake()),
                (None, None),
                "one at a time"
            );
            backoff.add_new_member("a/b", Ticket(1 + u64::from(wait)));
            let failed = backoff
                .back_off(&model, Ticket(0), true, DELAY, now)
                .unwrap();
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
        assert_eq!(backoff.select_probe(now), Some(Ticket(2)));
        backoff.remove_member("a/b", Ticket(2));
        assert_eq!(
            backoff.select_probe(now),
            Some(Ticket(3)),
            "a probe that leaves makes room for the next one"
        );
        backoff.add_new_member("a/b", Ticket(9));
        assert_eq!(
            backoff.end("a/b"),
            [Ticket(9)],
            "all but the probe, which was admitted"
        );
        assert!(!backoff.is_backing_off("a/b", now));
    }

    #[test]
    fn retry_after_is_obeyed_and_refusals_of_requests_sent_before_do_not_count() {
        let (mut backoff, model, now) =
            (RefusalBackoff::default(), Arc::from("a/b"), Instant::now());
        let twenty_seconds = ProbeDelay {
            retry_after: SECOND * 20,
            ..DELAY
        };
        backoff.back_off(&model, Ticket(0), true, twenty_seconds, now);
        backoff.back_off(&model, Ticket(1), false, DELAY, now + SECOND);
        assert_eq!(backoff.probe_at("a/b"), Some(now + SECOND * 20));
        backoff.remove_member("a/b", Ticket(0));
        backoff.remove_member("a/b", Ticket(1));
        assert!(
            backoff.is_backing_off("a/b", now + SECOND * 21),
            "for the next requests too"
        );
        assert!(
            !backoff.is_backing_off("a/b", now + SECOND * 21 + FORGOTTEN_AFTER),
            "but not for ever"
        );
        for model in 0..1000 {
            backoff.back_off(
                &format!("a/{model}").into(),
                Ticket(model),
                true,
                DELAY,
                now,
            );
        }
        assert!(backoff.backoffs.len() <= BACKOFFS_MAX);
    }
}
