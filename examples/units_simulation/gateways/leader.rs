//! Measures what a leader can do: how many asks it serves in a second, and the memory of requests
//! that wait. The members are real. The messages are not encoded, and take no time.

use std::time::{Duration, Instant};

use featherwire::{
    admission::{Caller, KeyId, PermitRequest},
    cluster::{
        leader::{BEAT, Before, Leader},
        member::{Event, Member},
        message::{End, Epoch, MemberId, MemberMessage, RequestId},
    },
};
use stats_alloc::Region;

use super::queue::SchedulerQueue;
use crate::{
    ALLOCATOR,
    load::{MODELS, pick},
};

const GATEWAYS: u64 = 16;
const CAPACITY: u32 = 100;
const COST_MAX: u32 = 4;
const WAITING_MAX: usize = 10_000;
const ASKS: usize = 200_000;
const RUNS: usize = 5;
const EPOCH: Epoch = Epoch(1);

/// Longer than a run.
const LEASE: Duration = Duration::from_secs(1 << 30);

/// The time between two asks, so that the leader tells members their positions as often as it does
/// with 20,000 asks in a second.
const ASK_EVERY: Duration = Duration::from_micros(50);

type ToLeader = MemberMessage<PermitRequest, ()>;

pub fn leader() {
    println!("{GATEWAYS} gateways, {CAPACITY} units, {ASKS} asks, {RUNS} runs.\n");
    println!("| requests that wait | keys | asks in a second: median | least | most |");
    println!("|---|---|---|---|---|");
    for waiting in [0, WAITING_MAX] {
        for keys in [8, 1000] {
            let mut rates: Vec<_> = (0..RUNS).map(|_| rate(waiting, keys)).collect();
            rates.sort_by(f64::total_cmp);
            let (least, median, most) = (rates[0], rates[RUNS / 2], rates[RUNS - 1]);
            println!("| {waiting} | {keys} | {median:.0} | {least:.0} | {most:.0} |");
        }
    }
    let (leader, members) = memory();
    println!("\nMemory of {WAITING_MAX} requests that wait: {leader} bytes in the leader,");
    println!("{members} bytes in the members.");
}

/// Asks in a second of the leader's time: each request is asked for, gets its units, and ends.
fn rate(waiting: usize, keys: u64) -> f64 {
    let mut cluster = Cluster::new();
    for _ in 0..waiting {
        cluster.ask(keys);
    }
    cluster.exchange();
    let (mut asked, mut busy) = (0, Duration::ZERO);
    while asked < ASKS {
        let ended = cluster.end_all();
        let asks = match waiting {
            // What fits for certain.
            0 => (CAPACITY / COST_MAX) as usize,
            _ => ended,
        };
        for _ in 0..asks {
            cluster.now += ASK_EVERY;
            cluster.ask(keys);
        }
        asked += asks;
        busy += cluster.exchange();
    }
    asked as f64 / busy.as_secs_f64()
}

/// The bytes that the leader and its queue hold, and those that all members hold.
fn memory() -> (isize, isize) {
    let mut cluster = Cluster::new();
    let mut messages = Vec::with_capacity(WAITING_MAX);
    let region = Region::new(ALLOCATOR);
    for _ in 0..WAITING_MAX {
        cluster.ask(8);
    }
    cluster.gather(&mut messages);
    let members = held(&region);
    let region = Region::new(ALLOCATOR);
    for message in messages.drain(..) {
        cluster.leader.receive(cluster.now, message);
    }
    drop(cluster.leader.take_messages());
    (held(&region), members)
}

fn held(region: &Region<'_, std::alloc::System>) -> isize {
    let change = region.change();
    change.bytes_allocated as isize - change.bytes_deallocated as isize
}

struct Cluster {
    now: Instant,
    tick_at: Instant,
    members: Vec<Member<PermitRequest, ()>>,
    leader: Leader<SchedulerQueue>,
    /// The requests that have their units.
    granted: Vec<(usize, RequestId)>,
    rng: fastrand::Rng,
}

impl Cluster {
    fn new() -> Self {
        let now = Instant::now();
        let ids = || (0..GATEWAYS).map(MemberId);
        let members = ids().map(|id| {
            let mut member = Member::new(id, now);
            member.follow(now, EPOCH);
            member
        });
        let before = Before {
            members: Some(ids().collect()),
            ..Before::default()
        };
        let queue = SchedulerQueue::new(CAPACITY, now, true);
        let mut cluster = Self {
            now,
            tick_at: now,
            members: members.collect(),
            leader: Leader::new(now, EPOCH, now + LEASE, before, queue),
            granted: Vec::new(),
            rng: fastrand::Rng::with_seed(1),
        };
        cluster.exchange();
        cluster
    }

    fn ask(&mut self, keys: u64) {
        let key = self.rng.u64(..keys);
        let caller = Caller {
            key: KeyId(key),
            weight: 1 + (key % 4) as u32,
        };
        let model = pick(&mut self.rng, MODELS.iter().map(|model| model.2));
        let request = PermitRequest::new(caller, MODELS[model].1);
        let member = self.rng.usize(..self.members.len());
        self.members[member].ask(self.now, request);
    }

    /// All running requests end. Returns how many.
    fn end_all(&mut self) -> usize {
        let granted = std::mem::take(&mut self.granted);
        for &(member, id) in &granted {
            self.members[member].end(self.now, id, End::Finished);
        }
        granted.len()
    }

    fn gather(&mut self, messages: &mut Vec<ToLeader>) {
        for member in &mut self.members {
            messages.append(&mut member.take_messages());
        }
    }

    /// Carries all messages. Returns the time of the leader.
    fn exchange(&mut self) -> Duration {
        let mut messages = Vec::new();
        self.gather(&mut messages);
        let begin = Instant::now();
        for message in messages {
            self.leader.receive(self.now, message);
        }
        if self.now >= self.tick_at {
            self.tick_at = self.now + BEAT;
            self.leader.tick(self.now);
        }
        let answers = self.leader.take_messages();
        let busy = begin.elapsed();
        for (MemberId(id), message) in answers {
            let member = id as usize;
            if let Some(Event::Granted(id, _)) = self.members[member].receive(self.now, message) {
                self.granted.push((member, id));
            }
        }
        for member in &mut self.members {
            member.tick(self.now);
        }
        busy
    }
}
