//! The leader's side: the one queue, for the requests of all members.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::{
    message::{
        End, Epoch, LeaderMessage, MemberId, MemberMessage, MemberTime, RequestId, Running,
        ToLeader, ToMember, Waiting,
    },
    queue::{Arrival, Lost, Outcome, Queue},
};

mod sessions;

/// For how long a member may be silent. Then its requests leave the queue, and its units cool down.
/// A new leader waits at most this long for the members, before it gives units to the first of them.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often the leader tells that it is alive.
pub const BEAT: Duration = Duration::from_millis(500);

/// Of how many waiting requests a member is told how many start before them.
const TOLD_AHEAD_MAX: usize = 256;

/// The leader of one epoch.
#[derive(Clone, Debug)]
pub struct Leader<Q: Queue> {
    epoch: Epoch,
    queue: Q,
    members: BTreeMap<MemberId, Peer<Q::Ticket>>,
    owners: HashMap<Q::Ticket, (MemberId, RequestId)>,
    /// The members that have not said yet what they hold. `None` if they are not known.
    unheard: Option<BTreeSet<MemberId>>,
    /// The members that have fallen silent, or use their shares alone.
    lost: BTreeSet<MemberId>,
    /// The members that are alive, as far as Redis knows.
    alive: BTreeSet<MemberId>,
    /// The requests that wait until all members have said what they hold, so that they come into the
    /// queue in the order of their arrival.
    early: BTreeMap<(MemberId, RequestId), Arrival<Q::Request>>,
    is_open: bool,
    /// When the leader no longer waits for the members.
    opens_at: Instant,
    /// Until when the lease holds, by the leader's own clock.
    lease_until: Instant,
    beat_at: Instant,
    out: Vec<(MemberId, LeaderMessage<Q::Error>)>,
}

/// What the leader knows of a member.
#[derive(Clone, Debug)]
struct Peer<T> {
    session: u64,
    next_in: u64,
    next_out: u64,
    heard_at: Instant,
    echo: MemberTime,
    requests: BTreeMap<RequestId, (T, State)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Waiting,
    Started,
}

/// The members under the last leader, which may hold units.
#[derive(Clone, Debug, Default)]
pub struct Before {
    /// Those that are alive. `None` if they are not known: then the leader waits for any.
    pub members: Option<BTreeSet<MemberId>>,
    /// Those that have fallen silent.
    pub lost: BTreeSet<MemberId>,
}

impl<Q: Queue> Leader<Q> {
    /// The leader of `epoch`, with an empty queue, until `lease_until`.
    pub fn new(now: Instant, epoch: Epoch, lease_until: Instant, before: Before, queue: Q) -> Self {
        Self {
            epoch,
            queue,
            members: BTreeMap::new(),
            owners: HashMap::new(),
            unheard: before.members,
            lost: before.lost,
            alive: BTreeSet::new(),
            early: BTreeMap::new(),
            is_open: false,
            opens_at: now + DEAD_AFTER,
            lease_until,
            beat_at: now,
            out: Vec::new(),
        }
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many members it hears, and how many have fallen silent.
    pub fn counts(&self) -> (usize, usize) {
        (self.members.len(), self.lost.len())
    }

    /// Whether it starts requests: all members have said what they hold, or are silent.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// The lease holds until then. Without it no request starts.
    pub fn renew(&mut self, now: Instant, lease_until: Instant) {
        self.lease_until = lease_until;
        self.advance(now);
    }

    /// The members may not hear it any more. Until the lease is renewed, no request starts: members
    /// that were left alone must not find that this gateway has taken what they know as free.
    pub fn suspend(&mut self, now: Instant) {
        self.lease_until = self.lease_until.min(now);
    }

    /// The units that each member holds.
    pub fn units_by_member(&self) -> BTreeMap<MemberId, u32> {
        let held = |peer: &Peer<Q::Ticket>| {
            let tickets = peer.requests.values().map(|&(ticket, _)| ticket);
            tickets.map(|ticket| self.queue.units_of(ticket)).sum()
        };
        let members = self.members.iter();
        members
            .map(|(&member, peer)| (member, held(peer)))
            .collect()
    }

    /// How many requests start before this one. `None` if it does not wait, or if that is not known.
    pub fn requests_ahead(&self, member: MemberId, id: RequestId) -> Option<u32> {
        let (ticket, _) = self.find(member, id)?;
        self.queue.requests_ahead(ticket)
    }

    /// The members that have fallen silent, or use their shares alone.
    pub fn lost(&self) -> impl Iterator<Item = MemberId> {
        self.lost.iter().copied()
    }

    /// These members are alive, as far as Redis knows.
    pub fn set_alive(&mut self, members: BTreeSet<MemberId>) {
        self.alive = members;
    }

    /// The messages to send, in order.
    pub fn take_messages(&mut self) -> Vec<(MemberId, LeaderMessage<Q::Error>)> {
        std::mem::take(&mut self.out)
    }

    /// The queue.
    pub fn queue(&self) -> &Q {
        &self.queue
    }

    /// The queue, for what the account itself says, such as a snapshot of its units.
    pub fn queue_mut(&mut self) -> &mut Q {
        &mut self.queue
    }

    /// Takes a message of a member.
    pub fn receive(&mut self, now: Instant, message: MemberMessage<Q::Request, Q::Refusal>) {
        if message.epoch != self.epoch {
            return;
        }
        let MemberMessage {
            member,
            session,
            number,
            sent_at,
            body,
            ..
        } = message;
        let known = self.members.get_mut(&member);
        if let ToLeader::Sync { waiting, running } = body {
            if known.is_some_and(|peer| peer.session >= session) {
                return;
            }
            self.sync(now, member, (session, sent_at), waiting, running);
            return self.advance(now);
        }
        match known {
            Some(peer) if peer.session > session => return,
            Some(peer) if peer.session == session && number < peer.next_in => return,
            Some(peer) if peer.session == session && number == peer.next_in => {
                peer.next_in += 1;
                peer.heard_at = now;
                peer.echo = sent_at;
            }
            // Something is lost.
            _ => return self.ask_for_sync(member, session),
        }
        self.apply(now, member, body);
        self.advance(now);
    }

    /// Does what time alone brings. Call it at least every [`BEAT`].
    pub fn tick(&mut self, now: Instant) {
        let silent: Vec<_> = self
            .members
            .iter()
            .filter(|(_, peer)| now.saturating_duration_since(peer.heard_at) > DEAD_AFTER)
            .map(|(&member, _)| member)
            .collect();
        for member in silent {
            self.forget(now, member);
            self.lost.insert(member);
        }
        self.leave_to_lost(now);
        if now.saturating_duration_since(self.beat_at) >= BEAT {
            self.beat_at = now;
            self.beat();
        }
        self.advance(now);
    }

    fn leave_to_lost(&mut self, now: Instant) {
        let alone = self.lost.intersection(&self.alive).count();
        let lost = Lost {
            silent: self.lost.len() - alone,
            alone,
            members: self.members.len() + self.lost.len(),
        };
        if !self.queue.leave_to_lost(now, lost) {
            self.lost.retain(|member| self.alive.contains(member));
        }
    }

    fn beat(&mut self) {
        let beats: Vec<_> = self
            .members
            .iter()
            .map(|(&member, peer)| {
                let waiting = peer.requests.iter();
                let ahead = waiting
                    .filter(|(_, (_, state))| *state == State::Waiting)
                    .filter_map(|(&id, &(ticket, _))| {
                        Some((id, self.queue.requests_ahead(ticket)?))
                    })
                    .take(TOLD_AHEAD_MAX)
                    .collect();
                (member, ToMember::Beat { ahead })
            })
            .collect();
        for (member, beat) in beats {
            self.send(member, beat);
        }
    }

    /// Starts requests and ends waits.
    fn advance(&mut self, now: Instant) {
        let is_complete = self.unheard.as_ref().is_some_and(BTreeSet::is_empty);
        if !self.is_open && (is_complete || now >= self.opens_at) {
            self.open(now);
        }
        let may_start = self.is_open && now < self.lease_until;
        for outcome in self.queue.advance(now, may_start) {
            match outcome {
                Outcome::Started(ticket, units) => {
                    let Some(&(member, id)) = self.owners.get(&ticket) else {
                        continue;
                    };
                    let Some(peer) = self.members.get_mut(&member) else {
                        continue;
                    };
                    peer.requests.insert(id, (ticket, State::Started));
                    let echo = peer.echo;
                    self.send(member, ToMember::Grant { id, units, echo });
                }
                Outcome::Rejected(ticket, why) => {
                    if let Some((member, id)) = self.owners.remove(&ticket) {
                        self.reject(member, id, why);
                    }
                }
            }
        }
    }

    /// From now on requests start. Members that have said nothing are lost: they may only be unable
    /// to reach Redis.
    fn open(&mut self, now: Instant) {
        self.is_open = true;
        self.lost.extend(self.unheard.take().unwrap_or_default());
        self.leave_to_lost(now);
        let mut early: Vec<_> = std::mem::take(&mut self.early).into_iter().collect();
        early.sort_by_key(|(_, arrival)| arrival.since);
        for ((member, id), arrival) in early {
            self.enqueue(now, member, id, arrival);
        }
    }

    fn apply(&mut self, now: Instant, member: MemberId, body: ToLeader<Q::Request, Q::Refusal>) {
        match body {
            ToLeader::Ask(waiting) => self.ask(now, member, waiting),
            ToLeader::Leave(id) => self.end(now, member, id, End::Unsent),
            ToLeader::Void(id) => self.put_back(now, member, id),
            ToLeader::Admitted(id) => {
                if let Some((ticket, State::Started)) = self.find(member, id) {
                    self.queue.admitted(now, ticket);
                }
            }
            ToLeader::Again { waiting, again } => {
                let id = waiting.id;
                let Some((ticket, State::Started)) = self.find(member, id) else {
                    return;
                };
                let arrival = Arrival::new(now, waiting);
                match self.queue.wait_again(now, ticket, arrival, again) {
                    Ok(()) => self.own(member, id, ticket, State::Waiting),
                    Err(why) => {
                        self.owners.remove(&ticket);
                        self.reject(member, id, why);
                    }
                }
            }
            ToLeader::End { id, end } => self.end(now, member, id, end),
            ToLeader::Alone => {
                self.forget(now, member);
                self.lost.insert(member);
                self.leave_to_lost(now);
            }
            ToLeader::Bye => {
                self.forget(now, member);
                if let Some(unheard) = &mut self.unheard {
                    unheard.remove(&member);
                }
            }
            ToLeader::Beat | ToLeader::Sync { .. } => {}
        }
    }

    fn find(&self, member: MemberId, id: RequestId) -> Option<(Q::Ticket, State)> {
        self.members.get(&member)?.requests.get(&id).copied()
    }

    fn ask(&mut self, now: Instant, member: MemberId, waiting: Waiting<Q::Request>) {
        let id = waiting.id;
        let arrival = Arrival::new(now, waiting);
        if self.is_open {
            self.enqueue(now, member, id, arrival);
        } else {
            self.early.insert((member, id), arrival);
        }
    }

    fn enqueue(
        &mut self,
        now: Instant,
        member: MemberId,
        id: RequestId,
        arrival: Arrival<Q::Request>,
    ) {
        match self.queue.enqueue(now, arrival) {
            Ok(ticket) => self.own(member, id, ticket, State::Waiting),
            Err(why) => self.reject(member, id, why),
        }
    }

    fn adopt(&mut self, now: Instant, member: MemberId, running: Running<Q::Request>) {
        let started_at = now.checked_sub(running.ran).unwrap_or(now);
        let ticket = self
            .queue
            .adopt(now, started_at, running.cost, running.request);
        self.own(member, running.id, ticket, State::Started);
    }

    fn own(&mut self, member: MemberId, id: RequestId, ticket: Q::Ticket, state: State) {
        self.owners.insert(ticket, (member, id));
        if let Some(peer) = self.members.get_mut(&member) {
            peer.requests.insert(id, (ticket, state));
        }
    }

    fn reject(&mut self, member: MemberId, id: RequestId, why: Q::Error) {
        if let Some(peer) = self.members.get_mut(&member) {
            peer.requests.remove(&id);
        }
        self.send(member, ToMember::Reject { id, why });
    }

    /// Ends a request, which the member does not have any more.
    fn end(&mut self, now: Instant, member: MemberId, id: RequestId, end: End) {
        self.early.remove(&(member, id));
        let Some(peer) = self.members.get_mut(&member) else {
            return;
        };
        if let Some((ticket, state)) = peer.requests.remove(&id) {
            self.owners.remove(&ticket);
            match state {
                State::Waiting => self.queue.remove(now, ticket),
                State::Started => self.queue.end(now, ticket, end),
            }
        }
    }

    /// Puts a request back whose grant was not used.
    fn put_back(&mut self, now: Instant, member: MemberId, id: RequestId) {
        if let Some((ticket, State::Started)) = self.find(member, id) {
            self.own(member, id, ticket, State::Waiting);
            self.queue.put_back(now, ticket);
        }
    }
}
