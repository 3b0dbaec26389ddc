//! One listener for gRPC, gRPC-Web and REST, one list of layers, and an end in good order.

use std::{future::Future, io, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::TcpListener;

use crate::{
    config,
    error::Result,
    service::{Running, Services},
    upstream::Client,
};

mod auth;
mod cors;
mod grpc;
mod limit;
mod ready;
mod routes;
mod unread;
mod unstuck;

use ready::Readiness;
use unread::{Streams, Watched};
use unstuck::Unstuck;

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
/// is to keep us busy (CVE-2023-44487), and the connection is closed. A client that gives up a batch at once is none: h2's
/// own 20 would cost it all its other calls too.
const UNSEEN_CANCELS_MAX: usize = 256;

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

/// How long calls that were ended, after the drain timeout, have to say so to their callers.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every answer was complete.
    Drained,
    /// So many calls still ran after the drain timeout. They were ended with an error that says so, or, where the caller
    /// didn't even take that, by closing the connection.
    Cut(usize),
}

/// Serves until `shutdown` completes, then lets running answers end, for `--drain-timeout` at most.
///
/// # Errors
/// A configuration that can't be served. Trouble with single connections is theirs alone.
pub async fn serve(
    listener: TcpListener,
    config: &config::Serve,
    upstream: Client,
    shutdown: impl Future<Output = ()>,
) -> Result<Outcome> {
    let mut readiness = Readiness::new(upstream.has_key());
    let services = Services::new(upstream, config);
    let account = services.account.clone();
    let running = Running::default();
    let router = routes::router(config, services, &readiness, &running)?;
    readiness.begin().await;
    let service = TowerToHyperService::new(router);
    let http = Arc::new(http(config.write_timeout));
    let connections = GracefulShutdown::new();
    let is_draining = tokio::sync::watch::Sender::new(false);
    let draining = is_draining.clone();
    let mut tasks = tokio::task::JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            accepted = accept(&listener, config.write_timeout) => accepted,
            Some(_) = tasks.join_next() => continue,
            () = &mut shutdown => break,
        };
        // One task for each connection. Requests live inside it and die with it; those of HTTP/2 in tasks of hyper's.
        let (http, service, watcher) = (Arc::clone(&http), service.clone(), connections.watcher());
        let (mut draining, patience) = (draining.subscribe(), config.write_timeout);
        tasks.spawn(async move {
            // Hyper's clock for a head begins only when the version is known, for which `Unstuck` has one.
            tokio::select! {
                spoke = tokio::time::timeout(HEAD_TIMEOUT, stream.readable()) => if spoke.is_err() { return },
                _ = draining.changed() => return,
            }
            let connection =
                http.serve_connection(TokioIo::new(Unstuck::new(stream, HEAD_TIMEOUT, patience)), service).into_owned();
            if let Some(Err(error)) = Watched::new(watcher.watch(connection), patience).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    readiness.drain().await;
    drop(listener);
    // Those who watch never end by themselves.
    readiness.end_watches().await;
    account.end_watches();
    is_draining.send_replace(true);
    tracing::info!(calls = running.count(), "draining: no new calls; running ones may end");
    let mut ending = Box::pin(async {
        connections.shutdown().await;
        while tasks.join_next().await.is_some() {}
    });
    if tokio::time::timeout(config.drain_timeout, &mut ending).await.is_ok() {
        return Ok(Outcome::Drained);
    }
    let calls = running.end_all();
    // Whoever is left now doesn't even take its error. With the tasks go their connections.
    let _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, &mut ending).await;
    drop(ending);
    tasks.shutdown().await;
    Ok(Outcome::Cut(calls))
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
async fn accept(listener: &TcpListener, write_timeout: Duration) -> tokio::net::TcpStream {
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
            Err(error) => {
                tracing::warn!(%error, "can't accept connections; trying again");
                tokio::time::sleep(ACCEPT_PAUSE).await;
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
