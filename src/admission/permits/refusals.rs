//! What upstream's refusals for want of units change.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    errors::refused_in_vain,
    refusal_backoff::{self, PROBE_WAITS},
    refusal_budget::RefusalBudget,
    state::{State, Waiting},
};
use crate::{
    admission::{Ticket, external_usage},
    error::{Error, Result, UnitRefusal},
};

/// How long what a refusal said is believed when no snapshot comes to say otherwise: as long as its
/// `Retry-After`, and this at least. A longer wait than the greatest is nobody's, so that the next
/// request finds out how things are.
const REFUSAL_BELIEVED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

impl State {
    /// Upstream refused a request that was started: it waits again, and what upstream says corrects
    /// what we know, if that is worth anything.
    ///
    /// # Errors
    /// Saturated, if it was refused too often, or had to wait for too long before it may be sent
    /// again.
    pub(super) fn refused(
        &mut self,
        ticket: Ticket,
        waiting: Waiting,
        refusal: &Error,
        tries: &mut RefusalBudget,
        until: Instant,
    ) -> Result<()> {
        let now = Instant::now();
        let model = Arc::clone(&waiting.own.model);
        let units = refusal.unit_refusal().unwrap_or_default();
        let told = units.retry_after.unwrap_or_default();
        self.scheduler.requeue(ticket, now.into_std());
        self.trials.leave(ticket);
        self.refusals = self.refusals.saturating_add(1);
        let sent_at = self
            .running
            .remove(&ticket)
            .map_or(now, |own| own.started_at);
        let worth = self
            .holds
            .refused(&model, sent_at.into_std(), now.into_std());
        let aside = tries.refused(told).filter(|aside| now + *aside < until);
        tracing::info!(
            ?worth,
            ?aside,
            refusals = tries.refusals(),
            "upstream refused for want of concurrency units"
        );
        let cost = waiting.own.cost;
        self.insert(ticket, waiting, now);
        let is_over = if worth.is_believed {
            self.believe(units, cost, worth.is_news, now);
            aside
                .iter()
                .for_each(|aside| self.put_aside(ticket, *aside, now));
            aside.is_none()
        } else {
            let is_held = self.hold(&model, ticket, worth.is_news, refusal, told, now);
            let probe_at = self.holds.probe_at(&model).map(Instant::from_std);
            !is_held || aside.is_none() || probe_at.is_none_or(|at| at >= until)
        };
        if is_over {
            self.leave(ticket);
            return Err(refused_in_vain(&model, tries.refusals(), refusal));
        }
        Ok(())
    }

    /// A request that was refused stays out of the queue for this long.
    fn put_aside(&mut self, ticket: Ticket, aside: Duration, now: Instant) {
        let Some(waiting) = self.waiting.get_mut(&ticket) else {
            return;
        };
        if !aside.is_zero() && self.scheduler.step_aside(ticket, now.into_std()) {
            waiting.back_at = Some(now + aside);
            self.back.insert((now + aside, ticket));
        }
    }

    /// A refusal tells how things are.
    fn believe(&mut self, refusal: UnitRefusal, cost: u32, is_news: bool, now: Instant) {
        let told = refusal
            .retry_after
            .filter(|told| *told <= REFUSAL_BELIEVED.1)
            .unwrap_or_default();
        let capacity = self.plan.bounds().capacity;
        if let Some(limit) = refusal.limit.filter(|limit| *limit > 0) {
            self.refusal_limit = Some(limit);
            self.scheduler.set_capacity_from_refusal(Some(limit));
            self.reckon_all(now);
        }
        if capacity.is_none() && self.refusal_limit.is_some() {
            self.trials.limit_told(now.into_std());
        }
        let ours = self.scheduler.held();
        let Some(units) = [capacity, self.refusal_limit].into_iter().flatten().min() else {
            // Nothing tells of a limit. What runs was let in, and no more.
            self.scheduler.set_capacity_from_refusal(Some(ours));
            self.trials.refused_blindly(is_news, told, now.into_std());
            return;
        };
        let least = external_usage::minimum_from_refusal(units, ours, cost);
        let active = refusal
            .active
            .map_or(0, |active| external_usage::from_refusal(active, ours));
        self.scheduler
            .set_external_usage_from_refusal(least.max(active), now.into_std());
        self.trials.try_outside(None);
        self.doubt_at = Some(now + told.max(REFUSAL_BELIEVED.0));
    }

    /// This model is refused whatever is free: those who want it wait aside, and one at a time is
    /// sent. False if this one is not among them.
    fn hold(
        &mut self,
        model: &Arc<str>,
        ticket: Ticket,
        is_news: bool,
        refusal: &Error,
        told: Duration,
        now: Instant,
    ) -> bool {
        let is_blind = self.plan.bounds().capacity.is_none() && self.refusal_limit.is_none();
        let wait = if is_blind {
            self.trials.blind_wait()
        } else {
            PROBE_WAITS.0
        };
        let was_held = self.holds.is_held(model, now.into_std());
        let Some(failed) = self
            .holds
            .hold(model, ticket, is_news, (wait, told), now.into_std())
        else {
            return false;
        };
        self.scheduler.step_aside(ticket, now.into_std());
        if !was_held {
            let all = self
                .waiting
                .iter()
                .filter(|(_, waiting)| waiting.own.model == *model);
            for ticket in all.map(|(&ticket, _)| ticket).collect::<Vec<_>>() {
                if self.scheduler.step_aside(ticket, now.into_std()) {
                    self.holds.join(model, ticket, false);
                }
            }
        }
        for &other in failed.iter().filter(|failed| **failed != ticket) {
            self.scheduler.leave(other, now.into_std());
            if let Some(waiting) = self.forget(other) {
                let _ = waiting.tell.send(Err(refused_in_vain(
                    model,
                    refusal_backoff::REFUSALS_MAX,
                    refusal,
                )));
            }
        }
        !failed.contains(&ticket)
    }
}
