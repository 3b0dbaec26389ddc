//! Accepts connections from the listener, serves each one in its own task, and shuts them down
//! gracefully.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

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
    connection_age::{AgeLimit, ConnectionAge},
    front::Front,
    http_version::{Version, peek_version},
    metrics::ConnectionCounts,
    peer::{HEAD_TIMEOUT, Peer},
    stalled_response::{StallGuard, StreamExecutor},
    timeout_stream::{DisconnectWatcher, TimeoutStream},
    tls::{Endpoint, HandshakeFailures, Listener, handshake, transport::Transport},
    unauthenticated_connections::UnauthenticatedConnections,
};
use crate::{config, descriptors, service::ActiveCalls, workers::Workers};

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

/// The time for a handshake to end after the shutdown has begun.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(2);

/// The time for which a connection that is being closed stays open without a call. Its client was
/// told to send no more calls, but one may be on its way. If the client does not respond, the
/// connection is closed after this time too.
pub(super) const CLOSING_GRACE: Duration = Duration::from_secs(2);

/// Connections with the same settings, which are shut down together.
pub(super) struct Connections {
    front: Front,
    settings: Settings,
    unauthenticated: Arc<UnauthenticatedConnections>,
    counts: Arc<ConnectionCounts>,
    active_calls: ActiveCalls,
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
    age: AgeLimit,
    /// Whether callers need no gateway key.
    is_open: bool,
}

impl Connections {
    pub(super) fn new(
        front: Front,
        config: &config::Serve,
        is_open: bool,
        counts: Arc<ConnectionCounts>,
        active_calls: ActiveCalls,
    ) -> Self {
        let settings = Settings {
            write_timeout: config.write_timeout,
            idle_timeout: config.idle_connection_timeout,
            age: AgeLimit {
                max: config.max_connection_age,
                grace: config.max_connection_age_grace,
            },
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
            active_calls,
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
            active_calls: self.active_calls.clone(),
            tasks: JoinSet::new(),
            shutdown: watch::Sender::new(false),
        }
    }

    /// Accepts connections and serves them on `workers`. Never completes; drop the future to stop
    /// accepting.
    pub(super) async fn accept_from(&mut self, listener: &Listener, workers: &Workers) {
        loop {
            tokio::select! {
                stream = accept(
                    &listener.tcp,
                    self.settings.write_timeout,
                    &self.unauthenticated,
                ) => {
                    if self.serve(stream, listener.tls.clone(), workers) {
                        sleep(FLOOD_PAUSE).await;
                    }
                }
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    /// Returns true if connections without a key come too fast.
    fn serve(&mut self, stream: TcpStream, tls: Option<Arc<Endpoint>>, workers: &Workers) -> bool {
        let peer = Peer::new(self.settings.idle_timeout, self.settings.is_open);
        let (front, mut shutdown_started) = (self.front.clone(), self.shutdown.subscribe());
        let write_timeout = self.settings.write_timeout;
        let age = self.settings.age.begin(self.active_calls.clone());
        let open = self.counts.open();
        let serving = {
            let peer = Arc::clone(&peer);
            async move |stream| {
                let handshakes = open.handshakes();
                let opening = self::open(
                    stream,
                    tls,
                    handshakes,
                    write_timeout,
                    &peer,
                    &mut shutdown_started,
                );
                if let Some(opened) = opening.await {
                    serve_connection(opened, front, write_timeout, peer, age, shutdown_started)
                        .await;
                }
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

/// A connection whose version of HTTP is known. `None` for a caller who has sent too few bytes for
/// that.
struct Opened {
    stream: TimeoutStream,
    disconnected: DisconnectWatcher,
    version: Option<Version>,
}

/// Waits for the first bytes of the caller, after the handshake if the connection has TLS. `None`
/// if they do not come.
async fn open(
    stream: TcpStream,
    tls: Option<Arc<Endpoint>>,
    handshakes: &HandshakeFailures,
    write_timeout: Duration,
    peer: &Arc<Peer>,
    shutdown_started: &mut watch::Receiver<bool>,
) -> Option<Opened> {
    let stream_of = |transport| TimeoutStream::new(transport, write_timeout, Arc::clone(peer));
    let Some(tls) = tls else {
        let first_bytes = peek_version(&stream);
        let version = unless_late(first_bytes, shutdown_started, FIRST_BYTE_GRACE).await?;
        let (stream, disconnected) = stream_of(Transport::Plain(stream));
        return Some(Opened {
            stream,
            disconnected,
            version,
        });
    };
    // In a box, because it is large, and a connection without TLS needs no memory for it.
    let handshake = Box::pin(handshake::accept(stream, &tls, handshakes));
    let secured = unless_late(handshake, shutdown_started, HANDSHAKE_GRACE).await??;
    if let Some(certificate) = secured.certificate {
        peer.set_certificate(certificate);
    }
    let agreed = secured.transport.alpn_protocol().and_then(Version::agreed);
    let (stream, disconnected) = stream_of(secured.transport);
    let first_bytes = stream.first_bytes(Version::of);
    match unless_late(first_bytes, shutdown_started, FIRST_BYTE_GRACE).await {
        Some(seen) => Some(Opened {
            stream,
            disconnected,
            version: agreed.or(seen),
        }),
        None => {
            disconnected.say_goodbye().await;
            None
        }
    }
}

/// Waits for a caller who has begun nothing yet: until the timeout, or for the time `grace` after
/// the shutdown has begun.
async fn unless_late<T>(
    begun: impl Future<Output = T>,
    shutdown_started: &mut watch::Receiver<bool>,
    grace: Duration,
) -> Option<T> {
    let shutdown_starts = async {
        let _ = shutdown_started.wait_for(|started| *started).await;
    };
    let is_late = async {
        tokio::select! {
            () = sleep(HEAD_TIMEOUT) => {}
            () = shutdown_starts => sleep(grace).await,
        }
    };
    tokio::select! {
        biased;
        begun = begun => Some(begun),
        () = is_late => None,
    }
}

async fn serve_connection(
    opened: Opened,
    front: Front,
    write_timeout: Duration,
    peer: Arc<Peer>,
    age: ConnectionAge,
    mut shutdown_started: watch::Receiver<bool>,
) {
    let Opened {
        stream,
        mut disconnected,
        version,
    } = opened;
    let http = http(StreamExecutor {
        write_timeout,
        peer: Arc::clone(&peer),
    });
    // A client of HTTP/2 gets a GOAWAY, and what it sent before is still answered.
    let is_http2 = matches!(version, Some(Version::Http2));
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
            () = peer.certificate_ends() => {
                // Its client can connect again with a newer one.
                tracing::debug!("connection closed: its certificate no longer holds");
            }
            () = async {
                age.is_reached().await;
                if !is_http2 {
                    peer.can_close(CLOSING_GRACE).await;
                }
            } => tracing::debug!("connection closed: its age"),
            _ = shutdown_started.wait_for(|shutdown_started| *shutdown_started) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = peer.stays_idle(CLOSING_GRACE) => Ok(()),
            () = age.is_over(&peer) => Ok(()),
        }
    };
    let mut serving = StallGuard::new(Arc::clone(&peer).scope(serving), write_timeout);
    tokio::select! {
        biased;
        ended = &mut serving => match ended {
            // Hyper has not closed a connection that was idle for too long.
            Some(Ok(())) => disconnected.say_goodbye().await,
            Some(Err(error)) => tracing::debug!(%error, "connection ended"),
            None => {}
        },
        () = &mut disconnected => tracing::debug!("the caller disconnected"),
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
