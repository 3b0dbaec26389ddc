//! A scheduler with a clock that the test moves, and a simulation that moves it from one end of a
//! request to the next.

use super::*;

pub(super) struct Bench {
    pub(super) scheduler: Scheduler,
    pub(super) now: Instant,
    pub(super) last: Ticket,
    /// The key of each request.
    pub(super) keys: BTreeMap<Ticket, KeyId>,
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn request() -> PermitRequest {
    let caller = Caller {
        key: KeyId(0),
        weight: 1,
    };
    PermitRequest::new(caller, 1)
}

impl PermitRequest {
    pub(super) fn key(self, key: u32, weight: u32) -> Self {
        let caller = Caller {
            key: KeyId(key.into()),
            weight,
        };
        Self { caller, ..self }
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

/// Settings with the same bypass limit for all requests, whatever reserving units costs.
pub(super) fn with_bypass_limit(limit: Duration) -> Settings {
    let bypass_limit = PerPriority {
        interactive: limit,
        default: limit,
        batch: limit,
    };
    Settings {
        bypass_limit,
        bypass_limit_max: limit,
        ..Settings::default()
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

    /// Moves the clock.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub(super) fn enqueue(&mut self, request: PermitRequest) -> Ticket {
        self.try_enqueue(request).unwrap()
    }

    pub(super) fn enqueue_all(&mut self, number: usize, request: PermitRequest) {
        for _ in 0..number {
            self.enqueue(request);
        }
    }

    pub(super) fn try_enqueue(&mut self, request: PermitRequest) -> Result<Ticket, EnqueueError> {
        let ticket = self.scheduler.enqueue(self.now, request)?;
        self.last = ticket;
        self.keys.insert(ticket, request.caller.key);
        Ok(ticket)
    }

    /// All requests that start now.
    pub(super) fn start(&mut self) -> Vec<Ticket> {
        std::iter::from_fn(|| self.scheduler.start(self.now)).collect()
    }

    pub(super) fn release(&mut self, ticket: Ticket) {
        assert!(self.scheduler.release(ticket, self.now, Duration::ZERO));
    }

    pub(super) fn release_running(&mut self) {
        let running: Vec<_> = self.scheduler.running.keys().copied().collect();
        running.into_iter().for_each(|ticket| self.release(ticket));
    }

    /// Ends all running requests after `service`, again and again, until `starts` requests have
    /// started. Returns them in order.
    pub(super) fn run_for_starts(&mut self, starts: usize, service: Duration) -> Vec<Ticket> {
        let mut order = self.start();
        while order.len() < starts {
            self.pass(service);
            self.release_running();
            order.extend(self.start());
        }
        order
    }

    pub(super) fn bypass_limit(&self, cost: u32) -> Duration {
        let usable = self.scheduler.usable();
        self.scheduler.bypass_limit(Priority::Default, cost, usable)
    }

    pub(super) fn status(&self) -> QueueStatus {
        self.scheduler.status(self.now)
    }
}

/// A simulation in which running requests end one after the other.
pub(super) struct Simulation {
    pub(super) bench: Bench,
    ends: BTreeSet<(Instant, Ticket)>,
}

impl Simulation {
    pub(super) fn new(bench: Bench) -> Self {
        Self {
            bench,
            ends: BTreeSet::new(),
        }
    }

    pub(super) fn ends_at(&mut self, ticket: Ticket, end: Instant) {
        self.ends.insert((end, ticket));
    }

    /// Moves to the next end of a request, and returns the requests that start then. Each runs for
    /// `service` of its ticket. If that is zero, the caller sets its end by [`Self::ends_at`].
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
        let request = |ticket| self.bench.scheduler.running[&ticket].waiting.request;
        started
            .into_iter()
            .map(|ticket| (ticket, request(ticket)))
            .collect()
    }
}

/// Random numbers that are the same in each run of one seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    /// A time between 20 % and 180 % of `mean_ms` milliseconds.
    pub(super) fn service(&mut self, mean_ms: u64) -> Duration {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis(mean_ms * (20 + (self.0 >> 33) % 161) / 100)
    }
}

/// How long busy keys must be simulated until the work that a key lacks at one moment is small
/// compared with the work that it got. A key is its weight, the cost of its requests and how many
/// milliseconds they take.
pub(super) fn long_enough(
    keys: impl Iterator<Item = (u32, u32, u64)> + Clone,
    capacity: u32,
) -> Duration {
    let total_weight: u32 = keys.clone().map(|(weight, ..)| weight).sum();
    // Until the key that gets least has started about two hundred requests.
    let least = keys.map(|(weight, cost, service_ms)| {
        let share = f64::from(weight) / f64::from(total_weight);
        let each = f64::from(cost) * service_ms as f64 / 1000.0 / f64::from(capacity);
        (200.0 * each).max(200.0) / share
    });
    Duration::from_secs_f64(least.fold(0.0, f64::max))
}
