//! The order of classes and keys: credit, virtual times, and what a key is charged for.

use super::*;

#[test]
fn classes_start_in_order_and_the_lower_ones_use_their_credit() {
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
fn idle_time_is_not_saved() {
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
        "every second one from now on: {of_back}"
    );
}

/// How many of the next `of` starts are of `key`, if each request takes `service`.
fn starts_of(bench: &mut Bench, key: u32, of: usize, service: Duration) -> usize {
    let order = bench.run_for_starts(of, service);
    let starts = order
        .iter()
        .take(of)
        .filter(|ticket| bench.keys[ticket] == KeyId(key.into()));
    starts.count()
}

#[test]
fn a_key_is_not_charged_for_the_time_in_which_no_other_key_was_active() {
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
fn earlier_work_delays_a_key_by_two_minutes_at_most() {
    let mut bench = Bench::with_capacity(8);
    bench.enqueue_all(8, request().key(1, 1));
    let streams = bench.start();
    bench.enqueue_all(1000, request().key(2, 1));
    bench.pass(seconds(1800));
    streams.into_iter().for_each(|ticket| bench.release(ticket));
    bench.enqueue_all(100, request().key(1, 1));
    // Eight requests start every ten seconds.
    assert_eq!(
        starts_of(&mut bench, 1, 8 * 8, seconds(10)),
        0,
        "the other key waited all that time"
    );
    assert!(starts_of(&mut bench, 1, 8 * 8, seconds(10)) > 0);
}

#[test]
fn the_estimate_for_a_lower_class_counts_its_credit() {
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
    let index = |ticket| order.iter().position(|&other| other == ticket).unwrap();
    assert!(
        index(default) <= 13 && index(batch) <= 33,
        "{} {}",
        index(default),
        index(batch)
    );
}

#[test]
fn a_request_that_upstream_refused_has_not_spent_the_credit_of_its_class() {
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
                assert_eq!(bench.start(), [batch], "it is next, as before");
                return starts;
            }
            starts += 1;
            bench.pass(seconds(10));
            bench.release(ticket);
        }
    };
    assert_eq!(run(false), run(true));
}
