//! A scheduler with a clock that stands until it is told to pass, and one that passes from end to
//! end.

use super::*;

pub(super) struct Bench {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    pub(super) last: Ticket,
    /// Whose each one is.
    pub(super) keys: BTreeMap<Ticket, KeyId>,
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ask() -> PermitRequest {
    PermitRequest {
        key: KeyId(0),
        weight: 1,
        priority: Priority::Default,
        cost: 1,
        deadline: None,
    }
}

impl PermitRequest {
    pub(super) fn key(self, key: u32, weight: u32) -> Self {
        Self {
            key: KeyId(key),
            weight,
            ..self
        }
    }

    pub(super) fn cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    pub(super) fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    pub(super) fn deadline(self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self
        }
    }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(Settings::default(), None)
    }

    pub(super) fn with_capacity(capacity: u32) -> Self {
        Self::of(Settings::default(), Some(capacity))
    }

    pub(super) fn of(settings: Settings, capacity: Option<u32>) -> Self {
        let mut scheduler = Scheduler::new(settings);
        let now = Instant::now();
        assert_eq!(scheduler.set_capacity(capacity, now), []);
        Self {
            scheduler,
            now,
            last: Ticket(0),
            keys: BTreeMap::new(),
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn enqueue(&mut self, ask: PermitRequest) -> Ticket {
        self.try_enqueue(ask).unwrap()
    }

    pub(super) fn enqueue_all(&mut self, number: usize, ask: PermitRequest) {
        for _ in 0..number {
            self.enqueue(ask);
        }
    }

    pub(super) fn try_enqueue(&mut self, ask: PermitRequest) -> Result<Ticket, EnqueueError> {
        let ticket = self.scheduler.enqueue(self.now, ask)?;
        self.last = ticket;
        self.keys.insert(ticket, ask.key);
        Ok(ticket)
    }

    /// All who start now.
    pub(super) fn start(&mut self) -> Vec<Ticket> {
        std::iter::from_fn(|| self.scheduler.start(self.now)).collect()
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        assert!(self.scheduler.release(ticket, self.now, Duration::ZERO));
    }

    /// Lets each that runs take so long, one after the other, until so many have started.
    pub(super) fn run_for_starts(&mut self, starts: usize, service: Duration) -> Vec<Ticket> {
        let mut order = self.start();
        while order.len() < starts {
            self.pass(service);
            let running: Vec<_> = self.scheduler.running.keys().copied().collect();
            running.into_iter().for_each(|ticket| self.release(ticket));
            order.extend(self.start());
        }
        order
    }

    pub(super) fn patience(&self, cost: u32) -> Duration {
        let scheduler = &self.scheduler;
        patience(
            &scheduler.settings,
            Priority::Default,
            cost,
            scheduler.whole(),
            scheduler.pace.service(),
        )
    }

    pub(super) fn view(&self) -> QueueStatus {
        self.scheduler.view(self.now)
    }
}

/// Time goes from one end to the next.
pub(super) struct Story {
    pub(super) bench: Bench,
    ends: BTreeSet<(Instant, Ticket)>,
}

impl Story {
    pub(super) fn new(bench: Bench) -> Self {
        Self {
            bench,
            ends: BTreeSet::new(),
        }
    }

    pub(super) fn ends_at(&mut self, ticket: Ticket, end: Instant) {
        self.ends.insert((end, ticket));
    }

    /// The next that runs ends, and those who start then are told. No service: its end will be
    /// told.
    pub(super) fn step(
        &mut self,
        service: impl Fn(Ticket) -> Duration,
    ) -> Vec<(Ticket, PermitRequest)> {
        if let Some((end, ticket)) = self.ends.pop_first() {
            self.bench.now = end;
            self.bench.release(ticket);
        }
        let started = self.bench.start();
        for &ticket in &started {
            let service = service(ticket);
            if !service.is_zero() {
                self.ends_at(ticket, self.bench.now + service);
            }
        }
        started
            .into_iter()
            .map(|ticket| (ticket, self.bench.scheduler.running[&ticket].waiter.ask))
            .collect()
    }
}

/// How shares are measured.
pub(super) mod fair {
    use super::*;

    /// How long a story of busy keys must be for what any of them lacks at a time to be little of
    /// what it was granted. A key is its weight, the cost of its requests and how many milliseconds
    /// they take.
    pub(in super::super) fn long_enough(
        keys: impl Iterator<Item = (u32, u32, u64)> + Clone,
        capacity: u32,
    ) -> Duration {
        let total_weight: u32 = keys.clone().map(|(weight, ..)| weight).sum();
        // Until the one that gets least has been granted two hundred requests, more or less.
        let least = keys.map(|(weight, cost, service_ms)| {
            let share = f64::from(weight) / f64::from(total_weight);
            let each = f64::from(cost) * service_ms as f64 / 1000.0 / f64::from(capacity);
            (200.0 * each).max(200.0) / share
        });
        Duration::from_secs_f64(least.fold(0.0, f64::max))
    }
}
