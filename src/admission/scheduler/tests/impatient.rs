//! Callers who give up and try again, and a plan that changes: no key's share changes.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    support::{Dice, long_enough, with_bypass_limit},
    *,
};

/// A key that always has more requests.
#[derive(Clone, Debug)]
struct BusyKey {
    weight: u32,
    cost: u32,
    service_ms: u64,
    /// How long its callers wait before they give up, and after how long they try again.
    gives_up_ms: Option<(u64, u64)>,
}

fn busy_key() -> impl Strategy<Value = BusyKey> {
    let gives_up = prop::option::weighted(0.7, (2_000..20_000u64, 0..500u64));
    (1..4u32, select(&[1, 2, 4][..]), 500..6_000u64, gives_up).prop_map(
        |(weight, cost, service_ms, gives_up_ms)| BusyKey {
            weight,
            cost,
            service_ms,
            gives_up_ms,
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(Ticket),
    GivesUp(Ticket),
    Comes(usize),
    CapacityChanges(u32),
}

/// A simulation by events, in order of time.
struct EventSimulation<'a> {
    bench: Bench,
    keys: &'a [BusyKey],
    events: BTreeSet<(Instant, u64, Event)>,
    sequence: u64,
    dice: Dice,
    /// The unit-seconds of each key.
    work: Vec<f64>,
}

impl EventSimulation<'_> {
    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events
            .insert((self.bench.now + after, self.sequence, event));
    }

    fn come(&mut self, key: usize) {
        let BusyKey {
            weight,
            cost,
            gives_up_ms,
            ..
        } = self.keys[key];
        let request = request().key(key as u32, weight).cost(cost);
        let ticket = self.bench.enqueue(request);
        if let Some((waits, _)) = gives_up_ms {
            self.schedule(Duration::from_millis(waits), Event::GivesUp(ticket));
        }
    }

    fn key_of(&self, ticket: Ticket) -> usize {
        self.bench.keys[&ticket].0 as usize
    }

    fn handle(&mut self, event: Event) {
        let now = self.bench.now;
        match event {
            Event::Ends(ticket) => self.bench.release(ticket),
            Event::Comes(key) => self.come(key),
            Event::CapacityChanges(capacity) => {
                let never_fits = self.bench.scheduler.set_capacity(Some(capacity), now);
                assert_eq!(never_fits, []);
            }
            Event::GivesUp(ticket) => {
                if self.bench.scheduler.remove(ticket, now) {
                    let key = self.key_of(ticket);
                    let pause = self.keys[key].gives_up_ms.map_or(0, |(_, pause)| pause);
                    self.schedule(Duration::from_millis(pause), Event::Comes(key));
                }
            }
        }
        for ticket in self.bench.start() {
            let key = self.key_of(ticket);
            let BusyKey {
                cost, service_ms, ..
            } = self.keys[key];
            let service = self.dice.service(service_ms);
            self.work[key] += f64::from(cost) * service.as_secs_f64();
            self.schedule(service, Event::Ends(ticket));
            self.schedule(Duration::ZERO, Event::Comes(key));
        }
    }
}

/// The unit-seconds that each of `keys` gets of a plan, if all of them always want more, and the
/// plan changes now and then.
fn work_of_keys(keys: &[BusyKey], capacity: u32, seed: u64) -> Vec<f64> {
    const BACKLOG: usize = 16;
    let mut simulation = EventSimulation {
        bench: Bench::of(with_bypass_limit(seconds(5)), Some(capacity)),
        keys,
        events: BTreeSet::new(),
        sequence: 0,
        dice: Dice(seed),
        work: vec![0.0; keys.len()],
    };
    for key in 0..keys.len() {
        (0..BACKLOG + capacity as usize).for_each(|_| simulation.come(key));
    }
    let sizes = keys
        .iter()
        .map(|key| (key.weight, key.cost, key.service_ms));
    let length = long_enough(sizes, capacity);
    for change in 1..20 {
        let capacity = if change % 2 == 0 {
            capacity
        } else {
            capacity / 2 + 4
        };
        simulation.schedule(length * change / 20, Event::CapacityChanges(capacity));
    }
    let end = simulation.bench.now + length;
    while let Some((at, _, event)) = simulation.events.pop_first()
        && at < end
    {
        simulation.bench.now = at;
        simulation.handle(event);
    }
    simulation.work
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn keys_get_their_shares_whatever_their_callers_do(
        keys in vec(busy_key(), 2..5),
        capacity in select(&[8, 12, 16][..]),
        seed in any::<u64>(),
    ) {
        let work = work_of_keys(&keys, capacity, seed);
        let weights: f64 = keys.iter().map(|key| f64::from(key.weight)).sum();
        let sum: f64 = work.iter().sum();
        for (key, of_key) in keys.iter().zip(&work) {
            let error = of_key / sum / (f64::from(key.weight) / weights) - 1.0;
            let percent = error * 100.0;
            prop_assert!(error.abs() < 0.05, "{key:?} got {percent:.1} % off, of {work:?}");
        }
    }
}

/// The share of the second of two keys of the same weight. It has one caller at a time, who gives
/// up after four seconds in the way of `give_up`, and tries again after `pause_ms`.
fn share_of_impatient_key(pause_ms: u64, give_up: impl Fn(&mut Bench, Ticket)) -> f64 {
    let mut bench = Bench::with_capacity(4);
    let (mut work, mut ends) = ([0.0, 0.0], BTreeSet::new());
    let mut impatient: Option<(Ticket, Instant)> = None;
    let mut comes_at = bench.now;
    bench.enqueue_all(8, request().key(0, 1).cost(2));
    for _ in 0..40_000 {
        if impatient.is_none() && bench.now >= comes_at {
            let deadline = bench.now + seconds(3600);
            let ticket = bench.enqueue(request().key(1, 1).cost(4).deadline(deadline));
            impatient = Some((ticket, bench.now));
        }
        for ticket in bench.start() {
            let key = bench.keys[&ticket].0 as usize;
            let cost = [2.0, 4.0][key];
            work[key] += cost * 6.0;
            ends.insert((bench.now + seconds(6), ticket));
            if key == 0 {
                bench.enqueue(request().key(0, 1).cost(2));
            } else {
                impatient = None;
            }
        }
        bench.pass(Duration::from_millis(250));
        while let Some(&(at, ticket)) = ends.first()
            && at <= bench.now
        {
            ends.pop_first();
            bench.release(ticket);
        }
        if let Some((ticket, since)) = impatient
            && bench.now - since >= seconds(4)
        {
            give_up(&mut bench, ticket);
            impatient = None;
            comes_at = bench.now + Duration::from_millis(pause_ms);
        }
    }
    work[1] / (work[0] + work[1])
}

#[test]
fn a_wait_that_was_given_up_counts_as_a_wait() {
    for pause_ms in [0, 750] {
        let by_leaving = share_of_impatient_key(pause_ms, |bench, ticket| {
            assert!(bench.scheduler.remove(ticket, bench.now));
        });
        let by_a_smaller_plan = share_of_impatient_key(pause_ms, |bench, ticket| {
            assert_eq!(bench.scheduler.set_capacity(Some(3), bench.now), [ticket]);
            assert_eq!(bench.scheduler.set_capacity(Some(4), bench.now), []);
        });
        let while_parked = share_of_impatient_key(pause_ms, |bench, ticket| {
            assert!(
                bench.scheduler.park(ticket, bench.now)
                    && bench.scheduler.remove(ticket, bench.now)
            );
        });
        for share in [by_leaving, by_a_smaller_plan, while_parked] {
            assert!(
                (0.45..0.55).contains(&share),
                "{share}, trying again after {pause_ms} ms"
            );
        }
    }
}

#[test]
fn a_class_whose_only_caller_gives_up_and_tries_again_keeps_its_credit() {
    let mut bench = Bench::with_capacity(1);
    bench.enqueue_all(20, request().priority(Priority::Interactive));
    let (mut of_batch, mut starts) = (0, 0);
    while starts < 400 {
        // It waits for four seconds of every five.
        let batch = bench.enqueue(request().priority(Priority::Batch));
        for ticket in bench.start() {
            starts += 1;
            of_batch += usize::from(ticket == batch);
            bench.enqueue(request().priority(Priority::Interactive));
        }
        bench.pass(seconds(4));
        bench.scheduler.remove(batch, bench.now);
        bench.pass(seconds(1));
        bench.release_running();
    }
    assert!(
        (18..=20).contains(&of_batch),
        "a twentieth of what the others get: {of_batch} of 400"
    );
}

#[test]
fn a_refused_start_takes_from_a_class_only_the_credit_accrued_for_it() {
    let interactive = |bench: &mut Bench| {
        let ticket = bench.enqueue(request().priority(Priority::Interactive));
        assert_eq!(bench.start(), [ticket]);
        ticket
    };
    let credit = |bench: &Bench| bench.scheduler.queues.default.claims.current().credit;
    let mut bench = Bench::with_capacity(2);
    let early = interactive(&mut bench);
    let waiter = bench.enqueue(request().cost(2));
    let before = credit(&bench);
    let second = interactive(&mut bench);
    let after = credit(&bench);
    assert!(after > before);
    assert!(bench.scheduler.requeue(early, bench.now));
    assert_eq!(
        credit(&bench),
        after,
        "no request of the class waited when it started"
    );
    assert!(bench.scheduler.requeue(second, bench.now));
    assert_eq!(credit(&bench), before);
    assert!(bench.scheduler.remove(early, bench.now));
    assert_eq!(bench.start(), [second]);
    let of_second = credit(&bench);
    assert!(bench.scheduler.remove(waiter, bench.now));
    bench.pass(seconds(60));
    bench.enqueue(request().cost(2));
    interactive(&mut bench);
    assert_eq!(credit(&bench), of_second, "as much for this one");
    assert!(bench.scheduler.requeue(second, bench.now));
    assert_eq!(
        credit(&bench),
        of_second,
        "the credit of the earlier busy period is already gone"
    );
}
