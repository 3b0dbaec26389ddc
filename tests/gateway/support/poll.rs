//! Waiting for what nothing announces.
//!
//! A test waits for events. Some facts have none: the runtime only counts its tasks, the kernel
//! doesn't tell a process about other sockets, and the gateway announces neither that a call waits
//! for units nor that its copy of the catalogue is new. Only this file looks again and again.

use std::{future::Future, time::Duration};

use tokio::{runtime::Handle, time::sleep};

use super::clock::PATIENCE;

/// The pause between two looks. Where a test has paused the clock, it is also the longest time that
/// the clock can jump at once while the test waits for a socket.
const PAUSE: Duration = Duration::from_millis(1);

/// Looks until there is something to find.
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

/// Looks until this is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    find(what, async || is_so().await.then_some(())).await;
}

/// Does this with a paused clock that moves in small steps. By itself a paused clock jumps to the
/// next timer whenever nothing is ready, even where the kernel still has bytes to deliver.
pub async fn in_small_steps<T>(work: impl Future<Output = T>) -> T {
    const STEP: Duration = Duration::from_millis(5);
    let steps = async {
        loop {
            sleep(STEP).await;
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
