//! A request of a member, and a refusal of it, as protobuf.

use std::time::{Duration, Instant};

use prost::Message;

use crate::{
    admission::{
        permits::{
            errors::Refusal,
            refusal_budget::RefusalBudget,
            seat::{Asked, Refused},
        },
        request::{Caller, KeyId, PermitRequest, Priority},
    },
    cluster::message::{RequestId, Waiting},
    error::UnitRefusal,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct WaitingRequest {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    waited_us: u64,
    #[prost(uint64, tag = "3")]
    pause_us: u64,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(fixed64, tag = "2")]
    key: u64,
    #[prost(uint32, tag = "3")]
    weight: u32,
    /// 0 interactive, 1 default, 2 batch.
    #[prost(uint32, tag = "4")]
    priority: u32,
    #[prost(uint32, tag = "5")]
    cost: u32,
    #[prost(bool, tag = "6")]
    is_cost_estimated: bool,
    #[prost(uint32, optional, tag = "7")]
    units_max: Option<u32>,
    #[prost(bool, tag = "8")]
    is_only_key: bool,
    #[prost(uint64, optional, tag = "9")]
    wait_ends_in_us: Option<u64>,
    #[prost(bool, tag = "10")]
    has_caller_deadline: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RefusedRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) refusal: Option<WireRefusal>,
    #[prost(uint32, tag = "2")]
    pub(super) refusals: u32,
    #[prost(uint64, tag = "3")]
    pub(super) retry_after_sum_us: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireRefusal {
    #[prost(uint32, optional, tag = "1")]
    active: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    required: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    limit: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    retry_after_us: Option<u64>,
    #[prost(string, optional, tag = "5")]
    upstream_request_id: Option<String>,
}

pub(super) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An instant `microseconds` after `now`. Of a number that cannot be, far in the future.
fn after(now: Instant, microseconds: u64) -> Instant {
    const FAR: Duration = Duration::from_secs(86_400 * 365);
    now + Duration::from_micros(microseconds).min(FAR)
}

impl WaitingRequest {
    pub(super) fn new(waiting: &Waiting<Asked>, now: Instant) -> Self {
        Self {
            id: waiting.id.0,
            waited_us: microseconds(waiting.waited),
            pause_us: microseconds(waiting.pause),
            request: Some(Request::new(&waiting.request, now)),
        }
    }

    pub(super) fn read(self, now: Instant) -> Option<Waiting<Asked>> {
        Some(Waiting {
            id: RequestId(self.id),
            waited: Duration::from_micros(self.waited_us),
            pause: after(now, self.pause_us) - now,
            request: self.request?.read(now)?,
        })
    }
}

impl Request {
    pub(super) fn new(asked: &Asked, now: Instant) -> Self {
        let request = &asked.request;
        let wait_ends_in = request.deadline.map(|at| at.saturating_duration_since(now));
        Self {
            model: asked.model.as_ref().to_owned(),
            key: request.caller.key.0,
            weight: request.caller.weight,
            priority: match request.priority {
                Priority::Interactive => 0,
                Priority::Default => 1,
                Priority::Batch => 2,
            },
            cost: request.cost,
            is_cost_estimated: request.is_cost_estimated,
            units_max: request.units_max,
            is_only_key: request.is_only_key,
            wait_ends_in_us: wait_ends_in.map(microseconds),
            has_caller_deadline: asked.has_caller_deadline,
        }
    }

    pub(super) fn read(self, now: Instant) -> Option<Asked> {
        let priority = match self.priority {
            0 => Priority::Interactive,
            1 => Priority::Default,
            2 => Priority::Batch,
            _ => return None,
        };
        let caller = Caller {
            key: KeyId(self.key),
            weight: self.weight,
        };
        let request = PermitRequest {
            priority,
            is_cost_estimated: self.is_cost_estimated,
            units_max: self.units_max,
            is_only_key: self.is_only_key,
            deadline: self.wait_ends_in_us.map(|us| after(now, us)),
            ..PermitRequest::new(caller, self.cost)
        };
        Some(Asked {
            model: self.model.into(),
            request,
            has_caller_deadline: self.has_caller_deadline,
        })
    }
}

impl RefusedRequest {
    pub(super) fn read(self) -> Refused {
        Refused {
            refusal: self.refusal.unwrap_or_default().read(),
            budget: RefusalBudget {
                refusals: self.refusals,
                retry_after_sum: Duration::from_micros(self.retry_after_sum_us),
            },
        }
    }
}

impl WireRefusal {
    pub(super) fn new(refusal: &Refusal) -> Self {
        Self {
            active: refusal.units.active,
            required: refusal.units.required,
            limit: refusal.units.limit,
            retry_after_us: refusal.units.retry_after.map(microseconds),
            upstream_request_id: refusal.upstream_request_id.clone(),
        }
    }

    pub(super) fn read(self) -> Refusal {
        Refusal {
            units: UnitRefusal {
                active: self.active,
                required: self.required,
                limit: self.limit,
                retry_after: self.retry_after_us.map(Duration::from_micros),
            },
            upstream_request_id: self.upstream_request_id,
        }
    }
}
