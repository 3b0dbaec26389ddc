//! Connections: taken from the listener, served each in a task of its own, and ended in good order.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    peer::{HEAD_TIMEOUT, Peer},
    stalled_response::{Streams, Watched},
    timeout_stream::Unstuck,
    unauthenticated_connections::Unauthenticated,
};
use crate::{config, descriptors};

/// Pings on a connection without traffic, HTTP/2's and the kernel's, and the wait for their answer:
/// how a vanished caller is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How much longer than `--write-timeout` sent bytes may stay unacknowledged. The kernel counts a
/// caller who is there but doesn't read as well, and shall not be quicker than we are.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MARGIN: Duration = Duration::from_secs(10);

/// How many calls one HTTP/2 connection may have open at a time.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// How many calls of one HTTP/2 connection may be cancelled before we have so much as looked at
/// them. More is a flood that is to keep us busy (CVE-2023-44487), and the connection is closed. A
/// client that gives up at once all that it may have open is none: h2's own 20 would cost it all
/// its other calls too.
const UNSEEN_CANCELS_MAX: usize = STREAMS_PER_CONNECTION_MAX as usize;

/// How often in its life one HTTP/2 connection may break the protocol in a way that costs only the
/// one call, before it is closed (CVE-2025-8671). A client's connection may live for weeks, and
/// frames can always cross: h2's own 1024 can be reached in good faith.
const BROKEN_CALLS_MAX: usize = 16 * 1024;

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Flow-control windows of HTTP/2: what a caller may send before we have read it. Prompts with
/// images are large.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The wait after a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long one who has just connected has for its first words when connections end: they may be on
/// their way.
const FIRST_WORDS_GRACE: Duration = Duration::from_millis(100);

/// How long a connection that is to be closed may go on without a call: its client is told, may
/// have a call on its way, and answers that it has heard. One that answers nothing is closed all
/// the same.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// Connections that are served alike, and end together.
pub(super) struct Connections {
    router: Router,
    terms: Terms,
    unauthenticated: Arc<Unauthenticated>,
    /// One task for each. Requests live inside it and die with it; those of HTTP/2 in tasks of
    /// hyper's.
    tasks: JoinSet<()>,
    are_ending: watch::Sender<bool>,
}

/// How each connection is served.
#[derive(Clone, Copy)]
struct Terms {
    /// How long an answer may go unread.
    patience: Duration,
    /// How long a connection may have no call open.
    idle_timeout: Duration,
    /// Whether callers need a key.
    needs_key: bool,
}

impl Connections {
    pub(super) fn new(router: Router, config: &config::Serve) -> Self {
        let terms = Terms {
            patience: config.write_timeout,
            idle_timeout: config.idle_connection_timeout,
            needs_key: !config.api_keys.is_empty(),
        };
        let unauthenticated = Arc::new(Unauthenticated::new(config.unauthenticated_connections));
        Self {
            router,
            terms,
            unauthenticated,
            tasks: JoinSet::new(),
            are_ending: watch::Sender::new(false),
        }
    }

    /// None yet, to be served as these are, and counted with them.
    pub(super) fn alike(&self) -> Self {
        let (router, unauthenticated) = (self.router.clone(), Arc::clone(&self.unauthenticated));
        Self {
            router,
            unauthenticated,
            terms: self.terms,
            tasks: JoinSet::new(),
            are_ending: watch::Sender::new(false),
        }
    }

    /// Takes connections and serves them. Never completes; dropped, it takes no more.
    pub(super) async fn accept_from(&mut self, listener: &TcpListener) {
        loop {
            tokio::select! {
                stream = accept(listener, self.terms.patience, &self.unauthenticated) => self.serve(stream),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        let peer = Peer::new(self.terms.idle_timeout, !self.terms.needs_key);
        let (router, is_ending) = (self.router.clone(), self.are_ending.subscribe());
        let task = self.tasks.spawn(converse(
            stream,
            router,
            self.terms.patience,
            Arc::clone(&peer),
            is_ending,
        ));
        self.unauthenticated.add(&peer, task);
    }

    /// Ends each connection as soon as it has nothing under way, and waits for that. Dropped, it
    /// cuts those that are left.
    pub(super) async fn end(mut self) {
        self.are_ending.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn converse(
    stream: TcpStream,
    router: Router,
    patience: Duration,
    peer: Arc<Peer>,
    mut is_ending: watch::Receiver<bool>,
) {
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
    let (stream, hangup) = Unstuck::new(stream, patience, Arc::clone(&peer));
    let http = http(Streams {
        patience,
        peer: Arc::clone(&peer),
    });
    let conversation = async {
        let mut connection =
            pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = peer.expires() => {
                tracing::debug!("a connection was without a call for too long");
                if peer.is_in_head() {
                    return Ok(());
                }
            }
            _ = is_ending.wait_for(|is_ending| *is_ending) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = peer.falls_silent(CLOSING_GRACE) => Ok(()),
        }
    };
    tokio::select! {
        biased;
        ended = Watched::new(Arc::clone(&peer).scope(conversation), patience) => {
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = hangup => tracing::debug!("the caller left"),
    }
}

fn http(streams: Streams) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(streams);
    // Hyper's clock for heads runs on idle connections too. `Peer` has one.
    http.http1()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX as usize);
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
async fn accept(
    listener: &TcpListener,
    write_timeout: Duration,
    unauthenticated: &Unauthenticated,
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Tokens are small and must leave at once, not after Nagle's wait for more.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive());
                #[cfg(target_os = "linux")]
                let _ = socket2::SockRef::from(&stream)
                    .set_tcp_user_timeout(Some(write_timeout + UNACKNOWLEDGED_MARGIN));
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if descriptors::have_run_out(&error) => {
                descriptors::log_shortage();
                unauthenticated.make_room();
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
    socket2::TcpKeepalive::new()
        .with_time(PING_INTERVAL)
        .with_interval(PING_TIMEOUT)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
