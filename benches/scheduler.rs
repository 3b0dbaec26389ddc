//! Measures the decisions of the scheduler with ten thousand waiting requests.
//!
//! `cargo bench --bench scheduler`

#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a benchmark fails by panicking"
)]

use std::{
    collections::VecDeque,
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::Criterion;
use featherwire::admission::{Caller, KeyId, PermitRequest, Priority, Scheduler, Settings, Ticket};

const WAITING: u32 = 10_000;
const CAPACITY: u32 = 100;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for keys in [1, 8, 1000] {
        start(&mut criterion, keys, false);
        start(&mut criterion, keys, true);
        come_and_go(&mut criterion, keys);
        ahead(&mut criterion, keys);
    }
    criterion.final_summary();
}

/// The `n`th request, with mixed classes, costs and keys.
fn request(n: u32, keys: u32) -> PermitRequest {
    let priority = if n.is_multiple_of(3) {
        Priority::Interactive
    } else {
        Priority::Default
    };
    let cost = if n.is_multiple_of(7) { 4 } else { 1 + n % 2 };
    let key = n.wrapping_mul(2_654_435_761) % keys;
    let caller = Caller {
        key: KeyId(key.into()),
        weight: 1 + key % 4,
    };
    PermitRequest {
        priority,
        ..PermitRequest::new(caller, cost)
    }
}

/// A scheduler whose units are all in use and whose queue has ten thousand requests.
fn full(keys: u32, now: Instant) -> (Scheduler, VecDeque<Ticket>) {
    let mut scheduler = Scheduler::new(Settings {
        queue_limit: usize::MAX,
        ..Settings::default()
    });
    assert!(scheduler.set_capacity(Some(CAPACITY), now).is_empty());
    for n in 0..WAITING {
        scheduler.enqueue(now, request(n, keys)).unwrap();
    }
    let running: VecDeque<_> = std::iter::from_fn(|| scheduler.start(now)).collect();
    for n in 0..running.len() {
        scheduler.enqueue(now, request(n as u32, keys)).unwrap();
    }
    (scheduler, running)
}

/// One request ends, the requests that fit start, and the same number arrives, so that the length
/// of the queue stays constant. Measures the decisions for each started request, including
/// decisions that start none. With `times_release`, measures the end of a request.
fn start(criterion: &mut Criterion, keys: u32, times_release: bool) {
    let mut now = Instant::now();
    let (mut scheduler, mut running) = full(keys, now);
    let mut n = 0;
    let name = if times_release { "release" } else { "start" };
    criterion.bench_function(&format!("{name}, {keys} keys"), |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut releases, mut starts, mut done) = (Duration::ZERO, Duration::ZERO, 0);
            while done < iterations {
                now += Duration::from_millis(100);
                let ended = running.pop_front().unwrap();
                let before = running.len();
                let begin = Instant::now();
                scheduler.release(black_box(ended), now, Duration::ZERO);
                let released = Instant::now();
                while let Some(started) = scheduler.start(now) {
                    running.push_back(started);
                }
                starts += released.elapsed();
                releases += released - begin;
                let started = running.len() - before;
                done += if times_release { 1 } else { started as u64 };
                for _ in 0..started {
                    n += 1;
                    scheduler.enqueue(now, request(n, keys)).unwrap();
                }
            }
            if times_release { releases } else { starts }
        });
    });
}

/// Measures a request that arrives, does not start, and is removed.
fn come_and_go(criterion: &mut Criterion, keys: u32) {
    let now = Instant::now();
    let (mut scheduler, _running) = full(keys, now);
    let mut n = 0;
    criterion.bench_function(
        &format!("enqueue, no start, remove, {keys} keys"),
        |bencher| {
            bencher.iter(|| {
                n += 1;
                let ticket = scheduler.enqueue(now, black_box(request(n, keys))).unwrap();
                assert_eq!(scheduler.start(now), None);
                scheduler.remove(ticket, now);
            });
        },
    );
}

/// Measures the computation of the number of requests ahead of the last one.
fn ahead(criterion: &mut Criterion, keys: u32) {
    let now = Instant::now();
    let (mut scheduler, _running) = full(keys, now);
    let last = scheduler.enqueue(now, request(1, keys)).unwrap();
    criterion.bench_function(&format!("ahead, {keys} keys"), |bencher| {
        bencher.iter(|| scheduler.requests_ahead(black_box(last)).unwrap());
    });
}
