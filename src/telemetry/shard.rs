//! Values that each thread has for itself, so that threads which count or write at the same time do
//! not wait for a cache line of each other. Unlike [`workers`](crate::workers), which are known and
//! few, any thread has one: the threads of tests and of blocking work too.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// How many shards there are. If there are more threads, some share one.
const SHARDS: usize = 16;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The shard of this thread, from 1. 0 before the first use.
    static SHARD: Cell<usize> = const { Cell::new(0) };
}

/// A value for each shard.
#[derive(Debug)]
pub(super) struct PerShard<T> {
    first: Padded<T>,
    others: Vec<Padded<T>>,
}

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Default for PerShard<T> {
    fn default() -> Self {
        Self {
            first: Padded::default(),
            others: (1..SHARDS).map(|_| Padded::default()).collect(),
        }
    }
}

impl<T> PerShard<T> {
    /// The value of this thread.
    pub(super) fn own(&self) -> &T {
        let shard = SHARD.try_with(|own| {
            if own.get() == 0 {
                own.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS + 1);
            }
            own.get()
        });
        // At the end of a thread, the first one.
        let place = shard.unwrap_or(1).checked_sub(2);
        let own = place.and_then(|place| self.others.get(place));
        &own.unwrap_or(&self.first).0
    }

    /// The values of all threads.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .map(|padded| &padded.0)
    }
}
