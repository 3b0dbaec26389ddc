//! Connections: taken from the listener, served each in a task of its own, and ended in good order.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    early::IS_CUT_SHORT,
    unread::{Streams, Watched},
    unstuck::Unstuck,
};
use crate::descriptors;

/// How long a client may take to send the head of an HTTP/1.1 request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Pings on a connection without traffic, HTTP/2's and the kernel's, and the wait for their answer: how a vanished caller
/// is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How much longer than `--write-timeout` sent bytes may stay unacknowledged. The kernel counts a caller who is there but
/// doesn't read as well, and shall not be quicker than we are.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MARGIN: Duration = Duration::from_secs(10);

/// How many calls one HTTP/2 connection may have open at a time.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// How many calls of one HTTP/2 connection may be cancelled before we have so much as looked at them. More is a flood that
/// is to keep us busy (CVE-2023-44487), and the connection is closed. A client that gives up at once all that it may have
/// open is none: h2's own 20 would cost it all its other calls too.
const UNSEEN_CANCELS_MAX: usize = STREAMS_PER_CONNECTION_MAX as usize;

/// How often in its life one HTTP/2 connection may break the protocol in a way that costs only the one call, before it is
/// closed (CVE-2025-8671). A client's connection may live for weeks, and frames can always cross: h2's own 1024 can be
/// reached in good faith.
const BROKEN_CALLS_MAX: usize = 16 * 1024;

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Flow-control windows of HTTP/2: what a caller may send before we have read it. Prompts with images are large.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The wait after a failed accept, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long one who has just connected has for its first words when connections end: they may be on their way.
const FIRST_WORDS_GRACE: Duration = Duration::from_millis(100);

/// Connections that are served alike, and end together.
pub(super) struct Connections {
    http: Arc<auto::Builder<Streams>>,
    service: TowerToHyperService<Router>,
    /// How long an answer may go unread.
    patience: Duration,
    /// One task for each. Requests live inside it and die with it; those of HTTP/2 in tasks of hyper's.
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
    are_ending: watch::Sender<bool>,
}

impl Connections {
    pub(super) fn new(router: Router, patience: Duration) -> Self {
        Self::of(Arc::new(http(patience)), TowerToHyperService::new(router), patience)
    }

    /// None yet, to be served as these are.
    pub(super) fn alike(&self) -> Self {
        Self::of(Arc::clone(&self.http), self.service.clone(), self.patience)
    }

    fn of(http: Arc<auto::Builder<Streams>>, service: TowerToHyperService<Router>, patience: Duration) -> Self {
        let (tasks, graceful, are_ending) = (JoinSet::new(), GracefulShutdown::new(), watch::Sender::new(false));
        Self { http, service, patience, tasks, graceful, are_ending }
    }

    /// Takes connections and serves them. Never completes; dropped, it takes no more.
    pub(super) async fn accept_from(&mut self, listener: &TcpListener) {
        loop {
            tokio::select! {
                stream = accept(listener, self.patience) => self.serve(stream),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        let (http, service, watcher) = (Arc::clone(&self.http), self.service.clone(), self.graceful.watcher());
        self.tasks.spawn(converse(stream, http, service, self.patience, watcher, self.are_ending.subscribe()));
    }

    /// Ends each connection as soon as it has nothing under way, and waits for that. Dropped, it cuts those that are left.
    pub(super) async fn end(mut self) {
        self.are_ending.send_replace(true);
        self.graceful.shutdown().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn converse(
    stream: TcpStream,
    http: Arc<auto::Builder<Streams>>,
    service: TowerToHyperService<Router>,
    patience: Duration,
    watcher: Watcher,
    mut is_ending: watch::Receiver<bool>,
) {
    // Hyper's clock for a head begins only when the version is known, for which `Unstuck` has one.
    let patience_for_words = async {
        tokio::select! {
            () = sleep(HEAD_TIMEOUT) => {}
            _ = is_ending.changed() => sleep(FIRST_WORDS_GRACE).await,
        }
    };
    tokio::select! {
        biased;
        _ = stream.readable() => {}
        () = patience_for_words => return,
    }
    let is_cut_short = Arc::<AtomicBool>::default();
    let (stream, hangup) = Unstuck::new(stream, HEAD_TIMEOUT, patience, Arc::clone(&is_cut_short));
    let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
    let connection = IS_CUT_SHORT.scope(is_cut_short, watcher.watch(connection));
    tokio::select! {
        biased;
        ended = Watched::new(connection, patience) => {
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = hangup => tracing::debug!("the caller left"),
    }
}

fn http(patience: Duration) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(Streams { patience });
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(UNSEEN_CANCELS_MAX)
        .max_local_error_reset_streams(BROKEN_CALLS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    http
}

#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
async fn accept(listener: &TcpListener, write_timeout: Duration) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Tokens are small and must leave at once, not after Nagle's wait for more.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive());
                #[cfg(target_os = "linux")]
                let _ =
                    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(write_timeout + UNACKNOWLEDGED_MARGIN));
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if descriptors::have_run_out(&error) => {
                descriptors::tell_log();
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept connections; trying again");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn keepalive() -> socket2::TcpKeepalive {
    socket2::TcpKeepalive::new().with_time(PING_INTERVAL).with_interval(PING_TIMEOUT)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
