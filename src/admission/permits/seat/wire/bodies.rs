//! What members and the leader say, as protobuf.

use std::time::{Duration, Instant};

use prost::{Message, Oneof};

use super::{
    Empty,
    request::{RefusedRequest, Request, WaitingRequest, WireRefusal, microseconds},
};
use crate::{
    admission::{
        permits::{
            errors::Rejection,
            seat::{Asked, Refused},
        },
        request::EnqueueError,
    },
    cluster::message::{Again, End, MemberTime, RequestId, Running, ToLeader, ToMember, Units},
};

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ToLeaderBody {
    #[prost(message, tag = "10")]
    Sync(Sync),
    #[prost(message, tag = "11")]
    Ask(WaitingRequest),
    #[prost(uint64, tag = "12")]
    Leave(u64),
    #[prost(uint64, tag = "13")]
    Void(u64),
    #[prost(uint64, tag = "14")]
    Admitted(u64),
    #[prost(message, tag = "15")]
    Again(WaitsAgain),
    #[prost(message, tag = "16")]
    End(Ended),
    #[prost(message, tag = "17")]
    Beat(Empty),
    #[prost(message, tag = "18")]
    Bye(Empty),
    #[prost(message, tag = "19")]
    Alone(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sync {
    #[prost(message, repeated, tag = "1")]
    waiting: Vec<WaitingRequest>,
    #[prost(message, repeated, tag = "2")]
    running: Vec<RunningRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RunningRequest {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    ran_us: u64,
    #[prost(uint32, tag = "3")]
    cost: u32,
    #[prost(message, optional, tag = "4")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WaitsAgain {
    #[prost(message, optional, tag = "1")]
    waiting: Option<WaitingRequest>,
    /// It was refused. Otherwise it pauses.
    #[prost(message, optional, tag = "2")]
    refused: Option<RefusedRequest>,
    #[prost(bool, tag = "3")]
    is_upstream_busy: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ended {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// 0 cancelled, 1 finished, 2 unsent. Any other number counts as cancelled.
    #[prost(uint32, tag = "2")]
    end: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ToMemberBody {
    #[prost(message, tag = "10")]
    Grant(Grant),
    #[prost(message, tag = "11")]
    Reject(Reject),
    #[prost(message, tag = "12")]
    Beat(Beat),
    #[prost(message, tag = "13")]
    Resync(Empty),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Grant {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, tag = "2")]
    cost: u32,
    #[prost(bool, tag = "3")]
    tell_admitted: bool,
    #[prost(uint64, tag = "4")]
    echo_us: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reject {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(oneof = "Why", tags = "10, 11, 12, 13, 14, 15")]
    why: Option<Why>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Why {
    #[prost(message, tag = "10")]
    ExceedsPlan(Limited),
    #[prost(message, tag = "11")]
    ExceedsKey(Limited),
    #[prost(message, tag = "12")]
    QueueFull(Limited),
    #[prost(uint64, tag = "13")]
    TooLate(u64),
    #[prost(message, tag = "14")]
    RefusedTooOften(RefusedRequest),
    #[prost(message, tag = "15")]
    WaitEnded(WaitEnded),
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Limited {
    #[prost(uint32, tag = "1")]
    cost: u32,
    #[prost(uint64, tag = "2")]
    limit: u64,
    #[prost(uint64, tag = "3")]
    retry_after_us: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct WaitEnded {
    #[prost(bool, tag = "1")]
    by_caller_deadline: bool,
    #[prost(uint64, tag = "2")]
    queue_timeout_us: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Beat {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
    #[prost(uint32, repeated, tag = "2")]
    ahead: Vec<u32>,
}

impl ToLeaderBody {
    pub(super) fn new(body: &ToLeader<Asked, Refused>, now: Instant) -> Self {
        match body {
            ToLeader::Sync { waiting, running } => Self::Sync(Sync {
                waiting: waiting
                    .iter()
                    .map(|waiting| WaitingRequest::new(waiting, now))
                    .collect(),
                running: running
                    .iter()
                    .map(|running| RunningRequest {
                        id: running.id.0,
                        ran_us: microseconds(running.ran),
                        cost: running.cost,
                        request: Some(Request::new(&running.request, now)),
                    })
                    .collect(),
            }),
            ToLeader::Ask(waiting) => Self::Ask(WaitingRequest::new(waiting, now)),
            ToLeader::Leave(id) => Self::Leave(id.0),
            ToLeader::Void(id) => Self::Void(id.0),
            ToLeader::Admitted(id) => Self::Admitted(id.0),
            ToLeader::Again { waiting, again } => Self::Again(WaitsAgain {
                waiting: Some(WaitingRequest::new(waiting, now)),
                refused: match again {
                    Again::Refused(refused) => Some(RefusedRequest {
                        refusal: Some(WireRefusal::new(&refused.refusal)),
                        refusals: refused.budget.refusals,
                        retry_after_sum_us: microseconds(refused.budget.retry_after_sum),
                    }),
                    Again::Paused { .. } => None,
                },
                is_upstream_busy: matches!(
                    again,
                    Again::Paused {
                        is_upstream_busy: true
                    }
                ),
            }),
            ToLeader::End { id, end } => Self::End(Ended {
                id: id.0,
                end: match end {
                    End::Cancelled => 0,
                    End::Finished => 1,
                    End::Unsent => 2,
                },
            }),
            ToLeader::Beat => Self::Beat(Empty {}),
            ToLeader::Bye => Self::Bye(Empty {}),
            ToLeader::Alone => Self::Alone(Empty {}),
        }
    }

    /// `None` if a part is missing.
    pub(super) fn read(self, now: Instant) -> Option<ToLeader<Asked, Refused>> {
        Some(match self {
            Self::Sync(Sync { waiting, running }) => ToLeader::Sync {
                waiting: waiting
                    .into_iter()
                    .map(|waiting| waiting.read(now))
                    .collect::<Option<_>>()?,
                running: running
                    .into_iter()
                    .map(|running| {
                        Some(Running {
                            id: RequestId(running.id),
                            ran: Duration::from_micros(running.ran_us),
                            cost: running.cost,
                            request: running.request?.read(now)?,
                        })
                    })
                    .collect::<Option<_>>()?,
            },
            Self::Ask(waiting) => ToLeader::Ask(waiting.read(now)?),
            Self::Leave(id) => ToLeader::Leave(RequestId(id)),
            Self::Void(id) => ToLeader::Void(RequestId(id)),
            Self::Admitted(id) => ToLeader::Admitted(RequestId(id)),
            Self::Again(again) => ToLeader::Again {
                waiting: again.waiting?.read(now)?,
                again: match again.refused {
                    Some(refused) => Again::Refused(refused.read()),
                    None => Again::Paused {
                        is_upstream_busy: again.is_upstream_busy,
                    },
                },
            },
            Self::End(Ended { id, end }) => ToLeader::End {
                id: RequestId(id),
                end: match end {
                    1 => End::Finished,
                    2 => End::Unsent,
                    _ => End::Cancelled,
                },
            },
            Self::Beat(Empty {}) => ToLeader::Beat,
            Self::Bye(Empty {}) => ToLeader::Bye,
            Self::Alone(Empty {}) => ToLeader::Alone,
        })
    }
}

impl ToMemberBody {
    pub(super) fn new(body: &ToMember<Rejection>) -> Self {
        match body {
            ToMember::Grant { id, units, echo } => Self::Grant(Grant {
                id: id.0,
                cost: units.cost,
                tell_admitted: units.tell_admitted,
                echo_us: microseconds(echo.0),
            }),
            ToMember::Reject { id, why } => Self::Reject(Reject {
                id: id.0,
                why: Some(Why::new(why)),
            }),
            ToMember::Beat { ahead } => Self::Beat(Beat {
                ids: ahead.iter().map(|(id, _)| id.0).collect(),
                ahead: ahead.iter().map(|&(_, ahead)| ahead).collect(),
            }),
            ToMember::Resync => Self::Resync(Empty {}),
        }
    }

    /// `None` if a part is missing.
    pub(super) fn read(self) -> Option<ToMember<Rejection>> {
        Some(match self {
            Self::Grant(grant) => ToMember::Grant {
                id: RequestId(grant.id),
                units: Units {
                    cost: grant.cost,
                    tell_admitted: grant.tell_admitted,
                },
                echo: MemberTime(Duration::from_micros(grant.echo_us)),
            },
            Self::Reject(Reject { id, why }) => ToMember::Reject {
                id: RequestId(id),
                why: why?.read(),
            },
            Self::Beat(Beat { ids, ahead }) => ToMember::Beat {
                ahead: ids.into_iter().map(RequestId).zip(ahead).collect(),
            },
            Self::Resync(Empty {}) => ToMember::Resync,
        })
    }
}

impl Why {
    fn new(why: &Rejection) -> Self {
        let limited = |cost, limit, retry_after| Limited {
            cost,
            limit,
            retry_after_us: microseconds(retry_after),
        };
        match why {
            Rejection::NotAccepted(EnqueueError::ExceedsPlan { cost, capacity }) => {
                Self::ExceedsPlan(limited(*cost, (*capacity).into(), Duration::ZERO))
            }
            Rejection::NotAccepted(EnqueueError::ExceedsKey { cost, units_max }) => {
                Self::ExceedsKey(limited(*cost, (*units_max).into(), Duration::ZERO))
            }
            Rejection::NotAccepted(EnqueueError::QueueFull { limit, retry_after }) => {
                let limit = u64::try_from(*limit).unwrap_or(u64::MAX);
                Self::QueueFull(limited(0, limit, *retry_after))
            }
            Rejection::NotAccepted(EnqueueError::TooLate { wait }) => {
                Self::TooLate(microseconds(*wait))
            }
            Rejection::RefusedTooOften { times, refusal } => {
                Self::RefusedTooOften(RefusedRequest {
                    refusal: Some(WireRefusal::new(refusal)),
                    refusals: *times,
                    retry_after_sum_us: 0,
                })
            }
            Rejection::WaitEnded {
                by_caller_deadline,
                queue_timeout,
            } => Self::WaitEnded(WaitEnded {
                by_caller_deadline: *by_caller_deadline,
                queue_timeout_us: microseconds(*queue_timeout),
            }),
        }
    }

    fn read(self) -> Rejection {
        let units = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        match self {
            Self::ExceedsPlan(Limited { cost, limit, .. }) => {
                let capacity = units(limit);
                Rejection::NotAccepted(EnqueueError::ExceedsPlan { cost, capacity })
            }
            Self::ExceedsKey(Limited { cost, limit, .. }) => {
                let units_max = units(limit);
                Rejection::NotAccepted(EnqueueError::ExceedsKey { cost, units_max })
            }
            Self::QueueFull(limited) => Rejection::NotAccepted(EnqueueError::QueueFull {
                limit: usize::try_from(limited.limit).unwrap_or(usize::MAX),
                retry_after: Duration::from_micros(limited.retry_after_us),
            }),
            Self::TooLate(wait) => Rejection::NotAccepted(EnqueueError::TooLate {
                wait: Duration::from_micros(wait),
            }),
            Self::RefusedTooOften(refused) => Rejection::RefusedTooOften {
                times: refused.refusals,
                refusal: refused.refusal.unwrap_or_default().read(),
            },
            Self::WaitEnded(ended) => Rejection::WaitEnded {
                by_caller_deadline: ended.by_caller_deadline,
                queue_timeout: Duration::from_micros(ended.queue_timeout_us),
            },
        }
    }
}
