//! A waiting request, as a future: it completes when the request starts, and removes the request if
//! it is dropped before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::shared::Shared;
use crate::{
    admission::request::Ticket,
    error::{Error, Result},
};

/// Tells how many requests are ahead of a waiting one. Clone it to watch a request from elsewhere
/// while [`Permits::acquire`](super::Permits::acquire) waits.
#[derive(Clone)]
pub struct QueuePosition(Option<Arc<Mutex<Option<Waiting>>>>);

/// A request that waits now.
#[derive(Clone)]
struct Waiting {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Default for QueuePosition {
    /// A position that can be watched.
    fn default() -> Self {
        Self(Some(Arc::default()))
    }
}

impl QueuePosition {
    /// A position that is not watched, as for most requests. It needs no memory of its own.
    pub fn unwatched() -> Self {
        Self(None)
    }

    /// The estimated number of requests that start before this one. `None` if it does not wait.
    pub fn requests_ahead(&self) -> Option<usize> {
        let waiting = self.lock()?.clone();
        let Waiting { shared, ticket } = waiting?;
        shared.lock().scheduler.requests_ahead(ticket)
    }

    fn set(&self, waiting: Option<Waiting>) {
        if let Some(mut position) = self.lock() {
            *position = waiting;
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Option<Waiting>>> {
        let position = self.0.as_ref()?;
        // No code panics while it holds the lock.
        Some(position.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for QueuePosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuePosition").finish_non_exhaustive()
    }
}

/// Removes a waiting request when it is dropped.
struct Waiter<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    position: &'a QueuePosition,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.position.set(None);
        let mut state = self.shared.lock();
        state.remove(self.ticket);
        self.shared.advance(&mut state);
    }
}

/// Waits until `ticket` starts, and returns the cost that it holds. `position` is set while it
/// waits.
pub(super) async fn granted(
    shared: &Arc<Shared>,
    ticket: Ticket,
    grant: oneshot::Receiver<Result<u32>>,
    position: &QueuePosition,
) -> Result<u32> {
    let waiter = Waiter {
        shared,
        ticket,
        position,
    };
    position.set(Some(Waiting {
        shared: Arc::clone(shared),
        ticket,
    }));
    let cost = grant
        .await
        .unwrap_or_else(|_| Err(Error::internal("a waiting request was lost")))?;
    position.set(None);
    // The request runs, and the permit will end it.
    std::mem::forget(waiter);
    Ok(cost)
}
