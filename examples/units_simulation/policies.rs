//! Policies that decide when a request is sent: the gateway's scheduler (with all sources of data,
//! or only with refusals), a plain queue, and retries without a queue.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::{Duration, Instant},
};

use featherwire::admission::{
    Caller, KeyId, PermitRequest, Scheduler, Settings, Ticket, external_usage,
};

use crate::load::{Key, Load, Request};

pub fn policies(load: &Load) -> Vec<(&'static str, Box<dyn Policy>)> {
    let capacity = load.capacity;
    let headroom = Settings::default().headroom;
    let fifo = Fifo {
        capacity,
        outside: 0,
        in_use: 0,
        queue: VecDeque::new(),
        costs: HashMap::new(),
    };
    let (due, tries) = Default::default();
    let retry = Retry {
        rng: fastrand::Rng::with_seed(3),
        due,
        tries,
        failed: 0,
    };
    let mut all: Vec<(_, Box<dyn Policy>)> =
        vec![("scheduler", Box::new(Featherwire::new(load, headroom)))];
    if load.external_per_minute > 0.0 {
        all.push((
            "scheduler, no headroom",
            Box::new(Featherwire::new(load, 0)),
        ));
    }
    all.push(("scheduler, 429s only", Box::new(ByRefusals::new(load))));
    all.push(("queue", Box::new(fifo)));
    all.push(("retry", Box::new(retry)));
    all
}

/// A policy, which decides when a request is sent.
pub trait Policy {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration);
    /// The next request to send.
    fn next(&mut self, now: Duration) -> Option<usize>;
    fn ended(&mut self, id: usize, now: Duration);
    /// The upstream has refused the request, with `active` units in use.
    fn refused(&mut self, id: usize, active: u32, now: Duration);
    /// The upstream has admitted the request.
    fn admitted(&mut self, _id: usize, _now: Duration) {}
    /// How many gateways see the account's snapshots, each for itself.
    fn readers(&self) -> usize {
        1
    }
    /// The units of others, as a gateway sees them in a snapshot of the feed.
    fn outside(&mut self, _gateway: usize, _units: u32, _now: Duration) {}
    fn wake(&self, _now: Duration) -> Option<Duration> {
        None
    }
    /// Whether the gateway requests a snapshot.
    fn wants_snapshot(&self, _gateway: usize) -> bool {
        false
    }
    /// The units of others in a snapshot that the gateway requested at `_asked_at`.
    fn requested_snapshot(
        &mut self,
        _gateway: usize,
        _units: u32,
        _asked_at: Duration,
        _now: Duration,
    ) {
    }
    /// The number of requests that have failed.
    fn failed(&self) -> usize {
        0
    }
}

/// The scheduler of one gateway.
pub struct Featherwire {
    keys: &'static [Key],
    scheduler: Scheduler,
    epoch: Instant,
    tickets: HashMap<usize, Ticket>,
    ids: HashMap<Ticket, usize>,
}

impl Featherwire {
    pub fn new(load: &Load, headroom: u32) -> Self {
        let settings = Settings {
            queue_limit: usize::MAX,
            headroom,
            ..Settings::default()
        };
        let mut scheduler = Scheduler::new(settings);
        let epoch = Instant::now();
        let _ = scheduler.set_capacity(Some(load.capacity), epoch);
        Self {
            keys: load.keys,
            scheduler,
            epoch,
            tickets: HashMap::new(),
            ids: HashMap::new(),
        }
    }
}

impl Featherwire {
    /// Leaves these units to others, whether they use them or not. No request beyond `share` starts.
    pub fn leave_units(&mut self, units: u32, share: u32) {
        self.scheduler.leave_units(units, share, false);
    }
}

impl Policy for Featherwire {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration) {
        let ticket = self
            .scheduler
            .enqueue(self.epoch + now, permit_request(self.keys, request))
            .expect("there is no limit and no deadline");
        self.tickets.insert(id, ticket);
        self.ids.insert(ticket, id);
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        self.scheduler
            .start(self.epoch + now)
            .map(|ticket| self.ids[&ticket])
    }

    fn ended(&mut self, id: usize, now: Duration) {
        let ticket = self.tickets.remove(&id).expect("it was sent");
        self.ids.remove(&ticket);
        assert!(
            self.scheduler
                .release(ticket, self.epoch + now, Duration::ZERO)
        );
    }

    fn refused(&mut self, id: usize, active: u32, now: Duration) {
        let now = self.epoch + now;
        assert!(self.scheduler.requeue(self.tickets[&id], now));
        let own_units = self.scheduler.status(now).in_use;
        self.scheduler
            .set_external_usage_from_refusal(external_usage::from_refusal(active, own_units), now);
    }

    fn outside(&mut self, _gateway: usize, units: u32, now: Duration) {
        self.scheduler.set_external_usage(units, self.epoch + now);
    }

    fn wants_snapshot(&self, _gateway: usize) -> bool {
        self.scheduler.wants_snapshot()
    }

    fn requested_snapshot(
        &mut self,
        _gateway: usize,
        units: u32,
        requested_at: Duration,
        now: Duration,
    ) {
        self.scheduler.set_requested_external_usage(
            units,
            self.epoch + requested_at,
            self.epoch + now,
        );
    }

    fn wake(&self, now: Duration) -> Option<Duration> {
        self.scheduler
            .next_wake(self.epoch + now)
            .map(|wake| wake - self.epoch)
    }
}

/// What a scheduler must know of the request.
pub fn permit_request(keys: &[Key], request: &Request) -> PermitRequest {
    let (_, weight, priority, _) = keys[request.key];
    let caller = Caller {
        key: KeyId(request.key as u64),
        weight,
    };
    PermitRequest {
        priority,
        ..PermitRequest::new(caller, request.cost())
    }
}

/// The scheduler with an upstream that only sends 429s, with the active units and the limit: no
/// plan, no feed, no snapshot. This is a short form of the permits' behaviour in this case.
struct ByRefusals {
    featherwire: Featherwire,
    limit: u32,
    /// The times at which a request probes the numbers of refusals (external usage, the limit).
    outside_at: Option<Duration>,
    limit_at: Option<Duration>,
    /// The request that probes, and whether it exceeds the limit.
    trial: Option<(usize, bool)>,
}

impl ByRefusals {
    const EXTERNAL_USAGE_VALID: Duration = Duration::from_secs(2);
    const LIMIT_VALID: Duration = Duration::from_secs(60);

    fn new(load: &Load) -> Self {
        let mut featherwire = Featherwire::new(load, 0);
        let _ = featherwire.scheduler.set_capacity(None, featherwire.epoch);
        Self {
            featherwire,
            limit: load.capacity,
            outside_at: None,
            limit_at: None,
            trial: None,
        }
    }
}

impl Policy for ByRefusals {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration) {
        self.featherwire.arrive(id, request, now);
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        if let Some(id) = self.featherwire.next(now) {
            return Some(id);
        }
        let is_due = |at: Option<Duration>| at.is_some_and(|at| at <= now);
        let is_beyond = is_due(self.limit_at);
        if self.trial.is_some() || !(is_beyond || is_due(self.outside_at)) {
            return None;
        }
        let ticket = self
            .featherwire
            .scheduler
            .start_probe(self.featherwire.epoch + now, is_beyond)?;
        let id = self.featherwire.ids[&ticket];
        self.trial = Some((id, is_beyond));
        Some(id)
    }

    fn ended(&mut self, id: usize, now: Duration) {
        self.featherwire.ended(id, now);
    }

    fn refused(&mut self, id: usize, active: u32, now: Duration) {
        self.trial.take_if(|(trial, _)| *trial == id);
        self.featherwire.refused(id, active, now);
        self.featherwire
            .scheduler
            .set_capacity_from_refusal(Some(self.limit));
        self.outside_at = Some(now + Self::EXTERNAL_USAGE_VALID);
        self.limit_at = Some(now + Self::LIMIT_VALID);
    }

    fn admitted(&mut self, id: usize, now: Duration) {
        match self.trial.take_if(|(trial, _)| *trial == id) {
            Some((_, true)) => {
                let units = self
                    .featherwire
                    .scheduler
                    .units()
                    .unwrap_or(u32::MAX)
                    .saturating_mul(2);
                self.featherwire
                    .scheduler
                    .set_capacity_from_refusal(Some(units));
                self.limit_at = Some(now + Duration::from_secs(1));
            }
            Some((_, false)) => {
                self.featherwire.scheduler.reset_external_usage(0);
                self.outside_at = None;
            }
            None => {}
        }
    }

    fn wake(&self, now: Duration) -> Option<Duration> {
        let times = [self.featherwire.wake(now), self.outside_at, self.limit_at];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }
}

/// First come, first served, on the same units and with the same data.
struct Fifo {
    capacity: u32,
    outside: u32,
    in_use: u32,
    queue: VecDeque<(usize, u32)>,
    costs: HashMap<usize, u32>,
}

impl Policy for Fifo {
    fn arrive(&mut self, id: usize, request: &Request, _now: Duration) {
        self.queue.push_back((id, request.cost()));
        self.costs.insert(id, request.cost());
    }

    fn next(&mut self, _now: Duration) -> Option<usize> {
        let &(id, cost) = self.queue.front()?;
        if self.in_use + self.outside + cost > self.capacity {
            return None;
        }
        self.queue.pop_front();
        self.in_use += cost;
        Some(id)
    }

    fn ended(&mut self, id: usize, _now: Duration) {
        self.in_use -= self.costs.remove(&id).expect("it was sent");
    }

    fn refused(&mut self, id: usize, active: u32, _now: Duration) {
        self.in_use -= self.costs[&id];
        self.outside = external_usage::from_refusal(active, self.in_use);
        self.queue.push_front((id, self.costs[&id]));
    }

    fn outside(&mut self, _gateway: usize, units: u32, _now: Duration) {
        self.outside = units;
    }
}

/// No coordination: a refused request is sent again after a quarter of a second, then twice that
/// and so on up to five seconds, each with a jitter of one half. After twelve tries the caller gets
/// the 429.
struct Retry {
    rng: fastrand::Rng,
    due: BTreeSet<(Duration, usize)>,
    tries: HashMap<usize, u32>,
    failed: usize,
}

impl Policy for Retry {
    fn arrive(&mut self, id: usize, _request: &Request, now: Duration) {
        self.due.insert((now, id));
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        let &(at, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, id));
        Some(id)
    }

    fn ended(&mut self, _id: usize, _now: Duration) {}

    fn refused(&mut self, id: usize, _active: u32, now: Duration) {
        let tries = self.tries.entry(id).or_default();
        *tries += 1;
        if *tries >= 12 {
            self.failed += 1;
            return;
        }
        let wait = (0.125 * f64::from(1 << *tries)).min(5.0) * (0.5 + self.rng.f64());
        self.due.insert((now + Duration::from_secs_f64(wait), id));
    }

    fn wake(&self, _now: Duration) -> Option<Duration> {
        self.due.first().map(|&(at, _)| at)
    }

    fn failed(&self) -> usize {
        self.failed
    }
}
