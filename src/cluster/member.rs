//! The member's side: the requests of one gateway, which wait for units and hold them.
//!
//! The member alone knows what is true of its requests. It tells the leader each change; when the
//! leader is new, or when a message was lost, it tells all of it again.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::message::{
    Epoch, LeaderMessage, MemberId, MemberMessage, MemberTime, RequestId, Running, ToLeader,
    ToMember, Waiting,
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
    Granted(RequestId),
    /// It may not be sent.
    Rejected(RequestId, E),
}

/// One gateway of the cluster.
#[derive(Clone, Debug)]
pub struct Member<R> {
    id: MemberId,
    started_at: Instant,
    epoch: Option<Epoch>,
    session: u64,
    /// The number of the next message to the leader, and of the next one from it.
    next_out: u64,
    next_in: u64,
    next_id: u64,
    waiting: BTreeMap<RequestId, (Instant, R)>,
    running: BTreeMap<RequestId, (Instant, R)>,
    sent_at: Instant,
    out: Vec<MemberMessage<R>>,
}

impl<R: Clone> Member<R> {
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
            sent_at: now,
            out: Vec::new(),
        }
    }

    /// The messages to send, in order.
    pub fn take_messages(&mut self) -> Vec<MemberMessage<R>> {
        std::mem::take(&mut self.out)
    }

    /// Follows the leader of `epoch` from now on, unless a later one is known.
    pub fn follow(&mut self, now: Instant, epoch: Epoch) {
        if self.epoch.is_none_or(|known| known < epoch) {
            self.epoch = Some(epoch);
            self.begin_session(now);
        }
    }

    /// A new request waits. The leader hears of it at once, or when there is one.
    pub fn ask(&mut self, now: Instant, request: R) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.waiting.insert(id, (now, request.clone()));
        self.send(
            now,
            ToLeader::Ask(Waiting {
                id,
                waited: Duration::ZERO,
                request,
            }),
        );
        id
    }

    /// The request is over: its caller has left, or its answer has ended. If it had units, they are
    /// free after the cooldown.
    pub fn end(&mut self, now: Instant, id: RequestId, cooldown: Duration) {
        if self.waiting.remove(&id).is_some() {
            self.send(now, ToLeader::Leave(id));
        } else if self.running.remove(&id).is_some() {
            self.send(now, ToLeader::End { id, cooldown });
        }
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
        match message.body {
            ToMember::Grant { id, echo } => self.grant(now, id, echo),
            ToMember::Reject { id, why } => {
                self.waiting.remove(&id)?;
                Some(Event::Rejected(id, why))
            }
            ToMember::Beat | ToMember::Resync => None,
        }
    }

    /// Does what time alone brings. Call it at least every [`BEAT`].
    pub fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.sent_at) >= BEAT {
            self.send(now, ToLeader::Beat);
        }
    }

    fn grant<E>(&mut self, now: Instant, id: RequestId, echo: MemberTime) -> Option<Event<E>> {
        // Its caller may have left while the grant was on its way: the leader will know.
        let (_, request) = self.waiting.get(&id)?;
        if self.time(now).0.saturating_sub(echo.0) > GRANT_VALID {
            self.send(now, ToLeader::Void(id));
            return None;
        }
        self.running.insert(id, (now, request.clone()));
        self.waiting.remove(&id);
        Some(Event::Granted(id))
    }

    fn begin_session(&mut self, now: Instant) {
        self.session += 1;
        (self.next_out, self.next_in) = (0, 0);
        let waiting = self.waiting.iter().map(|(&id, (since, request))| Waiting {
            id,
            waited: now.saturating_duration_since(*since),
            request: request.clone(),
        });
        let running = self.running.iter().map(|(&id, (since, request))| Running {
            id,
            ran: now.saturating_duration_since(*since),
            request: request.clone(),
        });
        let body = ToLeader::Sync {
            waiting: waiting.collect(),
            running: running.collect(),
        };
        self.send(now, body);
    }

    fn send(&mut self, now: Instant, body: ToLeader<R>) {
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
