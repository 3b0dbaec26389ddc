//! Connections on which no call has sent a known key yet. Anyone can open them, so their number is
//! limited. At the limit, a new connection replaces the connection that has been idle the longest,
//! because the new one may belong to a caller with a key.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{task::AbortHandle, time::Instant};

use super::peer::Peer;
use crate::descriptors;

/// The divisor for the share of the process's file descriptors that these connections may take.
const DESCRIPTORS_SHARE: u64 = 4;

/// How long a connection has at least, before it is closed for another one, to send its first
/// request. New connections that come faster have to wait.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(50);

/// The list of these connections. When the list is full, entries of closed or authenticated
/// connections are removed.
pub(super) struct UnauthenticatedConnections {
    max: usize,
    list: Mutex<Vec<Connection>>,
}

struct Connection {
    peer: Weak<Peer>,
    task: AbortHandle,
}

impl UnauthenticatedConnections {
    /// A list of at most `max` connections, and at most a share of the process's file descriptors.
    pub(super) fn new(max: usize) -> Self {
        let share =
            descriptors::limit().map_or(u64::MAX, |limit| (limit / DESCRIPTORS_SHARE).max(1));
        Self {
            max: max.min(usize::try_from(share).unwrap_or(usize::MAX)),
            list: Mutex::default(),
        }
    }

    /// Adds the connection that `task` serves. At the limit, closes another connection.
    ///
    /// Returns true if connections come too fast: the other one had no time for its first request.
    pub(super) fn add(&self, peer: &Arc<Peer>, task: AbortHandle) -> bool {
        if peer.is_authenticated() {
            return false;
        }
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() >= self.max {
            list.retain(Connection::is_unauthenticated);
        }
        let idle_since = (list.len() >= self.max)
            .then(|| close_oldest(&mut list, |_| true))
            .flatten();
        list.push(Connection {
            peer: Arc::downgrade(peer),
            task,
        });
        idle_since.is_some_and(|since| since.elapsed() < FIRST_REQUEST_GRACE)
    }

    /// Closes the connection that has been idle the longest, if one is idle.
    pub(super) fn make_room(&self) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(Connection::is_unauthenticated);
        let _ = close_oldest(&mut list, |peer| !peer.has_calls());
    }
}

impl Connection {
    fn is_unauthenticated(&self) -> bool {
        self.peer
            .upgrade()
            .is_some_and(|peer| !peer.is_authenticated())
    }

    /// The order of closing: first the connections without an open call, those that have been idle
    /// the longest first.
    fn rank(&self) -> Option<(bool, Instant)> {
        self.peer
            .upgrade()
            .map(|peer| (peer.has_calls(), peer.idle_since()))
    }
}

/// Closes the first connection in the order of closing. Returns since when it was idle.
fn close_oldest(list: &mut Vec<Connection>, may_be: impl Fn(&Peer) -> bool) -> Option<Instant> {
    let candidates = list
        .iter()
        .enumerate()
        .filter(|(_, one)| one.peer.upgrade().is_none_or(|peer| may_be(&peer)));
    let oldest = candidates
        .min_by_key(|(_, one)| one.rank())
        .map(|(index, _)| index);
    let oldest = list.swap_remove(oldest?);
    tracing::debug!("connection without a key closed to make room for another");
    oldest.task.abort();
    oldest.peer.upgrade().map(|peer| peer.idle_since())
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
    async fn at_the_limit_the_longest_idle_connection_without_a_key_is_closed() {
        let all = UnauthenticatedConnections {
            max: 3,
            list: Mutex::default(),
        };
        let (busy, of_busy) = connect(&all);
        let call = busy.open_call();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (known, of_known) = connect(&all);
        known.authenticate();
        let (_old, old_task) = connect(&all);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (_new, of_new) = connect(&all);
        assert!(
            !old_task.is_finished(),
            "a connection with a key does not count"
        );
        let (_newer, of_newer) = connect(&all);
        assert!(is_closed(old_task).await);
        let others = [of_busy, of_known, of_new, of_newer];
        assert!(others.iter().all(|task| !task.is_finished()));
        drop(call);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_come_too_fast_if_one_is_closed_before_its_grace_has_passed() {
        let all = UnauthenticatedConnections {
            max: 1,
            list: Mutex::default(),
        };
        let add = |peer: &Arc<Peer>| all.add(peer, tokio::spawn(pending::<()>()).abort_handle());
        let [first, second, third] = [(); 3].map(|()| Peer::new(Duration::from_secs(300), false));
        assert!(!add(&first), "none was closed for it");
        assert!(add(&second), "the one before it came just now");
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
        assert!(!add(&third), "the one before it had its time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_call_is_closed_only_if_all_have_calls() {
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
