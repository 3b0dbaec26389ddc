use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    admission::{
        permits::{
            errors::{Refusal, Rejection},
            refusal_budget::RefusalBudget,
            seat::{Asked, Refused},
        },
        request::{Caller, EnqueueError, KeyId, PerPriority, PermitRequest, Priority},
        status::{KeyStatus, QueueStatus},
    },
    cluster::message::{
        Again, End, RequestId, Running, ToLeader as Says, ToMember as Answers, Units, Waiting,
    },
    error::UnitRefusal,
};

const SECOND: Duration = Duration::from_secs(1);

fn asked(now: Instant) -> Asked {
    let caller = Caller {
        key: KeyId(u64::MAX),
        weight: 3,
    };
    Asked {
        model: Arc::from("org/model"),
        request: PermitRequest {
            priority: Priority::Batch,
            is_cost_estimated: true,
            units_max: Some(8),
            is_only_key: true,
            deadline: Some(now + SECOND),
            ..PermitRequest::new(caller, 4)
        },
        has_caller_deadline: true,
    }
}

fn refusal() -> Refusal {
    Refusal {
        units: UnitRefusal {
            active: Some(3),
            required: Some(2),
            limit: Some(4),
            retry_after: Some(SECOND),
        },
        upstream_request_id: Some("id".to_owned()),
    }
}

fn bodies(now: Instant) -> Vec<Says<Asked, Refused>> {
    let id = RequestId(7);
    let waiting = Waiting {
        id,
        waited: SECOND,
        pause: SECOND * 2,
        request: asked(now),
    };
    let running = Running {
        id,
        ran: SECOND,
        cost: 2,
        request: asked(now),
    };
    let budget = RefusalBudget {
        refusals: 2,
        retry_after_sum: SECOND,
    };
    let refused = Again::Refused(Refused {
        refusal: refusal(),
        budget,
    });
    let paused = |is_upstream_busy| Again::Paused { is_upstream_busy };
    let again = |again| Says::Again {
        waiting: waiting.clone(),
        again,
    };
    let end = |end| Says::End { id, end };
    vec![
        Says::Sync {
            waiting: vec![waiting.clone()],
            running: vec![running],
        },
        Says::Ask(waiting.clone()),
        Says::Leave(id),
        Says::Void(id),
        Says::Admitted(id),
        again(refused),
        again(paused(true)),
        again(paused(false)),
        end(End::Cancelled),
        end(End::Finished),
        end(End::Unsent),
        Says::Beat,
        Says::Bye,
        Says::Alone,
    ]
}

#[test]
fn the_leader_reads_what_a_member_says() {
    let now = Instant::now();
    let messages: Vec<_> = bodies(now)
        .into_iter()
        .zip(3..)
        .map(|(body, number)| MemberMessage {
            member: MemberId(u64::MAX),
            epoch: Epoch(1 << 60),
            session: 2,
            number,
            sent_at: MemberTime(SECOND),
            body,
        })
        .collect();
    let bytes = encode_to_leader(&messages, now);
    assert_eq!(decode_to_leader(&bytes, now), Ok(messages));
}

#[test]
fn a_deadline_is_as_far_away_for_the_leader_as_for_the_member() {
    let now = Instant::now();
    let ask = |now| {
        Says::Ask(Waiting {
            id: RequestId(1),
            waited: SECOND,
            pause: Duration::ZERO,
            request: asked(now),
        })
    };
    let message = |now| MemberMessage {
        member: MemberId(1),
        epoch: Epoch(1),
        session: 1,
        number: 0,
        sent_at: MemberTime(SECOND),
        body: ask(now),
    };
    let there = now + SECOND * 3600;
    let bytes = encode_to_leader(&[message(now)], now);
    assert_eq!(decode_to_leader(&bytes, there), Ok(vec![message(there)]));
}

#[test]
fn a_member_reads_what_the_leader_says() {
    let id = RequestId(9);
    let not_accepted = [
        EnqueueError::ExceedsPlan {
            cost: 8,
            capacity: 4,
        },
        EnqueueError::ExceedsKey {
            cost: 4,
            units_max: 2,
        },
        EnqueueError::QueueFull {
            limit: 10_000,
            retry_after: SECOND,
        },
        EnqueueError::TooLate { wait: SECOND },
    ];
    let rejections = not_accepted.map(Rejection::NotAccepted).into_iter().chain([
        Rejection::RefusedTooOften {
            times: 6,
            refusal: refusal(),
        },
        Rejection::WaitEnded {
            by_caller_deadline: true,
            queue_timeout: SECOND,
        },
    ]);
    let units = Units {
        cost: 4,
        tell_admitted: true,
    };
    let others = [
        Answers::Grant {
            id,
            units,
            echo: MemberTime(SECOND),
        },
        Answers::Beat {
            ahead: vec![(id, 3), (RequestId(10), 4)],
        },
        Answers::Resync,
    ];
    let messages: Vec<_> = rejections
        .map(|why| Answers::Reject { id, why })
        .chain(others)
        .zip(0..)
        .map(|(body, number)| LeaderMessage {
            epoch: Epoch(5),
            session: 6,
            number,
            body,
        })
        .collect();
    let bytes = encode_to_member(&messages);
    assert_eq!(decode_to_member(&bytes), Ok(messages));
}

#[test]
fn all_gateways_read_the_same_view() {
    let key = KeyStatus {
        key: KeyId(u64::MAX),
        weight: 2,
        in_use: 4,
        queued: 5,
        unit_seconds: 0.5,
    };
    let status = QueueStatus {
        capacity: Some(8),
        external_units: 1,
        in_use: 4,
        cooldown_units: 2,
        running: 3,
        queued: PerPriority {
            interactive: 1,
            default: 2,
            batch: 3,
        },
        bypassed: 1,
        oldest: Some(SECOND),
        wait_p50: Some(SECOND),
        wait_p99: None,
        keys: vec![key],
    };
    let view = View {
        status,
        refusals: 2,
        lost: vec![MemberId(7)],
        held: [(MemberId(u64::MAX), 3), (MemberId(1), 1)].into(),
    };
    assert_eq!(decode_view(&encode_view(&view)), Ok(view));
}

#[test]
fn bytes_of_others_are_refused_and_what_is_not_understood_ends_the_batch() {
    let now = Instant::now();
    assert_eq!(decode_to_leader(b"\xff\xff", now), Err(Unknown));
    assert_eq!(decode_to_member(b"{}"), Err(Unknown));
    let unknown = OfMember {
        member: 1,
        body: None,
        ..OfMember::default()
    };
    let batch = Batch {
        to_leader: vec![unknown],
        to_member: Vec::new(),
    };
    assert_eq!(decode_to_leader(&batch.encode_to_vec(), now), Ok(vec![]));
}
