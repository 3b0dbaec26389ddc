//! One class: weighted fair queueing over its keys.
//!
//! Each key has a *tag*: the unit-seconds it was granted, divided by its weight. The least tag has
//! the next turn, so that those who wait are granted the same for their weight, however dear or
//! long their requests. What a key takes while nobody else is there to want it costs it nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use super::{
    key_queue::Queue,
    service_time::{ServiceTime, Work},
};
use crate::admission::request::{KeyId, Ticket};

/// No class is owed more than so many unit-seconds: what it couldn't take for long, it doesn't get
/// all at once.
const OWED_MAX: Work = Work::unit_seconds(600);

/// Nobody is held back for more than what all units do in this time, for what it took before.
const DEBT_MAX: Duration = Duration::from_secs(120);

/// A class whose last waiter gave up, and that asks again within this time, is still owed what it
/// was owed. Else callers who are impatient would lose what they waited for each time.
const RETURN_MAX: Duration = Duration::from_secs(10);

/// What a class is owed for one start of another class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CreditAccrual {
    work: Work,
    /// Of which of the class's busy times. What it was owed before isn't owed any more.
    busy_time: u64,
}

/// Who waits in one class, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    flows: HashMap<KeyId, Flow>,
    /// The keys somebody waits for, in order of turn, by the costs that they wait with.
    turns: BTreeMap<u32, BTreeSet<Turn>>,
    /// The settled tag of the last one whose turn it was: where a key begins that comes from
    /// idleness.
    tag_now: u64,
    queued: usize,
    /// The sum of the weights of the keys that somebody waits for.
    weight: u64,
    /// The units that run.
    in_use: u32,
    /// The keys that have somebody waiting or running.
    active: BTreeSet<KeyId>,
    /// Until when `contended` was counted.
    counted_at: Option<Instant>,
    /// For how long, in all, somebody has been waiting here.
    contended: Duration,
    /// When the last one who waited gave up, if nobody has come since.
    left: Option<Instant>,
    /// How often this class has been without anybody who waits.
    busy_time: u64,
    /// A share of what others were granted while somebody waited here, less what this class was
    /// granted.
    owed: Work,
    /// What others were granted when it was this class's turn and its next one didn't fit.
    overtaken: Work,
}

/// A key's requests in this class.
#[derive(Debug)]
struct Flow {
    turn: Turn,
    weight: u32,
    queue: Queue,
    in_use: u32,
    /// What it is charged for those that run, and may turn out to be something else.
    unsettled: Work,
    /// For how much of the time that somebody was waiting here there was no other key about.
    alone: Duration,
    service: ServiceTime,
}

impl Flow {
    /// The tag without what isn't settled.
    fn settled(&self) -> u64 {
        self.turn
            .tag
            .saturating_sub(self.unsettled.per(self.weight))
    }

    fn new(turn: Turn, weight: u32) -> Self {
        Self {
            turn,
            weight,
            queue: Queue::default(),
            in_use: 0,
            unsettled: Work::default(),
            alone: Duration::ZERO,
            service: ServiceTime::default(),
        }
    }
}

/// Least is next. Equal tags: who has been waiting since earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// Unit-nanoseconds for each of the key's weight.
    tag: u64,
    since: Ticket,
    key: KeyId,
}

/// Who has the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) key: KeyId,
    pub(super) ticket: Ticket,
    pub(super) cost: u32,
}

impl FairQueue {
    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn queued_of(&self, key: KeyId) -> usize {
        self.flows.get(&key).map_or(0, |flow| flow.queue.len())
    }

    pub(super) fn push(
        &mut self,
        key: KeyId,
        weight: u32,
        ticket: Ticket,
        cost: u32,
        now: Instant,
    ) {
        if self.queued == 0
            && self
                .left
                .take()
                .is_none_or(|left| now.saturating_duration_since(left) > RETURN_MAX)
        {
            self.forget_claims();
        }
        let tag = self.tag_now;
        let turn = Turn {
            tag,
            since: ticket,
            key,
        };
        let flow = self
            .flows
            .entry(key)
            .or_insert_with(|| Flow::new(turn, weight));
        if flow.queue.len() == 0 {
            flow.turn = Turn {
                tag: flow.turn.tag.max(tag),
                ..turn
            };
            self.weight += u64::from(weight);
        } else {
            self.weight = self.weight - u64::from(flow.weight) + u64::from(weight);
        }
        flow.weight = weight;
        flow.queue.push(ticket, cost);
        self.active.insert(key);
        self.turns.entry(cost).or_default().insert(flow.turn);
        self.queued += 1;
    }

    pub(super) fn remove(&mut self, key: KeyId, ticket: Ticket, cost: u32) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        flow.queue.remove(ticket, cost);
        if !flow.queue.has(cost)
            && let Some(turns) = self.turns.get_mut(&cost)
        {
            turns.remove(&flow.turn);
            if turns.is_empty() {
                self.turns.remove(&cost);
            }
        }
        if flow.queue.len() == 0 {
            self.weight -= u64::from(flow.weight);
            if flow.in_use == 0 {
                self.active.remove(&key);
            }
        }
        self.queued -= 1;
    }

    /// A request has left the queue that was not served.
    pub(super) fn given_up(&mut self, now: Instant) {
        if self.queued == 0 {
            self.left = Some(now);
        }
    }

    fn forget_claims(&mut self) {
        self.owed = Work::default();
        self.overtaken = Work::default();
        self.busy_time += 1;
    }

    /// One runs that was taken out of the queue.
    pub(super) fn hold(&mut self, key: KeyId, cost: u32) {
        if self.queued == 0 {
            self.forget_claims();
        }
        self.in_use = self.in_use.saturating_add(cost);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.in_use = flow.in_use.saturating_add(cost);
            self.active.insert(key);
        }
    }

    /// One doesn't run any more.
    pub(super) fn let_go(&mut self, key: KeyId, cost: u32) {
        self.in_use = self.in_use.saturating_sub(cost);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.in_use = flow.in_use.saturating_sub(cost);
            if flow.in_use == 0 && flow.queue.len() == 0 {
                self.active.remove(&key);
            }
        }
    }

    /// Counts the time up to now. To be called before anything changes.
    pub(super) fn count_to(&mut self, now: Instant) {
        let since = self.counted_at.replace(now).filter(|since| *since < now);
        let Some(since) = since.filter(|_| self.queued > 0) else {
            return;
        };
        let passed = now.saturating_duration_since(since);
        self.contended += passed;
        if self.active.len() == 1
            && let Some(flow) = self.active.first().and_then(|key| self.flows.get_mut(key))
        {
            flow.alone += passed;
        }
    }

    /// For how long, in all, somebody has been waiting here while another key than this one was
    /// about.
    pub(super) fn contended(&self, key: KeyId) -> Duration {
        self.flows.get(&key).map_or(self.contended, |flow| {
            self.contended.saturating_sub(flow.alone)
        })
    }

    /// Whether somebody is waiting here while another key than this one is about.
    pub(super) fn is_contended(&self, key: KeyId) -> bool {
        self.queued > 0 && self.active.iter().take(2).any(|&other| other != key)
    }

    /// The units this class's requests hold.
    pub(super) fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The units this key's requests hold in this class.
    pub(super) fn in_use_of(&self, key: KeyId) -> u32 {
        self.flows.get(&key).map_or(0, |flow| flow.in_use)
    }

    /// What this key lacks, to have been granted as much for its weight as that one.
    pub(super) fn lacks(&self, key: KeyId, other: KeyId) -> Work {
        match (self.flows.get(&key), self.flows.get(&other)) {
            (Some(flow), Some(other)) => {
                Work::times(other.turn.tag.saturating_sub(flow.turn.tag), flow.weight)
            }
            _ => Work::default(),
        }
    }

    /// What others were granted when it was this class's turn.
    pub(super) fn overtaken(&self) -> Work {
        self.overtaken
    }

    /// One of another class started when it was the turn of this one.
    pub(super) fn overtake(&mut self, work: Work) {
        self.overtaken = self.overtaken + work;
    }

    /// Units were kept for one of this class, and it was granted so much.
    pub(super) fn make_up(&mut self, work: Work) {
        self.overtaken = self.overtaken - work;
    }

    /// Whose turn it is among those that cost at most so much.
    pub(super) fn first(&self, cost_max: u32) -> Option<Next> {
        self.first_within(0..=cost_max)
    }

    /// Whose turn it is among those that cost at least and at most so much.
    pub(super) fn first_within(&self, costs: RangeInclusive<u32>) -> Option<Next> {
        let turn = self
            .turns
            .range(costs.clone())
            .filter_map(|(_, turns)| turns.first())
            .min()?;
        let (ticket, cost) = self.flows.get(&turn.key)?.queue.first_within(costs)?;
        Some(Next {
            key: turn.key,
            ticket,
            cost,
        })
    }

    /// Charges a key for what it is granted, before who is granted it leaves the queue. `cost_max`
    /// is what could run at all just now: those above it wait for outsiders, and must not hold the
    /// time back in which all others live.
    pub(super) fn charge(&mut self, key: KeyId, work: Work, cost_max: u32) {
        let least = self
            .turns
            .range(..=cost_max)
            .filter_map(|(_, turns)| turns.first())
            .min();
        let settled = least
            .and_then(|turn| self.flows.get(&turn.key))
            .map_or(0, Flow::settled);
        self.tag_now = self.tag_now.max(settled);
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.unsettled = flow.unsettled + work;
        }
        self.retag(key, |tag, weight| tag.saturating_add(work.per(weight)));
    }

    /// How long a unit of this key's is held on average, if any has been.
    pub(super) fn service(&self, key: KeyId) -> Option<Duration> {
        self.flows.get(&key)?.service.mean()
    }

    /// One of this key's has ended.
    pub(super) fn ended(&mut self, key: KeyId, cost: u32, held: Duration) {
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.service.observe(cost, held);
        }
    }

    /// What was charged turned out to be something else. `whole` is what all units are: they bound
    /// what is held against a key ([`DEBT_MAX`]).
    pub(super) fn correct(&mut self, key: KeyId, charged: Work, took: Work, whole: u32) {
        let (now, debt_max) = (self.tag_now, Work::of(whole, DEBT_MAX));
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.unsettled = flow.unsettled - charged;
        }
        self.retag(key, |tag, weight| {
            let corrected = tag
                .saturating_add(took.per(weight))
                .saturating_sub(charged.per(weight));
            corrected.min(now.saturating_add(debt_max.per(weight)).max(tag))
        });
    }

    fn retag(&mut self, key: KeyId, retagged: impl FnOnce(u64, u32) -> u64) {
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        let turn = Turn {
            tag: retagged(flow.turn.tag, flow.weight),
            ..flow.turn
        };
        for cost in flow.queue.costs() {
            if let Some(turns) = self.turns.get_mut(&cost) {
                turns.remove(&flow.turn);
                turns.insert(turn);
            }
        }
        flow.turn = turn;
    }

    /// While requests wait here, others were granted something: a share of it is owed to this
    /// class. Tells how much more is owed than before.
    pub(super) fn owe(&mut self, work: Work, share: f64) -> CreditAccrual {
        let before = self.owed;
        if self.queued > 0 {
            self.owed = (before + work.share(share)).min(OWED_MAX);
        }
        CreditAccrual {
            work: self.owed - before,
            busy_time: self.busy_time,
        }
    }

    /// Whether it is owed the next turn, which would be granted so much.
    pub(super) fn is_owed(&self, work: Work) -> bool {
        self.owed > Work::default() && self.owed >= work.min(OWED_MAX)
    }

    /// It was granted something itself.
    pub(super) fn pay(&mut self, work: Work) {
        self.owed = self.owed - work;
    }

    /// What others were granted they gave back: what [`owe`](Self::owe) told of it isn't owed any
    /// more.
    pub(super) fn owe_not(&mut self, owed: CreditAccrual) {
        if owed.busy_time == self.busy_time {
            self.owed = self.owed - owed.work;
        }
    }

    /// The greatest cost among those who wait.
    pub(super) fn cost_max(&self) -> Option<u32> {
        self.turns.last_key_value().map(|(&cost, _)| cost)
    }

    /// What this class could demand: what it is owed, and what it was overtaken by.
    pub(super) fn claims(&self) -> (Work, Work) {
        (self.owed, self.overtaken)
    }

    /// What was granted was given back: it can demand again what it could before.
    pub(super) fn claim_again(&mut self, (owed, overtaken): (Work, Work)) {
        self.owed = self.owed.max(owed);
        self.overtaken = self.overtaken.max(overtaken);
    }

    /// About how many of this class will start before one of this key that has so many of its own
    /// before it: as many of its own key's, and of the others' what their weights give them
    /// meanwhile, if so many wait.
    pub(super) fn ahead(&self, key: KeyId, weight: u32, own: usize) -> usize {
        let others = self.queued - self.queued_of(key);
        let known = self
            .flows
            .get(&key)
            .filter(|flow| flow.queue.len() > 0)
            .map_or(0, |flow| flow.weight);
        let turns = (own as u64 + 1).saturating_mul(self.weight - u64::from(known))
            / u64::from(weight.max(1));
        own + others.min(usize::try_from(turns).unwrap_or(usize::MAX))
    }

    /// How many of its own key came before it.
    pub(super) fn own_ahead(&self, key: KeyId, ticket: Ticket) -> usize {
        self.flows
            .get(&key)
            .map_or(0, |flow| flow.queue.ahead(ticket))
    }
}
