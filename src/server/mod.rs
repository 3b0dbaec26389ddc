//! The server: one listener for gRPC, gRPC-Web, Connect and REST, one list of layers, and a graceful
//! shutdown.

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::{
    config,
    error::{Error, ErrorCode, Result},
    keys::{Directory, Manager},
    ledger::{Ledger, Queries},
    service::{ActiveCalls, Services, Upstreams},
    telemetry::{Observer, metrics::CallMetrics, traces::Traces},
    workers::Workers,
};

mod ambiguous_request;
mod auth;
mod connection_age;
mod connections;
mod cors;
mod count_bytes;
mod dialect;
mod early_response;
mod front;
mod host;
mod http1_framing;
mod http_version;
mod keyless;
mod metrics;
mod peer;
mod plane;
mod readiness;
mod routes;
mod sharing;
mod stalled_response;
mod timeout_stream;
pub mod tls;
mod trace_names;
mod unauthenticated_connections;

use connections::Connections;
use cors::Cors;
use front::Front;
use metrics::ConnectionCounts;
use plane::Plane;
use readiness::Readiness;
use routes::Routes;
use sharing::Sharing;
pub use tls::Listener;

/// The time for callers to read the error of calls that were ended after the drain timeout.
const FINAL_ERROR_TIMEOUT: Duration = Duration::from_secs(2);

/// The time for calls to end whose connections were closed. Their tasks run on other threads.
const FINAL_END_TIMEOUT: Duration = Duration::from_secs(1);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every response was complete.
    Drained,
    /// The number of calls that were still running after the drain timeout. Each was ended with an
    /// error. If the caller did not read the error, its connection was closed.
    Cut(usize),
}

/// The keys of a server.
#[derive(Debug)]
pub struct Keys {
    /// By them, callers are recognised.
    pub directory: Directory,
    /// Changes them, and reads what they have used. Without it, the server has no administration.
    pub administration: Option<Administration>,
}

/// What an administrator manages and reads.
#[derive(Debug)]
pub struct Administration {
    /// Changes keys.
    pub manager: Manager,
    /// Reads the ledger.
    pub queries: Queries,
    /// Where it answers alone. `None`: at the address of all calls.
    pub listener: Option<Listener>,
}

impl From<Directory> for Keys {
    fn from(directory: Directory) -> Self {
        Self {
            directory,
            administration: None,
        }
    }
}

impl From<Administration> for Keys {
    fn from(administration: Administration) -> Self {
        Self {
            directory: administration.manager.directory().clone(),
            administration: Some(administration),
        }
    }
}

/// Serves callers with `keys` on `workers` as `config` says, which may change, and records their
/// calls in `ledger`, until `shutdown` completes, which is polled first when callers are served.
/// Then drains: running calls have at most `--drain-timeout` to finish. During the drain, new
/// connections are still accepted, so that probes and new calls get the error `draining`.
///
/// # Errors
/// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if the configuration cannot be
/// served. A problem with one connection ends only that connection.
pub async fn serve(
    listener: impl Into<Listener>,
    config: impl Into<config::Live>,
    keys: impl Into<Keys>,
    ledger: Ledger,
    upstreams: impl Into<Upstreams>,
    workers: &Workers,
    shutdown: impl Future<Output = ()>,
) -> Result<Outcome> {
    let listener = listener.into();
    let live = config.into();
    let config = &*live.get();
    let upstreams = upstreams.into();
    let readiness = Readiness::new(upstreams.has_key());
    let Keys {
        directory: keys,
        administration,
    } = keys.into();
    let (administration, admin_listener) = match administration {
        Some(it) => (Some((it.manager, it.queries)), it.listener),
        None => (None, None),
    };
    index_names(&keys, [Some(&listener), admin_listener.as_ref()]);
    let traces = start_traces(config)?;
    let observer = Observer {
        metrics: CallMetrics::new(config.metrics_key_label),
        tracer: traces.as_ref().map(|traces| traces.tracer().clone()),
    };
    let (connection_counts, admin_connection_counts) = (
        ConnectionCounts::new("main", Some(&listener)),
        ConnectionCounts::new("admin", admin_listener.as_ref()),
    );
    let queries = administration.as_ref().map(|(_, queries)| queries.clone());
    let services = Services::new(upstreams, config, keys.clone(), administration);
    let account = services.account.clone();
    let active_calls = ActiveCalls::default();
    // Ends when it is dropped.
    let mut tasks = JoinSet::new();
    tasks.spawn(wake_cut_calls(keys.cuts(), active_calls.clone()));
    let sharing = Sharing::start(config, &keys, &services);
    let mut connections = vec![Arc::clone(&connection_counts)];
    connections.extend(
        admin_listener
            .is_some()
            .then(|| Arc::clone(&admin_connection_counts)),
    );
    // Both listeners have the same status.
    let certificates = [Some(&listener), admin_listener.as_ref()]
        .into_iter()
        .flatten()
        .find_map(Listener::certificates);
    let sources = metrics::Sources {
        calls: observer.metrics.clone(),
        tracer: observer.tracer.clone(),
        gauges: services.gauges.clone(),
        active_calls: active_calls.clone(),
        ledger: ledger.clone(),
        queries,
        connections,
        certificates: certificates.cloned(),
        reloads: Arc::clone(live.status()),
        turn: Semaphore::new(1),
    };
    let (changing, leaving) = (services.clone(), services.clone());
    let routes = Routes::new(config, services, &readiness, keys.clone(), Some(sources))?;
    let cors = Cors::new(config, keys.is_open())?;
    let plane = match admin_listener {
        Some(_) => Plane::Callers,
        None => Plane::Whole,
    };
    let front = Front::new(
        routes,
        cors,
        plane,
        keys.clone(),
        active_calls.clone(),
        ledger,
        observer,
    );
    let admin_front = front.for_plane(Plane::Administration);
    let cors = front.cors();
    let directory = keys.clone();
    live.on_change(move |config| {
        directory.set_configured(&config.api_keys, &config.units.key_weights);
        changing.change(config);
        cors.change(config, directory.is_open());
    });
    readiness.begin().await;
    let is_open = keys.is_open();
    let mut connections = Connections::new(
        front,
        config,
        is_open,
        connection_counts,
        active_calls.clone(),
    );
    let mut late_connections = connections.sibling();
    let mut admin_connections = Connections::new(
        admin_front,
        config,
        is_open,
        admin_connection_counts,
        active_calls.clone(),
    );
    let mut late_admin_connections = admin_connections.sibling();
    tokio::select! {
        () = connections.accept_from(&listener, workers) => {}
        () = accept_all(&mut admin_connections, admin_listener.as_ref(), workers) => {}
        () = shutdown => {}
    }
    readiness.drain().await;
    // A watch of the units never ends by itself.
    account.end_watches();
    tracing::info!(
        calls = active_calls.count(),
        "draining: new calls are refused, running calls may finish"
    );
    let mut ending = Box::pin(async { tokio::join!(connections.end(), admin_connections.end()) });
    let is_drained = tokio::select! {
        ended = tokio::time::timeout(live.get().drain_timeout, &mut ending) => ended.is_ok(),
        () = late_connections.accept_from(&listener, workers) => false,
        () = accept_all(&mut late_admin_connections, admin_listener.as_ref(), workers) => false,
    };
    drop((listener, admin_listener));
    let outcome = match is_drained {
        true => Outcome::Drained,
        false => cut(ending, &active_calls).await,
    };
    sharing.end().await;
    leaving.leave_cluster().await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(outcome)
}

/// Ends the calls that are still running after the drain timeout, and the connections, which
/// `ending` waits for.
async fn cut(mut ending: impl Future + Unpin, active_calls: &ActiveCalls) -> Outcome {
    let calls = active_calls.cut_all();
    if calls == 0 {
        // Only idle connections and streams without a call are left.
        return Outcome::Drained;
    }
    // The remaining callers do not even read the error. Dropping the tasks closes their
    // connections.
    let _ = tokio::time::timeout(FINAL_ERROR_TIMEOUT, &mut ending).await;
    drop(ending);
    active_calls.wait_for_end(FINAL_END_TIMEOUT).await;
    Outcome::Cut(calls)
}

/// Starts the traces, if there are any.
fn start_traces(config: &config::Serve) -> Result<Option<Traces>> {
    let misconfigured = |message: String| Error::new(ErrorCode::BadConfiguration, message);
    let Some(settings) = config.tracing.settings().map_err(misconfigured)? else {
        return Ok(None);
    };
    let traces = Traces::start(settings, trace_names::of(&config.upstream)?);
    traces.map(Some).map_err(|error| {
        misconfigured("the client of the trace collector cannot be set up".to_owned())
            .with_source(error)
    })
}

/// Checks what [`serve`] builds of `config`.
///
/// # Errors
/// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if the configuration cannot be
/// served.
pub fn check(config: &config::Serve) -> Result<()> {
    Cors::new(config, false).map(drop)
}

/// Lets `keys` find those that certificates of callers stand for.
fn index_names(keys: &Directory, listeners: [Option<&Listener>; 2]) {
    let endpoints = listeners.into_iter().flatten();
    let endpoints = endpoints.filter_map(|listener| listener.tls.as_ref());
    let names: HashSet<_> = endpoints
        .flat_map(|endpoint| endpoint.keys().names().cloned())
        .collect();
    if names.is_empty() {
        return;
    }
    for name in keys.index_names(names) {
        tracing::warn!(
            %name,
            "a certificate stands for a key that does not exist (FEATHERWIRE_TLS_CLIENT_KEYS or \
             FEATHERWIRE_ADMIN_TLS_CLIENT_KEYS): create a key with this name"
        );
    }
}

/// Serves the connections of a listener, if there is one. Never completes.
async fn accept_all(connections: &mut Connections, listener: Option<&Listener>, workers: &Workers) {
    match listener {
        Some(listener) => connections.accept_from(listener, workers).await,
        None => std::future::pending().await,
    }
}

/// Wakes the calls whenever those of a key were cut.
async fn wake_cut_calls(mut cuts: watch::Receiver<u64>, active_calls: ActiveCalls) {
    while cuts.changed().await.is_ok() {
        active_calls.wake_all();
    }
}
