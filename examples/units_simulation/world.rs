//! The upstream and its other users, the clock, and the record of a run.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use featherwire::admission::external_usage::{
    self, ListedRequest, OwnRequest, RequestMatcher, Snapshot,
};

use crate::{
    load::{KEYS, Load, MODELS, Request, exponential, pick},
    policies::Policy,
};

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
const SNAPSHOT_LAG: Duration = Duration::from_millis(300);
/// A snapshot that is asked for takes so long, there and back, and is asked for only so often.
const ASK_TRIP: Duration = Duration::from_millis(100);
const ASK_EVERY: Duration = Duration::from_millis(250);
const OUTSIDER_RETRY: Duration = Duration::from_secs(5);
const OUTSIDER_SERVICE: f64 = 20.0;

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

/// The settings of the upstream, and the clock.
pub struct World<'a> {
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
    /// One for the feed, one for requested snapshots.
    matchers: [RequestMatcher; 2],
    report: Report,
}

#[derive(Default)]
pub struct Report {
    pub waits: Vec<Vec<f64>>,
    pub granted: Vec<f64>,
    pub sent: usize,
    pub refused: usize,
    pub failed: usize,
    pub asked: usize,
    pub busy: f64,
    /// The upper bound of every schedule: work that could be divided without limit over the units
    /// that others leave free.
    pub liquid: f64,
    pub backlog: f64,
    pub outsiders_busy: f64,
}

impl<'a> World<'a> {
    pub fn new(load: Load, requests: &'a [Request]) -> Self {
        let end = requests.last().expect("there are some").at;
        let report = Report {
            waits: vec![Vec::new(); KEYS.len()],
            granted: vec![0.0; KEYS.len()],
            ..Report::default()
        };
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
            matchers: Default::default(),
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
            let outsider = Event::Outsider(
                cost.min(self.load.capacity / 2),
                (service * 1000.0) as u64,
                5,
            );
            self.at(Duration::from_secs_f64(at), outsider);
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    pub fn run(mut self, policy: &mut dyn Policy) -> Report {
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
                && self
                    .events
                    .peek()
                    .is_none_or(|Reverse((next, _, _))| wake < *next)
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
                self.recent
                    .push_back((flight.model, flight.since, self.now));
                self.ours -= request.cost();
                self.report.granted[request.key] +=
                    f64::from(request.cost()) * request.service.as_secs_f64();
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
                let Some(taken) = self.taken.pop_front() else {
                    return;
                };
                let outside = self.outside_by(taken, false);
                policy.outside(outside, self.now);
            }
            Event::AnswerTaken => {
                self.answer = Some(self.snapshot());
                self.at(self.now + ASK_TRIP / 2, Event::AnswerTold);
            }
            Event::AnswerTold => {
                let (Some(taken), Some((asked_at, _))) = (self.answer.take(), self.asked) else {
                    return;
                };
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
            let model = MODELS
                .iter()
                .position(|model| model.1 == cost)
                .expect("there is one of each cost");
            self.flights.insert(
                id,
                Flight {
                    model,
                    since: self.now,
                    is_ours: false,
                },
            );
            self.outside = others;
            self.at(
                self.now + Duration::from_millis(service_ms),
                Event::OutsiderEnded(id),
            );
        } else if tries > 0 {
            self.at(
                self.now + OUTSIDER_RETRY,
                Event::Outsider(cost, service_ms, tries - 1),
            );
        }
    }

    /// It asks for a snapshot of its own: not before it has the last one, nor more often than it
    /// does.
    fn ask(&mut self, policy: &dyn Policy) {
        if self
            .asked
            .is_none_or(|(at, is_answered)| is_answered && self.now >= at + ASK_EVERY)
            && policy.asks()
        {
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
        let list = self
            .flights
            .values()
            .map(|flight| (flight.model, self.now - flight.since))
            .collect();
        (self.ours + self.outside, list)
    }

    fn outside_by(&mut self, (used_cost, list): Taken, is_asked: bool) -> u32 {
        let epoch = Instant::now() + Duration::from_secs(1);
        while self
            .recent
            .front()
            .is_some_and(|(_, _, ended)| self.now - *ended > external_usage::LAG)
        {
            self.recent.pop_front();
        }
        let of = |model: usize, since: Duration, ended: Option<Duration>| OwnRequest {
            model: MODELS[model].0,
            cost: MODELS[model].1,
            started_at: epoch + since,
            ended_at: ended.map(|ended| epoch + ended),
        };
        let running = self.flights.values().filter(|flight| flight.is_ours);
        let running = running.map(|flight| of(flight.model, flight.since, None));
        let ended = self
            .recent
            .iter()
            .map(|&(model, since, ended)| of(model, since, Some(ended)));
        let ours: Vec<_> = running.chain(ended).collect();
        let listed = |&(model, duration): &(usize, Duration)| {
            let (model, cost, _) = MODELS[model];
            ListedRequest {
                model,
                cost,
                duration,
            }
        };
        let requests: Vec<_> = list.iter().map(listed).collect();
        let lag = if is_asked {
            ASK_TRIP
        } else {
            external_usage::LAG
        };
        let snapshot = Snapshot {
            received_at: epoch + self.now,
            lag,
            used_cost,
            requests: &requests,
        };
        self.matchers[usize::from(is_asked)].external_units(&snapshot, &ours)
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
        self.flights.insert(
            id,
            Flight {
                model: request.model,
                since: self.now,
                is_ours: true,
            },
        );
        self.report.waits[request.key].push((self.now - request.at).as_secs_f64());
        self.at(self.now + request.service, Event::Ended(id));
    }
}
