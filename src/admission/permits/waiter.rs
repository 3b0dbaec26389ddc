//! A waiting request, as a future: it completes when the request starts, and removes the request if
//! it is dropped before.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::{seat::Seat, shared::Shared};
use crate::{
    admission::request::Ticket,
    cluster::message::RequestId,
    error::{Error, Result},
};

/// Tells how a request waits. Clone it to watch a request from elsewhere while
/// [`Permits::acquire`](super::Permits::acquire) waits.
#[derive(Clone)]
pub struct QueuePosition(Option<Arc<Mutex<Seen>>>);

/// The wait of a request so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The estimated number of requests that start before this one. `None` if it has started.
    pub requests_ahead: Option<usize>,
    /// The units that it waits for, or has got.
    pub units: u32,
    /// How long it has waited. Pauses between two attempts are not counted.
    pub waited: Duration,
}

/// What is to be seen of a request.
#[derive(Clone, Default)]
enum Seen {
    /// It has not waited yet.
    #[default]
    Nothing,
    Waiting(Waiting),
    /// Its last wait has ended, and it has started.
    Started(Wait),
}

/// A request that waits now.
#[derive(Clone)]
struct Waiting {
    place: Place,
    times: WaitTimes,
}

/// Where it waits.
#[derive(Clone)]
enum Place {
    Queue { shared: Arc<Shared>, ticket: Ticket },
    Cluster { seat: Arc<Seat>, id: RequestId },
}

/// When a request began to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct WaitTimes {
    /// Since when it waits. In the future if it pauses first.
    pub(super) since: Instant,
    /// How long it had waited before a pause.
    pub(super) before_pause: Duration,
    /// How long its call had waited before, for other models.
    pub(super) before: Duration,
}

impl WaitTimes {
    fn waited(self) -> Duration {
        self.before + self.since.elapsed().max(self.before_pause)
    }
}

impl Waiting {
    /// `None` if it does not wait any more.
    fn wait(&self) -> Option<Wait> {
        let (requests_ahead, units) = match &self.place {
            Place::Queue { shared, ticket } => {
                let state = shared.lock();
                let ahead = state.scheduler.requests_ahead(*ticket)?;
                (ahead, state.pending.get(ticket)?.tracked.cost)
            }
            Place::Cluster { seat, id } => seat.place(*id)?,
        };
        Some(Wait {
            requests_ahead: Some(requests_ahead),
            units,
            waited: self.times.waited(),
        })
    }
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

    /// The same position, to watch it.
    pub fn watch(&mut self) -> Self {
        Self(Some(Arc::clone(self.0.get_or_insert_default())))
    }

    /// The estimated number of requests that start before this one. `None` if it does not wait.
    pub fn requests_ahead(&self) -> Option<usize> {
        self.wait()?.requests_ahead
    }

    /// The last wait, which may have ended. `None` before the first one.
    pub fn wait(&self) -> Option<Wait> {
        // The lock must not be held while the other one is taken.
        let seen = self.lock()?.clone();
        match seen {
            Seen::Nothing => None,
            Seen::Waiting(waiting) => waiting.wait(),
            Seen::Started(wait) => Some(wait),
        }
    }

    pub(super) fn set_waiting_in_cluster(&self, seat: &Arc<Seat>, id: RequestId, times: WaitTimes) {
        self.set(|| {
            let seat = Arc::clone(seat);
            let place = Place::Cluster { seat, id };
            Seen::Waiting(Waiting { place, times })
        });
    }

    pub(super) fn set_started(&self, units: u32, times: WaitTimes) {
        self.set(|| {
            Seen::Started(Wait {
                requests_ahead: None,
                units,
                waited: times.waited(),
            })
        });
    }

    /// A request that waited since `since`, and whose call had waited for `before`, has started in
    /// another queue.
    pub fn set_moved(&self, units: u32, since: Instant, before: Duration) {
        let times = WaitTimes {
            since,
            before_pause: Duration::ZERO,
            before,
        };
        self.set_started(units, times);
    }

    pub(super) fn set_nothing(&self) {
        self.set(|| Seen::Nothing);
    }

    fn set(&self, seen: impl FnOnce() -> Seen) {
        if let Some(mut place) = self.lock() {
            *place = seen();
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Seen>> {
        let place = self.0.as_ref()?;
        // No code panics while it holds the lock.
        Some(place.lock().unwrap_or_else(PoisonError::into_inner))
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
        self.position.set_nothing();
        let mut state = self.shared.lock();
        state.remove(self.ticket);
        self.shared.advance(&mut state);
    }
}

/// Waits until `ticket` starts, and returns the cost that it holds. `position` tells of it while it
/// waits.
pub(super) async fn granted(
    shared: &Arc<Shared>,
    ticket: Ticket,
    times: WaitTimes,
    grant: oneshot::Receiver<Result<u32>>,
    position: &QueuePosition,
) -> Result<u32> {
    let waiter = Waiter {
        shared,
        ticket,
        position,
    };
    position.set(|| {
        let shared = Arc::clone(shared);
        let place = Place::Queue { shared, ticket };
        Seen::Waiting(Waiting { place, times })
    });
    let cost = grant
        .await
        .unwrap_or_else(|_| Err(Error::internal("a waiting request was lost")))?;
    position.set_started(cost, times);
    // The request runs, and the permit will end it.
    std::mem::forget(waiter);
    Ok(cost)
}
