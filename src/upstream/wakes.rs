//! The wakes of one connection. Its parts wake each other: hyper's connection wakes the future of
//! the response, and the body wakes the connection. While they are polled, such a wake need not
//! wake the task that polls them: it polls them once more itself. Other wakes, from the socket, go
//! to the task.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// The parts wait for a wake. The task must be told of it.
const WAITING: u8 = 0;
/// The parts are being polled, or were ready when they were polled last.
const POLLING: u8 = 1;
/// A part was woken since the last [`Wakes::begin`].
const WOKEN: u8 = 2;

/// The wakes of a connection, as its parts see them: a waker of the task that polls them.
#[derive(Debug)]
pub(super) struct Wakes {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wakes {
    /// Wakes of parts that have not been polled yet.
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(WOKEN),
            task: AtomicWaker::new(),
        }
    }

    /// Sets the task that polls the parts from now on.
    pub(super) fn set_task(&self, task: &Waker) {
        self.task.register(task);
    }

    /// Begins to poll the parts. Returns whether one was woken since they were polled last.
    pub(super) fn begin(&self) -> bool {
        self.state.swap(POLLING, Ordering::AcqRel) == WOKEN
    }

    /// Ends polling: from now on a wake reaches the task. Returns `false` if a part was woken while
    /// they were polled. Then they must be polled again.
    pub(super) fn end(&self) -> bool {
        self.state
            .compare_exchange(POLLING, WAITING, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Whether a part was woken since the last [`begin`](Self::begin).
    pub(super) fn is_woken(&self) -> bool {
        self.state.load(Ordering::Acquire) == WOKEN
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_a_wake_between_two_polls_reaches_the_task() {
        let wakes = Arc::new(Wakes::new());
        let count = Arc::new(Count::default());
        wakes.set_task(&Waker::from(Arc::clone(&count)));
        let woken = || count.0.load(Ordering::Relaxed);
        assert!(wakes.begin(), "parts that are new must be polled");
        wakes.wake_by_ref();
        assert!(!wakes.end(), "a wake while they are polled");
        assert!(wakes.begin());
        assert!(wakes.end());
        assert_eq!(woken(), 0);
        wakes.wake_by_ref();
        assert!(wakes.is_woken());
        wakes.wake_by_ref();
        assert_eq!(woken(), 1, "once until they are polled again");
        assert!(wakes.begin());
        assert!(wakes.end());
        assert!(!wakes.begin(), "polled for another reason");
    }
}
