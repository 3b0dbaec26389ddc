//! The lease of the leader, and the way of messages through Redis.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    queue::{Fifo, Late},
    world::{Happens, World},
};
use crate::cluster::{
    leader::{Before, Leader},
    member::Event,
    message::{Epoch, LeaderMessage, MemberId, MemberMessage},
};

/// For how long the lease of a leader holds, and how often it is renewed.
const LEASE: Duration = Duration::from_secs(3);
pub(super) const RENEW: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn elect(&mut self, index: usize) {
        let id = self.nodes[index].id;
        let now = self.now;
        let members = self.members.get_or_insert_with(BTreeMap::new);
        let known = (!members.is_empty()).then(|| members.keys().copied().collect::<Vec<_>>());
        match self.lease {
            Some((holder, epoch, until)) if until > now => {
                if holder == id {
                    self.lease = Some((holder, epoch, now + LEASE));
                    if let Some(leader) = &mut self.nodes[index].leader {
                        leader.renew(now, now + LEASE);
                    }
                } else {
                    // A leader that has lost its lease.
                    self.nodes[index].leader = None;
                }
            }
            _ => {
                self.last_epoch += 1;
                let epoch = Epoch(self.last_epoch);
                self.lease = Some((id, epoch, now + LEASE));
                let before = Before {
                    members: known.map(BTreeSet::from_iter),
                    lost: BTreeSet::new(),
                };
                let leader = Leader::new(now, epoch, now + LEASE, before, Fifo::new(self.capacity));
                self.nodes[index].leader = Some(leader);
                self.log(format!("{id:?} leads {epoch:?}"));
            }
        }
        self.members
            .get_or_insert_with(BTreeMap::new)
            .insert(id, now);
        let until = now - LEASE * 4;
        self.members
            .get_or_insert_with(BTreeMap::new)
            .retain(|_, heard| *heard > until);
        if let Some((_, epoch, _)) = self.lease {
            self.nodes[index].member.follow(now, epoch);
        }
        self.flush(index);
    }

    /// Sends what a node has to send.
    pub(super) fn flush(&mut self, index: usize) {
        let id = self.nodes[index].id;
        for message in self.nodes[index].member.take_messages() {
            if self.nodes[index].is_cut {
                continue;
            }
            if self.nodes[index].leader.is_some() {
                self.deliver_to_leader(id, message);
            } else {
                self.post(None, Happens::ToLeader(message));
            }
        }
        let Some(leader) = &mut self.nodes[index].leader else {
            return;
        };
        for (to, message) in leader.take_messages() {
            if to == id {
                self.deliver_to_member(index, message);
                continue;
            }
            // The script looks at the epoch.
            let is_current = self
                .lease
                .is_some_and(|(_, epoch, _)| epoch == message.epoch);
            if !self.nodes[index].is_cut && is_current {
                self.post(Some(to), Happens::ToMember { to, message });
            }
        }
    }

    pub(super) fn post(&mut self, stream: Option<MemberId>, what: Happens) {
        let faulty = self.now < self.quiet_from;
        if faulty && self.random.f64() < self.faults.loss {
            return;
        }
        let mut delay = Duration::from_micros(self.random.u64(100..5_000));
        if faulty && self.random.f64() < self.faults.late {
            delay += Duration::from_millis(self.random.u64(100..6_000));
        }
        let last = self.streams.get(&stream).copied().unwrap_or(self.now);
        let at = (self.now + delay).max(last);
        self.streams.insert(stream, at);
        let after = at - self.now;
        self.at(after, what.clone());
        if faulty && self.random.f64() < self.faults.twice {
            self.at(after, what);
        }
    }

    pub(super) fn deliver_to_leader(&mut self, holder: MemberId, message: MemberMessage<u32, ()>) {
        let Some(index) = self.index(holder) else {
            return;
        };
        if let Some(until) = self.nodes[index]
            .paused_until
            .filter(|until| *until > self.now)
        {
            self.at(until - self.now, Happens::ToLeader(message));
            return;
        }
        if self.nodes[index].is_cut && self.nodes[index].id != message.member {
            return;
        }
        let now = self.now;
        if let Some(leader) = &mut self.nodes[index].leader {
            leader.receive(now, message);
            self.flush(index);
        }
    }

    pub(super) fn deliver_to_member(&mut self, index: usize, message: LeaderMessage<Late>) {
        let now = self.now;
        let event = self.nodes[index].member.receive(now, message);
        match event {
            Some(Event::Granted(id, _)) => {
                let node = &mut self.nodes[index];
                let cost = node.asked.remove(&id).expect("it was asked");
                node.sent.insert(id, cost);
                let member = node.id;
                let service = Duration::from_millis(self.random.u64(20..4_000));
                self.at(
                    service,
                    Happens::Finish {
                        node: index,
                        member,
                        id,
                    },
                );
            }
            Some(Event::Rejected(id, Late)) => {
                self.nodes[index].asked.remove(&id);
            }
            None => {}
        }
        self.flush(index);
    }
}
