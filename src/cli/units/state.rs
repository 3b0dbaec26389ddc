//! What the full screen shows: the last snapshot, what it was before, and whether more come.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    feed::News,
    plain::{used, waiting},
};
use crate::proto::v1::{ActiveRequest, Concurrency, GatewayUnits};

/// The points of the history that are kept. Few terminals are wider.
const HISTORY_MAX: usize = 600;

/// What the screen shows.
#[derive(Debug)]
pub(super) struct State {
    /// The address of the gateway.
    pub(super) address: String,
    pub(super) link: Link,
    /// `None` before the first one.
    pub(super) snapshot: Option<Concurrency>,
    arrived: Instant,
    /// A point for each second, oldest first. `None` while the stream was broken.
    pub(super) history: VecDeque<Option<Point>>,
    /// The mark of each running request, by its id. It stays while the request runs.
    marks: BTreeMap<String, usize>,
}

/// Whether snapshots come.
#[derive(Debug)]
pub(super) enum Link {
    Connecting,
    Live,
    Lost { problem: String, until: Instant },
}

/// The units at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) used: u32,
    pub(super) waiting: u32,
}

/// A running request.
#[derive(Debug)]
pub(super) struct Running<'a> {
    pub(super) request: &'a ActiveRequest,
    /// Which of the letters and colours it has.
    pub(super) mark: usize,
    pub(super) duration: Option<Duration>,
}

impl State {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            link: Link::Connecting,
            snapshot: None,
            arrived: Instant::now(),
            history: VecDeque::new(),
            marks: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, news: News) {
        match news {
            News::Snapshot(snapshot) => {
                self.mark(&snapshot.requests);
                self.snapshot = Some(*snapshot);
                self.arrived = Instant::now();
                self.link = Link::Live;
            }
            News::Lost { problem, pause } => {
                let until = Instant::now() + pause;
                self.link = Link::Lost { problem, until };
            }
            News::Connecting => self.link = Link::Connecting,
        }
    }

    /// Adds a point to the history.
    pub(super) fn sample(&mut self) {
        if self.snapshot.is_none() {
            return;
        }
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        let is_live = matches!(self.link, Link::Live);
        let point = self.snapshot.as_ref().map(|snapshot| Point {
            used: number(used(snapshot).unwrap_or_default()),
            waiting: number(waiting(&self.gateway())),
        });
        self.history.push_back(point.filter(|_| is_live));
    }

    /// The gateway's own view of the units.
    pub(super) fn gateway(&self) -> GatewayUnits {
        let snapshot = self.snapshot.as_ref();
        snapshot
            .and_then(|snapshot| snapshot.gateway.clone())
            .unwrap_or_default()
    }

    /// The time since the last snapshot, which durations in it do not have.
    pub(super) fn age(&self) -> Duration {
        match self.link {
            Link::Live => self.arrived.elapsed(),
            // What is not known any more does not go on.
            Link::Connecting | Link::Lost { .. } => Duration::ZERO,
        }
    }

    /// The running requests, those that have run longest first.
    pub(super) fn running(&self) -> Vec<Running<'_>> {
        let requests = self.snapshot.iter().flat_map(|snapshot| &snapshot.requests);
        let mut running: Vec<_> = requests
            .map(|request| {
                let id = request.id.as_deref().unwrap_or_default();
                let ms = request.duration_ms.and_then(|ms| u64::try_from(ms).ok());
                Running {
                    request,
                    mark: self.marks.get(id).copied().unwrap_or_default(),
                    duration: ms.map(|ms| Duration::from_millis(ms) + self.age()),
                }
            })
            .collect();
        running.sort_by_key(|one| (std::cmp::Reverse(one.duration), one.mark));
        running
    }

    /// Gives a mark to each new request: the first free one.
    fn mark(&mut self, requests: &[ActiveRequest]) {
        let ids = || {
            requests
                .iter()
                .map(|one| one.id.clone().unwrap_or_default())
        };
        let kept: BTreeMap<_, _> = ids()
            .filter_map(|id| Some((id.clone(), *self.marks.get(&id)?)))
            .collect();
        self.marks = kept;
        for id in ids() {
            let free = (0..).find(|mark| self.marks.values().all(|taken| taken != mark));
            self.marks.entry(id).or_insert(free.unwrap_or_default());
        }
    }
}

/// A count. Less than none is none.
pub(super) fn number(count: i32) -> u32 {
    u32::try_from(count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(ids: &[&str]) -> News {
        let request = |id: &&str| ActiveRequest {
            id: Some((*id).to_owned()),
            ..ActiveRequest::default()
        };
        News::Snapshot(Box::new(Concurrency {
            requests: ids.iter().map(request).collect(),
            ..Concurrency::default()
        }))
    }

    #[test]
    fn a_request_keeps_its_mark_while_it_runs() {
        let mut state = State::new(String::new());
        let marks = |state: &State| {
            let mut marks: Vec<_> = state.marks.clone().into_iter().collect();
            marks.sort_by_key(|(_, mark)| *mark);
            marks.into_iter().map(|(id, _)| id).collect::<String>()
        };
        state.apply(snapshot(&["x", "y", "z"]));
        assert_eq!(marks(&state), "xyz");
        state.apply(snapshot(&["z", "w", "x"]));
        assert_eq!(marks(&state), "xwz");
    }

    #[test]
    fn the_history_has_a_gap_while_the_stream_is_broken() {
        let mut state = State::new(String::new());
        state.sample();
        state.apply(snapshot(&[]));
        state.sample();
        let problem = String::new();
        let pause = Duration::ZERO;
        state.apply(News::Lost { problem, pause });
        state.sample();
        let points: Vec<_> = state.history.iter().map(Option::is_some).collect();
        assert_eq!(points, [true, false]);
    }
}
