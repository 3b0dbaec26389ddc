//! The active calls of a server. At the end of a drain the server ends them with an error, instead
//! of closing their connections.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, sleep};

/// The time between two looks at the active calls.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The active calls of one server. Cheap to clone; all clones share one list.
///
/// The list is locked when a call begins and when it ends, never for a chunk.
#[derive(Clone, Default)]
pub struct ActiveCalls(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_cut: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    wakers: BTreeMap<u64, Arc<AtomicWaker>>,
    next_number: u64,
}

/// Cuts the calls of one connection. Cheap to clone; all clones are one switch. After [`set`](Self::set),
/// wake the calls by [`ActiveCalls::wake_all`].
#[derive(Clone, Debug, Default)]
pub struct ConnectionCut(Arc<AtomicBool>);

impl ConnectionCut {
    /// Cuts the calls, and those that begin later.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// One active call. Dropping the guard removes the call from the list.
pub struct CallGuard {
    active_calls: ActiveCalls,
    number: u64,
    waker: Arc<AtomicWaker>,
}

impl ActiveCalls {
    /// Adds a call.
    pub fn add(&self) -> CallGuard {
        let waker = Arc::<AtomicWaker>::default();
        let mut list = self.list();
        let number = list.next_number;
        list.next_number += 1;
        list.wakers.insert(number, Arc::clone(&waker));
        drop(list);
        CallGuard {
            active_calls: self.clone(),
            number,
            waker,
        }
    }

    /// Waits until no call is active, for at most `longest`.
    pub async fn wait_for_end(&self, longest: Duration) {
        let until = Instant::now() + longest;
        while self.count() > 0 && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many calls are active.
    pub fn count(&self) -> usize {
        self.list().wakers.len()
    }

    /// Wakes every call, so that it looks whether it was cut for a reason of its own. Returns how
    /// many there were.
    pub fn wake_all(&self) -> usize {
        let wakers: Vec<_> = self.list().wakers.values().cloned().collect();
        wakers.iter().for_each(|waker| waker.wake());
        wakers.len()
    }

    /// Cuts every call: each fails with an error as soon as its task is polled. Returns
    /// how many there were.
    pub fn cut_all(&self) -> usize {
        self.0.is_cut.store(true, Ordering::Release);
        // Some have ended as soon as they are woken.
        self.wake_all()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // No code panics while it holds the lock, and the list is consistent after every statement.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallGuard {
    /// Wakes the task of `context` when calls are cut.
    pub fn watch(&self, context: &Context<'_>) {
        self.waker.register(context.waker());
    }

    /// Whether [`cut_all`](ActiveCalls::cut_all) has been called.
    pub fn is_cut(&self) -> bool {
        self.active_calls.0.is_cut.load(Ordering::Acquire)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.active_calls.list().wakers.remove(&self.number);
    }
}

impl fmt::Debug for ActiveCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActiveCalls")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CallGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
