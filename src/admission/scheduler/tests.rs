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
mod properties;
mod support;

#[test]
fn what_fits_starts_at_once_and_what_never_fits_is_refused() {
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
        "nothing is freed twice"
    );
    assert_eq!(bench.status().in_use, 4);
}

#[test]
fn without_a_bound_everything_starts_and_is_counted() {
    let mut bench = Bench::new();
    bench.enqueue_all(100, request().cost(4));
    assert_eq!(bench.start().len(), 100);
    assert_eq!(bench.status().in_use, 400);
    assert_eq!(bench.scheduler.set_capacity(Some(8), bench.now), []);
    let late = bench.enqueue(request());
    assert_eq!(bench.start(), [], "nothing starts until it fits");
    assert_eq!(
        bench.scheduler.set_capacity(Some(0), bench.now),
        [late],
        "and what never will is told"
    );
    assert_eq!(bench.status().queued.default, 0);
}

#[test]
fn cancelled_units_come_back_when_upstream_has_noticed() {
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
fn classes_go_in_order_and_the_lower_ones_get_what_they_are_owed() {
    let mut bench = Bench::with_capacity(1);
    let batch: Vec<_> = (0..20)
        .map(|_| bench.enqueue(request().priority(Priority::Batch)))
        .collect();
    let default: Vec<_> = (0..40)
        .map(|_| bench.enqueue(request().priority(Priority::Default)))
        .collect();
    let interactive: Vec<_> = (0..200)
        .map(|_| bench.enqueue(request().priority(Priority::Interactive)))
        .collect();
    let order = bench.run_for_starts(100, seconds(10));
    assert!(
        order[..5].iter().all(|ticket| interactive.contains(ticket)),
        "the first ones are interactive"
    );
    let of = |tickets: &[Ticket]| {
        order
            .iter()
            .filter(|ticket| tickets.contains(ticket))
            .count()
    };
    assert_eq!((of(&interactive), of(&default), of(&batch)), (80, 16, 4));
}

#[test]
fn one_that_is_passed_over_is_due_after_its_patience_and_then_first() {
    let mut bench = Bench::with_capacity(4);
    let running: Vec<_> = (0..4).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), running);
    let big = bench.enqueue(request().cost(4));
    let small: Vec<_> = (0..9).map(|_| bench.enqueue(request())).collect();
    bench.release(running[0]);
    assert_eq!(
        bench.start(),
        [small[0]],
        "no unit is idle while somebody fits"
    );
    assert_eq!(bench.status().bypassed, 1);
    bench.pass(bench.bypass_limit(4));
    bench.release(running[1]);
    assert_eq!(bench.start(), [], "now it is kept");
    bench.scheduler.set_external_usage(1, bench.now);
    assert_eq!(bench.start(), [], "no unit is left");
    bench.release(running[2]);
    assert_eq!(
        bench.start(),
        [small[1]],
        "while outsiders make it impossible, nothing is kept"
    );
    bench.scheduler.set_external_usage(0, bench.now);
    [running[3], small[0], small[1]]
        .into_iter()
        .for_each(|ticket| bench.release(ticket));
    assert_eq!(bench.start(), [big], "all four are free");
}

#[test]
fn who_was_refused_upstream_is_first_again_and_was_charged_nothing() {
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
    assert_eq!(bench.status().keys[0].unit_seconds, 3.0, "the first one's");
}

#[test]
fn the_median_wait_is_not_that_of_calmer_times_while_requests_wait() {
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
        "nobody waited, and nobody waits"
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
        "what ended since then counts too"
    );
}

#[test]
fn a_full_queue_refuses_but_never_what_can_start() {
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
fn who_is_clearly_too_late_is_refused_once_that_is_known() {
    let mut bench = Bench::with_capacity(1);
    let hurried = |bench: &Bench| request().deadline(bench.now + seconds(20));
    bench.enqueue_all(10, request());
    bench.start();
    bench.enqueue(hurried(&bench));
    assert_eq!(
        bench.scheduler.expire(bench.now + seconds(20)).len(),
        1,
        "nothing was known, so it waited in vain"
    );
    bench.enqueue_all(30, request());
    bench.run_for_starts(30, seconds(10));
    assert_eq!(bench.scheduler.requests_ahead(bench.last), Some(8));
    assert_eq!(
        bench.scheduler.estimated_wait(bench.last, bench.now),
        Some(seconds(90))
    );
    assert_eq!(
        bench.try_enqueue(hurried(&bench)),
        Err(EnqueueError::TooLate { wait: seconds(100) })
    );
    bench.enqueue(request().deadline(bench.now + seconds(60)));
    bench.enqueue(hurried(&bench).priority(Priority::Interactive));
}

#[test]
fn with_outsiders_about_the_last_units_are_taken_only_when_heard_of() {
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
        "seven are left to us, and two of them may be gone"
    );
    assert!(bench.scheduler.wants_snapshot(), "upstream shall be asked");
    bench.release(tickets[0]);
    assert_eq!(bench.start(), [tickets[5]], "what we give back is ours");
    bench.scheduler.set_external_usage(1, bench.now);
    assert_eq!(bench.start(), [], "the feed is late");
    bench
        .scheduler
        .set_requested_external_usage(1, bench.now, bench.now);
    assert_eq!(
        bench.start(),
        [tickets[6], tickets[7]],
        "what is said to be free when asked is"
    );
    assert!(
        !bench.scheduler.wants_snapshot(),
        "there is nothing to be had"
    );
    bench.release(tickets[1]);
    bench.pass(seconds(1));
    assert_eq!(bench.start(), [], "but not for long");
    let lost = bench.scheduler.next_wake(bench.now).unwrap();
    bench.pass(lost - bench.now);
    assert_eq!(bench.start(), [tickets[8]], "nobody tells any more");
}

#[test]
fn those_that_cost_as_much_follow_into_room_that_was_kept_for_a_while() {
    let mut bench = Bench::with_capacity(4);
    let running: Vec<_> = (0..4)
        .map(|number| bench.enqueue(request().key(number % 2, 1)))
        .collect();
    bench.start();
    let large: Vec<_> = (0..9).map(|_| bench.enqueue(request().cost(4))).collect();
    let batch = bench.enqueue(request().cost(4).priority(Priority::Batch));
    let small: Vec<_> = (0..9).map(|_| bench.enqueue(request().key(1, 1))).collect();
    bench.release(running[0]);
    assert_eq!(bench.start(), [small[0]]);
    bench.pass(bench.bypass_limit(4));
    running[1..]
        .iter()
        .chain(&small[..1])
        .for_each(|&ticket| bench.release(ticket));
    assert_eq!(bench.start(), large[..1], "it is due");
    let mut followers = 0;
    loop {
        bench.pass(seconds(60));
        bench.release(large[followers]);
        let started = bench.start();
        if started != large[followers + 1..followers + 2] {
            assert_eq!(
                started,
                small[1..5],
                "then it is the turn of the others, and of none of a lower class: {batch:?}"
            );
            break;
        }
        followers += 1;
    }
    assert!((1..8).contains(&followers), "{followers}");
}

#[test]
fn a_snapshot_that_may_be_older_than_a_refusal_cant_say_that_there_are_fewer() {
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
fn idle_time_is_not_saved_up() {
    let mut bench = Bench::with_capacity(1);
    bench.enqueue_all(200, request().key(0, 1));
    let once = bench.enqueue(request().key(1, 1));
    assert!(bench.run_for_starts(100, seconds(10)).contains(&once));
    let back: Vec<_> = (0..50)
        .map(|_| bench.enqueue(request().key(1, 1)))
        .collect();
    let order = bench.run_for_starts(20, seconds(10));
    let of_back = order.iter().filter(|ticket| back.contains(ticket)).count();
    assert!(
        (9..=11).contains(&of_back),
        "every other one from now on: {of_back}"
    );
}

#[test]
fn one_that_outsiders_make_impossible_doesnt_keep_the_next_from_becoming_due() {
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
    assert_eq!(bench.start(), [], "a unit is kept for the next");
    bench.release(small[0]);
    assert_eq!(bench.start(), [next]);
    bench.scheduler.set_external_usage(0, bench.now);
    bench.release(next);
    assert_eq!(bench.start(), [impossible]);
}

/// Lets each that runs take so long, and tells how many of the next that start are of this key.
fn starts_of(bench: &mut Bench, key: u32, of: usize, service: Duration) -> usize {
    let order = bench.run_for_starts(of, service);
    let starts = order
        .iter()
        .take(of)
        .filter(|ticket| bench.keys[ticket] == KeyId(key));
    starts.count()
}

#[test]
fn what_a_key_took_while_nobody_else_was_there_is_not_held_against_it() {
    let mut bench = Bench::with_capacity(8);
    bench.enqueue_all(8, request().key(1, 1));
    bench.enqueue_all(3, request().key(1, 1));
    let streams = bench.start();
    bench.pass(seconds(1800));
    streams.into_iter().for_each(|ticket| bench.release(ticket));
    for _ in 0..100 {
        bench.enqueue(request().key(1, 1));
        bench.enqueue(request().key(2, 1));
    }
    let starts = starts_of(&mut bench, 1, 80, seconds(10));
    assert!((32..=48).contains(&starts), "{starts} of 80");
}

#[test]
fn what_a_key_took_before_keeps_it_out_for_two_minutes_at_most() {
    let mut bench = Bench::with_capacity(8);
    bench.enqueue_all(8, request().key(1, 1));
    let streams = bench.start();
    bench.enqueue_all(1000, request().key(2, 1));
    bench.pass(seconds(1800));
    streams.into_iter().for_each(|ticket| bench.release(ticket));
    bench.enqueue_all(100, request().key(1, 1));
    // Eight start every ten seconds.
    assert_eq!(
        starts_of(&mut bench, 1, 8 * 8, seconds(10)),
        0,
        "all that time, the other one waited"
    );
    assert!(starts_of(&mut bench, 1, 8 * 8, seconds(10)) > 0);
}

#[test]
fn a_lower_class_is_told_a_wait_that_counts_what_it_is_owed() {
    let mut bench = Bench::with_capacity(8);
    bench.enqueue_all(60, request().priority(Priority::Interactive));
    bench.run_for_starts(60, seconds(10));
    bench.enqueue_all(400, request().priority(Priority::Interactive));
    let batch = bench.enqueue(request().priority(Priority::Batch));
    assert_eq!(
        bench.scheduler.requests_ahead(batch),
        Some(20),
        "a twentieth of what the others get"
    );
    let default = bench.enqueue(request().deadline(bench.now + seconds(20)));
    assert_eq!(bench.scheduler.requests_ahead(default), Some(5));
    let order = bench.run_for_starts(60, seconds(10));
    let place = |ticket| order.iter().position(|&other| other == ticket).unwrap();
    assert!(
        place(default) <= 13 && place(batch) <= 33,
        "{} {}",
        place(default),
        place(batch)
    );
}

#[test]
fn who_was_refused_has_not_spent_what_its_class_was_owed() {
    let run = |is_refused: bool| {
        let mut bench = Bench::with_capacity(1);
        bench.enqueue_all(100, request().priority(Priority::Interactive));
        let batch = bench.enqueue(request().priority(Priority::Batch));
        let mut starts = 0;
        loop {
            let started = bench.start();
            let [ticket] = started[..] else {
                panic!("one unit")
            };
            if ticket == batch {
                if !is_refused {
                    return starts;
                }
                assert!(bench.scheduler.requeue(batch, bench.now));
                assert_eq!(bench.start(), [batch], "it is its turn as before");
                return starts;
            }
            starts += 1;
            bench.pass(seconds(10));
            bench.release(ticket);
        }
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn who_follows_goes_before_nobody_of_a_higher_class() {
    let mut bench = Bench::with_capacity(4);
    let small = bench.enqueue(request());
    assert_eq!(bench.start(), [small]);
    let large: Vec<_> = (0..8).map(|_| bench.enqueue(request().cost(4))).collect();
    let other = bench.enqueue(request());
    assert_eq!(bench.start(), [other]);
    bench.pass(bench.bypass_limit(4));
    [small, other]
        .into_iter()
        .for_each(|ticket| bench.release(ticket));
    assert_eq!(bench.start(), [large[0]], "due");
    bench.enqueue(request());
    bench.pass(seconds(10));
    bench.release(large[0]);
    assert_eq!(
        bench.start(),
        [large[1]],
        "of one class, the next large one follows"
    );
    let hurried: Vec<_> = (0..4)
        .map(|_| bench.enqueue(request().priority(Priority::Interactive)))
        .collect();
    bench.pass(seconds(10));
    bench.release(large[1]);
    assert_eq!(bench.start(), hurried);
}

#[test]
fn a_capacity_that_a_refusal_told_is_for_now() {
    let mut bench = Bench::with_capacity(8);
    let large = bench.enqueue(request().cost(4));
    bench.scheduler.set_capacity_from_refusal(Some(2));
    assert_eq!((bench.start(), bench.status().capacity), (vec![], Some(2)));
    let another = bench.enqueue(request().cost(4));
    bench.scheduler.set_capacity_from_refusal(None);
    assert_eq!(bench.start(), [large, another]);
}

#[test]
fn a_request_that_steps_aside_keeps_its_place_and_holds_up_nobody() {
    let mut bench = Bench::with_capacity(1);
    let tickets: Vec<_> = (0..3).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), tickets[..1]);
    bench.pass(seconds(3));
    assert!(bench.scheduler.requeue(tickets[0], bench.now));
    assert!(bench.scheduler.park(tickets[0], bench.now));
    assert!(
        !bench.scheduler.park(tickets[0], bench.now),
        "it isn't in the queue"
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
        "before those that came after it"
    );
    assert!(bench.scheduler.park(tickets[2], bench.now));
    assert!(bench.scheduler.remove(tickets[2], bench.now), "and leaves");
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
fn a_capacity_that_a_refusal_told_is_replaced_by_a_number_only() {
    let mut bench = Bench::new();
    bench.scheduler.set_capacity_from_refusal(Some(2));
    assert_eq!(bench.scheduler.set_capacity(None, bench.now), []);
    assert_eq!(bench.status().capacity, Some(2));
    assert_eq!(bench.scheduler.set_capacity(Some(8), bench.now), []);
    assert_eq!(bench.status().capacity, Some(8));
}

#[test]
fn no_key_fills_the_queue_for_the_others() {
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
        "whatever its class"
    );
    bench.enqueue(request().key(1, 1));
    assert!(matches!(
        bench.try_enqueue(request().key(2, 1)),
        Err(EnqueueError::QueueFull { .. })
    ));
}
