//! A cluster in simulated time: gateways, a Redis with a lease and streams, an upstream that counts
//! units, and what can go wrong.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    faults::Faults,
    network::RENEW,
    queue::{FEED, Fifo, Late},
};
use crate::cluster::{
    leader::Leader,
    member::Member,
    message::{Again, End, Epoch, LeaderMessage, MemberId, MemberMessage, RequestId},
};

/// How often gateways look at the time.
const TICK: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(super) enum Happens {
    Tick(usize),
    Elect(usize),
    ToLeader(MemberMessage<u32, ()>),
    ToMember {
        to: MemberId,
        message: LeaderMessage<Late>,
    },
    Arrive(usize),
    Finish {
        node: usize,
        member: MemberId,
        id: RequestId,
    },
    Leave {
        node: usize,
        member: MemberId,
        id: RequestId,
    },
    Snapshot,
    Fault,
    Reach(usize),
}

pub(super) struct Node {
    pub(super) id: MemberId,
    pub(super) member: Member<u32, ()>,
    pub(super) leader: Option<Leader<Fifo>>,
    /// Its requests at upstream, with their costs.
    pub(super) sent: BTreeMap<RequestId, u32>,
    /// Its requests that have no answer yet, with their costs.
    pub(super) asked: BTreeMap<RequestId, u32>,
    pub(super) is_cut: bool,
    pub(super) paused_until: Option<Instant>,
}

pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) capacity: u32,
    pub(super) nodes: Vec<Node>,
    pub(super) next_member: u64,
    pub(super) lease: Option<(MemberId, Epoch, Instant)>,
    pub(super) last_epoch: u64,
    /// The members in Redis, and when they were heard. `None` after a loss of all data.
    pub(super) members: Option<BTreeMap<MemberId, Instant>>,
    /// When the last message of each stream comes.
    pub(super) streams: BTreeMap<Option<MemberId>, Instant>,
    /// How often Redis has lost all data: what was on its way then does not come.
    pub(super) generation: u64,
    /// What happens next, by time, and in the order in which it was planned.
    pub(super) events: BTreeMap<(Instant, u64), (u64, Happens)>,
    pub(super) counter: u64,
    pub(super) faults: Faults,
    /// When nothing more comes, and nothing more goes wrong.
    pub(super) quiet_from: Instant,
    pub(super) load: f64,
    /// How many units were used that did not exist, at most.
    pub(super) over: u32,
    /// What has happened, for a test that fails.
    pub(super) trace: Vec<String>,
}

impl World {
    /// Gateways to which `load` requests come in each second, and faults, both for a minute.
    pub(super) fn new(seed: u64, nodes: usize, capacity: u32, load: f64, faults: Faults) -> Self {
        let start = Instant::now();
        let quiet_from = start + Duration::from_secs(60);
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            start,
            now: start,
            capacity,
            nodes: Vec::new(),
            next_member: 0,
            lease: None,
            last_epoch: 0,
            members: None,
            streams: BTreeMap::new(),
            generation: 0,
            events: BTreeMap::new(),
            counter: 0,
            faults,
            quiet_from,
            load,
            over: 0,
            trace: Vec::new(),
        };
        for index in 0..nodes {
            let node = world.node();
            world.nodes.push(node);
            let offset = Duration::from_millis(world.random.u64(0..1000));
            world.at(offset, Happens::Elect(index));
            world.at(offset, Happens::Tick(index));
            world.at(offset, Happens::Arrive(index));
        }
        world.at(Duration::ZERO, Happens::Snapshot);
        world.at(Duration::from_secs(1), Happens::Fault);
        world
    }

    pub(super) fn node(&mut self) -> Node {
        self.next_member += 1;
        let id = MemberId(self.next_member);
        Node {
            id,
            member: Member::new(id, self.now),
            leader: None,
            sent: BTreeMap::new(),
            asked: BTreeMap::new(),
            is_cut: false,
            paused_until: None,
        }
    }

    pub(super) fn at(&mut self, after: Duration, what: Happens) {
        self.counter += 1;
        self.events
            .insert((self.now + after, self.counter), (self.generation, what));
    }

    pub(super) fn log(&mut self, text: String) {
        self.trace
            .push(format!("{:>7} {text}", (self.now - self.start).as_millis()));
    }

    /// The units that upstream counts.
    pub(super) fn usage(&self) -> u32 {
        self.nodes.iter().flat_map(|node| node.sent.values()).sum()
    }

    /// The requests that have no answer.
    pub(super) fn unanswered(&self) -> usize {
        self.nodes.iter().map(|node| node.asked.len()).sum()
    }

    /// Whether exactly one gateway leads, and its queue is empty.
    pub(super) fn is_at_rest(&self) -> bool {
        let mut leaders = self.nodes.iter().filter_map(|node| node.leader.as_ref());
        let is_empty = |leader: &Leader<Fifo>| {
            leader.queue().running.is_empty() && leader.queue().waiting.is_empty()
        };
        leaders.next().is_some_and(is_empty) && leaders.next().is_none()
    }

    /// Goes on until this time after the start.
    pub(super) fn run(&mut self, until: Duration) {
        let end = self.start + until;
        while let Some(((at, number), (generation, what))) = self.events.pop_first() {
            if at > end {
                self.events.insert((at, number), (generation, what));
                return;
            }
            let before = self.usage();
            self.now = at;
            self.happen(generation, what);
            let used = self.usage();
            if used > self.capacity && used > before {
                self.over = self.over.max(used - self.capacity);
                self.log(format!("OVER {used}"));
            }
        }
    }

    pub(super) fn happen(&mut self, generation: u64, what: Happens) {
        match what {
            Happens::Tick(index) => {
                self.at(TICK, Happens::Tick(index));
                if self.is_paused(index) {
                    return;
                }
                let now = self.now;
                let node = &mut self.nodes[index];
                node.member.tick(now);
                if let Some(leader) = &mut node.leader {
                    leader.tick(now);
                }
                self.flush(index);
            }
            Happens::Elect(index) => {
                self.at(RENEW, Happens::Elect(index));
                if !self.is_paused(index) && !self.nodes[index].is_cut {
                    self.elect(index);
                }
            }
            Happens::ToLeader(message) => {
                if generation != self.generation {
                    return;
                }
                let Some((holder, ..)) = self.lease else {
                    return;
                };
                self.deliver_to_leader(holder, message);
            }
            Happens::ToMember { to, message } => {
                if generation != self.generation {
                    return;
                }
                let Some(index) = self.index(to) else { return };
                if let Some(until) = self.nodes[index]
                    .paused_until
                    .filter(|until| *until > self.now)
                {
                    // It reads the message when it goes on.
                    self.at(until - self.now, Happens::ToMember { to, message });
                    return;
                }
                if self.nodes[index].is_cut {
                    return;
                }
                self.deliver_to_member(index, message);
            }
            Happens::Arrive(index) => {
                if self.now < self.quiet_from {
                    let gap = -self.random.f64().ln() * 1000.0 / self.load;
                    self.at(Duration::from_millis(gap as u64), Happens::Arrive(index));
                    if !self.is_paused(index) {
                        self.arrive(index);
                    }
                }
            }
            Happens::Finish {
                node: index,
                member,
                id,
            } => {
                if self.nodes[index].id != member {
                    return;
                }
                if self.is_paused(index) {
                    // Upstream is done, and the gateway does not know it yet.
                    self.at(
                        Duration::from_millis(100),
                        Happens::Finish {
                            node: index,
                            member,
                            id,
                        },
                    );
                    return;
                }
                self.finish(index, id);
            }
            Happens::Leave {
                node: index,
                member,
                id,
            } => {
                if self.nodes[index].id != member || self.is_paused(index) {
                    return;
                }
                if self.nodes[index].asked.remove(&id).is_some() {
                    self.nodes[index].member.end(self.now, id, End::Unsent);
                    self.flush(index);
                }
            }
            Happens::Snapshot => {
                self.at(FEED, Happens::Snapshot);
                self.snapshot();
            }
            Happens::Fault => {
                self.at(Duration::from_secs(1), Happens::Fault);
                if self.now < self.quiet_from {
                    self.fault();
                }
            }
            Happens::Reach(index) => self.nodes[index].is_cut = false,
        }
    }

    pub(super) fn is_paused(&self, index: usize) -> bool {
        self.nodes[index]
            .paused_until
            .is_some_and(|until| until > self.now)
    }

    pub(super) fn index(&self, id: MemberId) -> Option<usize> {
        self.nodes.iter().position(|node| node.id == id)
    }

    /// Upstream has answered: with an end, or with an error after which the request is sent again.
    fn finish(&mut self, index: usize, id: RequestId) {
        let (now, is_error) = (self.now, self.random.f64() < 0.1);
        let node = &mut self.nodes[index];
        let Some(cost) = node.sent.remove(&id) else {
            return;
        };
        node.member.tell_admitted(now, id);
        if is_error {
            let pause_until = now + Duration::from_millis(self.random.u64(0..2_000));
            let again = Again::Paused {
                is_upstream_busy: false,
            };
            node.asked.insert(id, cost);
            node.member
                .wait_again(now, id, pause_until, Some(pause_until), cost, again);
        } else {
            node.member.end(now, id, End::Finished);
        }
        self.flush(index);
    }

    fn arrive(&mut self, index: usize) {
        let now = self.now;
        let cost = *self
            .random
            .choice([1, 1, 2, 4].iter())
            .expect("some")
            .min(&self.capacity);
        let id = self.nodes[index].member.ask(now, cost);
        let member = self.nodes[index].id;
        self.nodes[index].asked.insert(id, cost);
        if self.random.f64() < 0.1 {
            let after = Duration::from_millis(self.random.u64(0..5_000));
            self.at(
                after,
                Happens::Leave {
                    node: index,
                    member,
                    id,
                },
            );
        }
        self.flush(index);
    }

    /// The feed: what upstream counts of requests that the leader does not know.
    fn snapshot(&mut self) {
        let Some((holder, ..)) = self.lease else {
            return;
        };
        let (Some(index), used, now) = (self.index(holder), self.usage(), self.now) else {
            return;
        };
        if let Some(leader) = &mut self.nodes[index].leader {
            let own = leader
                .queue()
                .running
                .values()
                .map(|(cost, _)| cost)
                .sum::<u32>();
            leader.queue_mut().snapshot(now, used.saturating_sub(own));
        }
    }
}
