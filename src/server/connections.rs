//! Accepts connections from the listener, serves each one in its own task, and shuts them down
//! gracefully.

use std::{io, pin::pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

use super::{
    front::Front,
    metrics::ConnectionCounts,
    peer::{HEAD_TIMEOUT, Peer},
    stalled_response::{StallGuard, StreamExecutor},
    timeout_stream::TimeoutStream,
    unauthenticated_connections::UnauthenticatedConnections,
};
use crate::{config, descriptors, workers::Workers};

/// The interval of HTTP/2 and TCP pings on an idle connection, and the timeout for the reply. Pings
/// detect a caller who has disappeared.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The time in addition to `--write-timeout` for which sent bytes may stay unacknowledged. The
/// kernel's limit also applies to a caller who is connected but does not read, and must not close
/// the connection before the gateway does.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MARGIN: Duration = Duration::from_secs(10);

/// The largest number of open calls on one HTTP/2 connection.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;

/// The largest number of calls on one HTTP/2 connection that are cancelled before the gateway has
/// processed them. More is an attack (CVE-2023-44487), and the connection is closed. The default of
/// h2 is 20, but a correct client may cancel all of its open calls at once.
const UNPROCESSED_CANCELS_MAX: usize = STREAMS_PER_CONNECTION_MAX as usize;

/// The largest number of stream errors in the lifetime of an HTTP/2 connection. Beyond it, the
/// connection is closed (CVE-2025-8671). The default of h2 is 1024, but a correct client could
/// reach it, because a connection may live for weeks and frames can cross on the wire.
const STREAM_ERRORS_MAX: usize = 16 * 1024;

/// The largest request head, in bytes.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// The flow-control windows of HTTP/2: the number of bytes that a caller may send before the
/// gateway reads them. Prompts with images are large.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The wait after a failed accept. The usual reason is that file descriptors are exhausted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pause between two accepts while connections without a key come too fast.
const FLOOD_PAUSE: Duration = Duration::from_millis(1);

/// The time for a new connection to send its first byte after the shutdown has begun, because a
/// request may be on its way.
const FIRST_BYTE_GRACE: Duration = Duration::from_millis(100);

/// The time for which a connection that is being closed stays open without a call. Its client was
/// told to send no more calls, but one may be on its way. If the client does not respond, the
/// connection is closed after this time too.
const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// Connections with the same settings, which are shut down together.
pub(super) struct Connections {
    front: Front,
    settings: Settings,
    unauthenticated: Arc<UnauthenticatedConnections>,
    counts: Arc<ConnectionCounts>,
    /// One task per connection. HTTP/1.1 requests run inside it. HTTP/2 requests run in tasks that
    /// hyper spawns, which end with their streams.
    tasks: JoinSet<()>,
    shutdown: watch::Sender<bool>,
}

/// The settings of each connection.
#[derive(Clone, Copy)]
struct Settings {
    /// The longest time for which a caller may leave a response unread.
    write_timeout: Duration,
    /// The longest time for which a connection may be without an open call.
    idle_timeout: Duration,
    /// Whether callers need no gateway key.
    is_open: bool,
}

impl Connections {
    pub(super) fn new(
        front: Front,
        config: &config::Serve,
        is_open: bool,
        counts: Arc<ConnectionCounts>,
    ) -> Self {
        let settings = Settings {
            write_timeout: config.write_timeout,
            idle_timeout: config.idle_connection_timeout,
            is_open,
        };
        let unauthenticated = Arc::new(UnauthenticatedConnections::new(
            config.unauthenticated_connections,
        ));
        Self {
            front,
            settings,
            unauthenticated,
            counts,
            tasks: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// A new, empty set of connections with the same settings. The limit of unauthenticated
    /// connections is shared.
    pub(super) fn sibling(&self) -> Self {
        let (front, unauthenticated) = (self.front.clone(), Arc::clone(&self.unauthenticated));
        Self {
            front,
            unauthenticated,
            settings: self.settings,
            counts: Arc::clone(&self.counts),
            tasks: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// Accepts connections and serves them on `workers`. Never completes; drop the future to stop
    /// accepting.
    pub(super) async fn accept_from(&mut self, listener: &TcpListener, workers: &Workers) {
        loop {
            tokio::select! {
                stream = accept(
                    listener,
                    self.settings.write_timeout,
                    &self.unauthenticated,
                ) => {
                    if self.serve(stream, workers) {
                        sleep(FLOOD_PAUSE).await;
                    }
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Returns true if connections without a key come too fast.
    fn serve(&mut self, stream: TcpStream, workers: &Workers) -> bool {
        let peer = Peer::new(self.settings.idle_timeout, self.settings.is_open);
        let (front, shutdown_started) = (self.front.clone(), self.shutdown.subscribe());
        let write_timeout = self.settings.write_timeout;
        let open = self.counts.open();
        let serving = {
            let peer = Arc::clone(&peer);
            async move |stream| {
                serve_connection(stream, front, write_timeout, peer, shutdown_started).await;
                drop(open);
            }
        };
        let task = match workers.add_connection() {
            Some((worker, guard)) => {
                let _in_worker = worker.enter();
                let stream = match stream.into_std().and_then(TcpStream::from_std) {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "cannot serve a connection");
                        return false;
                    }
                };
                self.tasks.spawn(async move {
                    serving(stream).await;
                    drop(guard);
                })
            }
            None => self.tasks.spawn(serving(stream)),
        };
        self.unauthenticated.add(&peer, task)
    }

    /// Shuts down each connection as soon as it has no open call, and waits for all of them.
    /// Dropping the future closes those that remain.
    pub(super) async fn end(mut self) {
        self.shutdown.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn serve_connection(
    stream: TcpStream,
    front: Front,
    write_timeout: Duration,
    peer: Arc<Peer>,
    mut shutdown_started: watch::Receiver<bool>,
) {
    let first_byte_timeout = async {
        tokio::select! {
            () = sleep(HEAD_TIMEOUT) => {}
            _ = shutdown_started.changed() => sleep(FIRST_BYTE_GRACE).await,
        }
    };
    let version = tokio::select! {
        biased;
        version = peek_version(&stream) => version,
        () = first_byte_timeout => return,
    };
    let (stream, disconnected) = TimeoutStream::new(stream, write_timeout, Arc::clone(&peer));
    let http = http(StreamExecutor {
        write_timeout,
        peer: Arc::clone(&peer),
    });
    let http = match version {
        Some(Version::Http1) => http.http1_only(),
        Some(Version::Http2) => http.http2_only(),
        None => http,
    };
    let serving = async {
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), front));
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended,
            () = peer.expires() => {
                tracing::debug!("connection closed: no call for too long");
                if peer.is_in_head() {
                    return Ok(());
                }
            }
            _ = shutdown_started.wait_for(|shutdown_started| *shutdown_started) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = peer.stays_idle(CLOSING_GRACE) => Ok(()),
        }
    };
    tokio::select! {
        biased;
        ended = StallGuard::new(Arc::clone(&peer).scope(serving), write_timeout) => {
            if let Some(Err(error)) = ended {
                tracing::debug!(%error, "connection ended");
            }
        }
        () = disconnected => tracing::debug!("the caller disconnected"),
    }
}

enum Version {
    Http1,
    Http2,
}

/// Waits for the first bytes of the caller, and tells which version of HTTP they begin. `None` if
/// they are too few for that, or if the caller has closed the connection.
///
/// Hyper can recognise the version too, but it hands the bytes that it read for that to HTTP/1 as
/// the first read. A second read follows, for which the buffer grows to twice its size, and stays
/// so for as long as the connection lives.
async fn peek_version(stream: &TcpStream) -> Option<Version> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut first = [0; PREFACE.len()];
    let bytes = stream.peek(&mut first).await.ok()?;
    let first = first.get(..bytes).filter(|first| !first.is_empty())?;
    match PREFACE.strip_prefix(first) {
        Some([]) => Some(Version::Http2),
        Some(_) => None,
        None => Some(Version::Http1),
    }
}

fn http(streams: StreamExecutor) -> auto::Builder<StreamExecutor> {
    let mut http = auto::Builder::new(streams);
    // Hyper's timeout for request headers also runs on idle connections. `Peer` has a timeout for
    // each of the two instead.
    http.http1()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(UNPROCESSED_CANCELS_MAX)
        .max_local_error_reset_streams(STREAM_ERRORS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    http
}

#[cfg_attr(not(target_os = "linux"), allow(unused_variables))]
async fn accept(
    listener: &TcpListener,
    write_timeout: Duration,
    unauthenticated: &UnauthenticatedConnections,
) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Tokens are small and must be sent at once. Nagle's algorithm would delay them.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive());
                #[cfg(target_os = "linux")]
                let _ = socket2::SockRef::from(&stream)
                    .set_tcp_user_timeout(Some(write_timeout + UNACKNOWLEDGED_MARGIN));
                return stream;
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) if descriptors::have_run_out(&error) => {
                descriptors::log_shortage();
                unauthenticated.make_room();
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again");
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

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
