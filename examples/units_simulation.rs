//! What the scheduler makes of a plan's units, against a plain queue and against sending and trying again.
//!
//! `cargo run --release --example units_simulation`: Markdown, the same figures every time. docs/scheduler.md explains.

#![allow(missing_docs, clippy::indexing_slicing, clippy::expect_used, reason = "it fails by panicking")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use featherwire::admission::{
    Ask, KeyId, Priority, Scheduler, Settings, Ticket,
    outside::{self, Listed, Ours, Recognition, Snapshot},
};

const REQUESTS: usize = 40_000;
const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
const SNAPSHOT_LAG: Duration = Duration::from_millis(300);
/// A snapshot that is asked for takes so long, there and back, and is asked for only so often.
const ASK_TRIP: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_millis(250);
const OUTSIDER_RETRY: Duration = Duration::from_secs(5);
const OUTSIDER_SERVICE: f64 = 20.0;

/// Key, weight, class, and its part of all requests.
const KEYS: [(&str, u32, Priority, f64); 5] = [
    ("app", 1, Priority::Interactive, 0.25),
    ("tools", 1, Priority::Interactive, 0.10),
    ("team a", 2, Priority::Default, 0.20),
    ("team b", 1, Priority::Default, 0.20),
    ("night", 1, Priority::Batch, 0.25),
];
const MODELS: [(&str, u32, f64); 3] = [("small", 1, 0.60), ("medium", 2, 0.25), ("large", 4, 0.15)];
const COST_MEAN: f64 = 0.60 + 0.50 + 0.60;

#[derive(Clone, Copy)]
struct Load {
    capacity: u32,
    service: f64,
    /// Unit-seconds asked for, for each there is.
    offered: f64,
    outsiders_per_minute: f64,
}

#[derive(Clone, Copy)]
struct Request {
    at: Duration,
    key: usize,
    model: usize,
    service: Duration,
}

impl Request {
    fn cost(&self) -> u32 {
        MODELS[self.model].1
    }
}

/// Whoever decides when a request is sent.
trait Policy {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration);
    /// The next to send.
    fn next(&mut self, now: Duration) -> Option<usize>;
    fn ended(&mut self, id: usize, now: Duration);
    /// Upstream refused it; so many units are active.
    fn refused(&mut self, id: usize, active: u32, now: Duration);
    /// Upstream has let it in.
    fn let_in(&mut self, _id: usize, _now: Duration) {}
    fn outside(&mut self, _units: u32, _now: Duration) {}
    fn wake(&self, _now: Duration) -> Option<Duration> {
        None
    }
    /// Whether it wants a snapshot.
    fn asks(&self) -> bool {
        false
    }
    /// The answer, that was asked for at that time.
    fn answer(&mut self, _units: u32, _asked_at: Duration, _now: Duration) {}
    /// How many it has given up.
    fn failed(&self) -> usize {
        0
    }
}

struct Featherwire {
    scheduler: Scheduler,
    epoch: Instant,
    tickets: HashMap<usize, Ticket>,
    ids: HashMap<Ticket, usize>,
}

impl Featherwire {
    fn new(load: &Load, headroom: u32) -> Self {
        let settings = Settings { queue_limit: usize::MAX, headroom, ..Settings::default() };
        let mut scheduler = Scheduler::new(settings);
        let epoch = Instant::now();
        let _ = scheduler.set_capacity(Some(load.capacity), epoch);
        Self { scheduler, epoch, tickets: HashMap::new(), ids: HashMap::new() }
    }
}

impl Policy for Featherwire {
    fn arrive(&mut self, id: usize, request: &Request, now: Duration) {
        let (_, weight, priority, _) = KEYS[request.key];
        let ask = Ask { key: KeyId(request.key as u32), weight, priority, cost: request.cost(), deadline: None };
        let ticket = self.scheduler.enqueue(self.epoch + now, ask).expect("there is no limit and no deadline");
        self.tickets.insert(id, ticket);
        self.ids.insert(ticket, id);
    }

    fn next(&mut self, now: Duration) -> Option<usize> {
        self.scheduler.start(self.epoch + now).map(|ticket| self.ids[&ticket])
    }

    fn ended(&mut self, id: usize, now: Duration) {
        let ticket = self.tickets.remove(&id).expect("it was sent");
        self.ids.remove(&ticket);
        assert!(self.scheduler.release(ticket, self.epoch + now, Duration::ZERO));
    }

    fn refused(&mut self, id: usize, active: u32, now: Duration) {
        let now = self.epoch + now;
        assert!(self.scheduler.put_back(self.tickets[&id], now));
        let ours = self.scheduler.view(now).in_use;
        self.scheduler.set_outside_refused(outside::by_refusal(active, ours), now);
    }

    fn outside(&mut self, units: u32, now: Duration) {
        self.scheduler.set_outside(units, self.epoch + now);
    }

    fn asks(&self) -> bool {
        self.scheduler.wants_news()
    }

    fn answer(&mut self, units: u32, asked_at: Duration, now: Duration) {
        self.scheduler.set_outside_asked(units, self.epoch + asked_at, self.epoch + now);
    }

    fn wake(&self, now: Duration) -> Option<Duration> {
        self.scheduler.next_wake(self.epoch + now).map(|wake| wake - self.epoch)
    }
}

/// The same before an upstream that says nothing but 429, and there how many units are active and how many there are: no
/// plan, no feed, no snapshot. What the permits do then, in short.
struct ByRefusals {
    featherwire: Featherwire,
    limit: u32,
    /// When what refusals said of others, and of the limit, is tried.
    outside_at: Option<Duration>,
    limit_at: Option<Duration>,
    /// The request that tries it, and whether it goes beyond the limit.
    trial: Option<(usize, bool)>,
}

impl ByRefusals {
    const OUTSIDE_BELIEVED: Duration = Duration::from_secs(2);
    const LIMIT_BELIEVED: Duration = Duration::from_secs(60);

    fn new(load: &Load) -> Self {
        let mut featherwire = Featherwire::new(load, 0);
        let _ = featherwire.scheduler.set_capacity(None, featherwire.epoch);
        Self { featherwire, limit: load.capacity, outside_at: None, limit_at: None, trial: None }
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
        let ticket = self.featherwire.scheduler.start_untold(self.featherwire.epoch + now, is_beyond)?;
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
        self.featherwire.scheduler.set_capacity_refused(Some(self.limit));
        self.outside_at = Some(now + Self::OUTSIDE_BELIEVED);
        self.limit_at = Some(now + Self::LIMIT_BELIEVED);
    }

    fn let_in(&mut self, id: usize, now: Duration) {
        match self.trial.take_if(|(trial, _)| *trial == id) {
            Some((_, true)) => {
                let units = self.featherwire.scheduler.units().unwrap_or(u32::MAX).saturating_mul(2);
                self.featherwire.scheduler.set_capacity_refused(Some(units));
                self.limit_at = Some(now + Duration::from_secs(1));
            }
            Some((_, false)) => {
                self.featherwire.scheduler.set_outside_doubted(0);
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

/// First come, first served, on the same units and with the same knowledge.
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
        self.outside = outside::by_refusal(active, self.in_use);
        self.queue.push_front((id, self.costs[&id]));
    }

    fn outside(&mut self, units: u32, _now: Duration) {
        self.outside = units;
    }
}

/// Everybody for themselves: send, and if refused wait a quarter of a second, then twice that and so on up to five
/// seconds, each give or take a half; after twelve tries the caller gets the 429.
struct Retry {
    dice: fastrand::Rng,
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
        let wait = (0.125 * f64::from(1 << *tries)).min(5.0) * (0.5 + self.dice.f64());
        self.due.insert((now + Duration::from_secs_f64(wait), id));
    }

    fn wake(&self, _now: Duration) -> Option<Duration> {
        self.due.first().map(|&(at, _)| at)
    }

    fn failed(&self) -> usize {
        self.failed
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ended(usize),
    OutsiderEnded(usize),
    Arrived(usize),
    /// An outsider tries; its cost, its service in ms and how often it may still try.
    Outsider(u32, u64, u32),
    SnapshotTaken,
    SnapshotTold,
    AnswerTaken,
    AnswerTold,
    Wake,
}

/// The units in use, and for each flight its model and for how long it has been running.
type Taken = (u32, Vec<(usize, Duration)>);

struct Flight {
    model: usize,
    since: Duration,
    is_ours: bool,
}

/// What upstream is like, and the clock.
struct World<'a> {
    load: Load,
    requests: &'a [Request],
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    now: Duration,
    end: Duration,
    dice: fastrand::Rng,
    flights: BTreeMap<usize, Flight>,
    ours: u32,
    outside: u32,
    outsiders: usize,
    recent: VecDeque<(usize, Duration, Duration)>,
    taken: VecDeque<Taken>,
    /// When it was asked for a snapshot, and whether that has been answered.
    asked: Option<(Duration, bool)>,
    answer: Option<Taken>,
    /// Of the feed, and of what is asked for.
    recognition: [Recognition; 2],
    report: Report,
}

#[derive(Default)]
struct Report {
    waits: Vec<Vec<f64>>,
    granted: Vec<f64>,
    sent: usize,
    refused: usize,
    failed: usize,
    asked: usize,
    busy: f64,
    /// What no schedule can exceed: work poured through what outsiders leave as if it were water.
    liquid: f64,
    backlog: f64,
    outsiders_busy: f64,
}

impl<'a> World<'a> {
    fn new(load: Load, requests: &'a [Request]) -> Self {
        let end = requests.last().expect("there are some").at;
        let report =
            Report { waits: vec![Vec::new(); KEYS.len()], granted: vec![0.0; KEYS.len()], ..Report::default() };
        let mut world = World {
            load,
            requests,
            events: BinaryHeap::new(),
            sequence: 0,
            now: Duration::ZERO,
            end,
            dice: fastrand::Rng::with_seed(7),
            flights: BTreeMap::new(),
            ours: 0,
            outside: 0,
            outsiders: 0,
            recent: VecDeque::new(),
            taken: VecDeque::new(),
            asked: None,
            answer: None,
            recognition: Default::default(),
            report,
        };
        (0..requests.len()).for_each(|id| world.at(requests[id].at, Event::Arrived(id)));
        if load.outsiders_per_minute > 0.0 {
            world.outsiders_come();
            world.at(SNAPSHOT_EVERY, Event::SnapshotTaken);
        }
        world
    }

    /// Known beforehand, so that they are the same for every policy.
    fn outsiders_come(&mut self) {
        let mut at = 0.0;
        while at < self.end.as_secs_f64() {
            at += exponential(&mut self.dice, 60.0 / self.load.outsiders_per_minute);
            let cost = MODELS[pick(&mut self.dice, MODELS.iter().map(|model| model.2))].1;
            let service = exponential(&mut self.dice, OUTSIDER_SERVICE);
            let outsider = Event::Outsider(cost.min(self.load.capacity / 2), (service * 1000.0) as u64, 5);
            self.at(Duration::from_secs_f64(at), outsider);
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn run(mut self, policy: &mut dyn Policy) -> Report {
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > self.end {
                break;
            }
            self.pass(at);
            self.happen(event, policy);
            while let Some(id) = policy.next(self.now) {
                self.send(id, policy);
            }
            self.ask(policy);
            if let Some(wake) = policy.wake(self.now)
                && self.events.peek().is_none_or(|Reverse((next, _, _))| wake < *next)
            {
                self.at(wake.max(self.now), Event::Wake);
            }
        }
        self.report.failed = policy.failed();
        self.report
    }

    fn pass(&mut self, to: Duration) {
        let time = (to - self.now).as_secs_f64();
        let left = f64::from(self.load.capacity - self.outside);
        let liquid = (left * time).min(self.report.backlog);
        self.report.backlog -= liquid;
        self.report.liquid += liquid;
        self.report.busy += f64::from(self.ours) * time;
        self.report.outsiders_busy += f64::from(self.outside) * time;
        self.now = to;
    }

    fn happen(&mut self, event: Event, policy: &mut dyn Policy) {
        match event {
            Event::Arrived(id) => {
                let request = &self.requests[id];
                self.report.backlog += f64::from(request.cost()) * request.service.as_secs_f64();
                policy.arrive(id, request, self.now);
            }
            Event::Ended(id) => {
                let request = &self.requests[id];
                let flight = self.flights.remove(&id).expect("it flies");
                self.recent.push_back((flight.model, flight.since, self.now));
                self.ours -= request.cost();
                self.report.granted[request.key] += f64::from(request.cost()) * request.service.as_secs_f64();
                policy.ended(id, self.now);
            }
            Event::OutsiderEnded(id) => {
                let flight = self.flights.remove(&id).expect("it flies");
                self.outside -= MODELS[flight.model].1;
            }
            Event::Outsider(cost, service_ms, tries) => self.outsider(cost, service_ms, tries),
            Event::SnapshotTaken => {
                self.taken.push_back(self.snapshot());
                self.at(self.now + SNAPSHOT_LAG, Event::SnapshotTold);
                self.at(self.now + SNAPSHOT_EVERY, Event::SnapshotTaken);
            }
            Event::SnapshotTold => {
                let Some(taken) = self.taken.pop_front() else { return };
                let outside = self.outside_by(taken, false);
                policy.outside(outside, self.now);
            }
            Event::AnswerTaken => {
                self.answer = Some(self.snapshot());
                self.at(self.now + ASK_TRIP / 2, Event::AnswerTold);
            }
            Event::AnswerTold => {
                let (Some(taken), Some((asked_at, _))) = (self.answer.take(), self.asked) else { return };
                self.asked = Some((asked_at, true));
                let outside = self.outside_by(taken, true);
                policy.answer(outside, asked_at, self.now);
            }
            Event::Wake => {}
        }
    }

    fn outsider(&mut self, cost: u32, service_ms: u64, tries: u32) {
        let others = self.outside + cost;
        if others <= self.load.capacity / 2 && self.ours + others <= self.load.capacity {
            self.outsiders += 1;
            let id = self.requests.len() + self.outsiders;
            let model = MODELS.iter().position(|model| model.1 == cost).expect("there is one of each cost");
            self.flights.insert(id, Flight { model, since: self.now, is_ours: false });
            self.outside = others;
            self.at(self.now + Duration::from_millis(service_ms), Event::OutsiderEnded(id));
        } else if tries > 0 {
            self.at(self.now + OUTSIDER_RETRY, Event::Outsider(cost, service_ms, tries - 1));
        }
    }

    /// It asks for a snapshot of its own: not before it has the last one, nor more often than it does.
    fn ask(&mut self, policy: &dyn Policy) {
        if self.asked.is_none_or(|(at, is_answered)| is_answered && self.now >= at + ASK_EVERY) && policy.asks() {
            self.asked = Some((self.now, false));
            self.report.asked += 1;
            self.at(self.now + ASK_TRIP / 2, Event::AnswerTaken);
        } else if let Some((at, true)) = self.asked
            && policy.asks()
        {
            self.at(at + ASK_EVERY, Event::Wake);
        }
    }

    fn snapshot(&self) -> Taken {
        let list = self.flights.values().map(|flight| (flight.model, self.now - flight.since)).collect();
        (self.ours + self.outside, list)
    }

    fn outside_by(&mut self, (used_cost, list): Taken, is_asked: bool) -> u32 {
        let epoch = Instant::now() + Duration::from_secs(1);
        while self.recent.front().is_some_and(|(_, _, ended)| self.now - *ended > outside::LAG) {
            self.recent.pop_front();
        }
        let of = |model: usize, since: Duration, ended: Option<Duration>| Ours {
            model: MODELS[model].0,
            cost: MODELS[model].1,
            started_at: epoch + since,
            ended_at: ended.map(|ended| epoch + ended),
        };
        let running = self.flights.values().filter(|flight| flight.is_ours);
        let running = running.map(|flight| of(flight.model, flight.since, None));
        let ended = self.recent.iter().map(|&(model, since, ended)| of(model, since, Some(ended)));
        let ours: Vec<_> = running.chain(ended).collect();
        let listed = |&(model, duration): &(usize, Duration)| {
            let (model, cost, _) = MODELS[model];
            Listed { model, cost, duration }
        };
        let requests: Vec<_> = list.iter().map(listed).collect();
        let lag = if is_asked { ASK_TRIP } else { outside::LAG };
        let snapshot = Snapshot { received_at: epoch + self.now, lag, used_cost, requests: &requests };
        self.recognition[usize::from(is_asked)].outside(&snapshot, &ours)
    }

    fn send(&mut self, id: usize, policy: &mut dyn Policy) {
        let request = &self.requests[id];
        self.report.sent += 1;
        let active = self.ours + self.outside;
        if active + request.cost() > self.load.capacity {
            self.report.refused += 1;
            policy.refused(id, active, self.now);
            return;
        }
        self.ours += request.cost();
        policy.let_in(id, self.now);
        self.flights.insert(id, Flight { model: request.model, since: self.now, is_ours: true });
        self.report.waits[request.key].push((self.now - request.at).as_secs_f64());
        self.at(self.now + request.service, Event::Ended(id));
    }
}

/// Half of the requests come one by one, half in bursts of ten on average.
fn requests(load: &Load) -> Vec<Request> {
    let mut dice = fastrand::Rng::with_seed(42);
    let gap = COST_MEAN * load.service / (f64::from(load.capacity) * load.offered);
    let (mut at, mut requests) = (0.0, Vec::with_capacity(REQUESTS));
    while requests.len() < REQUESTS {
        // One of eleven arrivals is a burst.
        let burst = if dice.f64() < 1.0 / 11.0 { dice.usize(5..=15) } else { 1 };
        at += exponential(&mut dice, gap * 20.0 / 11.0);
        let key = pick(&mut dice, KEYS.iter().map(|key| key.3));
        for _ in 0..burst {
            let model = pick(&mut dice, MODELS.iter().map(|model| model.2));
            let service = Duration::from_secs_f64(exponential(&mut dice, load.service).max(0.05));
            requests.push(Request { at: Duration::from_secs_f64(at), key, model, service });
        }
    }
    requests
}

fn exponential(dice: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - dice.f64()).ln()
}

fn pick(dice: &mut fastrand::Rng, parts: impl Iterator<Item = f64>) -> usize {
    let mut left = dice.f64();
    let mut last = 0;
    for (index, part) in parts.enumerate() {
        last = index;
        left -= part;
        if left < 0.0 {
            break;
        }
    }
    last
}

fn policies(load: &Load) -> Vec<(&'static str, Box<dyn Policy>)> {
    let capacity = load.capacity;
    let headroom = Settings::default().headroom;
    let fifo = Fifo { capacity, outside: 0, in_use: 0, queue: VecDeque::new(), costs: HashMap::new() };
    let (due, tries) = Default::default();
    let retry = Retry { dice: fastrand::Rng::with_seed(3), due, tries, failed: 0 };
    let mut all: Vec<(_, Box<dyn Policy>)> = vec![("ours", Box::new(Featherwire::new(load, headroom)))];
    if load.outsiders_per_minute > 0.0 {
        all.push(("ours, no guard", Box::new(Featherwire::new(load, 0))));
    }
    all.push(("ours, 429s only", Box::new(ByRefusals::new(load))));
    all.push(("first come", Box::new(fifo)));
    all.push(("try again", Box::new(retry)));
    all
}

fn percentiles(waits: impl Iterator<Item = f64>) -> String {
    let mut waits: Vec<_> = waits.collect();
    waits.sort_by(f64::total_cmp);
    let of = |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1)));
    let show = |wait: Option<&f64>| wait.map_or("-".to_owned(), |wait| format!("{wait:.1}"));
    format!("{} / {}", show(of(50)), show(of(99)))
}

fn of_class(report: &Report, priority: Priority) -> String {
    let keys = KEYS.iter().zip(&report.waits).filter(|(key, _)| key.2 == priority);
    percentiles(keys.flat_map(|(_, waits)| waits.iter().copied()))
}

fn table(title: &str, loads: &[Load]) {
    println!("\n### {title}\n");
    println!(
        "| units | service s | offered | outside | who | of the oracle's | interactive | default | batch | 429s upstream | failed | asked |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for load in loads {
        let requests = requests(load);
        for (name, mut policy) in policies(load) {
            let report = World::new(*load, &requests).run(&mut *policy);
            let seconds = requests.last().map_or(0.0, |last| last.at.as_secs_f64());
            println!(
                "| {} | {} | {:.2} | {:.1} % | {name} | {:.1} % | {} | {} | {} | {:.3} % | {:.2} % | {:.2} |",
                load.capacity,
                load.service,
                load.offered,
                100.0 * report.outsiders_busy / seconds / f64::from(load.capacity),
                100.0 * report.busy / report.liquid,
                of_class(&report, Priority::Interactive),
                of_class(&report, Priority::Default),
                of_class(&report, Priority::Batch),
                100.0 * report.refused as f64 / requests.len() as f64,
                100.0 * report.failed as f64 / requests.len() as f64,
                report.asked as f64 / requests.len() as f64,
            );
        }
    }
}

fn keys(load: &Load) {
    println!("\n### By key: {} units, {} s, {:.2} offered\n", load.capacity, load.service, load.offered);
    println!("| who | {} |", KEYS.map(|key| format!("{} ({:?}, weight {})", key.0, key.2, key.1)).join(" | "));
    println!("|---|---|---|---|---|---|");
    let requests = requests(load);
    for (name, mut policy) in policies(load) {
        let report = World::new(*load, &requests).run(&mut *policy);
        let total: f64 = report.granted.iter().sum();
        let cell = |(waits, granted): (&Vec<f64>, &f64)| {
            format!("{}, {:.1} %", percentiles(waits.iter().copied()), 100.0 * granted / total)
        };
        let cells: Vec<_> = report.waits.iter().zip(&report.granted).map(cell).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn main() {
    let all = |offered: f64, outsiders_per_minute: f64| -> Vec<Load> {
        let loads = [4, 8, 100].into_iter().flat_map(|capacity| [2.0, 10.0, 60.0].map(|service| (capacity, service)));
        loads.map(|(capacity, service)| Load { capacity, service, offered, outsiders_per_minute }).collect()
    };
    println!("Waits in seconds, p50 / p99. {REQUESTS} requests in each run.");
    table("Saturation: a third more is asked for than there is", &all(1.33, 0.0));
    table("Busy: seven tenths of what there is", &all(0.7, 0.0));
    table("Saturation, with outsiders", &all(1.33, 2.0));
    table("Half busy, with outsiders", &all(0.5, 2.0));
    table("Busy, with outsiders", &all(0.7, 2.0));
    table("Half busy, with half as many outsiders", &all(0.5, 1.0));
    keys(&Load { capacity: 8, service: 10.0, offered: 1.33, outsiders_per_minute: 0.0 });
}
