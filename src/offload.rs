//! Work on large bodies, off the runtime's workers: reading and writing tens of MiB takes a while,
//! in which a worker could do nothing else, not even answer a probe.

use std::{
    sync::{Arc, LazyLock},
    thread::available_parallelism,
    time::Duration,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{block_in_place, spawn_blocking},
    time::timeout,
};

use crate::error::{Error, ErrorCode, Result};

/// From this size on, in bytes, a body is worked on aside. Below it, that takes less than the
/// change of threads is worth.
pub const LARGE_BYTES: usize = 256 * 1024;

/// How many large bodies are worked on at once: each takes several times its size while that goes
/// on. One core is left for all else.
const AT_ONCE_MAX: usize = 2;

/// How long a large body may wait for its turn: each turn takes less than a second, so that what
/// waits this long is behind more than a hundred others.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// When a caller may come again whose body waited in vain.
const RETRY_AFTER: Duration = Duration::from_secs(5);

static AT_ONCE: LazyLock<usize> = LazyLock::new(|| {
    let others = available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1));
    others.clamp(1, AT_ONCE_MAX)
});

static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(*AT_ONCE)));

/// The right to work on a large body. Dropped, it goes to the next who waits.
#[derive(Debug)]
pub struct OffloadPermit(#[allow(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Waits for the turn to work on a large body: first come, first served, and for [`TURN_TIMEOUT`]
/// at most.
///
/// # Errors
/// Unavailable, if the turn has not come by then. Internal; never, since nobody closes the
/// semaphore.
pub async fn acquire() -> Result<OffloadPermit> {
    let permit = timeout(TURN_TIMEOUT, Arc::clone(&TURNS).acquire_owned()).await;
    permit
        .map_err(|_| too_many())?
        .map(OffloadPermit)
        .map_err(Error::internal)
}

fn too_many() -> Error {
    let message = format!(
        "The gateway reads and writes as many large bodies as it can, and this one has waited {} \
         s for its turn: try again later, or send less",
        TURN_TIMEOUT.as_secs()
    );
    Error::new(ErrorCode::TooManyLargeBodies, message).with_retry_after(RETRY_AFTER)
}

/// Waits for all turns and takes them, so that nobody else has one while they are held.
#[cfg(test)]
pub(crate) async fn acquire_all() -> OwnedSemaphorePermit {
    Arc::clone(&TURNS)
        .acquire_many_owned(u32::try_from(*AT_ONCE).unwrap())
        .await
        .unwrap()
}

/// Does work on a body of this many bytes, aside if that is large. A caller who leaves doesn't stop
/// work that has begun; all that it holds goes with its end, which is near.
///
/// # Errors
/// Unavailable, if it is large and its turn has not come within [`TURN_TIMEOUT`]. Internal, if
/// there is no thread for it: the runtime ends.
pub async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if bytes <= LARGE_BYTES {
        return Ok(work());
    }
    let permit = acquire().await?;
    let task = spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    match task.await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::internal(error)),
    }
}

/// Does work on a body of this many bytes on this thread. If that is large, the other tasks of the
/// worker move to another thread first. For work that can't be awaited.
pub fn run_in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let is_worker = || {
        Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
    };
    if bytes > LARGE_BYTES && is_worker() {
        block_in_place(work)
    } else {
        work()
    }
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
        assert_eq!(
            run(LARGE_BYTES, || thread::current().id()).await.unwrap(),
            worker
        );
        let large = (0..8).map(|_| {
            run(LARGE_BYTES + 1, move || {
                assert_ne!(thread::current().id(), worker);
                let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
                thread::yield_now();
                RUNNING.fetch_sub(1, Ordering::SeqCst);
                running
            })
        });
        let most = futures_util::future::join_all(large)
            .await
            .into_iter()
            .map(Result::unwrap)
            .max();
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
