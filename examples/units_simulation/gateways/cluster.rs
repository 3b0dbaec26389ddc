//! The one queue of a cluster: the gateways and their leader are the real ones, and messages take
//! their time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use featherwire::{
    admission::{EnqueueError, PermitRequest},
    cluster::{
        leader::{self, Before, Leader},
        member::{self, Event, Member},
        message::{End, Epoch, LeaderMessage, MemberId, MemberMessage, RequestId},
    },
};

use super::queue::SchedulerQueue;
use crate::{
    load::{Key, Load, Request},
    policies::{Policy, permit_request},
};

/// How long a message takes to the leader, or back, in microseconds.
const DELAY_US: RangeInclusive<u64> = 200..=5_000;

/// Longer than a run. The leader keeps its lease.
const LEASE: Duration = Duration::from_secs(1 << 30);

const EPOCH: Epoch = Epoch(1);

type ToLeader = MemberMessage<PermitRequest, ()>;
type ToMember = LeaderMessage<EnqueueError>;

/// The gateways of a cluster, and the messages on their way.
pub struct Cluster {
    keys: &'static [Key],
    begin: Instant,
    gateways: Vec<Gateway>,
    /// The gateway that leads. Its own messages take no time.
    leads: usize,
    leader: Leader<SchedulerQueue>,
    /// The gateway of each request, and its number there.
    names: HashMap<usize, (usize, RequestId)>,
    rng: fastrand::Rng,
    messages: BTreeMap<(Duration, u64), Message>,
    sequence: u64,
    /// When the last message to the leader arrives. No message overtakes another one.
    to_leader_until: Duration,
    tick_at: Duration,
    granted: VecDeque<usize>,
    /// For each start: how long after its cause. The cause is the arrival of a request or the end of
    /// one. Without delays the request would have started then.
    pub delays: Vec<Duration>,
}

struct Gateway {
    member: Member<PermitRequest, ()>,
    /// Its requests that have not ended.
    requests: HashMap<RequestId, usize>,
    /// When the last message to it arrives.
    until: Duration,
}

enum Message {
    ToLeader(ToLeader),
    /// The gateway, and when the cause of the message happened.
    ToMember(usize, ToMember, Option<Duration>),
}

impl Cluster {
    pub fn new(load: &Load) -> Self {
        let begin = Instant::now();
        let mut rng = fastrand::Rng::with_seed(load.seed);
        let leads = rng.usize(..load.gateways);
        let ids = || (0..load.gateways as u64).map(MemberId);
        let gateways = ids().map(|id| {
            let mut member = Member::new(id, begin);
            member.follow(begin, EPOCH);
            Gateway {
                member,
                requests: HashMap::new(),
                until: Duration::ZERO,
            }
        });
        let before = Before {
            members: Some(ids().collect()),
            ..Before::default()
        };
        let queue = SchedulerQueue::new(load.capacity, begin, false);
        Self {
            keys: load.keys,
            begin,
            gateways: gateways.collect(),
            leads,
            leader: Leader::new(begin, EPOCH, begin + LEASE, before, queue),
            names: HashMap::new(),
            rng,
            messages: BTreeMap::new(),
            sequence: 0,
            to_leader_until: Duration::ZERO,
            tick_at: Duration::ZERO,
            granted: VecDeque::new(),
            delays: Vec::new(),
        }
    }

    /// Does everything that is due.
    fn advance(&mut self, now: Duration) {
        if now >= self.tick_at {
            self.tick_at = now + member::BEAT.min(leader::BEAT);
            for gateway in 0..self.gateways.len() {
                self.gateways[gateway].member.tick(self.begin + now);
                self.send(gateway, now);
            }
            self.leader.tick(self.begin + now);
            self.answer(now, None);
        }
        while let Some(first) = self.messages.first_entry()
            && first.key().0 <= now
        {
            match first.remove() {
                Message::ToLeader(message) => self.tell_leader(message, now),
                Message::ToMember(gateway, message, cause) => {
                    self.tell_member(gateway, message, cause, now);
                }
            }
        }
    }

    /// Sends what a gateway has to say.
    fn send(&mut self, gateway: usize, now: Duration) {
        for message in self.gateways[gateway].member.take_messages() {
            if gateway == self.leads {
                self.tell_leader(message, now);
            } else {
                let at = (now + self.delay()).max(self.to_leader_until);
                self.to_leader_until = at;
                self.post(at, Message::ToLeader(message));
            }
        }
    }

    fn tell_leader(&mut self, message: ToLeader, now: Duration) {
        // The clock of each member begins with the run.
        let cause = message.sent_at.0;
        self.leader.receive(self.begin + now, message);
        self.answer(now, Some(cause));
    }

    /// Sends what the leader has to say.
    fn answer(&mut self, now: Duration, cause: Option<Duration>) {
        for (MemberId(id), message) in self.leader.take_messages() {
            let gateway = id as usize;
            if gateway == self.leads {
                self.tell_member(gateway, message, cause, now);
            } else {
                let at = (now + self.delay()).max(self.gateways[gateway].until);
                self.gateways[gateway].until = at;
                self.post(at, Message::ToMember(gateway, message, cause));
            }
        }
    }

    fn tell_member(
        &mut self,
        gateway: usize,
        message: ToMember,
        cause: Option<Duration>,
        now: Duration,
    ) {
        let Gateway {
            member, requests, ..
        } = &mut self.gateways[gateway];
        match member.receive(self.begin + now, message) {
            Some(Event::Granted(id, _)) => {
                self.granted.push_back(requests[&id]);
                self.delays.push(now - cause.unwrap_or(now));
            }
            Some(Event::Rejected(_, why)) => panic!("the queue has no limit: {why:?}"),
            None => {}
        }
        self.send(gateway, now);
    }

    fn end(&mut self, id: usize, end: End, now: Duration) {
        self.advance(now);
        let (gateway, name) = self.names.remove(&id).expect("it was granted");
        let Gateway {
            member, requests, ..
        } = &mut self.gateways[gateway];
        requests.remove(&name);
        member.end(self.begin + now, name, end);
        self.send(gateway, now);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(DELAY_US))
    }

    fn post(&mut self, at: Duration, message: Message) {
        self.sequence += 1;
        self.messages.insert((at, self.sequence), message);
    }
}

impl Policy for Cluster {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration) {
        self.advance(now);
        let gateway = request.gateway;
        let Gateway {
            member, requests, ..
        } = &mut self.gateways[gateway];
        let name = member.ask(self.begin + now, permit_request(self.keys, request));
        requests.insert(name, id);
        self.names.insert(id, (gateway, name));
        self.send(gateway, now);
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        self.advance(now);
        self.granted.pop_front()
    }

    fn ended(&mut self, id: usize, now: Duration) {
        self.end(id, End::Finished, now);
    }

    /// The request is not sent again: the goal is that none is refused.
    fn refused(&mut self, id: usize, _active: u32, now: Duration) {
        self.end(id, End::Unsent, now);
    }

    fn wake(&self, _now: Duration) -> Option<Duration> {
        let message = self.messages.first_key_value();
        let message = message.map_or(self.tick_at, |(&(at, _), _)| at);
        Some(message.min(self.tick_at))
    }
}
