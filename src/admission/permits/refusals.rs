//! What a refusal for lack of units changes.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    errors::{Refusal, Rejection},
    refusal_backoff::{PARKED_REFUSALS_MAX, PROBE_BACKOFF, ProbeDelay},
    refusal_budget::RefusalBudget,
    state::{PendingRequest, State},
};
use crate::{
    admission::{external_usage, request::Ticket},
    clock,
    error::UnitRefusal,
};

/// A refusal applies for the time of its `Retry-After`, and for the first of these at least, if no
/// snapshot comes. A `Retry-After` above the second may be meant for one request only: then the
/// next request finds out.
const REFUSAL_VALID_FOR: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

impl State {
    /// Makes a running request `pending` again, because upstream refused it, and takes over what
    /// the refusal says about the units. The request waits until `deadline` at most. `budget` has
    /// counted the refusal. The log names the `account`.
    ///
    /// # Errors
    ///
    /// It was refused too often, or may not be sent again before `deadline`.
    pub(super) fn refuse(
        &mut self,
        ticket: Ticket,
        pending: PendingRequest,
        refusal: &Refusal,
        budget: RefusalBudget,
        deadline: Instant,
        account: &str,
    ) -> Result<(), Rejection> {
        let now = Instant::now();
        let model = Arc::clone(&pending.tracked.model);
        let cost = pending.tracked.cost;
        let units = refusal.units;
        let retry_after = units.retry_after.unwrap_or_default();
        self.scheduler.requeue(ticket, now.into_std());
        self.probe.cancel(ticket);
        self.refusals = self.refusals.saturating_add(1);
        let sent_at = self
            .running
            .remove(&ticket)
            .map_or(now, |tracked| tracked.started_at);
        let verdict = self
            .backoff
            .record_refusal(&model, sent_at.into_std(), now.into_std());
        let is_credible = verdict.is_credible || self.alone_since.is_some();
        let may_retry =
            (budget.may_retry() || self.alone_since.is_some()) && now + retry_after < deadline;
        tracing::info!(
            account,
            is_credible,
            is_new = verdict.is_new,
            may_retry,
            retry_after_ms = clock::milliseconds(retry_after),
            refusals = budget.refusals,
            "upstream refused a request for lack of concurrency units"
        );
        self.insert_pending(ticket, pending, now);
        let has_failed = if is_credible {
            self.apply_refusal(units, cost, verdict.is_new, now);
            if may_retry {
                self.park_until(ticket, now + retry_after, now);
            }
            !may_retry
        } else {
            let is_parked = self.back_off(&model, ticket, verdict.is_new, refusal, now);
            let probe_at = self.backoff.probe_at(&model).map(Instant::from_std);
            !is_parked || !may_retry || probe_at.is_none_or(|at| at >= deadline)
        };
        if has_failed {
            self.remove(ticket);
            return Err(Rejection::RefusedTooOften {
                times: budget.refusals,
                refusal: refusal.clone(),
            });
        }
        Ok(())
    }

    /// Keeps a pending request out of the queue until `returns_at`.
    fn park_until(&mut self, ticket: Ticket, returns_at: Instant, now: Instant) {
        let Some(pending) = self.pending.get_mut(&ticket) else {
            return;
        };
        if returns_at > now && self.scheduler.park(ticket, now.into_std()) {
            pending.returns_at = Some(returns_at);
            self.returns.insert((returns_at, ticket));
        }
    }

    /// Takes over what a credible refusal of a request that costs `cost` says about the account.
    fn apply_refusal(&mut self, refusal: UnitRefusal, cost: u32, is_new: bool, now: Instant) {
        let retry_after = refusal
            .retry_after
            .filter(|retry_after| *retry_after <= REFUSAL_VALID_FOR.1)
            .unwrap_or_default();
        let capacity = self.plan.bounds().capacity;
        if let Some(limit) = refusal.limit.filter(|limit| *limit > 0) {
            self.refusal_limit = Some(limit);
            self.scheduler.set_capacity_from_refusal(Some(limit));
            self.update_estimated_costs(now);
        }
        if capacity.is_none() && self.refusal_limit.is_some() {
            self.probe.limit_from_refusal(now.into_std());
        }
        let own = self.scheduler.held();
        let Some(limit) = [capacity, self.refusal_limit].into_iter().flatten().min() else {
            // No source names a limit. The requests that run were admitted, so their units are the
            // limit for now.
            self.scheduler.set_capacity_from_refusal(Some(own));
            self.probe
                .refused_without_limit(is_new, retry_after, now.into_std());
            return;
        };
        let at_least = external_usage::minimum_from_refusal(limit, own, cost);
        let reported = refusal
            .active
            .map_or(0, |active| external_usage::from_refusal(active, own));
        self.scheduler
            .set_external_usage_from_refusal(at_least.max(reported), now.into_std());
        self.probe.schedule_external_usage(None);
        self.usage_expires_at = Some(now + retry_after.max(REFUSAL_VALID_FOR.0));
    }

    /// Makes `model` back off: its requests are parked, and one at a time is sent. Returns `false`
    /// if `ticket` is not among them.
    fn back_off(
        &mut self,
        model: &Arc<str>,
        ticket: Ticket,
        is_new: bool,
        refusal: &Refusal,
        now: Instant,
    ) -> bool {
        let std_now = now.into_std();
        let is_limit_unknown =
            self.plan.bounds().capacity.is_none() && self.refusal_limit.is_none();
        let first_backoff = if is_limit_unknown {
            self.probe.backoff()
        } else {
            PROBE_BACKOFF.0
        };
        let delay = ProbeDelay {
            first_backoff,
            retry_after: refusal.units.retry_after.unwrap_or_default(),
        };
        let was_backing_off = self.backoff.is_backing_off(model, std_now);
        let Some(failed) = self.backoff.back_off(model, ticket, is_new, delay, std_now) else {
            return false;
        };
        self.scheduler.park(ticket, std_now);
        if !was_backing_off {
            self.park_all_of(model, now);
        }
        for &other in failed.iter().filter(|failed| **failed != ticket) {
            self.scheduler.remove(other, std_now);
            if let Some(pending) = self.take_pending(other) {
                let rejection = Rejection::RefusedTooOften {
                    times: PARKED_REFUSALS_MAX,
                    refusal: refusal.clone(),
                };
                self.answer(other, pending, Err(rejection));
            }
        }
        !failed.contains(&ticket)
    }

    /// Parks all requests for `model` that are in the queue.
    fn park_all_of(&mut self, model: &Arc<str>, now: Instant) {
        let tickets: Vec<_> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.tracked.model == *model)
            .map(|(&ticket, _)| ticket)
            .collect();
        for ticket in tickets {
            if self.scheduler.park(ticket, now.into_std()) {
                self.backoff.add_old_member(model, ticket);
            }
        }
    }
}
