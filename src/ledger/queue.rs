//! The records that wait in memory for the writer.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use uuid::Uuid;

use super::record::Record;
use crate::clock::{self, UnixMs};

/// The largest number of records in memory: about 20 MB.
pub(super) const QUEUE_RECORDS_MAX: usize = 65_536;

/// From this number on, calls of keys with budgets are refused. Those that run find room.
const FULL_AT: usize = QUEUE_RECORDS_MAX / 16 * 15;

/// The largest number of records in one transaction. The writer wakes up when there are so many.
pub(super) const BATCH_RECORDS_MAX: usize = 1000;

/// Takes the records of calls. Cheap to clone; all clones share one queue.
///
/// The default takes nothing.
#[derive(Clone, Default)]
pub struct Ledger(Option<Arc<Queue>>);

/// The records that wait for the writer.
pub(super) struct Queue {
    records: Mutex<VecDeque<Record>>,
    /// Wakes the writer.
    pub(super) wake: Notify,
    is_full: AtomicBool,
    /// The records that found no room since the start, and how many of them
    /// [`take_lost`](Self::take_lost) has told.
    lost: AtomicU64,
    lost_told: AtomicU64,
    /// The records that the writer holds, and the bytes of those that wait in files. It sets both.
    pub(super) held: AtomicUsize,
    pub(super) spill_bytes: AtomicU64,
    ids: Ids,
}

/// The state of a ledger, for monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerStatus {
    /// The records that wait in memory.
    pub waiting: usize,
    /// The bytes of the records that wait in files.
    pub spill_bytes: u64,
    /// The records that were lost since the start.
    pub lost: u64,
}

impl Ledger {
    pub(super) fn of(queue: Arc<Queue>) -> Self {
        Self(Some(queue))
    }

    /// Whether records are kept.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The time and the id of a call that ends now.
    pub fn stamp(&self) -> (UnixMs, Uuid) {
        let now = clock::now();
        let id = self.0.as_ref().map(|queue| queue.ids.next(now));
        (now, id.unwrap_or_default())
    }

    /// Keeps the record of a call. Never waits for the database.
    pub fn send(&self, record: Record) {
        if let Some(queue) = &self.0 {
            queue.push(record);
        }
    }

    /// The state. `None` if no records are kept.
    pub fn status(&self) -> Option<LedgerStatus> {
        let queue = self.0.as_ref()?;
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Some(LedgerStatus {
            waiting: queue.waiting(),
            spill_bytes: load(&queue.spill_bytes),
            lost: load(&queue.lost),
        })
    }

    /// Whether the records of calls that begin now find room.
    pub fn has_room(&self) -> bool {
        let is_full = |queue: &Arc<Queue>| queue.is_full.load(Ordering::Relaxed);
        !self.0.as_ref().is_some_and(is_full)
    }
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            records: Mutex::new(VecDeque::new()),
            wake: Notify::new(),
            is_full: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            lost_told: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            spill_bytes: AtomicU64::new(0),
            ids: Ids::new(),
        })
    }

    fn push(&self, record: Record) {
        let mut records = self.records();
        if records.len() >= QUEUE_RECORDS_MAX {
            drop(records);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        records.push_back(record);
        let length = records.len();
        drop(records);
        if length >= FULL_AT {
            self.is_full.store(true, Ordering::Relaxed);
        }
        // A record between these is seen by the writer, which is awake by then.
        if length == 1 || length == BATCH_RECORDS_MAX {
            self.wake.notify_one();
        }
    }

    /// Removes the oldest records, at most a batch.
    pub(super) fn take(&self) -> Vec<Record> {
        let mut records = self.records();
        let length = records.len().min(BATCH_RECORDS_MAX);
        let batch = records.drain(..length).collect();
        let has_room = records.len() < FULL_AT;
        drop(records);
        if has_room {
            self.is_full.store(false, Ordering::Relaxed);
        }
        batch
    }

    /// How many records are in memory only.
    pub(super) fn waiting(&self) -> usize {
        self.length() + self.held.load(Ordering::Relaxed)
    }

    /// How many records wait for the writer.
    pub(super) fn length(&self) -> usize {
        self.records().len()
    }

    /// How many records found no room, since the last call of this.
    pub(super) fn take_lost(&self) -> u64 {
        // Only the writer calls this.
        let lost = self.lost.load(Ordering::Relaxed);
        lost - self.lost_told.swap(lost, Ordering::Relaxed)
    }

    fn records(&self) -> MutexGuard<'_, VecDeque<Record>> {
        // No code panics while it holds the lock.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.as_ref().map(|queue| queue.length());
        f.debug_struct("Ledger")
            .field("waiting", &length)
            .finish_non_exhaustive()
    }
}

/// Makes the ids of records: UUIDs of version 7, of which each has a number of its own. Random ones
/// would cost a call of the system each.
struct Ids {
    /// What distinguishes this gateway from others: [`GATEWAY_BITS`] random bits.
    gateway: u64,
    next: AtomicU64,
}

const GATEWAY_BITS: u32 = 40;

impl Ids {
    fn new() -> Self {
        let (_, random) = Uuid::now_v7().as_u64_pair();
        Self {
            gateway: random & ((1 << GATEWAY_BITS) - 1),
            next: AtomicU64::new(0),
        }
    }

    fn next(&self, now: UnixMs) -> Uuid {
        const LOW_BITS: u32 = 62 - GATEWAY_BITS;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let time = u64::try_from(now).unwrap_or_default() << 16;
        let version = 7 << 12;
        let high = (number >> LOW_BITS) & 0xfff;
        let variant = 1 << 63;
        let low = (number & ((1 << LOW_BITS) - 1)) << GATEWAY_BITS;
        Uuid::from_u64_pair(time | version | high, variant | low | self.gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_version_7_and_in_the_order_of_calls() {
        let ids = Ids::new();
        let now = clock::now();
        let first = ids.next(now);
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
        let (seconds, _) = first.get_timestamp().unwrap().to_unix();
        assert_eq!(seconds, u64::try_from(now / 1000).unwrap());
        // The low part of the number overflows into the high part.
        ids.next.store((1 << 22) - 2, Ordering::Relaxed);
        let some: Vec<_> = (0..5).map(|_| ids.next(now)).collect();
        assert!(first < some[0] && some.is_sorted(), "{some:?}");
        assert_ne!(Ids::new().next(now), Ids::new().next(now));
    }

    #[test]
    fn a_full_queue_loses_records_and_counts_them() {
        let queue = Queue::new();
        let ledger = Ledger::of(Arc::clone(&queue));
        let record = super::super::tests::record("env-1", "m", 1);
        for _ in 0..FULL_AT {
            assert!(ledger.has_room());
            ledger.send(record.clone());
        }
        assert!(!ledger.has_room());
        for _ in FULL_AT..QUEUE_RECORDS_MAX + 3 {
            ledger.send(record.clone());
        }
        assert_eq!(queue.take_lost(), 3);
        assert_eq!(queue.take_lost(), 0);
        for _ in 0..QUEUE_RECORDS_MAX / BATCH_RECORDS_MAX {
            assert_eq!(queue.take().len(), BATCH_RECORDS_MAX);
        }
        assert!(ledger.has_room());
        assert_eq!(queue.length(), QUEUE_RECORDS_MAX % BATCH_RECORDS_MAX);
    }
}
