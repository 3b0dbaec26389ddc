//! Whom this gateway follows: what is seen in Redis, and what follows if nothing is.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    super::{
        hosted::Hosted,
        part::{Part, Share},
        turns::Turns,
    },
    ALONE, Core,
};
use crate::{
    clock,
    cluster::{
        leader::{Before, DEAD_AFTER, Leader},
        message::{Epoch, MemberId},
        redis::LEASE,
    },
};

/// How many grants in a row may come too late. Then a gateway goes on alone for a while: each of them
/// has kept units from others.
pub(in crate::admission::permits::seat) const LATE_GRANTS_MAX: u32 = 3;

/// For how long a gateway may hear nothing of a leader whose lease goes on. Then it goes on alone for
/// a while.
const UNHEARD_MAX: Duration = Duration::from_secs(8);

/// For how long a gateway goes on alone although the others have a leader.
const SLOW_FOR: Duration = Duration::from_secs(30);

/// A gateway that has never reached Redis, and learns nothing of the account's units, takes the share
/// of a cluster with this number of members.
const STRANGERS: usize = 4;

/// Far in the future.
const EVER: Duration = Duration::from_secs(1 << 32);

/// What has been seen in Redis.
#[derive(Clone, Debug)]
pub(in crate::admission::permits::seat) struct Seen {
    /// When Redis was asked.
    pub(in crate::admission::permits::seat) asked_at: Instant,
    /// The time of its clock, since 1970.
    pub(in crate::admission::permits::seat) clock: Duration,
    pub(in crate::admission::permits::seat) leader: Option<(MemberId, Epoch)>,
    /// All members, this one too.
    pub(in crate::admission::permits::seat) members: BTreeSet<MemberId>,
    /// The units of the plans of the other members, where they are known.
    pub(in crate::admission::permits::seat) units_of_others: Vec<u32>,
    /// The members that have left properly.
    pub(in crate::admission::permits::seat) left: BTreeSet<MemberId>,
    /// Whether Redis has forgotten no member.
    pub(in crate::admission::permits::seat) are_members_complete: bool,
}

impl Core {
    /// Takes over what was seen in Redis.
    pub(in crate::admission::permits::seat) fn see(&mut self, now: Instant, seen: Seen) {
        (self.contact_at, self.clock) = (Some(seen.asked_at), seen.clock);
        let (own, others) = (self.units(), seen.units_of_others);
        if let Some(units) = self.plans.compare(now, own, others) {
            tracing::error!(
                account = self.account(),
                own_units = own,
                other_units = units,
                "another gateway of the cluster has another plan: it is of another account, and must have \
                 another --cluster-name"
            );
        }
        self.slow_until.take_if(|until| *until <= now);
        let Some((leader_id, epoch)) = seen.leader.filter(|_| self.slow_until.is_none()) else {
            return;
        };
        if self.member.epoch() == Some(ALONE) {
            tracing::info!(
                account = self.account(),
                "this gateway is back in the cluster: units come from its one queue"
            );
        }
        let known = std::mem::replace(&mut self.members, seen.members);
        self.leader_id = Some(leader_id);
        self.known_epoch = self.known_epoch.max(Some(epoch));
        let account = &*self.shared.account;
        let (me, lease_until) = (self.member.id(), seen.asked_at + LEASE);
        match &mut self.leader {
            Some(leader) if leader_id == me && leader.epoch() == epoch => {
                leader.renew(now, lease_until);
            }
            leader => {
                let had_queue = leader.take().is_some();
                if leader_id == me {
                    let mut lost = &(&known - &self.members) - &seen.left;
                    lost.extend(self.view.iter().flat_map(|view| &view.lost));
                    let before = Before {
                        lost: &lost - &self.members,
                        members: seen.are_members_complete.then(|| self.members.clone()),
                    };
                    let queue = Hosted::new(Arc::clone(&self.shared), Part::Whole, None);
                    self.leader = Some(Leader::new(now, epoch, lease_until, before, queue));
                    let members = self.members.len();
                    tracing::info!(account, members, "this gateway leads the cluster");
                    if !seen.are_members_complete {
                        tracing::info!(
                            account,
                            wait_ms = clock::milliseconds(DEAD_AFTER),
                            "calls wait until it is known which units other gateways of the \
                             cluster hold"
                        );
                    }
                } else {
                    if had_queue {
                        self.shared.lock().begin_again();
                    }
                    if self.member.epoch() != Some(epoch) {
                        tracing::info!(account, "another gateway leads the cluster");
                    }
                }
            }
        }
        if let Some(leader) = &mut self.leader {
            leader.set_alive(self.members.clone());
        }
        self.member.follow(now, epoch);
        if let Some(view) = self.own_view(now) {
            self.view = Some(view);
        }
        let is_unheard = self.leader.is_none()
            && now.saturating_duration_since(self.member.heard_at()) > UNHEARD_MAX;
        if is_unheard {
            self.go_alone_beside_leader(
                now,
                "nothing is heard of the gateway that leads the cluster",
            );
        }
    }

    /// Redis does not answer. After the time of a lease without it, this gateway goes on alone, with its share
    /// of the units.
    pub(in crate::admission::permits::seat) fn miss(
        &mut self,
        now: Instant,
        problem: &impl Display,
    ) {
        self.suspend(now);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < LEASE;
        if self.contact_at.is_some_and(is_recent) || self.member.epoch() == Some(ALONE) {
            return;
        }
        tracing::error!(
            account = self.account(),
            %problem,
            members = self.members.len(),
            "the cluster's Redis does not answer: this gateway uses its own share of the units, and \
             more only if Featherless shows that they are free"
        );
        self.go_alone(now, false);
    }

    /// Redis has not answered: until it does, a leader gives out nothing.
    pub(in crate::admission::permits::seat) fn suspend(&mut self, now: Instant) {
        if let Some(leader) = self
            .leader
            .as_mut()
            .filter(|leader| leader.epoch() != ALONE)
        {
            leader.suspend(now);
        }
    }

    /// As [`go_alone`](Self::go_alone), for a while, although the others have a leader.
    pub(in crate::admission::permits::seat) fn go_alone_beside_leader(
        &mut self,
        now: Instant,
        why: &str,
    ) {
        tracing::error!(
            account = self.account(),
            why,
            "this gateway cannot follow the cluster: for a while it uses its own share of the units, and \
             more only if Featherless shows that they are free"
        );
        self.slow_until = Some(now + SLOW_FOR);
        self.member.go_alone(now);
        // The others are not alone: their leader leaves this gateway its share.
        self.view = None;
        self.go_alone(now, true);
    }

    fn account(&self) -> &str {
        &self.shared.account
    }

    /// From now on this gateway has a queue of its own, for its share of the units. If it `is_left`, the
    /// others have a leader, which leaves the share to it.
    fn go_alone(&mut self, now: Instant, is_left: bool) {
        let me = self.member.id();
        // A leader that goes alone must not lead its epoch again: members have heard its messages.
        if let Some(Epoch(epoch)) = self.leads() {
            self.known_epoch = self.known_epoch.max(Some(Epoch(epoch.saturating_add(1))));
        }
        // It is that of the last contact: since then members have fallen silent.
        let (held, units) = match self.view.take() {
            Some(view) => (view.held, view.status.capacity.unwrap_or_default()),
            None => Default::default(),
        };
        let share = match self.members.is_empty() && !self.shared.has_snapshots {
            // Nothing tells which units are free, so requests would never start.
            true => Share::of(0, STRANGERS),
            false => Share {
                base_units: self.member.units(),
                is_left,
                ..Share::new(me, &self.members, &held, units)
            },
        };
        let clock = self.contact_at.map(|at| (at, self.clock));
        let turns = match self.members.is_empty() {
            // Others may be there, which it does not know.
            true => Turns::new(Share::of(0, STRANGERS), None, now),
            false => Turns::new(share, clock, now),
        };
        let part = Part::Share(share);
        let before = Before {
            members: Some(BTreeSet::from([me])),
            lost: BTreeSet::new(),
        };
        let queue = Hosted::new(Arc::clone(&self.shared), part, Some(turns));
        let leader = Leader::new(now, ALONE, now + EVER, before, queue);
        (self.leader, self.leader_id) = (Some(leader), Some(me));
        self.member.follow(now, ALONE);
    }
}
