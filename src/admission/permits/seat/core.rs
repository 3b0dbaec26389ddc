//! The member and the leader of this process, and what goes between them and to others. `standing`:
//! whom this gateway follows.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::Instant as TokioInstant};

use super::{
    super::{errors::Rejection, shared::Shared},
    hosted::{Asked, Hosted, Refused},
    plans::Plans,
    view::{ClusterStatus, Role, View},
};
use crate::{
    admission::status::QueueStatus,
    cluster::{
        leader::Leader,
        member::{Event, Member},
        message::{Again, End, Epoch, LeaderMessage, MemberId, MemberMessage, RequestId, Units},
    },
};

mod standing;

pub(super) use standing::{LATE_GRANTS_MAX, Seen};

/// How many messages may wait to be sent. If there are more, all are dropped, and each member that
/// lacks one begins a new session.
const OUTGOING_MAX: usize = 65_536;

/// The epoch of a gateway that goes on alone.
const ALONE: Epoch = Epoch(0);

pub(super) type ToLeader = MemberMessage<Asked, Refused>;
pub(super) type ToMember = LeaderMessage<Rejection>;

/// Messages to other gateways.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) to_leader: Vec<ToLeader>,
    pub(super) to_members: Vec<(MemberId, ToMember)>,
}

pub(super) struct Core {
    pub(super) member: Member<Asked, Refused>,
    pub(super) leader: Option<Leader<Hosted>>,
    shared: Arc<Shared>,
    /// Who waits for the answer to a request.
    waiters: HashMap<RequestId, Waiting>,
    outgoing: Outgoing,
    /// When Redis was last asked and has answered.
    contact_at: Option<Instant>,
    /// The time of its clock then.
    clock: Duration,
    /// The members, by the last contact.
    members: BTreeSet<MemberId>,
    leader_id: Option<MemberId>,
    /// The last epoch in Redis.
    known_epoch: Option<Epoch>,
    view: Option<View>,
    /// It takes no part any more.
    has_left: bool,
    plans: Plans,
    /// Until when it stays alone, because grants came too late.
    slow_until: Option<Instant>,
    /// Until when the driver sleeps.
    pub(super) wakes_at: Option<TokioInstant>,
}

struct Waiting {
    answer: oneshot::Sender<Result<Units, Rejection>>,
    cost: u32,
    has_caller_deadline: bool,
}

impl Core {
    pub(super) fn new(member: MemberId, now: Instant, shared: Arc<Shared>) -> Self {
        Self {
            member: Member::new(member, now),
            leader: None,
            shared,
            waiters: HashMap::new(),
            outgoing: Outgoing::default(),
            contact_at: None,
            clock: Duration::ZERO,
            members: BTreeSet::new(),
            leader_id: None,
            known_epoch: None,
            view: None,
            has_left: false,
            plans: Plans::default(),
            slow_until: None,
            wakes_at: None,
        }
    }

    /// How many requests of this gateway wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// The gateway leaves the cluster.
    pub(super) fn leave(&mut self, now: Instant) {
        self.member.leave(now);
        self.has_left = true;
    }

    pub(super) fn has_left(&self) -> bool {
        self.has_left
    }

    pub(super) fn ask(
        &mut self,
        now: Instant,
        asked: Asked,
        answer: oneshot::Sender<Result<Units, Rejection>>,
    ) -> RequestId {
        let waiting = Waiting::new(&asked, answer);
        let id = self.member.ask(now, asked);
        self.waiters.insert(id, waiting);
        id
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of the wait")]
    pub(super) fn ask_again(
        &mut self,
        now: Instant,
        id: RequestId,
        since: Instant,
        pause_until: Option<Instant>,
        asked: Asked,
        again: Again<Refused>,
        answer: oneshot::Sender<Result<Units, Rejection>>,
    ) {
        self.waiters.insert(id, Waiting::new(&asked, answer));
        self.member
            .wait_again(now, id, since, pause_until, asked, again);
    }

    pub(super) fn end(&mut self, now: Instant, id: RequestId, end: End) {
        self.waiters.remove(&id);
        self.member.end(now, id, end);
    }

    pub(super) fn has_caller_deadline(&self, id: RequestId) -> bool {
        let waiting = self.waiters.get(&id);
        waiting.is_some_and(|waiting| waiting.has_caller_deadline)
    }

    /// See [`Seat::place`](super::Seat::place).
    pub(super) fn place(&self, id: RequestId) -> Option<(usize, u32)> {
        let cost = self.waiters.get(&id)?.cost;
        let ahead = match &self.leader {
            Some(leader) => leader.requests_ahead(self.member.id(), id),
            None => self.member.requests_ahead(id),
        };
        let ahead = ahead.map(|ahead| usize::try_from(ahead).unwrap_or(usize::MAX));
        let own = || usize::try_from(self.member.asked_before(id)).unwrap_or(usize::MAX);
        Some((ahead.unwrap_or_else(own), cost))
    }

    /// Does what time alone brings.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.has_left {
            return;
        }
        self.member.tick(now);
        // A process that stood still must not miss its own member.
        self.settle(now);
        if let Some(leader) = &mut self.leader {
            leader.tick(now);
        }
    }

    pub(super) fn next_wake(&self) -> Option<TokioInstant> {
        self.leader.as_ref()?.queue().next_wake()
    }

    /// Whether it goes on without the others.
    pub(super) fn is_alone(&self) -> bool {
        self.member.epoch() == Some(ALONE)
    }

    /// The epoch in which this gateway leads the cluster.
    pub(super) fn leads(&self) -> Option<Epoch> {
        let epoch = self.leader.as_ref()?.epoch();
        (epoch != ALONE).then_some(epoch)
    }

    /// The units of the plan, if they are known.
    pub(super) fn units(&self) -> Option<u32> {
        self.shared.lock().plan.bounds().confirmed
    }

    /// Whether it can lead: not while it is slow.
    pub(super) fn may_lead(&self) -> bool {
        self.slow_until.is_none()
    }

    /// The last epoch that this gateway knows of.
    pub(super) fn known_epoch(&self) -> Option<Epoch> {
        self.known_epoch
    }

    /// Whether the queue must advance before the driver wakes.
    pub(super) fn must_wake_driver(&self) -> bool {
        match (self.next_wake(), self.wakes_at) {
            (Some(next), Some(planned)) => next < planned,
            _ => false,
        }
    }

    pub(super) fn receive_as_leader(&mut self, now: Instant, message: ToLeader) {
        if let Some(leader) = &mut self.leader {
            leader.receive(now, message);
        }
    }

    pub(super) fn receive_as_member(&mut self, now: Instant, message: ToMember) {
        let event = self.member.receive(now, message);
        if self.member.late_grants() >= LATE_GRANTS_MAX {
            return self.go_alone_beside_leader(now, "its grants come too late");
        }
        let (id, answer) = match event {
            Some(Event::Granted(id, units)) => (id, Ok(units)),
            Some(Event::Rejected(id, rejection)) => (id, Err(rejection)),
            None => return,
        };
        // If the waiter has left, it ends the request itself.
        if let Some(waiting) = self.waiters.remove(&id) {
            _ = waiting.answer.send(answer);
        }
    }

    pub(super) fn take_view(&mut self, view: View) {
        self.view = Some(view);
    }

    /// Passes messages on, until none is left.
    pub(super) fn settle(&mut self, now: Instant) {
        let me = self.member.id();
        loop {
            let to_leader = self.member.take_messages();
            let to_members = match &mut self.leader {
                Some(leader) => {
                    for message in to_leader {
                        if message.epoch == leader.epoch() {
                            leader.receive(now, message);
                        } else {
                            self.outgoing.to_leader.push(message);
                        }
                    }
                    leader.take_messages()
                }
                None => {
                    self.outgoing.to_leader.extend(to_leader);
                    break;
                }
            };
            if to_members.is_empty() {
                break;
            }
            for (to, message) in to_members {
                if to == me {
                    self.receive_as_member(now, message);
                } else {
                    self.outgoing.to_members.push((to, message));
                }
            }
        }
        if self.outgoing.to_leader.len() + self.outgoing.to_members.len() > OUTGOING_MAX {
            self.outgoing = Outgoing::default();
        }
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !(self.outgoing.to_leader.is_empty() && self.outgoing.to_members.is_empty())
    }

    pub(super) fn take_outgoing(&mut self) -> Outgoing {
        std::mem::take(&mut self.outgoing)
    }

    pub(super) fn status(&self, now: Instant) -> QueueStatus {
        match (&self.leader, &self.view) {
            (Some(_), _) | (None, None) => self.shared.lock().scheduler.status(now),
            (None, Some(view)) => view.status.clone(),
        }
    }

    /// What the leader tells to all. `None` if this gateway does not lead.
    pub(super) fn own_view(&self, now: Instant) -> Option<View> {
        let leader = self.leader.as_ref()?;
        (leader.epoch() != ALONE).then(|| {
            let held = leader.units_by_member();
            let state = self.shared.lock();
            View {
                status: state.scheduler.status(now),
                refusals: state.refusals,
                held,
                lost: leader.lost().collect(),
            }
        })
    }

    pub(super) fn cluster_status(&self, now: Instant) -> ClusterStatus {
        let role = match &self.leader {
            Some(leader) if leader.epoch() == ALONE => Role::Alone,
            Some(_) => Role::Leading,
            None => Role::Following,
        };
        let refusals = match &self.view {
            Some(view) if role == Role::Following => view.refusals,
            _ => self.shared.lock().refusals,
        };
        let heard = self.member.heard_at();
        ClusterStatus {
            role,
            members: self.members.len().max(1),
            leader: self.leader_id,
            refusals,
            silent_for: now.saturating_duration_since(heard),
        }
    }
}

impl Waiting {
    fn new(asked: &Asked, answer: oneshot::Sender<Result<Units, Rejection>>) -> Self {
        Self {
            answer,
            cost: asked.request.cost,
            has_caller_deadline: asked.has_caller_deadline,
        }
    }
}
