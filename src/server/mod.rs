//! One listener for gRPC, gRPC-Web and REST, one list of layers, and an end in good order.

use std::{future::Future, time::Duration};

use tokio::net::TcpListener;

use crate::{
    config,
    error::Result,
    service::{ActiveCalls, Services},
    upstream::Client,
};

mod ambiguous_request;
mod auth;
mod connections;
mod cors;
mod count_bytes;
mod dialect;
mod early_response;
mod gate;
mod host;
mod http1_framing;
mod keyless;
mod peer;
mod readiness;
mod routes;
mod stalled_response;
mod timeout_stream;
mod unauthenticated_connections;

use connections::Connections;
use readiness::Readiness;

/// How long calls that were ended, after the drain timeout, have to say so to their callers.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every answer was complete.
    Drained,
    /// So many calls still ran after the drain timeout. They were ended with an error that says so,
    /// or, where the caller didn't even take that, by closing the connection.
    Cut(usize),
}

/// Serves until `shutdown` completes, then lets running answers end, for `--drain-timeout` at most.
/// Meanwhile probes are told that it drains, and new calls too: whoever sends them has not heard of
/// it yet.
///
/// # Errors
/// A configuration that can't be served. Trouble with single connections is theirs alone.
pub async fn serve(
    listener: TcpListener,
    config: &config::Serve,
    upstream: Client,
    shutdown: impl Future<Output = ()>,
) -> Result<Outcome> {
    let readiness = Readiness::new(upstream.has_key());
    let services = Services::new(upstream, config);
    let account = services.account.clone();
    let running = ActiveCalls::default();
    let router = routes::router(config, services, &readiness, &running)?;
    readiness.begin().await;
    let mut connections = Connections::new(router, config);
    let mut latecomers = connections.alike();
    tokio::select! {
        () = connections.accept_from(&listener) => {}
        () = shutdown => {}
    }
    readiness.drain().await;
    // Those who watch the units never end by themselves.
    account.end_watches();
    tracing::info!(
        calls = running.count(),
        "draining: no new calls; running ones may end"
    );
    let mut ending = Box::pin(connections.end());
    let is_drained = tokio::select! {
        ended = tokio::time::timeout(config.drain_timeout, &mut ending) => ended.is_ok(),
        () = latecomers.accept_from(&listener) => false,
    };
    drop(listener);
    if is_drained {
        return Ok(Outcome::Drained);
    }
    let calls = running.end_all();
    if calls == 0 {
        // What is left are connections and streams that nobody will miss.
        return Ok(Outcome::Drained);
    }
    // Whoever is left after that doesn't even take its error. With the tasks go their connections.
    let _ = tokio::time::timeout(LAST_WORDS_TIMEOUT, &mut ending).await;
    Ok(Outcome::Cut(calls))
}
