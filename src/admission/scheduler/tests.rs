use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use self::support::{Bench, request, seconds};
use super::Scheduler;
use crate::admission::{
    request::{Caller, EnqueueError, KeyId, PerPriority, PermitRequest, Priority, Ticket},
    settings::Settings,
    status::QueueStatus,
};

mod impatient;
mod key_limits;
mod order;
mod properties;
mod reservations;
mod shares;
mod support;

#[test]
fn a_request_that_fits_starts_at_once_and_one_that_never_fits_is_rejected() {
    let mut bench = Bench::with_capacity(4);
    let first = bench.enqueue(request().cost(2));
    let second = bench.enqueue(request().cost(4));
    assert_eq!(bench.start(), [first]);
    assert_eq!(
        bench.try_enqueue(request().cost(5)),
        Err(EnqueueError::ExceedsPlan {
            cost: 5,
            capacity: 4
        })
    );
    bench.release(first);
    assert_eq!(bench.start(), [second]);
    assert!(
        !bench.scheduler.release(first, bench.now, Duration::ZERO),
        "units are not freed twice"
    );
    assert_eq!(bench.status().in_use, 4);
}

#[test]
fn without_a_limit_every_request_starts_and_is_counted() {
    let mut bench = Bench::new();
    bench.enqueue_all(100, request().cost(4));
    assert_eq!(bench.start().len(), 100);
    assert_eq!(bench.status().in_use, 400);
    assert_eq!(bench.scheduler.set_capacity(Some(8), bench.now), []);
    let late = bench.enqueue(request());
    assert_eq!(bench.start(), [], "no request starts until it fits");
    assert_eq!(
        bench.scheduler.set_capacity(Some(0), bench.now),
        [late],
        "and one that never fits is returned"
    );
    assert_eq!(bench.status().queued.default, 0);
}

#[test]
fn cancelled_units_are_free_after_the_cooldown() {
    let mut bench = Bench::with_capacity(1);
    let first = bench.enqueue(request());
    let second = bench.enqueue(request());
    assert_eq!(bench.start(), [first]);
    bench.scheduler.release(first, bench.now, seconds(1));
    assert_eq!(bench.start(), []);
    assert_eq!(
        bench.scheduler.next_wake(bench.now),
        Some(bench.now + seconds(1))
    );
    bench.pass(seconds(1));
    assert_eq!(bench.start(), [second]);
    assert_eq!(bench.scheduler.next_wake(bench.now), None);
}

#[test]
fn a_request_that_upstream_refused_is_first_again_and_was_not_charged() {
    let mut bench = Bench::with_capacity(2);
    let tickets: Vec<_> = (0..4).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), tickets[..2]);
    bench.pass(seconds(3));
    assert!(bench.scheduler.requeue(tickets[1], bench.now));
    bench.scheduler.set_external_usage(1, bench.now);
    assert_eq!(bench.start(), []);
    assert_eq!(bench.status().oldest, Some(seconds(3)));
    assert_eq!(bench.scheduler.requests_ahead(tickets[1]), Some(0));
    assert_eq!(bench.scheduler.requests_ahead(tickets[2]), Some(1));
    bench
        .scheduler
        .set_requested_external_usage(0, bench.now, bench.now);
    assert_eq!(bench.start(), [tickets[1]]);
    assert_eq!(
        bench.status().keys[0].unit_seconds,
        3.0,
        "those of the first request"
    );
}

#[test]
fn while_requests_wait_the_median_does_not_count_waits_from_quiet_times() {
    let mut bench = Bench::with_capacity(2);
    let first = bench.enqueue(request());
    for _ in 0..20 {
        let ticket = bench.enqueue(request());
        bench.start();
        bench.release(ticket);
    }
    assert_eq!(
        bench.status().wait_p50,
        Some(Duration::ZERO),
        "no request has waited, and none waits"
    );
    let others: Vec<_> = (0..3).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), others[..1]);
    bench.pass(seconds(5));
    bench.enqueue(request());
    assert_eq!(
        (bench.status().wait_p50, bench.status().wait_p99),
        (Some(seconds(5)), Some(seconds(5)))
    );
    bench.release(first);
    assert_eq!(bench.start(), others[1..2]);
    assert_eq!(
        bench.status().wait_p50,
        Some(seconds(5)),
        "waits that ended since then count too"
    );
}

#[test]
fn a_full_queue_rejects_requests_but_not_those_that_can_start() {
    let mut bench = Bench::of(
        Settings {
            queue_limit: 1,
            ..Settings::default()
        },
        Some(2),
    );
    let first = bench.enqueue(request().cost(1));
    assert_eq!(bench.start(), [first]);
    bench.enqueue(request().cost(2));
    assert_eq!(bench.start(), []);
    assert!(matches!(
        bench.try_enqueue(request().cost(2)),
        Err(EnqueueError::QueueFull { limit: 1, .. })
    ));
    let small = bench.enqueue(request().cost(1));
    assert_eq!(bench.start(), [small]);
}

#[test]
fn a_request_that_is_clearly_too_late_is_rejected_once_that_is_known() {
    let mut bench = Bench::with_capacity(1);
    let urgent = |bench: &Bench| request().deadline(bench.now + seconds(20));
    bench.enqueue_all(10, request());
    bench.start();
    bench.enqueue(urgent(&bench));
    assert_eq!(
        bench.scheduler.expire(bench.now + seconds(20)).len(),
        1,
        "there was no estimate, so it waited"
    );
    bench.enqueue_all(30, request());
    bench.run_for_starts(30, seconds(10));
    assert_eq!(bench.scheduler.requests_ahead(bench.last), Some(8));
    assert_eq!(
        bench.scheduler.estimated_wait(bench.last, bench.now),
        Some(seconds(90))
    );
    assert_eq!(
        bench.try_enqueue(urgent(&bench)),
        Err(EnqueueError::TooLate { wait: seconds(100) })
    );
    bench.enqueue(request().deadline(bench.now + seconds(60)));
    bench.enqueue(urgent(&bench).priority(Priority::Interactive));
}

#[test]
fn with_external_usage_the_last_units_are_given_out_only_on_fresh_snapshots() {
    let mut bench = Bench::of(
        Settings {
            headroom: 2,
            ..Settings::default()
        },
        Some(8),
    );
    bench.scheduler.set_external_usage(1, bench.now);
    bench.pass(seconds(1));
    let tickets: Vec<_> = (0..9).map(|_| bench.enqueue(request())).collect();
    assert!(!bench.scheduler.wants_snapshot());
    assert_eq!(
        bench.start(),
        tickets[..5],
        "seven units are usable, and two of them are headroom"
    );
    assert!(bench.scheduler.wants_snapshot(), "a snapshot is wanted");
    bench.release(tickets[0]);
    assert_eq!(
        bench.start(),
        [tickets[5]],
        "a released unit may be taken at once"
    );
    bench.scheduler.set_external_usage(1, bench.now);
    assert_eq!(bench.start(), [], "the feed is too old");
    bench
        .scheduler
        .set_requested_external_usage(1, bench.now, bench.now);
    assert_eq!(
        bench.start(),
        [tickets[6], tickets[7]],
        "a requested snapshot is fresh"
    );
    assert!(!bench.scheduler.wants_snapshot(), "no unit is free");
    bench.release(tickets[1]);
    bench.pass(seconds(1));
    assert_eq!(bench.start(), [], "but not for long");
    let lost = bench.scheduler.next_wake(bench.now).unwrap();
    bench.pass(lost - bench.now);
    assert_eq!(bench.start(), [tickets[8]], "no snapshot comes any more");
}

#[test]
fn alone_only_units_that_were_released_or_that_a_fresh_snapshot_shows_are_given_out() {
    let settings = Settings {
        headroom: 1,
        ..Settings::default()
    };
    let mut bench = Bench::of(settings, Some(8));
    bench.scheduler.leave_units(4, 4, true);
    bench.scheduler.set_external_usage(0, bench.now);
    bench.pass(seconds(1));
    for _ in 0..6 {
        bench.enqueue(request());
    }
    assert_eq!(bench.start().len(), 0, "others may have taken them");
    assert!(bench.scheduler.wants_snapshot());
    bench
        .scheduler
        .set_requested_external_usage(0, bench.now, bench.now);
    let started = bench.start();
    assert_eq!(started.len(), 4, "its share");
    bench.pass(seconds(1));
    bench.release(started[0]);
    assert_eq!(bench.start().len(), 1, "the unit that was released");
}

#[test]
fn a_request_beyond_the_share_starts_on_three_fresh_snapshots_in_a_row() {
    let mut bench = Bench::with_capacity(8);
    bench.scheduler.leave_units(6, 2, true);
    let ticket = bench.enqueue(request().cost(8));
    let mut start = |is_requested, external_units| {
        let (scheduler, now) = (&mut bench.scheduler, bench.now);
        match is_requested {
            true => scheduler.set_requested_external_usage(external_units, now, now),
            false => scheduler.set_external_usage(external_units, now),
        }
        scheduler.start_beyond_share(now)
    };
    assert_eq!(start(true, 4), None);
    assert_eq!(start(false, 0), None, "it is old");
    assert_eq!(start(true, 0), None);
    assert_eq!(start(true, 0), None, "one of the last three showed four");
    assert_eq!(start(true, 0), Some(ticket));
}

#[test]
fn a_snapshot_that_may_be_older_than_a_refusal_cannot_lower_the_external_usage() {
    let mut bench = Bench::of(
        Settings {
            headroom: 0,
            ..Settings::default()
        },
        Some(4),
    );
    bench.enqueue_all(4, request());
    bench
        .scheduler
        .set_external_usage_from_refusal(3, bench.now);
    bench
        .scheduler
        .set_external_usage(0, bench.now + seconds(1));
    assert_eq!(bench.start().len(), 1);
    bench
        .scheduler
        .set_external_usage(2, bench.now + seconds(2));
    assert_eq!(bench.start().len(), 1);
    bench
        .scheduler
        .set_external_usage_from_refusal(0, bench.now + seconds(2));
    assert_eq!(bench.start().len(), 2, "but another refusal can");
}

#[test]
fn a_request_that_external_usage_makes_impossible_does_not_block_the_next_one() {
    let mut bench = Bench::of(
        Settings {
            headroom: 0,
            ..Settings::default()
        },
        Some(4),
    );
    bench.scheduler.set_external_usage(2, bench.now);
    bench.enqueue_all(2, request());
    let running = bench.start();
    let impossible = bench.enqueue(request().cost(4));
    let next = bench.enqueue(request().cost(2));
    let small: Vec<_> = (0..3).map(|_| bench.enqueue(request())).collect();
    bench.release(running[0]);
    assert_eq!(bench.start(), [small[0]]);
    bench.pass(bench.bypass_limit(2));
    bench.release(running[1]);
    assert_eq!(bench.start(), [], "a unit is reserved for the next one");
    bench.release(small[0]);
    assert_eq!(bench.start(), [next]);
    bench.scheduler.set_external_usage(0, bench.now);
    bench.release(next);
    assert_eq!(bench.start(), [impossible]);
}

#[test]
fn a_capacity_from_a_refusal_is_temporary() {
    let mut bench = Bench::with_capacity(8);
    let large = bench.enqueue(request().cost(4));
    bench.scheduler.set_capacity_from_refusal(Some(2));
    assert_eq!((bench.start(), bench.status().capacity), (vec![], Some(2)));
    let another = bench.enqueue(request().cost(4));
    bench.scheduler.set_capacity_from_refusal(None);
    assert_eq!(bench.start(), [large, another]);
}

#[test]
fn a_parked_request_keeps_its_position_and_does_not_block_others() {
    let mut bench = Bench::with_capacity(1);
    let tickets: Vec<_> = (0..3).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), tickets[..1]);
    bench.pass(seconds(3));
    assert!(bench.scheduler.requeue(tickets[0], bench.now));
    assert!(bench.scheduler.park(tickets[0], bench.now));
    assert!(
        !bench.scheduler.park(tickets[0], bench.now),
        "it is not in the queue"
    );
    assert_eq!(
        (bench.start(), bench.status().queued.default),
        (vec![tickets[1]], 2),
        "it still waits"
    );
    assert!(bench.scheduler.unpark(tickets[0], bench.now));
    assert!(!bench.scheduler.unpark(tickets[0], bench.now));
    assert_eq!(bench.status().oldest, Some(seconds(3)));
    bench.release(tickets[1]);
    assert_eq!(
        bench.start(),
        tickets[..1],
        "before the requests that came after it"
    );
    assert!(bench.scheduler.park(tickets[2], bench.now));
    assert!(
        bench.scheduler.remove(tickets[2], bench.now),
        "and can be removed"
    );
    bench.release(tickets[0]);
    assert_eq!(
        (
            bench.start(),
            bench.status().queued.default,
            bench.status().in_use
        ),
        (vec![], 0, 0)
    );
}

#[test]
fn only_a_number_replaces_a_capacity_from_a_refusal() {
    let mut bench = Bench::new();
    bench.scheduler.set_capacity_from_refusal(Some(2));
    assert_eq!(bench.scheduler.set_capacity(None, bench.now), []);
    assert_eq!(bench.status().capacity, Some(2));
    assert_eq!(bench.scheduler.set_capacity(Some(8), bench.now), []);
    assert_eq!(bench.status().capacity, Some(8));
}

#[test]
fn one_key_cannot_fill_the_queue() {
    let settings = Settings {
        queue_limit: 4,
        queue_limit_per_key: 3,
        ..Settings::default()
    };
    let mut bench = Bench::of(settings, Some(1));
    let running = bench.enqueue(request());
    assert_eq!(bench.start(), [running]);
    bench.enqueue(request());
    bench.enqueue(request().priority(Priority::Batch));
    bench.enqueue(request().priority(Priority::Batch));
    assert!(
        matches!(
            bench.try_enqueue(request()),
            Err(EnqueueError::QueueFull { .. })
        ),
        "in any class"
    );
    bench.enqueue(request().key(1, 1));
    assert!(matches!(
        bench.try_enqueue(request().key(2, 1)),
        Err(EnqueueError::QueueFull { .. })
    ));
}

#[test]
fn the_only_key_may_fill_the_queue() {
    let settings = Settings {
        queue_limit: 4,
        queue_limit_per_key: 3,
        ..Settings::default()
    };
    let only = || PermitRequest {
        is_only_key: true,
        ..request()
    };
    let mut bench = Bench::of(settings, Some(1));
    let running = bench.enqueue(only());
    assert_eq!(bench.start(), [running]);
    for _ in 0..4 {
        bench.enqueue(only());
    }
    assert!(matches!(
        bench.try_enqueue(only()),
        Err(EnqueueError::QueueFull { .. })
    ));
}
