//! Polling for states without events.
//!
//! Tests normally wait for events. Some states have no event: the number of the runtime's tasks,
//! the state of other sockets, a call that waits for units, and a refreshed catalogue. Only this
//! file polls.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, time::sleep};

use super::clock::PATIENCE;

/// The pause between two polls. If a test has paused the clock, it is also the largest step of the
/// clock while the test waits for a socket.
const PAUSE: Duration = Duration::from_millis(1);

/// Polls `look` until it returns a value.
pub async fn find<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, search)
        .await
        .unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Polls until `condition` is true.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    find(what, async || condition().await.then_some(())).await;
}

/// Runs `work` with a paused clock that advances in small steps. A paused clock alone jumps to the
/// next timer when nothing is ready, even if the kernel still has bytes to deliver.
pub async fn in_small_steps<T>(work: impl Future<Output = T>) -> T {
    const STEP: Duration = Duration::from_millis(5);
    const STEPS_WITHOUT_YIELD: usize = 10;
    let steps = async {
        loop {
            for _ in 0..STEPS_WITHOUT_YIELD {
                sleep(STEP).await;
            }
            // On a busy machine the kernel needs a core to deliver bytes.
            std::thread::yield_now();
        }
    };
    tokio::select! {
        done = work => done,
        () = steps => unreachable!("the steps have no end"),
    }
}

/// The number of this runtime's tasks, after those that are about to end have ended.
pub async fn settled_tasks() -> usize {
    const QUIET_TURNS: usize = 200;
    let alive = || Handle::current().metrics().num_alive_tasks();
    let (mut tasks, mut turns) = (alive(), 0);
    while turns < QUIET_TURNS {
        tokio::task::yield_now().await;
        turns = if alive() < tasks { 0 } else { turns + 1 };
        tasks = tasks.min(alive());
    }
    tasks
}
