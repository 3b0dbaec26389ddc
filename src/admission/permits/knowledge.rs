//! What upstream says about the units, and for how long it applies: the plan's limit and the
//! external usage.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    errors::Rejection,
    state::{CANCELLED_COOLDOWN, State, TrackedRequest},
};
use crate::admission::{
    external_usage::{LAG, ListedRequest, OwnRequest, Snapshot},
    request::{EnqueueError, Ticket},
};

/// The external usage of a snapshot applies for this long if no other snapshot follows.
const SNAPSHOT_VALID_FOR: Duration = Duration::from_secs(60);

/// A request counts as started before this gateway was left alone if it started at most this much
/// later: gateways are not left alone at the same moment, and requests are on their way for a while.
const STARTED_BEFORE_TOLERANCE: Duration = Duration::from_secs(1);

impl State {
    /// Applies a changed limit of the plan. Rejects the pending requests that can never start now.
    pub(super) fn apply_plan(&mut self, now: Instant) {
        let bounds = self.plan.bounds();
        if bounds.capacity.is_some() {
            self.refusal_limit = None;
            self.probe.limit_known();
        }
        self.update_estimated_costs(now);
        let never_fits = self.scheduler.set_unconfirmed_capacity(
            bounds.capacity,
            bounds.confirmed,
            now.into_std(),
        );
        for ticket in never_fits {
            if let Some(pending) = self.take_pending(ticket) {
                let too_large = EnqueueError::ExceedsPlan {
                    cost: pending.tracked.cost,
                    capacity: bounds.confirmed.unwrap_or_default(),
                };
                self.answer(ticket, pending, Err(Rejection::NotAccepted(too_large)));
            }
        }
    }

    /// Applies a snapshot that has just arrived: `used_cost` units are in use by `requests`. It was
    /// requested at `requested_at`, or came from the feed.
    pub(super) fn apply_snapshot(
        &mut self,
        requested_at: Option<Instant>,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
        now: Instant,
    ) {
        // A snapshot may still list a cancelled request until upstream notices it.
        let lag = requested_at.map_or(LAG, |requested_at| {
            now.duration_since(requested_at) + CANCELLED_COOLDOWN
        });
        let external_units = match self.scheduler.units() {
            Some(_) => {
                let snapshot = Snapshot {
                    received_at: now.into_std(),
                    lag,
                    used_cost,
                    requests,
                };
                self.external_units(requested_at.is_some(), &snapshot, now)
            }
            // Without a limit no request waits for units, so an estimate is enough.
            None => used_cost.saturating_sub(self.scheduler.held()),
        };
        let taken_at = requested_at.or_else(|| now.checked_sub(LAG));
        if let Some(since) = self.alone_since
            && taken_at.is_some_and(|taken| taken >= since)
        {
            let units = self.units_from_before(since, used_cost, requests, now);
            self.units_from_before = Some(units);
        }
        let std_now = now.into_std();
        match requested_at.map(Instant::into_std) {
            Some(requested_at) => {
                self.scheduler
                    .set_requested_external_usage(external_units, requested_at, std_now)
            }
            None => self.scheduler.set_external_usage(external_units, std_now),
        }
        self.last_snapshot = Some((external_units, now));
        self.usage_expires_at = Some(now + SNAPSHOT_VALID_FOR);
        self.probe.schedule_external_usage(None);
    }

    /// The units in the snapshot of others' requests that started before `since`. If the requests are
    /// not all listed, each of them may have.
    fn units_from_before(
        &self,
        since: Instant,
        used_cost: u32,
        requests: &[ListedRequest<'_>],
        now: Instant,
    ) -> u32 {
        let until = since + STARTED_BEFORE_TOLERANCE;
        let (mut all, mut before) = (0_u32, 0_u32);
        for request in requests {
            all = all.saturating_add(request.cost);
            if now
                .checked_sub(request.duration)
                .is_none_or(|at| at <= until)
            {
                before = before.saturating_add(request.cost);
            }
        }
        let listed = if all == used_cost { before } else { used_cost };
        let own = self.running.values().filter(|own| own.started_at <= until);
        let own: u32 = own.map(|request| request.cost).sum();
        listed.saturating_sub(own)
    }

    /// The units in the snapshot that are not the gateway's own.
    fn external_units(&mut self, is_requested: bool, snapshot: &Snapshot<'_>, now: Instant) -> u32 {
        self.forget_ended(now);
        let own = own_requests(&self.running, &self.ended);
        let matcher = if is_requested {
            &mut self.requested_matcher
        } else {
            &mut self.feed_matcher
        };
        matcher.external_units(snapshot, &own)
    }

    /// The indices of those `requests` of a snapshot that were the gateway's own and have ended.
    pub(super) fn ended(
        &mut self,
        requests: &[ListedRequest<'_>],
        arrived_at: Instant,
        now: Instant,
    ) -> Vec<usize> {
        self.forget_ended(now);
        let own = own_requests(&self.running, &self.ended);
        self.feed_matcher
            .ended(requests, &own, LAG, arrived_at.into_std())
    }

    /// Drops the external usage if it is too old. If it came from a refusal, the last snapshot
    /// applies again while it is valid. Without a valid snapshot, one request probes.
    pub(super) fn expire_external_usage(&mut self, now: Instant) {
        if self.usage_expires_at.is_none_or(|at| at > now) {
            return;
        }
        let valid_snapshot = self
            .last_snapshot
            .map(|(external_units, at)| (external_units, at + SNAPSHOT_VALID_FOR))
            .filter(|(_, valid_until)| *valid_until > now);
        self.usage_expires_at = valid_snapshot.map(|(_, valid_until)| valid_until);
        if valid_snapshot.is_none() && self.scheduler.is_external_usage_from_refusal() {
            self.probe.schedule_external_usage(Some(now.into_std()));
        } else {
            self.forget_refusals(valid_snapshot.map_or(0, |(external_units, _)| external_units));
        }
    }

    /// Drops what refusals said, and sets the external usage. A limit from a refusal stays if no
    /// other source names one.
    pub(super) fn forget_refusals(&mut self, external_units: u32) {
        self.scheduler.reset_external_usage(external_units);
        if self.plan.bounds().capacity.is_some() {
            self.refusal_limit = None;
            self.scheduler.set_capacity_from_refusal(None);
        }
    }
}

/// The requests that run, and those that have just ended.
fn own_requests<'a>(
    running: &'a HashMap<Ticket, TrackedRequest>,
    ended: &'a VecDeque<(TrackedRequest, Instant)>,
) -> Vec<OwnRequest<'a>> {
    let running = running.values().map(|tracked| (tracked, None));
    let ended = ended
        .iter()
        .map(|(tracked, at)| (tracked, Some(at.into_std())));
    running
        .chain(ended)
        .map(|(tracked, ended_at)| OwnRequest {
            model: &tracked.model,
            cost: tracked.cost,
            started_at: tracked.started_at.into_std(),
            ended_at,
        })
        .collect()
}
