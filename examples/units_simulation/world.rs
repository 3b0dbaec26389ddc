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
    load::{Load, MODELS, Request, exponential, pick},
    policies::Policy,
};

const SNAPSHOT_EVERY: Duration = Duration::from_secs(2);
const SNAPSHOT_LAG: Duration = Duration::from_millis(300);
/// The round-trip time of a requested snapshot, and the shortest interval between two of them.
const REQUEST_TRIP: Duration = Duration::from_millis(100);
const REQUEST_EVERY: Duration = Duration::from_millis(250);
const EXTERNAL_RETRY: Duration = Duration::from_secs(5);
const EXTERNAL_SERVICE: f64 = 20.0;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ended(usize),
    ExternalEnded(usize),
    Arrived(usize),
    /// A request of another process: its cost, its service time in ms, and its remaining tries.
    ExternalRequest(u32, u64, u32),
    SnapshotTaken,
    SnapshotReceived,
    /// The gateway that has requested it.
    RequestedSnapshotTaken(usize),
    RequestedSnapshotReceived(usize),
    Wake,
}

/// The units in use, and the model and the running time of each request.
type UsageSnapshot = (u32, Vec<(usize, Duration)>);

struct RunningRequest {
    model: usize,
    since: Duration,
    /// `None` for a request of another process.
    gateway: Option<usize>,
}

/// A request of a gateway that has ended.
struct EndedRequest {
    model: usize,
    gateway: usize,
    since: Duration,
    ended: Duration,
}

/// What a gateway reads of the account.
#[derive(Default)]
struct Reader {
    /// The time of the last requested snapshot, and whether it has been answered.
    asked: Option<(Duration, bool)>,
    requested_snapshot: Option<UsageSnapshot>,
    /// One for the feed, one for requested snapshots.
    matchers: [RequestMatcher; 2],
}

/// The settings of the upstream, and the clock.
pub struct World<'a> {
    load: Load,
    requests: &'a [Request],
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sequence: u64,
    now: Duration,
    end: Duration,
    rng: fastrand::Rng,
    running: BTreeMap<usize, RunningRequest>,
    own_units: u32,
    outside: u32,
    external_requests: usize,
    recent: VecDeque<EndedRequest>,
    snapshots: VecDeque<UsageSnapshot>,
    readers: Vec<Reader>,
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
    /// The upper bound of every schedule: work that can be divided without limit over the units
    /// that other processes leave free.
    pub ideal: f64,
    pub backlog: f64,
    pub external_busy: f64,
}

impl<'a> World<'a> {
    pub fn new(load: Load, requests: &'a [Request]) -> Self {
        let end = requests.last().expect("there are some").at;
        let report = Report {
            waits: vec![Vec::new(); load.keys.len()],
            granted: vec![0.0; load.keys.len()],
            ..Report::default()
        };
        let mut world = World {
            load,
            requests,
            events: BinaryHeap::new(),
            sequence: 0,
            now: Duration::ZERO,
            end,
            rng: fastrand::Rng::with_seed(7),
            running: BTreeMap::new(),
            own_units: 0,
            outside: 0,
            external_requests: 0,
            recent: VecDeque::new(),
            snapshots: VecDeque::new(),
            readers: Vec::new(),
            report,
        };
        (0..requests.len()).for_each(|id| world.at(requests[id].at, Event::Arrived(id)));
        if load.external_per_minute > 0.0 {
            world.schedule_external_requests();
        }
        world
    }

    /// Generates the requests of other processes in advance, so that they are the same for every
    /// policy.
    fn schedule_external_requests(&mut self) {
        let mut at = 0.0;
        while at < self.end.as_secs_f64() {
            at += exponential(&mut self.rng, 60.0 / self.load.external_per_minute);
            let cost = MODELS[pick(&mut self.rng, MODELS.iter().map(|model| model.2))].1;
            let service = exponential(&mut self.rng, EXTERNAL_SERVICE);
            let external_request = Event::ExternalRequest(
                cost.min(self.load.capacity / 2),
                (service * 1000.0) as u64,
                5,
            );
            self.at(Duration::from_secs_f64(at), external_request);
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    pub fn run(mut self, policy: &mut dyn Policy) -> Report {
        self.readers.resize_with(policy.readers(), Reader::default);
        if self.load.external_per_minute > 0.0 || self.readers.len() > 1 {
            self.at(SNAPSHOT_EVERY, Event::SnapshotTaken);
        }
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > self.end {
                break;
            }
            self.advance(at);
            self.handle(event, policy);
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

    fn advance(&mut self, to: Duration) {
        let time = (to - self.now).as_secs_f64();
        let left = f64::from(self.load.capacity - self.outside);
        let ideal = (left * time).min(self.report.backlog);
        self.report.backlog -= ideal;
        self.report.ideal += ideal;
        self.report.busy += f64::from(self.own_units) * time;
        self.report.external_busy += f64::from(self.outside) * time;
        self.now = to;
    }

    fn handle(&mut self, event: Event, policy: &mut dyn Policy) {
        match event {
            Event::Arrived(id) => {
                let request = &self.requests[id];
                self.report.backlog += f64::from(request.cost()) * request.service.as_secs_f64();
                policy.arrive(id, request, self.now);
            }
            Event::Ended(id) => {
                let request = &self.requests[id];
                let finished = self.running.remove(&id).expect("the request is running");
                self.recent.push_back(EndedRequest {
                    model: finished.model,
                    gateway: request.gateway,
                    since: finished.since,
                    ended: self.now,
                });
                self.own_units -= request.cost();
                self.report.granted[request.key] +=
                    f64::from(request.cost()) * request.service.as_secs_f64();
                policy.ended(id, self.now);
            }
            Event::ExternalEnded(id) => {
                let finished = self.running.remove(&id).expect("the request is running");
                self.outside -= MODELS[finished.model].1;
            }
            Event::ExternalRequest(cost, service_ms, tries) => {
                self.external_request(cost, service_ms, tries)
            }
            Event::SnapshotTaken => {
                self.snapshots.push_back(self.snapshot());
                self.at(self.now + SNAPSHOT_LAG, Event::SnapshotReceived);
                self.at(self.now + SNAPSHOT_EVERY, Event::SnapshotTaken);
            }
            Event::SnapshotReceived => {
                let Some(snapshot) = self.snapshots.pop_front() else {
                    return;
                };
                for reader in 0..self.readers.len() {
                    let outside = self.outside_by(reader, &snapshot, false);
                    policy.outside(reader, outside, self.now);
                }
            }
            Event::RequestedSnapshotTaken(reader) => {
                self.readers[reader].requested_snapshot = Some(self.snapshot());
                self.at(
                    self.now + REQUEST_TRIP / 2,
                    Event::RequestedSnapshotReceived(reader),
                );
            }
            Event::RequestedSnapshotReceived(reader) => {
                let Reader {
                    asked,
                    requested_snapshot,
                    ..
                } = &mut self.readers[reader];
                let (Some(snapshot), Some((requested_at, is_answered))) =
                    (requested_snapshot.take(), asked)
                else {
                    return;
                };
                *is_answered = true;
                let requested_at = *requested_at;
                let outside = self.outside_by(reader, &snapshot, true);
                policy.requested_snapshot(reader, outside, requested_at, self.now);
            }
            Event::Wake => {}
        }
    }

    fn external_request(&mut self, cost: u32, service_ms: u64, tries: u32) {
        let others = self.outside + cost;
        if others <= self.load.capacity / 2 && self.own_units + others <= self.load.capacity {
            self.external_requests += 1;
            let id = self.requests.len() + self.external_requests;
            let model = MODELS
                .iter()
                .position(|model| model.1 == cost)
                .expect("there is one of each cost");
            self.running.insert(
                id,
                RunningRequest {
                    model,
                    since: self.now,
                    gateway: None,
                },
            );
            self.outside = others;
            self.at(
                self.now + Duration::from_millis(service_ms),
                Event::ExternalEnded(id),
            );
        } else if tries > 0 {
            self.at(
                self.now + EXTERNAL_RETRY,
                Event::ExternalRequest(cost, service_ms, tries - 1),
            );
        }
    }

    /// Requests a snapshot, but not before the last one has arrived, and not more often than the
    /// gateway.
    fn ask(&mut self, policy: &dyn Policy) {
        for reader in 0..self.readers.len() {
            let asked = self.readers[reader].asked;
            if !policy.wants_snapshot(reader) {
                continue;
            }
            if asked.is_none_or(|(at, is_answered)| is_answered && self.now >= at + REQUEST_EVERY) {
                self.readers[reader].asked = Some((self.now, false));
                self.report.asked += 1;
                let taken_at = self.now + REQUEST_TRIP / 2;
                self.at(taken_at, Event::RequestedSnapshotTaken(reader));
            } else if let Some((at, true)) = asked {
                self.at(at + REQUEST_EVERY, Event::Wake);
            }
        }
    }

    fn snapshot(&self) -> UsageSnapshot {
        let list = self
            .running
            .values()
            .map(|request| (request.model, self.now - request.since))
            .collect();
        (self.own_units + self.outside, list)
    }

    /// The units of others, as a gateway finds them in the snapshot. The only reader sees the
    /// requests of all gateways as its own.
    fn outside_by(&mut self, reader: usize, snapshot: &UsageSnapshot, is_asked: bool) -> u32 {
        let (used_cost, list) = snapshot;
        let is_only = self.readers.len() == 1;
        let epoch = Instant::now() + Duration::from_secs(1);
        while self
            .recent
            .front()
            .is_some_and(|request| self.now - request.ended > external_usage::LAG)
        {
            self.recent.pop_front();
        }
        let of = |model: usize, since: Duration, ended: Option<Duration>| OwnRequest {
            model: MODELS[model].0,
            cost: MODELS[model].1,
            started_at: epoch + since,
            ended_at: ended.map(|ended| epoch + ended),
        };
        let running = self.running.values().filter(|request| {
            request
                .gateway
                .is_some_and(|gateway| is_only || gateway == reader)
        });
        let running = running.map(|request| of(request.model, request.since, None));
        let ended = self
            .recent
            .iter()
            .filter(|request| is_only || request.gateway == reader)
            .map(|request| of(request.model, request.since, Some(request.ended)));
        let own_units: Vec<_> = running.chain(ended).collect();
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
            REQUEST_TRIP
        } else {
            external_usage::LAG
        };
        let snapshot = Snapshot {
            received_at: epoch + self.now,
            lag,
            used_cost: *used_cost,
            requests: &requests,
        };
        self.readers[reader].matchers[usize::from(is_asked)].external_units(&snapshot, &own_units)
    }

    fn send(&mut self, id: usize, policy: &mut dyn Policy) {
        let request = &self.requests[id];
        self.report.sent += 1;
        let active = self.own_units + self.outside;
        if active + request.cost() > self.load.capacity {
            self.report.refused += 1;
            policy.refused(id, active, self.now);
            return;
        }
        self.own_units += request.cost();
        policy.admitted(id, self.now);
        self.running.insert(
            id,
            RunningRequest {
                model: request.model,
                since: self.now,
                gateway: Some(request.gateway),
            },
        );
        self.report.waits[request.key].push((self.now - request.at).as_secs_f64());
        self.at(self.now + request.service, Event::Ended(id));
    }
}
