//! Keys that may hold only some units at once.

use super::{support::*, *};

/// A request of the key 1, which may hold three units.
fn limited(cost: u32) -> PermitRequest {
    PermitRequest {
        units_max: Some(3),
        ..request().key(1, 1).cost(cost)
    }
}

fn in_use(bench: &Bench, key: u32) -> u32 {
    let status = bench.status();
    let key = status.keys.iter().find(|one| one.key == KeyId(key.into()));
    key.unwrap().in_use
}

#[test]
fn a_key_holds_no_more_than_its_units_and_blocks_no_other_key() {
    let mut bench = Bench::of(Settings::default(), Some(8));
    let first = bench.enqueue(limited(2));
    let large = bench.enqueue(limited(2));
    let small = bench.enqueue(limited(1));
    let other = bench.enqueue(request().key(2, 1).cost(4));
    assert_eq!(bench.start(), [first, other]);
    assert_eq!((in_use(&bench, 1), in_use(&bench, 2)), (2, 4));
    let status = bench.status();
    assert_eq!(status.queued.default, 2, "they wait");
    assert_eq!(status.keys[0].queued, 2);
    bench.release(first);
    // The small request would have fitted before, but came after the large one.
    assert_eq!(bench.start(), [large, small]);
    assert_eq!(in_use(&bench, 1), 3);
}

#[test]
fn a_key_sends_its_higher_classes_first_and_each_class_in_order() {
    let mut bench = Bench::of(Settings::default(), Some(8));
    let running = bench.enqueue(limited(3));
    let [batch, second] = [(); 2].map(|()| bench.enqueue(limited(3).priority(Priority::Batch)));
    let urgent = bench.enqueue(limited(3).priority(Priority::Interactive));
    assert_eq!(bench.start(), [running]);
    let mut order = vec![running];
    for _ in 0..3 {
        bench.release(*order.last().unwrap());
        order.extend(bench.start());
    }
    assert_eq!(order, [running, urgent, batch, second]);
}

#[test]
fn a_request_that_is_held_back_can_leave_and_makes_room() {
    let mut bench = Bench::of(Settings::default(), Some(8));
    let running = bench.enqueue(limited(2));
    let expiring = bench.enqueue(limited(2).deadline(bench.now + seconds(5)));
    let cancelled = bench.enqueue(limited(2));
    let last = bench.enqueue(limited(1));
    assert_eq!(bench.start(), [running]);
    assert!(bench.scheduler.remove(cancelled, bench.now));
    assert_eq!(bench.start(), []);
    bench.pass(seconds(5));
    assert_eq!(bench.scheduler.expire(bench.now), [expiring]);
    assert_eq!(bench.start(), [last], "those before it have left");
    assert_eq!(in_use(&bench, 1), 3);
}

#[test]
fn a_request_that_waits_in_the_queue_counts() {
    let mut bench = Bench::of(Settings::default(), Some(4));
    let other = bench.enqueue(request().key(2, 1).cost(4));
    assert_eq!(bench.start(), [other]);
    let waiting = bench.enqueue(limited(2));
    let held_back = bench.enqueue(limited(2));
    assert_eq!(bench.start(), []);
    // A cancelled request in the queue makes room, too.
    assert!(bench.scheduler.remove(waiting, bench.now));
    bench.release(other);
    assert_eq!(bench.start(), [held_back]);
}

#[test]
fn a_parked_request_is_not_admitted_before_its_time() {
    let mut bench = Bench::of(Settings::default(), Some(8));
    let running = bench.enqueue(limited(3));
    let held_back = bench.enqueue(limited(3));
    assert_eq!(bench.start(), [running]);
    assert!(bench.scheduler.park(held_back, bench.now));
    bench.release(running);
    assert_eq!(bench.start(), []);
    assert!(bench.scheduler.unpark(held_back, bench.now));
    assert_eq!(bench.start(), [held_back]);
}

#[test]
fn a_request_above_the_limit_is_refused_unless_its_cost_is_a_guess() {
    let mut bench = Bench::of(Settings::default(), Some(8));
    assert_eq!(
        bench.try_enqueue(limited(4)),
        Err(EnqueueError::ExceedsKey {
            cost: 4,
            units_max: 3
        })
    );
    let guess = |cost| PermitRequest {
        is_cost_estimated: true,
        ..limited(cost)
    };
    let alone = bench.enqueue(guess(4));
    let next = bench.enqueue(guess(1));
    assert_eq!(bench.start(), [alone]);
    bench.release(alone);
    assert_eq!(bench.start(), [next]);
}
