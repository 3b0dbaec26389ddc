//! What always holds: random events, applied to the scheduler and to a simple model of it.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    support::{Simulation, with_bypass_limit},
    *,
};

/// One event. The numbers select among the requests there are.
#[derive(Clone, Debug)]
enum Event {
    Enqueue(PermitRequest, Option<u64>),
    Remove(usize),
    Release(usize, u64),
    Requeue(usize),
    Capacity(u32),
    ExternalUsage(u32),
    Pass(u64),
}

fn requests() -> impl Strategy<Value = PermitRequest> {
    (
        0..4u32,
        1..5u32,
        select(&Priority::ALL[..]),
        select(&[1, 1, 1, 2, 2, 4][..]),
    )
        .prop_map(|(key, weight, priority, cost)| {
            request().key(key, weight).priority(priority).cost(cost)
        })
}

fn events() -> impl Strategy<Value = Event> {
    let enqueue = (requests(), prop::option::weighted(0.1, 1..60_000u64))
        .prop_map(|(request, left)| Event::Enqueue(request, left));
    let release = (any::<usize>(), select(&[0, 0, 0, 1500][..]))
        .prop_map(|(which, cooldown)| Event::Release(which, cooldown));
    prop_oneof![
        8 => enqueue,
        1 => any::<usize>().prop_map(Event::Remove),
        6 => release,
        1 => any::<usize>().prop_map(Event::Requeue),
        1 => (0..16u32).prop_map(Event::Capacity),
        1 => (0..6u32).prop_map(Event::ExternalUsage),
        6 => (0..8_000u64).prop_map(Event::Pass),
    ]
}

/// A model of the scheduler by the simplest means, beside the scheduler itself.
struct Model {
    bench: Bench,
    capacity: u32,
    external_units: u32,
    waiting: Vec<(Ticket, PermitRequest)>,
    running: Vec<(Ticket, PermitRequest)>,
    cooldown: Vec<(Instant, u32)>,
    has_headroom: bool,
}

impl Model {
    fn new(headroom: u32) -> Self {
        let settings = Settings {
            bypass_limit: PerPriority {
                interactive: seconds(5),
                default: seconds(10),
                batch: seconds(20),
            },
            bypass_limit_max: seconds(20),
            headroom,
            ..Settings::default()
        };
        let bench = Bench::of(settings, Some(8));
        let (waiting, running, cooldown) = Default::default();
        Self {
            bench,
            capacity: 8,
            external_units: 0,
            waiting,
            running,
            cooldown,
            has_headroom: headroom > 0,
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.bench.now;
        match event {
            Event::Enqueue(request, left) => {
                let request = PermitRequest {
                    deadline: left.map(|left| now + Duration::from_millis(left)),
                    ..request
                };
                match self.bench.try_enqueue(request) {
                    Ok(ticket) => self.waiting.push((ticket, request)),
                    Err(EnqueueError::ExceedsPlan { .. }) => assert!(request.cost > self.capacity),
                    Err(_) => assert!(
                        self.free() < request.cost || self.is_reserved() || self.has_headroom,
                        "it could have started at once"
                    ),
                }
            }
            Event::Remove(which) if !self.waiting.is_empty() => {
                let (ticket, _) = self.waiting.remove(which % self.waiting.len());
                assert!(self.bench.scheduler.remove(ticket, now));
                assert!(!self.bench.scheduler.remove(ticket, now));
            }
            Event::Release(which, cooldown) if !self.running.is_empty() => {
                let (ticket, request) = self.running.remove(which % self.running.len());
                let cooldown = Duration::from_millis(cooldown);
                assert!(self.bench.scheduler.release(ticket, now, cooldown));
                assert!(
                    !self.bench.scheduler.release(ticket, now, cooldown),
                    "released twice"
                );
                assert!(
                    !self.bench.scheduler.requeue(ticket, now),
                    "requeued after its release"
                );
                if !cooldown.is_zero() {
                    self.cooldown.push((now + cooldown, request.cost));
                }
            }
            Event::Requeue(which) if !self.running.is_empty() => {
                let (ticket, request) = self.running.remove(which % self.running.len());
                assert!(self.bench.scheduler.requeue(ticket, now));
                assert!(
                    !self.bench.scheduler.release(ticket, now, Duration::ZERO),
                    "released while it waits"
                );
                let at = self.waiting.partition_point(|(other, _)| *other < ticket);
                self.waiting.insert(at, (ticket, request));
                let capacity = Some(self.capacity);
                for rejected in self.bench.scheduler.set_capacity(capacity, now) {
                    self.take_waiting(rejected);
                }
            }
            Event::Capacity(capacity) => {
                self.capacity = capacity;
                for rejected in self.bench.scheduler.set_capacity(Some(capacity), now) {
                    assert!(self.take_waiting(rejected).cost > capacity);
                }
                assert!(
                    self.waiting
                        .iter()
                        .all(|(_, request)| request.cost <= capacity)
                );
            }
            Event::ExternalUsage(external_units) => {
                self.external_units = external_units;
                self.bench.scheduler.set_external_usage(external_units, now);
            }
            Event::Pass(ms) => self.bench.pass(Duration::from_millis(ms)),
            Event::Remove(_) | Event::Release(..) | Event::Requeue(_) => {}
        }
        self.advance();
    }

    fn advance(&mut self) {
        let now = self.bench.now;
        self.cooldown.retain(|(until, _)| *until > now);
        for expired in self.bench.scheduler.expire(now) {
            assert!(self.take_waiting(expired).deadline.unwrap() <= now);
        }
        assert!(
            self.waiting
                .iter()
                .all(|(_, request)| request.deadline.is_none_or(|deadline| deadline > now))
        );
        while let Some(ticket) = self.checked_start() {
            let request = self.take_waiting(ticket);
            self.running.push((ticket, request));
        }
        self.check_no_unit_is_idle();
        self.check_status();
    }

    /// Starts the next request, if it is right that it starts.
    fn checked_start(&mut self) -> Option<Ticket> {
        let (free, usable) = (self.free(), self.usable());
        let due: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, request)| request.cost <= usable)
            .filter_map(|waiting| self.due(waiting))
            .collect();
        let reserved = self.bench.scheduler.reservation.map(|kept| kept.cost);
        let ticket = self.bench.scheduler.start(self.bench.now)?;
        let (_, request) = *self
            .waiting
            .iter()
            .find(|(waiting, _)| *waiting == ticket)
            .expect("only a waiting request can start");
        assert!(
            request.cost <= free,
            "{} of {free} free units",
            request.cost
        );
        if let Some(first) = due.iter().min() {
            assert_eq!(
                ticket, first.1,
                "the request that has been due for longest is first"
            );
        }
        if due.is_empty() {
            // The model does not know what headroom lets through. But a request that it lets
            // through does not bypass one that it would let through too.
            let fits = if self.has_headroom {
                request.cost
            } else {
                free
            };
            for (other, before) in self.waiting.iter().take_while(|(other, _)| *other < ticket) {
                let is_same_queue =
                    (before.caller.key, before.priority) == (request.caller.key, request.priority);
                let uses_reservation =
                    reserved.is_some_and(|cost| before.cost < cost && cost <= request.cost);
                assert!(
                    !is_same_queue || before.cost > fits || uses_reservation,
                    "{other:?} fits and came before {ticket:?}"
                );
            }
        }
        Some(ticket)
    }

    /// No unit is free that a waiting request could have, unless it is reserved for a due one.
    fn check_no_unit_is_idle(&self) {
        let free = self.free();
        let fits = self
            .waiting
            .iter()
            .find(|(_, request)| request.cost <= free);
        assert!(
            fits.is_none() || self.is_reserved() || self.has_headroom,
            "{fits:?} waits for {free} free units"
        );
    }

    fn check_status(&self) {
        let status = self.bench.status();
        let units = |of: &[(Ticket, PermitRequest)]| {
            of.iter().map(|(_, request)| request.cost).sum::<u32>()
        };
        assert_eq!(
            (status.in_use, status.running),
            (units(&self.running), self.running.len())
        );
        assert_eq!(
            status.cooldown_units,
            self.cooldown.iter().map(|(_, cost)| cost).sum::<u32>()
        );
        assert_eq!(
            Priority::ALL
                .iter()
                .map(|&priority| *status.queued.of(priority))
                .sum::<usize>(),
            self.waiting.len()
        );
        assert_eq!(
            status.keys.iter().map(|key| key.in_use).sum::<u32>(),
            status.in_use
        );
        assert_eq!(
            status.keys.iter().map(|key| key.queued).sum::<usize>(),
            self.waiting.len()
        );
    }

    fn usable(&self) -> u32 {
        self.capacity.saturating_sub(self.external_units)
    }

    fn free(&self) -> u32 {
        let running: u32 = self.running.iter().map(|(_, request)| request.cost).sum();
        let cooldown: u32 = self
            .cooldown
            .iter()
            .filter(|(at, _)| *at > self.bench.now)
            .map(|(_, cost)| cost)
            .sum();
        self.usable().saturating_sub(running + cooldown)
    }

    fn is_reserved(&self) -> bool {
        let usable = self.usable();
        self.waiting
            .iter()
            .any(|waiting| waiting.1.cost <= usable && self.due(waiting).is_some())
    }

    fn due(&self, (ticket, _): &(Ticket, PermitRequest)) -> Option<(Instant, Ticket)> {
        let due_at = self
            .bench
            .scheduler
            .waiting
            .get(ticket)
            .expect("it waits in the model")
            .due_at?;
        (due_at <= self.bench.now).then_some((due_at, *ticket))
    }

    fn take_waiting(&mut self, ticket: Ticket) -> PermitRequest {
        let at = self
            .waiting
            .iter()
            .position(|(waiting, _)| *waiting == ticket)
            .expect("only a waiting request can leave");
        self.waiting.remove(at).1
    }

    /// All waiting requests start if only running ones end.
    fn drain(&mut self) {
        self.handle(Event::Capacity(8));
        self.handle(Event::ExternalUsage(0));
        for _ in 0..10_000 {
            if self.waiting.is_empty() {
                return;
            }
            self.handle(Event::Release(0, 0));
            self.handle(Event::Pass(100));
        }
        panic!("{} starve", self.waiting.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_unit_is_overdrawn_or_idle_and_no_request_is_bypassed_or_forgotten(
        story in vec(events(), 1..300),
        headroom in select(&[0, 0, 2][..]),
    ) {
        let mut model = Model::new(headroom);
        story.into_iter().for_each(|event| model.handle(event));
        model.drain();
    }

    #[test]
    fn a_bypassed_request_starts_when_its_limit_and_the_running_requests_have_ended(
        costs in vec(select(&[1, 1, 1, 1, 2, 2, 4][..]), 100..300),
        services in vec(100..20_000u64, 300),
        capacity in 4..9u32,
    ) {
        let (limit, longest) = (seconds(15), seconds(20));
        // A quarter of what eight units do in one bypass limit, by requests of two units that take
        // twice as long as expected.
        let reuse_max = seconds(30);
        let mut simulation = Simulation::new(Bench::of(with_bypass_limit(limit), Some(capacity)));
        let tickets: Vec<_> = costs
            .iter()
            .map(|&cost| simulation.bench.enqueue(request().cost(cost)))
            .collect();
        let mut waiting: BTreeSet<_> = tickets.iter().copied().collect();
        let cost = |ticket: Ticket| {
            costs[tickets.iter().position(|&other| other == ticket).unwrap()]
        };
        let service = |ticket: Ticket| Duration::from_millis(services[ticket.0 as usize]);
        let (mut bypassed_since, mut reused_since) = (None, None);
        while !waiting.is_empty() {
            // With one queue, the next request in order is the one that came first.
            for (ticket, _) in simulation.step(service) {
                let oldest = *waiting.first().unwrap();
                waiting.remove(&ticket);
                let now = simulation.bench.now;
                if ticket == oldest {
                    (bypassed_since, reused_since) = (None, None);
                } else if cost(ticket) > cost(oldest) {
                    reused_since.get_or_insert(now);
                } else {
                    let since = *bypassed_since.get_or_insert(now);
                    prop_assert!(
                        now - since < limit,
                        "{oldest:?} is due, and {ticket:?} started"
                    );
                }
            }
            let now = simulation.bench.now;
            if let Some(since) = bypassed_since {
                prop_assert!(now - since <= limit + longest, "it should have started long ago");
            }
            if let Some(since) = reused_since {
                prop_assert!(
                    now - since <= reuse_max + limit + longest,
                    "others have used the reservation for too long"
                );
            }
        }
    }

    #[test]
    fn a_request_that_leaves_does_not_change_the_order_of_the_others(
        requests in vec((0..5u32, any::<bool>()), 1..60),
        leavers in vec(0..60usize, 0..30),
        capacity in 1..4u32,
    ) {
        let run = |with_leavers: bool| {
            let mut bench = Bench::with_capacity(capacity);
            let mut names = BTreeMap::new();
            let mut leaving = Vec::new();
            for (name, &(key, is_batch)) in requests.iter().enumerate() {
                let priority = if is_batch { Priority::Batch } else { Priority::Default };
                let request = request().key(key, key + 1).priority(priority);
                names.insert(bench.enqueue(request), (name, key, is_batch));
                if with_leavers {
                    // Some of a key that no other request has, and one just after in the same
                    // queue.
                    let many = leavers.iter().filter(|&&leaver| leaver == name).count();
                    let leavers = (0..many).flat_map(|_| [request.key(9, 3), request]);
                    leaving.extend(leavers.map(|request| bench.enqueue(request)));
                }
            }
            for ticket in leaving {
                assert!(bench.scheduler.remove(ticket, bench.now));
            }
            let order = bench.run_for_starts(requests.len(), seconds(1));
            order.into_iter().map(|ticket| names[&ticket]).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(true), run(false));
    }
}
