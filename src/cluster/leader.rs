//! The leader's side: the one queue, for the requests of all members.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use super::message::{
    Epoch, LeaderMessage, MemberId, MemberMessage, MemberTime, RequestId, Running, ToLeader,
    ToMember, Waiting,
};

/// For how long a member may be silent. Then its requests leave the queue, and its units cool down.
/// A new leader waits at most this long for the members, before it gives units to the first of them.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);

/// How often the leader tells that it is alive.
pub const BEAT: Duration = Duration::from_millis(500);

/// The queue for units, as the leader uses it. The scheduler is one.
pub trait Queue {
    /// What the queue must know of a request, such as its units and its key.
    type Request;
    /// The name of a request in the queue.
    type Ticket: Copy + Eq + std::hash::Hash;
    /// Why a request gets no units.
    type Error;

    /// Adds a request that has been waiting since `arrived_at`.
    ///
    /// # Errors
    /// It cannot wait.
    fn enqueue(
        &mut self,
        now: Instant,
        arrived_at: Instant,
        request: Self::Request,
    ) -> Result<Self::Ticket, Self::Error>;

    /// Adds a request that runs already, and holds its units whether they are free or not.
    fn adopt(&mut self, started_at: Instant, request: Self::Request) -> Self::Ticket;

    /// Starts the next request, if one may start now.
    fn start(&mut self, now: Instant) -> Option<Self::Ticket>;

    /// Puts a started request back, as if it had never started.
    fn requeue(&mut self, now: Instant, ticket: Self::Ticket);

    /// Removes a request that waits.
    fn remove(&mut self, now: Instant, ticket: Self::Ticket);

    /// Ends a request that has its units. They are free after the cooldown.
    fn release(&mut self, now: Instant, ticket: Self::Ticket, cooldown: Duration);

    /// Ends a request whose member is gone. Nobody knows whether upstream still works on it.
    fn abandon(&mut self, now: Instant, ticket: Self::Ticket);

    /// The requests whose wait has ended without their units, since the last call.
    fn take_expired(&mut self, now: Instant) -> Vec<(Self::Ticket, Self::Error)>;
}

/// The leader of one epoch.
#[derive(Clone, Debug)]
pub struct Leader<Q: Queue> {
    epoch: Epoch,
    queue: Q,
    members: BTreeMap<MemberId, Peer<Q::Ticket>>,
    owners: HashMap<Q::Ticket, (MemberId, RequestId)>,
    /// The members that have not said yet what they hold.
    unheard: Option<BTreeSet<MemberId>>,
    /// When the leader no longer waits for them.
    grants_from: Instant,
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

impl<Q: Queue> Leader<Q> {
    /// The leader of `epoch`, with an empty queue. `members` are those that were alive under the
    /// last leader, and may hold units. `None` if they are not known: then it waits for any.
    pub fn new(now: Instant, epoch: Epoch, members: Option<Vec<MemberId>>, queue: Q) -> Self {
        Self {
            epoch,
            queue,
            members: BTreeMap::new(),
            owners: HashMap::new(),
            unheard: members.map(|members| members.into_iter().collect()),
            grants_from: now + DEAD_AFTER,
            beat_at: now,
            out: Vec::new(),
        }
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
    pub fn receive(&mut self, now: Instant, message: MemberMessage<Q::Request>) {
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
        if let ToLeader::Sync { waiting, running } = body {
            if self
                .members
                .get(&member)
                .is_some_and(|peer| peer.session >= session)
            {
                return;
            }
            self.sync(now, member, session, sent_at, waiting, running);
            return self.advance(now);
        }
        let Some(peer) = self
            .members
            .get_mut(&member)
            .filter(|peer| peer.session == session && peer.next_in >= number)
        else {
            if self
                .members
                .get(&member)
                .is_none_or(|peer| peer.session <= session)
            {
                self.ask_for_sync(member, session);
            }
            return;
        };
        if number < peer.next_in {
            return;
        }
        peer.next_in += 1;
        peer.heard_at = now;
        peer.echo = sent_at;
        self.apply(now, member, body);
        self.advance(now);
    }

    /// Does what time alone brings. Call it at least every [`BEAT`].
    pub fn tick(&mut self, now: Instant) {
        let dead: Vec<_> = self
            .members
            .iter()
            .filter(|(_, peer)| now.saturating_duration_since(peer.heard_at) > DEAD_AFTER)
            .map(|(&member, _)| member)
            .collect();
        for member in dead {
            self.forget(now, member);
        }
        if now.saturating_duration_since(self.beat_at) >= BEAT {
            self.beat_at = now;
            let members: Vec<_> = self.members.keys().copied().collect();
            for member in members {
                self.send(member, ToMember::Beat);
            }
        }
        self.advance(now);
    }

    /// Starts requests and ends waits.
    fn advance(&mut self, now: Instant) {
        for (ticket, why) in self.queue.take_expired(now) {
            if let Some((member, id)) = self.owners.remove(&ticket) {
                if let Some(peer) = self.members.get_mut(&member) {
                    peer.requests.remove(&id);
                }
                self.send(member, ToMember::Reject { id, why });
            }
        }
        let is_complete = self.unheard.as_ref().is_some_and(BTreeSet::is_empty);
        if !is_complete && now < self.grants_from {
            return;
        }
        while let Some(ticket) = self.queue.start(now) {
            let Some(&(member, id)) = self.owners.get(&ticket) else {
                continue;
            };
            let Some(peer) = self.members.get_mut(&member) else {
                continue;
            };
            peer.requests.insert(id, (ticket, State::Started));
            let echo = peer.echo;
            self.send(member, ToMember::Grant { id, echo });
        }
    }

    fn apply(&mut self, now: Instant, member: MemberId, body: ToLeader<Q::Request>) {
        match body {
            ToLeader::Ask(waiting) => self.enqueue(now, member, waiting),
            ToLeader::Leave(id) => self.drop_request(now, member, id, Duration::ZERO),
            ToLeader::End { id, cooldown } => self.drop_request(now, member, id, cooldown),
            ToLeader::Void(id) => self.put_back(now, member, id),
            ToLeader::Beat | ToLeader::Sync { .. } => {}
        }
    }

    fn enqueue(&mut self, now: Instant, member: MemberId, waiting: Waiting<Q::Request>) {
        let Waiting {
            id,
            waited,
            request,
        } = waiting;
        let arrived_at = now.checked_sub(waited).unwrap_or(now);
        match self.queue.enqueue(now, arrived_at, request) {
            Ok(ticket) => self.own(member, id, ticket, State::Waiting),
            Err(why) => self.send(member, ToMember::Reject { id, why }),
        }
    }

    fn adopt(&mut self, now: Instant, member: MemberId, running: Running<Q::Request>) {
        let started_at = now.checked_sub(running.ran).unwrap_or(now);
        let ticket = self.queue.adopt(started_at, running.request);
        self.own(member, running.id, ticket, State::Started);
    }

    fn own(&mut self, member: MemberId, id: RequestId, ticket: Q::Ticket, state: State) {
        self.owners.insert(ticket, (member, id));
        if let Some(peer) = self.members.get_mut(&member) {
            peer.requests.insert(id, (ticket, state));
        }
    }

    /// Ends a request, which the member does not have any more.
    fn drop_request(&mut self, now: Instant, member: MemberId, id: RequestId, cooldown: Duration) {
        let Some(peer) = self.members.get_mut(&member) else {
            return;
        };
        if let Some((ticket, state)) = peer.requests.remove(&id) {
            self.owners.remove(&ticket);
            match state {
                State::Waiting => self.queue.remove(now, ticket),
                State::Started => self.queue.release(now, ticket, cooldown),
            }
        }
    }

    /// Puts a request back whose grant was not used.
    fn put_back(&mut self, now: Instant, member: MemberId, id: RequestId) {
        let Some(peer) = self.members.get_mut(&member) else {
            return;
        };
        if let Some((ticket, state @ State::Started)) = peer.requests.get_mut(&id) {
            *state = State::Waiting;
            self.queue.requeue(now, *ticket);
        }
    }

    fn sync(
        &mut self,
        now: Instant,
        member: MemberId,
        session: u64,
        sent_at: MemberTime,
        mut waiting: Vec<Waiting<Q::Request>>,
        running: Vec<Running<Q::Request>>,
    ) {
        if let Some(unheard) = &mut self.unheard {
            unheard.remove(&member);
        }
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
        let requests = |leader: &Self| -> BTreeMap<RequestId, State> {
            let peer = leader.members.get(&member).into_iter();
            peer.flat_map(|peer| peer.requests.iter().map(|(&id, &(_, state))| (id, state)))
                .collect()
        };
        for id in requests(self).into_keys().filter(|id| !kept.contains(id)) {
            // Its end was lost, and with it the cooldown.
            self.drop_request(now, member, id, Duration::ZERO);
        }
        let known = requests(self);
        for request in running {
            match known.get(&request.id) {
                Some(State::Started) => {}
                Some(State::Waiting) => {
                    self.drop_request(now, member, request.id, Duration::ZERO);
                    self.adopt(now, member, request);
                }
                None => self.adopt(now, member, request),
            }
        }
        waiting.sort_by_key(|request| std::cmp::Reverse(request.waited));
        for request in waiting {
            match known.get(&request.id) {
                Some(State::Waiting) => {}
                // The grant was lost, and will not be accepted if it comes.
                Some(State::Started) => self.put_back(now, member, request.id),
                None => self.enqueue(now, member, request),
            }
        }
    }

    fn forget(&mut self, now: Instant, member: MemberId) {
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

    fn ask_for_sync(&mut self, member: MemberId, session: u64) {
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

    fn send(&mut self, member: MemberId, body: ToMember<Q::Error>) {
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
