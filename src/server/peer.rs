//! The other end of a connection, as all calls on it share it: whether it has shown a key, what it
//! has open, and since when it is idle. The layers reach it by [`Peer::current`], from the
//! connection's task and from those of its streams.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until},
};

tokio::task_local! {
    /// The peer of the connection, or of the stream, that the current task serves.
    static PEER: Arc<Peer>;
}

/// How long a client may take to send the head of an HTTP/1.1 request, or the preface of HTTP/2.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection on which no call has shown a key may have no call open.
const UNAUTHENTICATED_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long such a connection lives at most, not counting a last call. A client that uses it on (a
/// probe, mostly) is told to connect again.
const UNAUTHENTICATED_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// How many calls without a key one connection may have open to the services that need none.
pub(super) const KEYLESS_CALLS_MAX: usize = 16;

/// What is known of a connection's other end.
pub(super) struct Peer {
    idle_timeout: Duration,
    born: Instant,
    is_authenticated: AtomicBool,
    /// Whether its HTTP/1.1 connection has a request whose body has not arrived whole.
    is_cut_short: AtomicBool,
    calls: AtomicUsize,
    /// When its last call ended, in milliseconds after it was born.
    idle_since_ms: AtomicU64,
    /// When the head began that has arrived in part, in the same way; [`NO_HEAD`] if none has. The
    /// first one is waited for from the beginning.
    head_since_ms: AtomicU64,
    /// How many HTTP/1 requests have come, and the number of the first whose length was given
    /// twice, from 0 on; [`NO_CONFLICT`] if none was.
    requests: AtomicU64,
    conflict: AtomicU64,
    /// Set while the end of the calls is waited for.
    is_awaited: AtomicBool,
    /// Wakes who waits for the calls to end, or for the connection's time to be up.
    changed: Notify,
    /// One permit for each call without a key that may be open.
    pub(super) keyless_calls: Arc<Semaphore>,
}

const NO_HEAD: u64 = u64::MAX;
const NO_CONFLICT: u64 = u64::MAX;

impl Peer {
    /// The peer of a new connection, which is closed when it has been idle for `idle_timeout`. It
    /// counts as authenticated from the beginning if the gateway asks for no keys.
    pub(super) fn new(idle_timeout: Duration, is_authenticated: bool) -> Arc<Self> {
        Arc::new(Self {
            idle_timeout,
            born: Instant::now(),
            is_authenticated: AtomicBool::new(is_authenticated),
            is_cut_short: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            conflict: AtomicU64::new(NO_CONFLICT),
            is_awaited: AtomicBool::new(false),
            changed: Notify::new(),
            keyless_calls: Arc::new(Semaphore::new(KEYLESS_CALLS_MAX)),
        })
    }

    /// The peer that the current task serves.
    pub(super) fn current() -> Option<Arc<Self>> {
        PEER.try_with(Arc::clone).ok()
    }

    /// The future, which serves this peer.
    pub(super) fn scope<F: Future>(self: Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        PEER.scope(self, future)
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }

    /// A call has shown a known key.
    pub(super) fn authenticate(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
        // Its time is another one now.
        self.changed.notify_one();
    }

    pub(super) fn is_cut_short(&self) -> bool {
        self.is_cut_short.load(Ordering::Relaxed)
    }

    pub(super) fn set_cut_short(&self, is_cut_short: bool) {
        self.is_cut_short.store(is_cut_short, Ordering::Relaxed);
    }

    /// A call begins, or something else that keeps the connection open.
    pub(super) fn begin(self: &Arc<Self>) -> OpenCall {
        self.calls.fetch_add(1, Ordering::SeqCst);
        OpenCall(Arc::clone(self))
    }

    pub(super) fn has_calls(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > 0
    }

    /// When its last call ended, or when it was born.
    pub(super) fn idle_since(&self) -> Instant {
        self.born + Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed))
    }

    /// Whether the first head hasn't come yet, or a later one has come in part.
    pub(super) fn is_in_head(&self) -> bool {
        self.head_since_ms.load(Ordering::Relaxed) != NO_HEAD
    }

    /// That is so from now on, or no longer.
    pub(super) fn set_in_head(&self, is_in_head: bool) {
        if self.is_in_head() != is_in_head {
            self.head_since_ms.store(
                if is_in_head { self.now_ms() } else { NO_HEAD },
                Ordering::Relaxed,
            );
            self.changed.notify_one();
        }
    }

    /// The request of this number has two lengths.
    pub(super) fn set_conflict(&self, number: u64) {
        self.conflict.store(number, Ordering::Relaxed);
    }

    /// Whether the next HTTP/1 request, which is counted by this, has two lengths.
    pub(super) fn next_has_two_lengths(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) == self.conflict.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// When the connection is to be closed if nothing changes; none while a call is open.
    fn closes_at(&self) -> Option<Instant> {
        if self.has_calls() {
            return None;
        }
        let idle_since = self.idle_since();
        let by_idleness = if self.is_authenticated() {
            idle_since + self.idle_timeout
        } else {
            let timeout = self.idle_timeout.min(UNAUTHENTICATED_IDLE_TIMEOUT);
            (idle_since + timeout).min(self.born + UNAUTHENTICATED_AGE_MAX)
        };
        match self.head_since_ms.load(Ordering::Relaxed) {
            NO_HEAD => Some(by_idleness),
            // It may have begun during the call before.
            since => {
                let since = idle_since.max(self.born + Duration::from_millis(since));
                Some(since + HEAD_TIMEOUT.min(self.idle_timeout))
            }
        }
    }

    /// Completes when the connection has had no call for as long as it may.
    pub(super) async fn expires(&self) {
        loop {
            match self.closes_at() {
                None => self.calls_end().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Completes when no call has been open for this time, from now on.
    pub(super) async fn falls_silent(&self, time: Duration) {
        let from = Instant::now();
        loop {
            self.calls_end().await;
            let due = self.idle_since().max(from) + time;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    async fn calls_end(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
        while self.has_calls() {
            self.changed.notified().await;
        }
        self.is_awaited.store(false, Ordering::SeqCst);
    }
}

/// A call that is open; dropped, it has ended.
pub(super) struct OpenCall(Arc<Peer>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        let peer = &self.0;
        peer.idle_since_ms.store(peer.now_ms(), Ordering::Relaxed);
        if peer.calls.fetch_sub(1, Ordering::SeqCst) == 1 && peer.is_awaited.load(Ordering::SeqCst)
        {
            peer.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(300);

    async fn expires_after(peer: &Peer) -> Duration {
        let begun = Instant::now();
        peer.expires().await;
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_authenticated_connection_expires_when_its_last_call_has_ended_long_ago() {
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        peer.authenticate();
        let (first, second) = (peer.begin(), peer.begin());
        let waiting = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move { expires_after(&peer).await }
        });
        tokio::time::sleep(10 * IDLE).await;
        drop(first);
        tokio::time::sleep(10 * IDLE).await;
        assert!(!waiting.is_finished(), "never while a call runs");
        drop(second);
        assert_eq!(waiting.await.unwrap().as_secs(), (21 * IDLE).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn one_without_a_key_expires_soon_and_with_age() {
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        assert_eq!(expires_after(&peer).await, UNAUTHENTICATED_IDLE_TIMEOUT);
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        let probing = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move {
                loop {
                    drop(peer.begin());
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        });
        assert_eq!(expires_after(&peer).await, UNAUTHENTICATED_AGE_MAX);
        probing.abort();
        let peer = Peer::new(Duration::from_secs(1), false);
        assert_eq!(
            expires_after(&peer).await,
            Duration::from_secs(1),
            "not later than one with a key"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_has_a_time_of_its_own() {
        let peer = Peer::new(IDLE, true);
        assert_eq!(expires_after(&peer).await, HEAD_TIMEOUT, "the first one");
        let peer = Peer::new(IDLE, true);
        peer.set_in_head(false);
        let waiting = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move { expires_after(&peer).await }
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        peer.set_in_head(true);
        tokio::time::sleep(Duration::from_secs(10)).await;
        peer.set_in_head(true);
        assert_eq!(
            waiting.await.unwrap(),
            Duration::from_secs(60) + HEAD_TIMEOUT,
            "each byte gives no new time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_end_of_the_last_call() {
        let peer = Peer::new(IDLE, true);
        let call = peer.begin();
        let second = Duration::from_secs(1);
        let waiting = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move {
                let begun = Instant::now();
                peer.falls_silent(second).await;
                begun.elapsed()
            }
        });
        tokio::time::sleep(20 * second).await;
        drop(call);
        assert_eq!(waiting.await.unwrap(), 21 * second);
    }
}
