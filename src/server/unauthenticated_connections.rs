//! Connections on which no call has shown a key yet. Anyone can open them, so their number is
//! limited. At the limit, the connection that has been idle for the longest is closed for the new
//! one, which may belong to a caller with a key.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::{task::AbortHandle, time::Instant};

use super::peer::Peer;
use crate::descriptors;

/// The divisor for the share of the process's file descriptors that these connections may take.
const DESCRIPTORS_SHARE: u64 = 4;

/// The list of these connections. An entry is removed when its connection has ended or shown a key,
/// and room is needed.
pub(super) struct UnauthenticatedConnections {
    max: usize,
    list: Mutex<Vec<Connection>>,
}

struct Connection {
    peer: Weak<Peer>,
    task: AbortHandle,
}

impl UnauthenticatedConnections {
    /// A list of at most `max` connections; fewer if the process may open few files.
    pub(super) fn new(max: usize) -> Self {
        let share =
            descriptors::limit().map_or(u64::MAX, |limit| (limit / DESCRIPTORS_SHARE).max(1));
        Self {
            max: max.min(usize::try_from(share).unwrap_or(usize::MAX)),
            list: Mutex::default(),
        }
    }

    /// Adds a connection, which `task` serves. At the limit, closes another one.
    pub(super) fn add(&self, peer: &Arc<Peer>, task: AbortHandle) {
        if peer.is_authenticated() {
            return;
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= self.max {
            list.retain(Connection::is_unauthenticated);
        }
        if list.len() >= self.max {
            close_oldest(&mut list, |_| true);
        }
        list.push(Connection {
            peer: Arc::downgrade(peer),
            task,
        });
    }

    /// Closes the connection that has been idle for the longest, if one is idle.
    pub(super) fn make_room(&self) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(Connection::is_unauthenticated);
        close_oldest(&mut list, |peer| !peer.has_calls());
    }
}

impl Connection {
    fn is_unauthenticated(&self) -> bool {
        self.peer
            .upgrade()
            .is_some_and(|peer| !peer.is_authenticated())
    }

    /// The order of closing: first connections without an open call, among them the one that has
    /// been idle for the longest.
    fn rank(&self) -> Option<(bool, Instant)> {
        self.peer
            .upgrade()
            .map(|peer| (peer.has_calls(), peer.idle_since()))
    }
}

fn close_oldest(list: &mut Vec<Connection>, may_be: impl Fn(&Peer) -> bool) {
    let candidates = list
        .iter()
        .enumerate()
        .filter(|(_, one)| one.peer.upgrade().is_none_or(|peer| may_be(&peer)));
    let oldest = candidates
        .min_by_key(|(_, one)| one.rank())
        .map(|(index, _)| index);
    if let Some(oldest) = oldest {
        tracing::debug!("connection without a key closed to make room for another");
        list.swap_remove(oldest).task.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    fn connect(all: &UnauthenticatedConnections) -> (Arc<Peer>, tokio::task::JoinHandle<()>) {
        let peer = Peer::new(Duration::from_secs(300), false);
        let task = tokio::spawn(pending());
        all.add(&peer, task.abort_handle());
        (peer, task)
    }

    async fn is_closed(task: tokio::task::JoinHandle<()>) -> bool {
        tokio::task::yield_now().await;
        task.is_finished()
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_oldest_idle_one_is_closed_and_none_with_a_key() {
        let all = UnauthenticatedConnections {
            max: 3,
            list: Mutex::default(),
        };
        let (busy, of_busy) = connect(&all);
        let call = busy.open_call();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (known, of_known) = connect(&all);
        known.authenticate();
        let (_old, of_old) = connect(&all);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (_new, of_new) = connect(&all);
        assert!(!of_old.is_finished(), "the one with a key doesn't count");
        let (_newer, of_newer) = connect(&all);
        assert!(is_closed(of_old).await);
        let others = [of_busy, of_known, of_new, of_newer];
        assert!(others.iter().all(|task| !task.is_finished()));
        drop(call);
    }

    #[tokio::test(start_paused = true)]
    async fn one_with_a_call_is_closed_only_for_want_of_others() {
        let all = UnauthenticatedConnections {
            max: 1,
            list: Mutex::default(),
        };
        let (busy, of_busy) = connect(&all);
        let _call = busy.open_call();
        all.make_room();
        assert!(!of_busy.is_finished());
        let (_new, of_new) = connect(&all);
        assert!(is_closed(of_busy).await);
        all.make_room();
        assert!(is_closed(of_new).await);
    }
}
