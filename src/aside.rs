//! Work on large bodies, off the runtime's workers: reading and writing tens of MiB takes a while, in which a worker could
//! do nothing else, not even answer a probe.

use std::{
    sync::{Arc, LazyLock},
    thread::available_parallelism,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::{block_in_place, spawn_blocking},
};

use crate::error::{Error, Result};

/// From this size on, in bytes, a body is worked on aside. Below it, that takes less than the change of threads is worth.
pub const LARGE_BYTES: usize = 256 * 1024;

/// How many large bodies are worked on at once: each takes several times its size while that goes on. One core is left
/// for all else.
const AT_ONCE_MAX: usize = 2;

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let others = available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1));
    Arc::new(Semaphore::new(others.clamp(1, AT_ONCE_MAX)))
});

/// The right to work on a large body. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Waits for the turn to work on a large body: first come, first served.
///
/// # Errors
/// Internal; never, since nobody closes the semaphore.
pub async fn turn() -> Result<Turn> {
    let permit = TURNS.clone().acquire_owned().await;
    permit.map(Turn).map_err(|error: AcquireError| Error::internal(error))
}

/// Does work on a body of this many bytes, aside if that is large. A caller who leaves doesn't stop work that has begun;
/// all that it holds goes with its end, which is near.
///
/// # Errors
/// Internal, if there is no thread for it: the runtime ends.
pub async fn run<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    if bytes <= LARGE_BYTES {
        return Ok(work());
    }
    let turn = turn().await?;
    let task = spawn_blocking(move || {
        let done = work();
        drop(turn);
        done
    });
    match task.await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::internal(error)),
    }
}

/// Does work on a body of this many bytes on this thread. If that is large, the other tasks of the worker move to another
/// thread first. For work that can't be awaited.
pub fn here<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let is_worker =
        || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if bytes > LARGE_BYTES && is_worker() { block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    #[tokio::test]
    async fn small_work_stays_and_large_work_goes_aside_few_at_a_time() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        let worker = thread::current().id();
        assert_eq!(run(LARGE_BYTES, || thread::current().id()).await.unwrap(), worker);
        let large = (0..8).map(|_| {
            run(LARGE_BYTES + 1, move || {
                assert_ne!(thread::current().id(), worker);
                let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                thread::yield_now();
                RUNNING.fetch_sub(1, Ordering::SeqCst);
                running
            })
        });
        let most = futures_util::future::join_all(large).await.into_iter().map(Result::unwrap).max();
        assert!(most.unwrap() <= AT_ONCE_MAX);
    }

    #[tokio::test]
    async fn a_caller_who_leaves_takes_no_turn_along() {
        for _ in 0..2 * AT_ONCE_MAX {
            let left = run(LARGE_BYTES + 1, || ());
            tokio::select! {
                biased;
                done = left => done.unwrap(),
                () = std::future::ready(()) => {}
            }
        }
        run(LARGE_BYTES + 1, || ()).await.unwrap();
    }
}
