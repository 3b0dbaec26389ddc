//! The spans that wait for the collector. No call waits for it: spans without a place are lost, and
//! counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::otlp::Span;

/// Takes spans.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Span>,
    lost: Lost,
}

/// How many spans were lost. All clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Queue {
    /// A queue for `spans_max` spans.
    pub(super) fn new(spans_max: usize) -> (Self, mpsc::Receiver<Span>, Lost) {
        let (sender, receiver) = mpsc::channel(spans_max);
        let lost = Lost::default();
        let queue = Self {
            sender,
            lost: lost.clone(),
        };
        (queue, receiver, lost)
    }

    /// Adds the spans of a call: all, or none if there is no place for all of them.
    pub(super) fn push(&self, spans: Vec<Span>) {
        match self.sender.try_reserve_many(spans.len()) {
            Ok(places) => {
                for (place, span) in places.zip(spans) {
                    place.send(span);
                }
            }
            Err(_) => self.lost.add(spans.len()),
        }
    }

    /// How many spans were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.count()
    }
}

impl Lost {
    pub(super) fn add(&self, spans: usize) {
        self.0.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
