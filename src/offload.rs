//! Work on large bodies, off the runtime's workers. Decoding or encoding tens of MiB takes a while.
//! A worker that does it could do nothing else, not even answer a probe.

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

/// Larger bodies, in bytes, are processed on a thread of their own. For smaller ones, the change of
/// the thread costs more than the work.
pub const LARGE_BYTES: usize = 256 * 1024;

/// The most large bodies to process at the same time. Each needs several times its size in memory.
/// One core stays free for other work.
const AT_ONCE_MAX: usize = 2;

/// The longest wait of a large body for its permit. The work takes less than a second, so a body
/// that waits this long has more than a hundred others before it.
pub const PERMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// When to try again after that.
const RETRY_AFTER: Duration = Duration::from_secs(5);

static AT_ONCE: LazyLock<usize> = LazyLock::new(|| {
    let others = available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1));
    others.clamp(1, AT_ONCE_MAX)
});

static PERMITS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(*AT_ONCE)));

/// Permits work on one large body. Dropping it lets the next one start.
#[derive(Debug)]
pub struct OffloadPermit(#[allow(dead_code, reason = "held")] OwnedSemaphorePermit);

/// Waits for the permit to process a large body, in order of arrival, for [`PERMIT_TIMEOUT`] at
/// most.
///
/// # Errors
/// [`Kind::Unavailable`](crate::error::Kind::Unavailable) after that time.
pub async fn acquire() -> Result<OffloadPermit> {
    let permit = timeout(PERMIT_TIMEOUT, Arc::clone(&PERMITS).acquire_owned()).await;
    permit
        .map_err(|_| too_many())?
        .map(OffloadPermit)
        .map_err(Error::internal)
}

fn too_many() -> Error {
    let message = format!(
        "The gateway is busy with other large bodies, and this one has waited {} s: try again \
         later, or send less",
        PERMIT_TIMEOUT.as_secs()
    );
    Error::new(ErrorCode::TooManyLargeBodies, message).with_retry_after(RETRY_AFTER)
}

/// Takes all permits, so that no other work can start while they are held.
#[cfg(test)]
pub(crate) async fn acquire_all() -> OwnedSemaphorePermit {
    Arc::clone(&PERMITS)
        .acquire_many_owned(u32::try_from(*AT_ONCE).unwrap())
        .await
        .unwrap()
}

/// Runs `work` on a body of `bytes` bytes, on a thread of its own if the body is large. Work that
/// has begun continues after its caller has left. It ends soon, and everything that it holds is
/// dropped then.
///
/// # Errors
/// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the body is large and has no permit
/// within [`PERMIT_TIMEOUT`]. [`Kind::Internal`](crate::error::Kind::Internal) if there is no
/// thread because the runtime shuts down.
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

/// Runs `work` on a body of `bytes` bytes on this thread, for code that cannot await. If the body
/// is large, the other tasks of the worker move to another thread first.
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
    async fn small_work_stays_and_large_work_gets_threads_a_few_at_a_time() {
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
    async fn a_caller_who_leaves_gives_its_permit_back() {
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
