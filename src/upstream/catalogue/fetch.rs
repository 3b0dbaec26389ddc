//! When the list of models is fetched: one fetch at a time, and a pause after a failed one.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future};
use tokio::time::{Instant, sleep_until};

use super::snapshot::Snapshot;
use crate::error::{Error, Result};

/// The pause after a failed fetch, for a caller who needs the list.
const REQUIRED_PAUSE: Duration = Duration::from_secs(1);

/// The first and the longest pause after failed fetches, for callers who can do without the list.
/// The pause doubles with each failure in a row.
const OPTIONAL_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The pause after a failed refresh. The old list stays usable.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// The current fetch, and how earlier ones ended.
#[derive(Default)]
pub(super) struct Fetches(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    current: Option<Fetch>,
    /// The number of failures in a row, and when the last one ended.
    failures: u32,
    failed_at: Option<Instant>,
}

impl State {
    fn has_failed_within(&self, pause: Duration) -> bool {
        self.failed_at.is_some_and(|at| at.elapsed() < pause)
    }
}

/// A fetch. All callers who wait for it share it.
#[derive(Clone)]
pub(super) struct Fetch {
    /// When it began, or will begin.
    pub(super) starts_at: Instant,
    /// Its result.
    pub(super) result: future::Shared<future::BoxFuture<'static, Result<Arc<Snapshot>>>>,
}

/// Records the end of a fetch when it is dropped. Without `is_success` it records a failure, so a
/// panic does not leave a fetch in the state for ever.
struct EndGuard {
    state: Arc<Mutex<State>>,
    is_success: bool,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.current = None;
        state.failures = if self.is_success {
            0
        } else {
            state.failures.saturating_add(1)
        };
        state.failed_at = (!self.is_success).then(Instant::now);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics while it holds the lock, and the state is consistent after every statement.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetches {
    /// The current fetch, or else a new one. If the last one has just failed, the new one begins a
    /// little later.
    pub(super) fn require<F>(&self, fetch: impl FnOnce() -> F) -> Fetch
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        match state.current.clone() {
            Some(fetch) => fetch,
            None => {
                let starts_at = state
                    .failed_at
                    .map_or_else(Instant::now, |at| Instant::now().max(at + REQUIRED_PAUSE));
                self.start_fetch(&mut state, starts_at, fetch())
            }
        }
    }

    /// The current fetch, or else a new one. `None` during the pause after a failure.
    pub(super) fn try_start<F>(&self, fetch: impl FnOnce() -> F) -> Option<Fetch>
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        if state.current.is_some() {
            return state.current.clone();
        }
        let doublings = state.failures.saturating_sub(1).min(u32::BITS - 1);
        let pause = OPTIONAL_PAUSES
            .0
            .saturating_mul(1 << doublings)
            .min(OPTIONAL_PAUSES.1);
        (!state.has_failed_within(pause))
            .then(|| self.start_fetch(&mut state, Instant::now(), fetch()))
    }

    /// Starts a fetch, unless there is one already or the last one failed recently.
    pub(super) fn refresh<F>(&self, fetch: impl FnOnce() -> F)
    where
        F: Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    {
        let mut state = self.state();
        if state.current.is_none() && !state.has_failed_within(REFRESH_PAUSE) {
            self.start_fetch(&mut state, Instant::now(), fetch());
        }
    }

    fn start_fetch(
        &self,
        state: &mut State,
        starts_at: Instant,
        fetch: impl Future<Output = Result<Arc<Snapshot>>> + Send + 'static,
    ) -> Fetch {
        let mut guard = EndGuard {
            state: Arc::clone(&self.0),
            is_success: false,
        };
        // A task, so that the fetch completes even if its callers leave.
        let task = tokio::spawn(async move {
            sleep_until(starts_at).await;
            let result = fetch.await;
            guard.is_success = result.is_ok();
            drop(guard);
            result
        });
        let result = task
            .map(|joined| joined.unwrap_or_else(|panic| Err(Error::internal(panic))))
            .boxed()
            .shared();
        let fetch = Fetch { starts_at, result };
        state.current = Some(fetch.clone());
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
    async fn all_callers_share_one_fetch() {
        let fetches = Fetches::default();
        let first = fetches.require(pending);
        let others = [
            fetches.require(failure),
            fetches.try_start(failure).unwrap(),
        ];
        fetches.refresh(failure);
        tokio::time::advance(seconds(60)).await;
        assert!(
            others
                .iter()
                .all(|other| other.result.ptr_eq(&first.result))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_without_waiting_callers_is_not_returned_later() {
        let fetches = Fetches::default();
        let left = fetches.require(failure);
        drop(left);
        tokio::time::sleep(seconds(35)).await;
        let fresh = fetches.require(pending);
        assert!(
            fresh.result.now_or_never().is_none(),
            "a new fetch, not the result of the first one"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn required_fetches_start_a_second_apart() {
        let fetches = Fetches::default();
        let begun_at = Instant::now();
        for n in 0..5 {
            fetches.require(failure).result.await.unwrap_err();
            assert_eq!(begun_at.elapsed().as_secs(), n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn optional_fetches_begin_more_and_more_rarely_after_failures() {
        let fetches = Fetches::default();
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            fetches
                .try_start(failure)
                .unwrap()
                .result
                .await
                .unwrap_err();
            tokio::time::advance(seconds(pause) - Duration::from_millis(100)).await;
            assert!(fetches.try_start(failure).is_none(), "within {pause} s");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failure_like_others() {
        let fetches = Fetches::default();
        assert_eq!(
            fetches.require(panics).result.await.unwrap_err().kind(),
            Kind::Internal
        );
        assert!(fetches.try_start(pending).is_none());
        tokio::time::sleep(seconds(1)).await;
        assert!(fetches.try_start(pending).is_some());
    }
}
