//! What holds whatever happens: random stories, told to the scheduler and to a plain book of what
//! is true.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    support::{Story, fair},
    *,
};

/// One thing that happens. The numbers choose among those there are.
#[derive(Clone, Debug)]
enum Event {
    Enqueue(PermitRequest, Option<u64>),
    Leave(usize),
    Release(usize, u64),
    PutBack(usize),
    Capacity(u32),
    Outside(u32),
    Pass(u64),
}

fn asks() -> impl Strategy<Value = PermitRequest> {
    (
        0..4u32,
        1..5u32,
        select(&Priority::ALL[..]),
        select(&[1, 1, 1, 2, 2, 4][..]),
    )
        .prop_map(|(key, weight, priority, cost)| {
            ask().key(key, weight).priority(priority).cost(cost)
        })
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (asks(), prop::option::weighted(0.1, 1..60_000u64)).prop_map(|(ask, left)| Event::Enqueue(ask, left)),
        1 => any::<usize>().prop_map(Event::Leave),
        6 => (any::<usize>(), select(&[0, 0, 0, 1500][..])).prop_map(|(which, settle)| Event::Release(which, settle)),
        1 => any::<usize>().prop_map(Event::PutBack),
        1 => (0..16u32).prop_map(Event::Capacity),
        1 => (0..6u32).prop_map(Event::Outside),
        6 => (0..8_000u64).prop_map(Event::Pass),
    ]
}

/// What is true, kept by the simplest means.
struct Book {
    bench: Bench,
    capacity: u32,
    outside: u32,
    waiting: Vec<(Ticket, PermitRequest)>,
    running: Vec<(Ticket, PermitRequest)>,
    settling: Vec<(Instant, u32)>,
    is_guarded: bool,
}

impl Book {
    fn new(headroom: u32) -> Self {
        let settings = Settings {
            passed_over: PerPriority {
                interactive: seconds(5),
                default: seconds(10),
                batch: seconds(20),
            },
            bypass_limit_max: seconds(20),
            headroom,
            ..Settings::default()
        };
        let bench = Bench::of(settings, Some(8));
        let (waiting, running, settling) = Default::default();
        Self {
            bench,
            capacity: 8,
            outside: 0,
            waiting,
            running,
            settling,
            is_guarded: headroom > 0,
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.bench.now;
        match event {
            Event::Enqueue(ask, left) => {
                let ask = PermitRequest {
                    deadline: left.map(|left| now + Duration::from_millis(left)),
                    ..ask
                };
                match self.bench.try_enqueue(ask) {
                    Ok(ticket) => self.waiting.push((ticket, ask)),
                    Err(EnqueueError::ExceedsPlan { .. }) => assert!(ask.cost > self.capacity),
                    Err(_) => assert!(
                        self.free() < ask.cost || self.kept() || self.is_guarded,
                        "it could have started at once"
                    ),
                }
            }
            Event::Leave(which) if !self.waiting.is_empty() => {
                let (ticket, _) = self.waiting.remove(which % self.waiting.len());
                assert!(self.bench.scheduler.leave(ticket, now));
                assert!(!self.bench.scheduler.leave(ticket, now));
            }
            Event::Release(which, settle) if !self.running.is_empty() => {
                let (ticket, ask) = self.running.remove(which % self.running.len());
                let settle = Duration::from_millis(settle);
                assert!(self.bench.scheduler.release(ticket, now, settle));
                assert!(
                    !self.bench.scheduler.release(ticket, now, settle),
                    "released twice"
                );
                assert!(
                    !self.bench.scheduler.requeue(ticket, now),
                    "put back after its release"
                );
                if !settle.is_zero() {
                    self.settling.push((now + settle, ask.cost));
                }
            }
            Event::PutBack(which) if !self.running.is_empty() => {
                let (ticket, ask) = self.running.remove(which % self.running.len());
                assert!(self.bench.scheduler.requeue(ticket, now));
                assert!(
                    !self.bench.scheduler.release(ticket, now, Duration::ZERO),
                    "released while it waits"
                );
                let at = self.waiting.partition_point(|(other, _)| *other < ticket);
                self.waiting.insert(at, (ticket, ask));
                for gone in self.bench.scheduler.set_capacity(Some(self.capacity), now) {
                    self.forget(gone);
                }
            }
            Event::Capacity(capacity) => {
                self.capacity = capacity;
                for gone in self.bench.scheduler.set_capacity(Some(capacity), now) {
                    assert!(self.forget(gone).cost > capacity);
                }
                assert!(self.waiting.iter().all(|(_, ask)| ask.cost <= capacity));
            }
            Event::Outside(outside) => {
                self.outside = outside;
                self.bench.scheduler.set_external_usage(outside, now);
            }
            Event::Pass(ms) => self.bench.pass(Duration::from_millis(ms)),
            Event::Leave(_) | Event::Release(..) | Event::PutBack(_) => {}
        }
        self.settle();
    }

    fn settle(&mut self) {
        let now = self.bench.now;
        self.settling.retain(|(until, _)| *until > now);
        for late in self.bench.scheduler.expire(now) {
            assert!(self.forget(late).deadline.unwrap() <= now);
        }
        assert!(
            self.waiting
                .iter()
                .all(|(_, ask)| ask.deadline.is_none_or(|deadline| deadline > now))
        );
        while let Some(ticket) = self.checked_start() {
            let ask = self.forget(ticket);
            self.running.push((ticket, ask));
        }
        self.nothing_idles();
        self.is_seen();
    }

    /// Starts the next one, if it is right that it starts.
    fn checked_start(&mut self) -> Option<Ticket> {
        let (free, whole) = (self.free(), self.capacity.saturating_sub(self.outside));
        let dues: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, ask)| ask.cost <= whole)
            .filter_map(|w| self.due(w))
            .collect();
        let kept_for = self.bench.scheduler.kept_for.map(|kept| kept.cost);
        let ticket = self.bench.scheduler.start(self.bench.now)?;
        let (_, ask) = *self
            .waiting
            .iter()
            .find(|(waiting, _)| *waiting == ticket)
            .expect("only who waits can start");
        assert!(ask.cost <= free, "{} of {free} free units", ask.cost);
        if let Some(first) = dues.iter().min() {
            assert_eq!(ticket, first.1, "who has been due for longest goes first");
        }
        if dues.is_empty() {
            // What the guard lets through is its own affair, but who gets through doesn't leave one
            // behind that could.
            let fits = if self.is_guarded { ask.cost } else { free };
            for (other, before) in self.waiting.iter().take_while(|(other, _)| *other < ticket) {
                let same_queue = (before.key, before.priority) == (ask.key, ask.priority);
                let follows = kept_for.is_some_and(|cost| before.cost < cost && cost <= ask.cost);
                assert!(
                    !same_queue || before.cost > fits || follows,
                    "{other:?} fits and came before {ticket:?}"
                );
            }
        }
        Some(ticket)
    }

    /// No unit is free that somebody waits for who could have it, unless it is kept for one that is
    /// due.
    fn nothing_idles(&self) {
        let free = self.free();
        let fits = self.waiting.iter().find(|(_, ask)| ask.cost <= free);
        assert!(
            fits.is_none() || self.kept() || self.is_guarded,
            "{fits:?} waits for {free} free units"
        );
    }

    fn is_seen(&self) {
        let view = self.bench.view();
        let units =
            |of: &[(Ticket, PermitRequest)]| of.iter().map(|(_, ask)| ask.cost).sum::<u32>();
        assert_eq!(
            (view.in_use, view.running),
            (units(&self.running), self.running.len())
        );
        assert_eq!(
            view.settling,
            self.settling.iter().map(|(_, cost)| cost).sum::<u32>()
        );
        assert_eq!(
            Priority::ALL
                .iter()
                .map(|&p| *view.queued.of(p))
                .sum::<usize>(),
            self.waiting.len()
        );
        assert_eq!(
            view.keys.iter().map(|key| key.in_use).sum::<u32>(),
            view.in_use
        );
        assert_eq!(
            view.keys.iter().map(|key| key.queued).sum::<usize>(),
            self.waiting.len()
        );
    }

    fn free(&self) -> u32 {
        let running: u32 = self.running.iter().map(|(_, ask)| ask.cost).sum();
        let settling: u32 = self
            .settling
            .iter()
            .filter(|(at, _)| *at > self.bench.now)
            .map(|(_, cost)| cost)
            .sum();
        self.capacity
            .saturating_sub(self.outside)
            .saturating_sub(running + settling)
    }

    fn kept(&self) -> bool {
        let whole = self.capacity.saturating_sub(self.outside);
        self.waiting
            .iter()
            .any(|waiter| waiter.1.cost <= whole && self.due(waiter).is_some())
    }

    fn due(&self, (ticket, _): &(Ticket, PermitRequest)) -> Option<(Instant, Ticket)> {
        let due = self
            .bench
            .scheduler
            .waiting
            .get(ticket)
            .expect("the book says that it waits")
            .due?;
        (due <= self.bench.now).then_some((due, *ticket))
    }

    fn forget(&mut self, ticket: Ticket) -> PermitRequest {
        let at = self
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == ticket)
            .expect("only who waits can go");
        self.waiting.remove(at).1
    }

    /// Everybody who is left gets through, if only what runs ends.
    fn drain(&mut self) {
        self.happen(Event::Capacity(8));
        self.happen(Event::Outside(0));
        for _ in 0..10_000 {
            if self.waiting.is_empty() {
                return;
            }
            self.happen(Event::Release(0, 0));
            self.happen(Event::Pass(100));
        }
        panic!("{} starve", self.waiting.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_overdrawn_overtaken_idle_or_forgotten(
        story in vec(events(), 1..300),
        headroom in select(&[0, 0, 2][..]),
    ) {
        let mut book = Book::new(headroom);
        story.into_iter().for_each(|event| book.happen(event));
        book.drain();
    }

    #[test]
    fn who_is_passed_over_starts_when_its_patience_and_what_then_runs_have_ended(
        costs in vec(select(&[1, 1, 1, 1, 2, 2, 4][..]), 100..300),
        services in vec(100..20_000u64, 300),
        capacity in 4..9u32,
    ) {
        let (patience, longest) = (seconds(15), seconds(20));
        // A quarter of what eight units do in one patience, by requests of two that take twice as
        // long as expected.
        let followed_max = seconds(30);
        let mut story = Story::new(Bench::of(patient_for(patience), Some(capacity)));
        let tickets: Vec<_> = costs.iter().map(|&cost| story.bench.enqueue(ask().cost(cost))).collect();
        let mut waiting: BTreeSet<_> = tickets.iter().copied().collect();
        let cost = |ticket: Ticket| costs[tickets.iter().position(|&other| other == ticket).unwrap()];
        let (mut passed_over_since, mut followed_since) = (None, None);
        while !waiting.is_empty() {
            // With one queue, the next in order is whoever came first.
            for (ticket, _) in story.step(|ticket| Duration::from_millis(services[ticket.0 as usize])) {
                let oldest = *waiting.first().unwrap();
                waiting.remove(&ticket);
                let now = story.bench.now;
                if ticket == oldest {
                    (passed_over_since, followed_since) = (None, None);
                } else if cost(ticket) > cost(oldest) {
                    followed_since.get_or_insert(now);
                } else {
                    let since = *passed_over_since.get_or_insert(now);
                    prop_assert!(now - since < patience, "{oldest:?} is due, and {ticket:?} started");
                }
            }
            if let Some(since) = passed_over_since {
                prop_assert!(story.bench.now - since <= patience + longest, "it should have started long ago");
            }
            if let Some(since) = followed_since {
                let most = followed_max + patience + longest;
                prop_assert!(story.bench.now - since <= most, "others have followed for too long");
            }
        }
    }

    #[test]
    fn who_leaves_changes_nobodys_order(
        asks in vec((0..5u32, any::<bool>()), 1..60),
        leavers in vec(0..60usize, 0..30),
        capacity in 1..4u32,
    ) {
        let run = |with_leavers: bool| {
            let mut bench = Bench::with_capacity(capacity);
            let mut names = BTreeMap::new();
            let mut leaving = Vec::new();
            for (name, &(key, is_batch)) in asks.iter().enumerate() {
                let priority = if is_batch { Priority::Batch } else { Priority::Default };
                let ask = ask().key(key, key + 1).priority(priority);
                names.insert(bench.enqueue(ask), (name, key, is_batch));
                if with_leavers {
                    // Some of a key that nobody else has, and one that came just after in the same
                    // queue.
                    let many = leavers.iter().filter(|&&leaver| leaver == name).count();
                    leaving.extend((0..many).flat_map(|_| [ask.key(9, 3), ask]).map(|ask| bench.enqueue(ask)));
                }
            }
            leaving.into_iter().for_each(|ticket| assert!(bench.scheduler.leave(ticket, bench.now)));
            let order = bench.run_for_starts(asks.len(), seconds(1));
            order.into_iter().map(|ticket| names[&ticket]).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(true), run(false));
    }
}

const PATIENCE: Duration = Duration::from_secs(5);

/// Everybody is patient for so long, whatever keeping units costs.
fn patient_for(patience: Duration) -> Settings {
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

/// A key that always has more to ask.
#[derive(Clone, Debug)]
struct Greedy {
    weight: u32,
    cost: u32,
    service_ms: u64,
}

fn greedy() -> impl Strategy<Value = Greedy> {
    (1..9u32, select(&[1, 2, 4][..]), 1_000..30_000u64).prop_map(|(weight, cost, service_ms)| {
        Greedy {
            weight,
            cost,
            service_ms,
        }
    })
}

/// What each class is granted of a plan that all of them always want more of.
fn granted_to_classes(costs: &[u32], service_ms: &[u64], capacity: u32) -> [u64; 3] {
    let mut story = Story::new(Bench::of(patient_for(PATIENCE), Some(capacity)));
    let ask = |class: usize| ask().priority(Priority::ALL[class]).cost(costs[class]);
    (0..3).for_each(|class| story.bench.enqueue_all(200, ask(class)));
    let mut granted = [0; 3];
    let begin = story.bench.now;
    while story.bench.now - begin < seconds(10_000) {
        for (ticket, started) in story.step(|_| Duration::ZERO) {
            let class = Priority::ALL
                .iter()
                .position(|&priority| priority == started.priority)
                .unwrap();
            granted[class] += u64::from(costs[class]) * service_ms[class];
            story.ends_at(
                ticket,
                story.bench.now + Duration::from_millis(service_ms[class]),
            );
            story.bench.enqueue(ask(class));
        }
    }
    granted
}

#[test]
fn a_class_whose_turn_it_is_isnt_overtaken_for_ever() {
    // Long small ones divide the plan among them, and two units are never free at once unless they
    // are kept.
    let granted = granted_to_classes(&[1, 1, 2], &[9165, 500, 500], 4);
    assert!(
        granted[2] as f64 > 0.045 * (granted[0] + granted[1]) as f64,
        "{granted:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_a_long_busy_time_keys_get_their_shares_of_unit_seconds(
        keys in vec(greedy(), 2..6),
        capacity in select(&[8, 12, 100][..]),
        seed in any::<u64>(),
    ) {
        let mut story = Story::new(Bench::of(patient_for(PATIENCE), Some(capacity)));
        let ask = |key: u32| ask().key(key, keys[key as usize].weight).cost(keys[key as usize].cost);
        // As many that all units are busy with them for three times the patience, also if all are
        // as small as the smallest.
        let smallest = keys.iter().map(|key| u64::from(key.cost) * key.service_ms).min().unwrap();
        let work = PATIENCE.as_millis() as u64 * 3 * u64::from(capacity);
        let backlog = (work / smallest / keys.len() as u64).max(40) as usize;
        for key in 0..keys.len() as u32 {
            story.bench.enqueue_all(backlog + capacity as usize, ask(key));
        }
        let mut dice = seed;
        let total_weight: u32 = keys.iter().map(|key| key.weight).sum();
        let sizes = keys.iter().map(|key| (key.weight, key.cost, key.service_ms));
        let long = fair::long_enough(sizes, capacity);
        let begin = story.bench.now;
        let mut granted = vec![0.0; keys.len()];
        let mut waited = Duration::ZERO;
        while story.bench.now - begin < long {
            let started = story.step(|_| Duration::ZERO);
            for (ticket, ask_of) in started {
                let key = &keys[ask_of.key.0 as usize];
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let service = Duration::from_millis(key.service_ms * (20 + (dice >> 33) % 161) / 100);
                granted[ask_of.key.0 as usize] += f64::from(key.cost) * service.as_secs_f64();
                story.ends_at(ticket, story.bench.now + service);
                story.bench.enqueue(ask(ask_of.key.0));
                waited = waited.max(story.bench.now - story.bench.scheduler.running[&ticket].waiter.arrived);
            }
        }
        prop_assert!(waited > PATIENCE * 2, "the queue has to be longer than anybody's patience");
        let sum: f64 = granted.iter().sum();
        for (key, granted) in keys.iter().zip(&granted) {
            let due = f64::from(key.weight) / f64::from(total_weight);
            let error = granted / sum / due - 1.0;
            prop_assert!(error.abs() < 0.05, "{key:?} got {:.1} % off, of {granted:?}", error * 100.0);
        }
    }

    #[test]
    fn the_lowest_class_gets_what_it_is_owed(
        costs in vec(select(&[1, 2, 4][..]), 3),
        service_ms in vec(500..30_000u64, 3),
        capacity in select(&[4, 8, 20][..]),
    ) {
        let granted = granted_to_classes(&costs, &service_ms, capacity);
        let others = (granted[0] + granted[1]) as f64;
        let share = granted[2] as f64 / others;
        prop_assert!((0.045..).contains(&share), "{share} of {granted:?}");
        prop_assert!(granted[1] as f64 / (granted[0] + granted[2]) as f64 > 0.18, "{granted:?}");
    }
}
