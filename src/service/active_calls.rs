//! Every call that runs, so that the end of a drain can end them in words instead of cutting their
//! connections.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use crate::error::{Error, Result};

/// The calls of one server. Cheap to clone; all clones share one list.
///
/// The list is locked when a call begins and when it ends, never for a chunk.
#[derive(Clone, Default)]
pub struct ActiveCalls(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    wakers: BTreeMap<u64, Arc<AtomicWaker>>,
    begun: u64,
}

/// One call's place in the list, given back when this is dropped.
pub struct CallGuard {
    running: ActiveCalls,
    number: u64,
    waker: Arc<AtomicWaker>,
}

impl ActiveCalls {
    /// A call begins.
    pub fn begin(&self) -> CallGuard {
        let waker = Arc::<AtomicWaker>::default();
        let mut list = self.list();
        let number = list.begun;
        list.begun += 1;
        list.wakers.insert(number, Arc::clone(&waker));
        drop(list);
        CallGuard {
            running: self.clone(),
            number,
            waker,
        }
    }

    /// How many calls run.
    pub fn count(&self) -> usize {
        self.list().wakers.len()
    }

    /// Ends every call: each fails with [`Error::draining`] as soon as its caller takes the next piece
    /// of it. Tells how many there were.
    pub fn end_all(&self) -> usize {
        self.0.is_over.store(true, Ordering::Release);
        let wakers: Vec<_> = self.list().wakers.values().cloned().collect();
        wakers.iter().for_each(|waker| waker.wake());
        wakers.len()
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing panics while the lock is held, and the list is whole after every statement.
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallGuard {
    /// Completes when all calls are to end.
    pub fn poll_over(&self, context: &mut Context<'_>) -> Poll<Error> {
        self.waker.register(context.waker());
        if self.is_over() {
            Poll::Ready(Error::draining())
        } else {
            Poll::Pending
        }
    }

    /// Whether all calls are to end.
    pub fn is_over(&self) -> bool {
        self.running.0.is_over.load(Ordering::Acquire)
    }

    /// The future's result, unless all calls are to end before it has one.
    ///
    /// # Errors
    /// The future's own, or [`Error::draining`].
    pub async fn unless_over<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let mut future = pin!(future);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.poll_over(context).map(Err),
        })
        .await
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.running.list().wakers.remove(&self.number);
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
