//! The peer of a connection: the state that all calls on the connection share. It says whether a
//! call has sent a known key, how many calls are open, and since when the connection is idle.
//! Layers get it with [`Peer::current`], in the task of the connection and in the tasks of its
//! streams.

use std::{
    future::{Future, pending},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until},
};

use super::tls::ClientCertificate;
use crate::service::ConnectionCut;

tokio::task_local! {
    /// The peer of the connection or stream that the current task serves.
    static PEER: Arc<Peer>;
}

/// The timeout for the head of an HTTP/1.1 request, or for the preface of HTTP/2.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a connection that is to be closed is looked at while a head is incomplete.
const HEAD_LOOK: Duration = Duration::from_millis(100);

/// The longest time without an open call, for a connection on which no call has sent a known key.
const UNAUTHENTICATED_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest life of such a connection, except that an open call may finish. A client that still
/// uses the connection, such as a probe, must connect again.
const UNAUTHENTICATED_AGE_MAX: Duration = Duration::from_secs(10 * 60);

/// The largest number of open calls of one connection, without a key, to the services that need no
/// key.
pub(super) const KEYLESS_CALLS_MAX: usize = 16;

/// How many HTTP/2 streams of one connection may have a task that has not run yet. A client can
/// open and cancel streams faster than they run, and each takes some kilobytes until then.
const NEW_STREAMS_MAX: usize = 64;

/// The peer of one connection.
pub(super) struct Peer {
    idle_timeout: Duration,
    created: Instant,
    is_authenticated: AtomicBool,
    /// The certificate that the caller has shown.
    certificate: OnceLock<Box<ClientCertificate>>,
    /// Cuts the calls of the connection.
    cut: ConnectionCut,
    /// Whether the HTTP/1.1 connection has a request whose body has not arrived completely.
    is_cut_short: AtomicBool,
    calls: AtomicUsize,
    /// The HTTP/2 streams whose tasks have not run yet.
    new_streams: AtomicUsize,
    /// The end of the last call, in milliseconds after `created`.
    idle_since_ms: AtomicU64,
    /// The start of an incomplete head, in milliseconds after `created`. [`NO_HEAD`] if there is no
    /// incomplete head. The first head counts as incomplete from the start.
    head_since_ms: AtomicU64,
    /// The number of HTTP/1 requests so far, and the number, from 0, of the first request with two
    /// lengths ([`NO_CONFLICT`] if there is none).
    requests: AtomicU64,
    conflict: AtomicU64,
    /// Set while a task waits for the calls to end.
    is_waiting_for_calls: AtomicBool,
    /// Set while a task waits for a good time to close the connection.
    is_closing: AtomicBool,
    /// Wakes the task that waits for the calls to end, or for the connection to expire.
    changed: Notify,
    /// One permit per open call without a key.
    pub(super) keyless_calls: Arc<Semaphore>,
}

const NO_HEAD: u64 = u64::MAX;
const NO_CONFLICT: u64 = u64::MAX;

impl Peer {
    /// The peer of a new connection, which is closed when it has been idle for `idle_timeout`. Pass
    /// true for `is_authenticated` if the gateway has no keys.
    pub(super) fn new(idle_timeout: Duration, is_authenticated: bool) -> Arc<Self> {
        Arc::new(Self {
            idle_timeout,
            created: Instant::now(),
            is_authenticated: AtomicBool::new(is_authenticated),
            certificate: OnceLock::new(),
            cut: ConnectionCut::default(),
            is_cut_short: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            new_streams: AtomicUsize::new(0),
            idle_since_ms: AtomicU64::new(0),
            head_since_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            conflict: AtomicU64::new(NO_CONFLICT),
            is_waiting_for_calls: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            changed: Notify::new(),
            keyless_calls: Arc::new(Semaphore::new(KEYLESS_CALLS_MAX)),
        })
    }

    /// The peer that the current task serves.
    pub(super) fn current() -> Option<Arc<Self>> {
        PEER.try_with(Arc::clone).ok()
    }

    /// Runs `future` with this peer as [`Peer::current`].
    pub(super) fn scope<F: Future>(self: Arc<Self>, future: F) -> impl Future<Output = F::Output> {
        PEER.scope(self, future)
    }

    pub(super) fn is_authenticated(&self) -> bool {
        self.is_authenticated.load(Ordering::Relaxed)
    }

    /// Records that a call has sent a known key.
    pub(super) fn authenticate(&self) {
        self.is_authenticated.store(true, Ordering::Relaxed);
        // The time at which the connection expires has changed.
        self.changed.notify_one();
    }

    /// Sets the certificate of the handshake.
    pub(super) fn set_certificate(&self, certificate: ClientCertificate) {
        let _ = self.certificate.set(Box::new(certificate));
    }

    /// The certificate that the caller has shown.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.get().map(Box::as_ref)
    }

    /// Completes when this certificate no longer stands for a key.
    pub(super) async fn certificate_ends(&self) {
        match self.certificate() {
            Some(certificate) => certificate.ends().await,
            None => pending().await,
        }
    }

    /// The switch that cuts the calls of the connection.
    pub(super) fn cut(&self) -> &ConnectionCut {
        &self.cut
    }

    pub(super) fn is_cut_short(&self) -> bool {
        self.is_cut_short.load(Ordering::Relaxed)
    }

    pub(super) fn set_cut_short(&self, is_cut_short: bool) {
        self.is_cut_short.store(is_cut_short, Ordering::Relaxed);
    }

    /// Opens a call, or something else that keeps the connection open.
    pub(super) fn open_call(self: &Arc<Self>) -> OpenCall {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_closing.load(Ordering::SeqCst) {
            self.changed.notify_one();
        }
        OpenCall(Arc::clone(self))
    }

    /// Adds an HTTP/2 stream whose task has not run yet. Drop the value when the task runs.
    pub(super) fn add_new_stream(self: &Arc<Self>) -> NewStream {
        self.new_streams.fetch_add(1, Ordering::Relaxed);
        NewStream(Arc::clone(self))
    }

    /// Whether the tasks of new streams must run before more of the connection is read.
    pub(super) fn has_too_many_new_streams(&self) -> bool {
        self.new_streams.load(Ordering::Relaxed) > NEW_STREAMS_MAX
    }

    pub(super) fn has_calls(&self) -> bool {
        self.calls.load(Ordering::SeqCst) > 0
    }

    /// The time when the last call ended, or when the connection was created.
    pub(super) fn idle_since(&self) -> Instant {
        self.created + Duration::from_millis(self.idle_since_ms.load(Ordering::Relaxed))
    }

    /// Whether a head is incomplete.
    pub(super) fn is_in_head(&self) -> bool {
        self.head_since_ms.load(Ordering::Relaxed) != NO_HEAD
    }

    /// Sets [`is_in_head`](Self::is_in_head).
    pub(super) fn set_in_head(&self, is_in_head: bool) {
        if self.is_in_head() != is_in_head {
            self.head_since_ms.store(
                if is_in_head { self.now_ms() } else { NO_HEAD },
                Ordering::Relaxed,
            );
            self.changed.notify_one();
        }
    }

    /// Records that the request with this number has two lengths.
    pub(super) fn set_conflict(&self, number: u64) {
        self.conflict.store(number, Ordering::Relaxed);
    }

    /// Counts the next HTTP/1 request. Returns true if it has two lengths.
    pub(super) fn count_request(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) == self.conflict.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// The time at which the connection expires if nothing changes. `None` while a call is open.
    fn expires_at(&self) -> Option<Instant> {
        if self.has_calls() {
            return None;
        }
        let idle_since = self.idle_since();
        let by_idleness = if self.is_authenticated() {
            idle_since + self.idle_timeout
        } else {
            let timeout = self.idle_timeout.min(UNAUTHENTICATED_IDLE_TIMEOUT);
            (idle_since + timeout).min(self.created + UNAUTHENTICATED_AGE_MAX)
        };
        match self.head_since_ms.load(Ordering::Relaxed) {
            NO_HEAD => Some(by_idleness),
            // The head may have begun during the previous call.
            since => {
                let since = idle_since.max(self.created + Duration::from_millis(since));
                Some(since + HEAD_TIMEOUT.min(self.idle_timeout))
            }
        }
    }

    /// Completes when the connection has been without a call for as long as allowed.
    pub(super) async fn expires(&self) {
        loop {
            match self.expires_at() {
                None => self.calls_end().await,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    /// Completes when no call has been open for `time`, counted from now.
    pub(super) async fn stays_idle(&self, time: Duration) {
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

    /// Completes when an HTTP/1.1 connection can be closed without the loss of a request that is on
    /// its way: while a call runs, whose answer then says that it is the last one, or when the
    /// connection has been idle for `time`.
    pub(super) async fn can_close(&self, time: Duration) {
        self.is_closing.store(true, Ordering::SeqCst);
        while !self.has_calls() {
            let due = self.idle_since() + time;
            if !self.is_in_head() && due <= Instant::now() {
                return;
            }
            // An incomplete head has a timeout of its own.
            let due = due.max(Instant::now() + HEAD_LOOK);
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    async fn calls_end(&self) {
        self.is_waiting_for_calls.store(true, Ordering::SeqCst);
        while self.has_calls() {
            self.changed.notified().await;
        }
        self.is_waiting_for_calls.store(false, Ordering::SeqCst);
    }
}

/// An open call. Dropping it closes the call.
pub(super) struct OpenCall(Arc<Peer>);

/// An HTTP/2 stream whose task has not run yet.
pub(super) struct NewStream(Arc<Peer>);

impl Drop for NewStream {
    fn drop(&mut self) {
        self.0.new_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        let peer = &self.0;
        peer.idle_since_ms.store(peer.now_ms(), Ordering::Relaxed);
        if peer.calls.fetch_sub(1, Ordering::SeqCst) == 1
            && peer.is_waiting_for_calls.load(Ordering::SeqCst)
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
    async fn an_authenticated_connection_expires_the_idle_timeout_after_its_last_call() {
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        peer.authenticate();
        let (first, second) = (peer.open_call(), peer.open_call());
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
    async fn a_connection_without_a_key_has_a_shorter_timeout_and_a_longest_life() {
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        assert_eq!(expires_after(&peer).await, UNAUTHENTICATED_IDLE_TIMEOUT);
        let peer = Peer::new(IDLE, false);
        peer.set_in_head(false);
        let probing = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move {
                loop {
                    drop(peer.open_call());
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
            "not later than a connection with a key"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_head_has_its_own_timeout() {
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
            "a further byte does not restart the timeout"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_counts_from_the_end_of_the_last_call() {
        let peer = Peer::new(IDLE, true);
        let call = peer.open_call();
        let second = Duration::from_secs(1);
        let waiting = tokio::spawn({
            let peer = Arc::clone(&peer);
            async move {
                let begun = Instant::now();
                peer.stays_idle(second).await;
                begun.elapsed()
            }
        });
        tokio::time::sleep(20 * second).await;
        drop(call);
        assert_eq!(waiting.await.unwrap(), 21 * second);
    }
}
