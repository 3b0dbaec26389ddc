//! What members and the leader say to each other.
//!
//! Both directions are ordered streams that can lose messages only together with their order: a
//! lost message leaves a gap in the numbers, and a gap ends the *session*. A session begins with a
//! [`Sync`](ToLeader::Sync), in which the member says what is true: what waits, and what runs.
//! Whatever was said before it no longer counts.

use std::time::Duration;

/// A gateway of the cluster. A new one for each start of the process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MemberId(pub u64);

/// The reign of one leader: greater than that of each leader before, as far as Redis remembers them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Epoch(pub u64);

/// A request of a member. Its number is never used again by that member.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub u64);

/// A time of a member's own clock: since its start. The leader only sends it back.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct MemberTime(pub Duration);

/// A message of a member to the leader. `R` is what the queue must know of a request, and `F` what
/// a refusal of upstream says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberMessage<R, F> {
    /// Who sends it.
    pub member: MemberId,
    /// The leader that it is for.
    pub epoch: Epoch,
    /// The session of the member, from 1.
    pub session: u64,
    /// Counts the messages of the session, from 0.
    pub number: u64,
    /// When it was sent, by the member's clock.
    pub sent_at: MemberTime,
    /// What it says.
    pub body: ToLeader<R, F>,
}

/// What a member says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToLeader<R, F> {
    /// Begins a session: all that the member has.
    Sync {
        /// Its requests that wait.
        waiting: Vec<Waiting<R>>,
        /// Its requests that have their units.
        running: Vec<Running<R>>,
    },
    /// A request waits for its units.
    Ask(Waiting<R>),
    /// The caller of a request has left, before the member had its grant.
    Leave(RequestId),
    /// A grant came too late to be used. The request waits again, as if it had never started.
    Void(RequestId),
    /// Upstream has begun to answer a request whose grant asks to be told of it.
    Admitted(RequestId),
    /// A running request waits again.
    Again {
        /// The request, as it is from now on.
        waiting: Waiting<R>,
        /// Why.
        again: Again<F>,
    },
    /// A running request has ended.
    End {
        /// The request.
        id: RequestId,
        /// How.
        end: End,
    },
    /// The member is alive.
    Beat,
    /// The member uses its share of the units alone, until its next session.
    Alone,
    /// The member ends, and has no requests.
    Bye,
}

/// A request that waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting<R> {
    /// Its number.
    pub id: RequestId,
    /// For how long it has been waiting, or will have been waiting after its pause.
    pub waited: Duration,
    /// For how long it must not start yet.
    pub pause: Duration,
    /// What the queue must know of it.
    pub request: R,
}

/// A request that has its units.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Running<R> {
    /// Its number.
    pub id: RequestId,
    /// For how long it has had them.
    pub ran: Duration,
    /// The units that it holds.
    pub cost: u32,
    /// What the queue must know of it.
    pub request: R,
}

/// Why a running request waits again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Again<F> {
    /// Upstream refused it for lack of units.
    Refused(F),
    /// It will be sent again after a pause.
    Paused {
        /// Upstream may still work on it.
        is_upstream_busy: bool,
    },
}

/// How a running request ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// Upstream has finished it. Its units are free.
    Finished,
    /// Upstream may still work on it, until it notices that the connection is closed.
    Cancelled,
    /// It was not sent. Its units are free, and it is charged nothing.
    Unsent,
}

/// A message of the leader to one member. `E` is why a request gets no units.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeaderMessage<E> {
    /// The leader that sends it.
    pub epoch: Epoch,
    /// The session of the member that it belongs to.
    pub session: u64,
    /// Counts the messages of the session, from 0.
    pub number: u64,
    /// What it says.
    pub body: ToMember<E>,
}

/// What the leader says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToMember<E> {
    /// The request has its units.
    Grant {
        /// The request.
        id: RequestId,
        /// Its units.
        units: Units,
        /// The member's time in the last message that the leader has from it. By this the member
        /// knows how old the grant can be at most.
        echo: MemberTime,
    },
    /// The request does not get its units.
    Reject {
        /// The request.
        id: RequestId,
        /// Why.
        why: E,
    },
    /// The leader is alive.
    Beat {
        /// How many requests start before those of the member, of the first of its requests that
        /// wait.
        ahead: Vec<(RequestId, u32)>,
    },
    /// The leader cannot follow this session: begin a new one. It has no number.
    Resync,
}

/// The units of a request that may start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Units {
    /// How many it holds.
    pub cost: u32,
    /// The leader wants to know when upstream has begun to answer it.
    pub tell_admitted: bool,
}
