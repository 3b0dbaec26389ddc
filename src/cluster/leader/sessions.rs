//! How sessions of members begin and end, and what the leader sends in them.

use std::{collections::BTreeSet, time::Instant};

use super::{Leader, Peer, State};
use crate::cluster::{
    message::{End, LeaderMessage, MemberId, MemberTime, RequestId, Running, ToMember, Waiting},
    queue::Queue,
};

impl<Q: Queue> Leader<Q> {
    /// Takes over what a member says it has, at the begin of a session.
    pub(super) fn sync(
        &mut self,
        now: Instant,
        member: MemberId,
        (session, sent_at): (u64, MemberTime),
        mut waiting: Vec<Waiting<Q::Request>>,
        running: Vec<Running<Q::Request>>,
    ) {
        if let Some(unheard) = &mut self.unheard {
            unheard.remove(&member);
        }
        self.lost.remove(&member);
        let known = self.members.remove(&member).map(|peer| peer.requests);
        self.members.insert(
            member,
            Peer {
                session,
                next_in: 1,
                next_out: 0,
                heard_at: now,
                echo: sent_at,
                requests: known.unwrap_or_default(),
            },
        );
        let kept: BTreeSet<_> = waiting
            .iter()
            .map(|request| request.id)
            .chain(running.iter().map(|request| request.id))
            .collect();
        self.early
            .retain(|(owner, id), _| *owner != member || kept.contains(id));
        for id in self.requests_of(member) {
            if !kept.contains(&id) {
                // How it ended was lost. Upstream may still work on it.
                self.end(now, member, id, End::Cancelled);
            }
        }
        for request in running {
            match self.find(member, request.id) {
                Some((_, State::Started)) => {}
                Some((_, State::Waiting)) => {
                    self.end(now, member, request.id, End::Unsent);
                    self.adopt(now, member, request);
                }
                None => {
                    self.early.remove(&(member, request.id));
                    self.adopt(now, member, request);
                }
            }
        }
        waiting.sort_by_key(|request| std::cmp::Reverse(request.waited));
        for request in waiting {
            match self.find(member, request.id) {
                Some((_, State::Waiting)) => {}
                // The grant was lost, and will not be accepted if it comes.
                Some((_, State::Started)) => self.put_back(now, member, request.id),
                None => self.ask(now, member, request),
            }
        }
    }

    fn requests_of(&self, member: MemberId) -> Vec<RequestId> {
        let peer = self.members.get(&member).into_iter();
        peer.flat_map(|peer| peer.requests.keys().copied())
            .collect()
    }

    /// Ends all requests of a member that is silent, or has left.
    pub(super) fn forget(&mut self, now: Instant, member: MemberId) {
        self.early.retain(|(owner, _), _| *owner != member);
        let Some(peer) = self.members.remove(&member) else {
            return;
        };
        for (ticket, state) in peer.requests.into_values() {
            self.owners.remove(&ticket);
            match state {
                State::Waiting => self.queue.remove(now, ticket),
                State::Started => self.queue.abandon(now, ticket),
            }
        }
    }

    pub(super) fn ask_for_sync(&mut self, member: MemberId, session: u64) {
        self.out.push((
            member,
            LeaderMessage {
                epoch: self.epoch,
                session,
                number: 0,
                body: ToMember::Resync,
            },
        ));
    }

    pub(super) fn send(&mut self, member: MemberId, body: ToMember<Q::Error>) {
        if let Some(peer) = self.members.get_mut(&member) {
            self.out.push((
                member,
                LeaderMessage {
                    epoch: self.epoch,
                    session: peer.session,
                    number: peer.next_out,
                    body,
                },
            ));
            peer.next_out += 1;
        }
    }
}
