//! The member's side: the requests of one gateway, which wait for units and hold them.
//!
//! The member alone knows what is true of its requests. It tells the leader each change; when the
//! leader is new, or when a message was lost, it tells all of it again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::message::{
    Again, End, Epoch, LeaderMessage, MemberId, MemberMessage, MemberTime, RequestId, Running,
    ToLeader, ToMember, Units, Waiting,
};

/// How often a member tells that it is alive.
pub const BEAT: Duration = Duration::from_millis(500);

/// How old a grant may be when it is used, by the member's own clock. Less than
/// [`DEAD_AFTER`](super::leader::DEAD_AFTER): the leader gives the units of a silent member to
/// others only when the member can no longer use the grants that it has.
pub const GRANT_VALID: Duration = Duration::from_secs(2);

/// What a member does next for one of its requests.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event<E> {
    /// It may be sent.
    Granted(RequestId, Units),
    /// It may not be sent.
    Rejected(RequestId, E),
}

/// One gateway of the cluster.
#[derive(Clone, Debug)]
pub struct Member<R, F> {
    id: MemberId,
    started_at: Instant,
    epoch: Option<Epoch>,
    session: u64,
    /// The number of the next message to the leader, and of the next one from it.
    next_out: u64,
    next_in: u64,
    next_id: u64,
    waiting: BTreeMap<RequestId, Wait<R>>,
    running: BTreeMap<RequestId, Hold<R>>,
    /// The last of the requests of which the leader has told how many start before it.
    last_told: Option<(RequestId, u32)>,
    sent_at: Instant,
    heard_at: Instant,
    /// How many grants in a row came too late, and what the last of them had heard of this member.
    late_grants: u32,
    late_echo: Option<MemberTime>,
    out: Vec<MemberMessage<R, F>>,
}

/// A request that waits.
#[derive(Clone, Debug)]
struct Wait<R> {
    since: Instant,
    pause_until: Option<Instant>,
    request: R,
    ahead: Option<u32>,
}

/// A request that runs.
#[derive(Clone, Debug)]
struct Hold<R> {
    started_at: Instant,
    cost: u32,
    request: R,
}

impl<R: Clone> Wait<R> {
    fn tell(&self, id: RequestId, now: Instant) -> Waiting<R> {
        let from = self.pause_until.map_or(now, |until| until.max(now));
        Waiting {
            id,
            waited: from.saturating_duration_since(self.since),
            pause: from - now,
            request: self.request.clone(),
        }
    }
}

impl<R: Clone, F> Member<R, F> {
    /// A member that starts now. It knows no leader, so its requests wait.
    pub fn new(id: MemberId, now: Instant) -> Self {
        Self {
            id,
            started_at: now,
            epoch: None,
            session: 0,
            next_out: 0,
            next_in: 0,
            next_id: 0,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            last_told: None,
            sent_at: now,
            heard_at: now,
            late_grants: 0,
            late_echo: None,
            out: Vec::new(),
        }
    }

    /// Its number.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// The leader that it follows.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// When it last heard of the leader.
    pub fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// How many grants in a row came too late to be used, since the last good one. The leader had
    /// heard of this member between two of them.
    pub fn late_grants(&self) -> u32 {
        self.late_grants
    }

    /// How many of its requests wait, and how many run.
    pub fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// The units that its requests hold.
    pub fn units(&self) -> u32 {
        self.running.values().map(|hold| hold.cost).sum()
    }

    /// The messages to send, in order.
    pub fn take_messages(&mut self) -> Vec<MemberMessage<R, F>> {
        std::mem::take(&mut self.out)
    }

    /// Follows the leader of `epoch` from now on. It is the one whose lease was seen last, which
    /// need not be the greatest: a Redis that is replaced may have forgotten a leader.
    pub fn follow(&mut self, now: Instant, epoch: Epoch) {
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            (self.heard_at, self.late_grants) = (now, 0);
            self.begin_session(now);
        }
    }

    /// A new request waits. The leader hears of it at once, or when there is one.
    pub fn ask(&mut self, now: Instant, request: R) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let wait = Wait {
            since: now,
            pause_until: None,
            request,
            ahead: None,
        };
        self.send(now, ToLeader::Ask(wait.tell(id, now)));
        self.waiting.insert(id, wait);
        id
    }

    /// A running request waits again. It has been waiting since `since`, which is after `now` if it
    /// must pause until then. `request` is what the queue must know of it from now on.
    pub fn wait_again(
        &mut self,
        now: Instant,
        id: RequestId,
        since: Instant,
        pause_until: Option<Instant>,
        request: R,
        again: Again<F>,
    ) {
        if self.running.remove(&id).is_none() {
            return;
        }
        let wait = Wait {
            since,
            pause_until,
            request,
            ahead: None,
        };
        let waiting = wait.tell(id, now);
        self.waiting.insert(id, wait);
        self.send(now, ToLeader::Again { waiting, again });
    }

    /// Upstream has begun to answer the request.
    pub fn tell_admitted(&mut self, now: Instant, id: RequestId) {
        if self.running.contains_key(&id) {
            self.send(now, ToLeader::Admitted(id));
        }
    }

    /// The request is over: its caller has left, or its answer has ended.
    pub fn end(&mut self, now: Instant, id: RequestId, end: End) {
        if self.waiting.remove(&id).is_some() {
            self.send(now, ToLeader::Leave(id));
        } else if self.running.remove(&id).is_some() {
            self.send(now, ToLeader::End { id, end });
        }
    }

    /// The member uses its share of the units alone from now on, and tells the leader so.
    pub fn go_alone(&mut self, now: Instant) {
        self.send(now, ToLeader::Alone);
    }

    /// The member ends.
    pub fn leave(&mut self, now: Instant) {
        self.send(now, ToLeader::Bye);
    }

    /// How many requests start before this one, as the leader told it last. Of its later requests
    /// the leader does not tell; they start after those that it tells of.
    pub fn requests_ahead(&self, id: RequestId) -> Option<u32> {
        let wait = self.waiting.get(&id)?;
        wait.ahead.or_else(|| {
            let (last, ahead) = self.last_told?;
            let behind = u32::try_from(id.0.checked_sub(last.0)?).unwrap_or(u32::MAX);
            Some(ahead.saturating_add(behind))
        })
    }

    /// How many of the member's own requests have come before this one and after the first that
    /// waits.
    pub fn asked_before(&self, id: RequestId) -> u64 {
        let first = self.waiting.keys().next();
        first.map_or(0, |first| id.0.saturating_sub(first.0))
    }

    /// Takes a message of a leader.
    pub fn receive<E>(&mut self, now: Instant, message: LeaderMessage<E>) -> Option<Event<E>> {
        if self.epoch != Some(message.epoch) || self.session != message.session {
            return None;
        }
        if matches!(message.body, ToMember::Resync) {
            self.begin_session(now);
            return None;
        }
        if message.number < self.next_in {
            return None;
        }
        if message.number > self.next_in {
            self.begin_session(now);
            return None;
        }
        self.next_in += 1;
        self.heard_at = now;
        match message.body {
            ToMember::Grant { id, units, echo } => self.grant(now, id, units, echo),
            ToMember::Reject { id, why } => {
                self.waiting.remove(&id)?;
                Some(Event::Rejected(id, why))
            }
            ToMember::Beat { ahead } => {
                self.last_told = ahead.last().copied();
                for (id, ahead) in ahead {
                    if let Some(wait) = self.waiting.get_mut(&id) {
                        wait.ahead = Some(ahead);
                    }
                }
                None
            }
            ToMember::Resync => None,
        }
    }

    /// Does what time alone brings. Call it at least every [`BEAT`].
    pub fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.sent_at) >= BEAT {
            self.send(now, ToLeader::Beat);
        }
    }

    fn grant<E>(
        &mut self,
        now: Instant,
        id: RequestId,
        units: Units,
        echo: MemberTime,
    ) -> Option<Event<E>> {
        // Its caller may have left while the grant was on its way: the leader will know.
        let request = self.waiting.get(&id)?.request.clone();
        if self.time(now).0.saturating_sub(echo.0) > GRANT_VALID {
            // Those that were sent together count once: the leader may have stood still.
            if self.late_echo < Some(echo) {
                (self.late_grants, self.late_echo) = (self.late_grants + 1, Some(echo));
            }
            self.send(now, ToLeader::Void(id));
            return None;
        }
        self.late_grants = 0;
        let hold = Hold {
            started_at: now,
            cost: units.cost,
            request,
        };
        self.running.insert(id, hold);
        self.waiting.remove(&id);
        Some(Event::Granted(id, units))
    }

    fn begin_session(&mut self, now: Instant) {
        self.session += 1;
        (self.next_out, self.next_in) = (0, 0);
        let waiting = self.waiting.iter().map(|(&id, wait)| wait.tell(id, now));
        let running = self.running.iter().map(|(&id, hold)| Running {
            id,
            ran: now.saturating_duration_since(hold.started_at),
            cost: hold.cost,
            request: hold.request.clone(),
        });
        let body = ToLeader::Sync {
            waiting: waiting.collect(),
            running: running.collect(),
        };
        self.send(now, body);
    }

    fn send(&mut self, now: Instant, body: ToLeader<R, F>) {
        let Some(epoch) = self.epoch else {
            return;
        };
        self.out.push(MemberMessage {
            member: self.id,
            epoch,
            session: self.session,
            number: self.next_out,
            sent_at: self.time(now),
            body,
        });
        self.next_out += 1;
        self.sent_at = now;
    }

    fn time(&self, now: Instant) -> MemberTime {
        MemberTime(now.saturating_duration_since(self.started_at))
    }
}
