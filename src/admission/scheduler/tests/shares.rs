//! Over a long busy time, each key and each class gets its share of the units.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    support::{Dice, Simulation, long_enough, with_bypass_limit},
    *,
};

const BYPASS_LIMIT: Duration = Duration::from_secs(5);

/// A key that always has more requests.
#[derive(Clone, Debug)]
struct BusyKey {
    weight: u32,
    cost: u32,
    service_ms: u64,
}

fn busy_key() -> impl Strategy<Value = BusyKey> {
    (1..9u32, select(&[1, 2, 4][..]), 1_000..30_000u64).prop_map(|(weight, cost, service_ms)| {
        BusyKey {
            weight,
            cost,
            service_ms,
        }
    })
}

/// The work that each class gets of a plan, if all of them always want more.
fn work_of_classes(costs: &[u32], service_ms: &[u64], capacity: u32) -> [u64; 3] {
    let bench = Bench::of(with_bypass_limit(BYPASS_LIMIT), Some(capacity));
    let mut simulation = Simulation::new(bench);
    let request = |class: usize| request().priority(Priority::ALL[class]).cost(costs[class]);
    (0..3).for_each(|class| simulation.bench.enqueue_all(200, request(class)));
    let mut work = [0; 3];
    let begin = simulation.bench.now;
    while simulation.bench.now - begin < seconds(10_000) {
        for (ticket, started) in simulation.step(|_| Duration::ZERO) {
            let class = Priority::ALL
                .iter()
                .position(|&priority| priority == started.priority)
                .unwrap();
            work[class] += u64::from(costs[class]) * service_ms[class];
            simulation.ends_at(
                ticket,
                simulation.bench.now + Duration::from_millis(service_ms[class]),
            );
            simulation.bench.enqueue(request(class));
        }
    }
    work
}

#[test]
fn a_class_that_is_next_is_not_bypassed_for_ever() {
    // Long small requests share the plan, and two units are never free at once unless they are
    // reserved.
    let work = work_of_classes(&[1, 1, 2], &[9165, 500, 500], 4);
    assert!(
        work[2] as f64 > 0.045 * (work[0] + work[1]) as f64,
        "{work:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn over_a_long_busy_time_keys_get_their_shares_of_unit_seconds(
        keys in vec(busy_key(), 2..6),
        capacity in select(&[8, 12, 100][..]),
        seed in any::<u64>(),
    ) {
        let bench = Bench::of(with_bypass_limit(BYPASS_LIMIT), Some(capacity));
        let mut simulation = Simulation::new(bench);
        let request = |key: u32| {
            let BusyKey { weight, cost, .. } = keys[key as usize];
            request().key(key, weight).cost(cost)
        };
        // So many that all units are busy with them for three times the bypass limit, even if all
        // are as small as the smallest.
        let smallest = keys
            .iter()
            .map(|key| u64::from(key.cost) * key.service_ms)
            .min()
            .unwrap();
        let work = BYPASS_LIMIT.as_millis() as u64 * 3 * u64::from(capacity);
        let backlog = (work / smallest / keys.len() as u64).max(40) as usize;
        for key in 0..keys.len() as u32 {
            simulation.bench.enqueue_all(backlog + capacity as usize, request(key));
        }
        let mut dice = Dice(seed);
        let total_weight: u32 = keys.iter().map(|key| key.weight).sum();
        let sizes = keys.iter().map(|key| (key.weight, key.cost, key.service_ms));
        let long = long_enough(sizes, capacity);
        let begin = simulation.bench.now;
        let mut work = vec![0.0; keys.len()];
        let mut longest_wait = Duration::ZERO;
        while simulation.bench.now - begin < long {
            for (ticket, started) in simulation.step(|_| Duration::ZERO) {
                let now = simulation.bench.now;
                let number = started.caller.key.0 as u32;
                let key = &keys[number as usize];
                let service = dice.service(key.service_ms);
                work[number as usize] += f64::from(key.cost) * service.as_secs_f64();
                simulation.ends_at(ticket, now + service);
                simulation.bench.enqueue(request(number));
                let arrived = simulation.bench.scheduler.running[&ticket].waiting.arrived;
                longest_wait = longest_wait.max(now - arrived);
            }
        }
        prop_assert!(longest_wait > BYPASS_LIMIT * 2, "the queue is longer than the bypass limit");
        let sum: f64 = work.iter().sum();
        for (key, of_key) in keys.iter().zip(&work) {
            let share = f64::from(key.weight) / f64::from(total_weight);
            let error = of_key / sum / share - 1.0;
            let percent = error * 100.0;
            prop_assert!(error.abs() < 0.05, "{key:?} got {percent:.1} % off, of {work:?}");
        }
    }

    #[test]
    fn the_lowest_class_gets_the_share_of_its_credit(
        costs in vec(select(&[1, 2, 4][..]), 3),
        service_ms in vec(500..30_000u64, 3),
        capacity in select(&[4, 8, 20][..]),
    ) {
        let work = work_of_classes(&costs, &service_ms, capacity);
        let others = (work[0] + work[1]) as f64;
        let share = work[2] as f64 / others;
        prop_assert!((0.045..).contains(&share), "{share} of {work:?}");
        prop_assert!(work[1] as f64 / (work[0] + work[2]) as f64 > 0.18, "{work:?}");
    }
}
