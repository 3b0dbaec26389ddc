//! The state of the cluster's queue, for monitoring on every gateway.

use std::{collections::BTreeMap, time::Duration};

use crate::{admission::status::QueueStatus, cluster::message::MemberId};

/// What the leader tells to all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub(super) status: QueueStatus,
    /// How often upstream has refused a request for lack of units, since the leader's start.
    pub(super) refusals: u64,
    /// The units that each member holds.
    pub(super) held: BTreeMap<MemberId, u32>,
    /// The members that do not ask the queue, and may use their shares alone.
    pub(super) lost: Vec<MemberId>,
}

/// What this gateway does in the cluster.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// It has the queue.
    Leading,
    /// Another gateway has the queue.
    Following,
    /// It cannot reach Redis, and uses its own share.
    Alone,
}

/// What this gateway knows of its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatus {
    /// What it does.
    pub role: Role,
    /// How many gateways there are, this one too.
    pub members: usize,
    /// Who leads. `None` before the first contact with Redis.
    pub leader: Option<MemberId>,
    /// How often upstream has refused a request of the cluster for lack of units, since the start of
    /// the gateway that leads.
    pub refusals: u64,
    /// How long this gateway has not heard of the leader.
    pub silent_for: Duration,
}
