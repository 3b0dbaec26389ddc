//! When the upstream is asked for its catalogue: one fetch at a time, and none too soon after one
//! that failed.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future};
use tokio::time::{Instant, sleep_until};

use super::snapshot::Snapshot;
use crate::error::{Error, Result};

/// How long after a failed fetch the next one begins that a caller waits for: as long as the caller
/// does.
const DEMAND_PAUSE: Duration = Duration::from_secs(1);

/// The pauses after failed fetches that nobody has to have: doubled each time, from the first to
/// the last.
const ADVICE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The pause after a refresh that failed: there is a copy all the same.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// The fetch that is under way, and how those before it ended.
#[derive(Default)]
pub(super) struct Fetches(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    under_way: Option<Fetch>,
    /// The failures in a row, and when the last of them ended.
    failures: u32,
    failed_at: Option<Instant>,
}

impl State {
    fn has_failed_within(&self, pause: Duration) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < pause)
    }
}

/// A fetch that has begun. All who wait for it share it.
#[derive(Clone)]
pub(super) struct Fetch {
    /// When it began, or will.
    pub(super) began_at: Instant,
    /// Completes with it.
    pub(super) copy: future::Shared<future::BoxFuture<'static, Result<Arc<Snapshot>>>>,
}

/// Notes the end of a fetch, whatever the end: dropped before it is told of a success, it was a
/// failure. So neither a panic nor callers who left leave a fetch under way for ever.
struct Note {
    state: Arc<Mutex<State>>,
    is_success: bool,
}

impl Drop for Note {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.under_way = None;
        state.failures = if self.is_success {
            0
        } else {
            state.failures.saturating_add(1)
        };
        state.failed_at = (!self.is_success).then(Instant::now);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics while the lock is held, and the state is whole after every statement.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetches {
    /// The fetch that is under way, or else a new one: a little later, if the last one has just
    /// failed.
    pub(super) fn demand<F>(&self, fetch: impl FnOnce() -> F) -> Fetch
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        match state.under_way.clone() {
            Some(fetch) => fetch,
            None => {
                let begin_at = state
                    .failed_at
                    .map_or_else(Instant::now, |at| Instant::now().max(at + DEMAND_PAUSE));
                self.begin(&mut state, begin_at, fetch())
            }
        }
    }

    /// The fetch that is under way, or else a new one; none if the last ones failed lately.
    pub(super) fn advise<F>(&self, fetch: impl FnOnce() -> F) -> Option<Fetch>
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        if state.under_way.is_some() {
            return state.under_way.clone();
        }
        let doublings = state.failures.saturating_sub(1).min(u32::BITS - 1);
        let pause = ADVICE_PAUSES
            .0
            .saturating_mul(1 << doublings)
            .min(ADVICE_PAUSES.1);
        (!state.has_failed_within(pause)).then(|| self.begin(&mut state, Instant::now(), fetch()))
    }

    /// Begins a fetch, unless one is under way or has failed lately.
    pub(super) fn refresh<F>(&self, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        if state.under_way.is_none() && !state.has_failed_within(REFRESH_PAUSE) {
            self.begin(&mut state, Instant::now(), fetch());
        }
    }

    fn begin(
        &self,
        state: &mut State,
        began_at: Instant,
        fetch: impl Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    ) -> Fetch {
        let mut note = Note {
            state: Arc::clone(&self.0),
            is_success: false,
        };
        // A task of its own, so that it comes to its end though those who wait for it may leave.
        let task = tokio::spawn(async move {
            sleep_until(began_at).await;
            let copy = fetch.await;
            note.is_success = copy.is_ok();
            drop(note);
            copy
        });
        let copy = task
            .map(|result| result.unwrap_or_else(|panic| Err(Error::internal(panic))))
            .boxed()
            .shared();
        let fetch = Fetch { began_at, copy };
        state.under_way = Some(fetch.clone());
        fetch
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::error::{ErrorCode, Kind};

    async fn failure() -> Result<Arc<Snapshot>> {
        Err(Error::new(ErrorCode::NoCapacity, "not now"))
    }

    async fn panics() -> Result<Arc<Snapshot>> {
        panic!("a bug")
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_under_way_at_a_time_for_all_who_ask() {
        let fetches = Fetches::default();
        let first = fetches.demand(pending);
        let others = [fetches.demand(failure), fetches.advise(failure).unwrap()];
        fetches.refresh(failure);
        tokio::time::advance(seconds(60)).await;
        assert!(others.iter().all(|other| other.copy.ptr_eq(&first.copy)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_nobody_waited_for_is_told_to_nobody() {
        let fetches = Fetches::default();
        let left = fetches.demand(failure);
        drop(left);
        tokio::time::sleep(seconds(35)).await;
        let fresh = fetches.demand(pending);
        assert!(
            fresh.copy.now_or_never().is_none(),
            "a new one, and not what the first one came to"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn demanded_fetches_begin_a_second_apart() {
        let fetches = Fetches::default();
        let begun_at = Instant::now();
        for n in 0..5 {
            fetches.demand(failure).copy.await.unwrap_err();
            assert_eq!(begun_at.elapsed().as_secs(), n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_done_without_is_asked_for_ever_more_rarely_until_it_comes() {
        let fetches = Fetches::default();
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            fetches.advise(failure).unwrap().copy.await.unwrap_err();
            tokio::time::advance(seconds(pause) - Duration::from_millis(100)).await;
            assert!(fetches.advise(failure).is_none(), "within {pause} s");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_like_others() {
        let fetches = Fetches::default();
        assert_eq!(
            fetches.demand(panics).copy.await.unwrap_err().kind(),
            Kind::Internal
        );
        assert!(fetches.advise(pending).is_none());
        tokio::time::sleep(seconds(1)).await;
        assert!(fetches.advise(pending).is_some());
    }
}
