//! Callers who give up, come again, and find another plan: it changes nobody's share.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{support::fair, *};

/// A key that always has more to ask.
#[derive(Clone, Debug)]
struct Greedy {
    weight: u32,
    cost: u32,
    service_ms: u64,
    /// How long its callers wait, and how long it takes until they come again.
    patience_ms: Option<(u64, u64)>,
}

fn greedy() -> impl Strategy<Value = Greedy> {
    let patience = prop::option::weighted(0.7, (2_000..20_000u64, 0..500u64));
    (1..4u32, select(&[1, 2, 4][..]), 500..6_000u64, patience).prop_map(
        |(weight, cost, service_ms, patience_ms)| Greedy {
            weight,
            cost,
            service_ms,
            patience_ms,
        },
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(Ticket),
    Leaves(Ticket),
    Comes(usize),
    Changes(u32),
}

/// What happens when, in order.
struct Story<'a> {
    bench: Bench,
    keys: &'a [Greedy],
    events: BTreeSet<(Instant, u64, Event)>,
    sequence: u64,
    dice: u64,
    granted: Vec<f64>,
}

impl Story<'_> {
    fn at(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events
            .insert((self.bench.now + after, self.sequence, event));
    }

    fn comes(&mut self, key: usize) {
        let Greedy {
            weight,
            cost,
            patience_ms,
            ..
        } = self.keys[key];
        let ticket = self.bench.enqueue(ask().key(key as u32, weight).cost(cost));
        if let Some((patience, _)) = patience_ms {
            self.at(Duration::from_millis(patience), Event::Leaves(ticket));
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ends(ticket) => self.bench.release(ticket),
            Event::Comes(key) => self.comes(key),
            Event::Changes(capacity) => {
                assert_eq!(
                    self.bench
                        .scheduler
                        .set_capacity(Some(capacity), self.bench.now),
                    []
                )
            }
            Event::Leaves(ticket) => {
                if self.bench.scheduler.leave(ticket, self.bench.now) {
                    let key = self.bench.keys[&ticket].0 as usize;
                    let pause = self.keys[key].patience_ms.map_or(0, |(_, pause)| pause);
                    self.at(Duration::from_millis(pause), Event::Comes(key));
                }
            }
        }
        for ticket in self.bench.start() {
            let key = self.bench.keys[&ticket].0 as usize;
            let Greedy {
                cost, service_ms, ..
            } = self.keys[key];
            self.dice = self
                .dice
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let service = Duration::from_millis(service_ms * (20 + (self.dice >> 33) % 161) / 100);
            self.granted[key] += f64::from(cost) * service.as_secs_f64();
            self.at(service, Event::Ends(ticket));
            self.at(Duration::ZERO, Event::Comes(key));
        }
    }
}

/// What each key is granted of a plan that all of them always want more of, and that changes now
/// and then.
fn granted(keys: &[Greedy], capacity: u32, seed: u64) -> Vec<f64> {
    const BACKLOG: usize = 16;
    let bench = Bench::of(patient_for_five_seconds(), Some(capacity));
    let (events, granted) = (BTreeSet::new(), vec![0.0; keys.len()]);
    let mut story = Story {
        bench,
        keys,
        events,
        sequence: 0,
        dice: seed,
        granted,
    };
    for key in 0..keys.len() {
        (0..BACKLOG + capacity as usize).for_each(|_| story.comes(key));
    }
    let length = fair::long_enough(
        keys.iter()
            .map(|key| (key.weight, key.cost, key.service_ms)),
        capacity,
    );
    for change in 1..20 {
        let capacity = if change % 2 == 0 {
            capacity
        } else {
            capacity / 2 + 4
        };
        story.at(length * change / 20, Event::Changes(capacity));
    }
    let end = story.bench.now + length;
    while let Some((at, _, event)) = story.events.pop_first()
        && at < end
    {
        story.bench.now = at;
        story.happens(event);
    }
    story.granted
}

fn patient_for_five_seconds() -> Settings {
    let patience = seconds(5);
    let passed_over = PerPriority {
        interactive: patience,
        default: patience,
        batch: patience,
    };
    Settings {
        passed_over,
        bypass_limit_max: patience,
        ..Settings::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_get_their_shares_whatever_their_callers_do(
        keys in vec(greedy(), 2..5),
        capacity in select(&[8, 12, 16][..]),
        seed in any::<u64>(),
    ) {
        let granted = granted(&keys, capacity, seed);
        let weights: f64 = keys.iter().map(|key| f64::from(key.weight)).sum();
        let sum: f64 = granted.iter().sum();
        for (key, of_key) in keys.iter().zip(&granted) {
            let error = of_key / sum / (f64::from(key.weight) / weights) - 1.0;
            prop_assert!(error.abs() < 0.05, "{key:?} got {:.1} % off, of {granted:?}", error * 100.0);
        }
    }
}

/// Two keys of the same weight, one of them with a single caller at a time, who gives up after four
/// seconds and comes again: after `pause_ms`, by leaving, by stepping aside, or because the plan is
/// too small for it.
fn share_of_impatient(pause_ms: u64, give_up: impl Fn(&mut Bench, Ticket)) -> f64 {
    let mut bench = Bench::with_capacity(4);
    let (mut served, mut ends) = ([0.0, 0.0], BTreeSet::new());
    let mut impatient: Option<(Ticket, Instant)> = None;
    let mut comes_at = bench.now;
    bench.enqueue_all(8, ask().key(0, 1).cost(2));
    for _ in 0..40_000 {
        if impatient.is_none() && bench.now >= comes_at {
            let ticket = bench.enqueue(ask().key(1, 1).cost(4).deadline(bench.now + seconds(3600)));
            impatient = Some((ticket, bench.now));
        }
        for ticket in bench.start() {
            let key = bench.keys[&ticket].0 as usize;
            let cost = [2.0, 4.0][key];
            served[key] += cost * 6.0;
            ends.insert((bench.now + seconds(6), ticket));
            if key == 0 {
                bench.enqueue(ask().key(0, 1).cost(2));
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
    served[1] / (served[0] + served[1])
}

#[test]
fn a_wait_that_was_given_up_was_a_wait() {
    for pause_ms in [0, 750] {
        let by_leaving = share_of_impatient(pause_ms, |bench, ticket| {
            assert!(bench.scheduler.leave(ticket, bench.now));
        });
        let by_shrinking = share_of_impatient(pause_ms, |bench, ticket| {
            assert_eq!(bench.scheduler.set_capacity(Some(3), bench.now), [ticket]);
            assert_eq!(bench.scheduler.set_capacity(Some(4), bench.now), []);
        });
        let by_stepping_aside = share_of_impatient(pause_ms, |bench, ticket| {
            assert!(
                bench.scheduler.step_aside(ticket, bench.now)
                    && bench.scheduler.leave(ticket, bench.now)
            );
        });
        for share in [by_leaving, by_shrinking, by_stepping_aside] {
            assert!(
                (0.45..0.55).contains(&share),
                "{share}, coming again after {pause_ms} ms"
            );
        }
    }
}

#[test]
fn a_class_whose_only_caller_gives_up_and_comes_again_gets_what_it_is_owed() {
    let mut bench = Bench::with_capacity(1);
    bench.enqueue_all(20, ask().priority(Priority::Interactive));
    let (mut of_batch, mut starts) = (0, 0);
    while starts < 400 {
        // It waits for four seconds of every five.
        let batch = bench.enqueue(ask().priority(Priority::Batch));
        for ticket in bench.start() {
            starts += 1;
            of_batch += usize::from(ticket == batch);
            bench.enqueue(ask().priority(Priority::Interactive));
        }
        bench.pass(seconds(4));
        bench.scheduler.leave(batch, bench.now);
        bench.pass(seconds(1));
        let running: Vec<_> = bench.scheduler.running.keys().copied().collect();
        running.into_iter().for_each(|ticket| bench.release(ticket));
    }
    assert!(
        (18..=20).contains(&of_batch),
        "a twentieth of what the others get: {of_batch} of 400"
    );
}

#[test]
fn a_refused_start_takes_from_a_class_only_what_it_was_owed_for_it() {
    let interactive = |bench: &mut Bench| {
        let ticket = bench.enqueue(ask().priority(Priority::Interactive));
        assert_eq!(bench.start(), [ticket]);
        ticket
    };
    let owed = |bench: &Bench| bench.scheduler.classes.default.claims().0;
    let mut bench = Bench::with_capacity(2);
    let early = interactive(&mut bench);
    let waiter = bench.enqueue(ask().cost(2));
    let before = owed(&bench);
    let second = interactive(&mut bench);
    let after = owed(&bench);
    assert!(after > before);
    assert!(bench.scheduler.requeue(early, bench.now));
    assert_eq!(
        owed(&bench),
        after,
        "nobody of the class waited when it started"
    );
    assert!(bench.scheduler.requeue(second, bench.now));
    assert_eq!(owed(&bench), before);
    assert!(bench.scheduler.leave(early, bench.now));
    assert_eq!(bench.start(), [second]);
    let of_second = owed(&bench);
    assert!(bench.scheduler.leave(waiter, bench.now));
    bench.pass(seconds(60));
    bench.enqueue(ask().cost(2));
    interactive(&mut bench);
    assert_eq!(owed(&bench), of_second, "as much for this one");
    assert!(bench.scheduler.requeue(second, bench.now));
    assert_eq!(
        owed(&bench),
        of_second,
        "what was owed before that is forgotten already"
    );
}
