//! Bypassed requests, and the units that are reserved for them.

use super::*;

#[test]
fn a_bypassed_request_is_due_after_the_limit_and_then_first() {
    let mut bench = Bench::with_capacity(4);
    let running: Vec<_> = (0..4).map(|_| bench.enqueue(request())).collect();
    assert_eq!(bench.start(), running);
    let big = bench.enqueue(request().cost(4));
    let small: Vec<_> = (0..9).map(|_| bench.enqueue(request())).collect();
    bench.release(running[0]);
    assert_eq!(
        bench.start(),
        [small[0]],
        "no unit is idle while a request fits"
    );
    assert_eq!(bench.status().bypassed, 1);
    bench.pass(bench.bypass_limit(4));
    bench.release(running[1]);
    assert_eq!(bench.start(), [], "now the unit is reserved");
    bench.scheduler.set_external_usage(1, bench.now);
    assert_eq!(bench.start(), [], "no unit is left");
    bench.release(running[2]);
    assert_eq!(
        bench.start(),
        [small[1]],
        "while external usage makes it impossible, nothing is reserved"
    );
    bench.scheduler.set_external_usage(0, bench.now);
    [running[3], small[0], small[1]]
        .into_iter()
        .for_each(|ticket| bench.release(ticket));
    assert_eq!(bench.start(), [big], "all four are free");
}

#[test]
fn requests_of_the_same_cost_reuse_a_reservation_for_a_while() {
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
    let mut reused = 0;
    loop {
        bench.pass(seconds(60));
        bench.release(large[reused]);
        let started = bench.start();
        if started != large[reused + 1..reused + 2] {
            assert_eq!(
                started,
                small[1..5],
                "then the others are next, and none of a lower class: {batch:?}"
            );
            break;
        }
        reused += 1;
    }
    assert!((1..8).contains(&reused), "{reused}");
}

#[test]
fn a_reservation_is_not_reused_before_a_higher_class() {
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
        "in one class, the next large request reuses the reservation"
    );
    let urgent: Vec<_> = (0..4)
        .map(|_| bench.enqueue(request().priority(Priority::Interactive)))
        .collect();
    bench.pass(seconds(10));
    bench.release(large[1]);
    assert_eq!(bench.start(), urgent);
}
