//! The real gateway and the real emulator, each on a free port. They run until the value is
//! dropped.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser;
use featherwire::{
    config,
    emulator::{self, EmulatorConfig},
    keys::Directory,
    ledger::Ledger,
    server::{
        self, Listener,
        tls::{Reload, Tls},
    },
    service::Upstreams,
    workers::Workers,
};
use reqwest::{RequestBuilder, Response};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    certificates::Credentials,
    clock::PATIENCE,
    poll,
    requests::prompt,
    rest::{Events, http, status_and_json, with_json},
};

/// A running gateway.
pub struct Gateway {
    pub address: SocketAddr,
    /// With them, its helpers speak TLS.
    pub credentials: Option<Credentials>,
    /// Reads the files of its certificates again.
    pub certificates: Reload,
    stop: Arc<Notify>,
    task: JoinHandle<server::Outcome>,
}

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    serve: config::Serve,
}

impl Gateway {
    /// A gateway in front of this upstream, with a key for it and without keys for callers.
    pub async fn to(upstream: SocketAddr) -> Self {
        Self::with(upstream, |_| {}).await
    }

    /// The same, configured further.
    pub async fn with(upstream: SocketAddr, configure: impl FnOnce(&mut config::Serve)) -> Self {
        Self::recorded(upstream, Ledger::default(), configure).await
    }

    /// The same, which records its calls in `ledger`.
    pub async fn recorded(
        upstream: SocketAddr,
        ledger: Ledger,
        configure: impl FnOnce(&mut config::Serve),
    ) -> Self {
        let keys =
            |config: &config::Serve| Directory::new(&config.api_keys, &config.units.key_weights);
        Self::start(upstream, |config| (keys(config), ledger), configure).await
    }

    /// The same, with these keys.
    pub async fn with_parts(
        upstream: SocketAddr,
        parts: (Directory, Ledger),
        configure: impl FnOnce(&mut config::Serve),
    ) -> Self {
        Self::start(upstream, |_| parts, configure).await
    }

    async fn start(
        upstream: SocketAddr,
        parts: impl FnOnce(&config::Serve) -> (Directory, Ledger),
        configure: impl FnOnce(&mut config::Serve),
    ) -> Self {
        let mut config = Options::parse_from(["test"]).serve;
        // The environment of the test run has no influence.
        config.api_keys.clear();
        config.cors_origins.clear();
        config.workers = None;
        config.admin_listen = None;
        config.tls = config::Tls::default();
        config.tracing.otlp_endpoint = None;
        config.tracing.otlp_traces_endpoint = None;
        config.tracing.traces_exporter = None;
        config.upstream.featherless_api_key = Some(SecretString::from("upstream-secret"));
        config.upstream.featherless_base_url = format!("http://{upstream}/v1").parse().unwrap();
        config.drain_timeout = Duration::from_secs(5);
        // Most tests are about one attempt; `retries` and `fallbacks` raise this again.
        config.upstream.retries = 0;
        config.models.circuit_failures = 0;
        // Scripts don't expect requests for the account's units; `units` turns this on.
        config.units.units = Some(0);
        configure(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = Tls::load(&config.tls, false).unwrap();
        let listener = Listener::new(listener, tls.callers);
        let upstreams = Upstreams::new(&config).unwrap();
        let workers = config
            .workers
            .map_or_else(Workers::none, |workers| Workers::start(workers).unwrap());
        let (keys, ledger) = parts(&config);
        let stop = Arc::<Notify>::default();
        let stopped = Arc::clone(&stop);
        let shutdown = async move { stopped.notified().await };
        let task = tokio::spawn(async move {
            server::serve(
                listener, &config, keys, ledger, upstreams, &workers, shutdown,
            )
            .await
            .unwrap()
        });
        Self {
            address,
            credentials: None,
            certificates: tls.reload,
            stop,
            task,
        }
    }

    pub fn url(&self, path: &str) -> String {
        let scheme = match self.credentials {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{}{path}", self.address)
    }

    /// An HTTP/1.1 client that it accepts.
    pub fn http(&self) -> reqwest::Client {
        self.credentials
            .as_ref()
            .map_or_else(http, Credentials::http)
    }

    /// The scheduler's state, as the gateway shows it to this key.
    pub async fn units(&self, key: &str) -> Value {
        let get = self
            .http()
            .get(self.url("/v1/concurrency"))
            .bearer_auth(key);
        let (status, answer) = status_and_json(get.send().await.unwrap()).await;
        assert_eq!(status, 200, "{answer}");
        answer["gateway"].clone()
    }

    /// Waits for an event of the units' stream that meets the condition. The gateway sends an event
    /// with each snapshot of the upstream, so this is for upstreams that send snapshots, and for
    /// states that last.
    pub async fn wait_for_units_event(
        &self,
        key: &str,
        what: &str,
        condition: impl Fn(&Value) -> bool,
    ) {
        let get = self.http().get(self.url("/v1/concurrency/stream"));
        let mut events = Events::of(get.bearer_auth(key)).await;
        events
            .until(what, |event| condition(&event["gateway"]))
            .await;
    }

    /// Polls until the scheduler's state meets the condition. For states without an event.
    pub async fn wait_for_units(&self, what: &str, condition: impl Fn(&Value) -> bool) {
        poll::until(what, async || condition(&self.units("any").await)).await;
    }

    /// Waits until this number of calls of the default priority wait for units.
    pub async fn wait_for_queued(&self, calls: usize) {
        self.wait_for_units("calls wait for units", |view| {
            view["queued"]["default"] == calls
        })
        .await;
    }

    /// Starts the drain, and waits until the gateway refuses new calls.
    pub async fn drain(&self) {
        let mut health = HealthClient::new(self.channel().await);
        let watch = health.watch(HealthCheckRequest::default()).await;
        let mut watch = watch.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        self.shut_down();
        // Every watch ends when the drain begins.
        let ended = async { while let Ok(Some(_)) = watch.message().await {} };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("the drain begins");
    }

    /// Starts the drain.
    pub fn shut_down(&self) {
        self.stop.notify_one();
    }

    /// Starts the drain, and waits until the server has ended.
    pub async fn stop(mut self) -> server::Outcome {
        self.shut_down();
        (&mut self.task).await.unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A running emulator.
pub struct Emulator {
    pub address: SocketAddr,
    task: JoinHandle<std::io::Result<()>>,
}

impl Emulator {
    /// An emulator that answers as fast as it can.
    pub async fn start() -> Self {
        Self::with(EmulatorConfig {
            tokens_per_second: 0.0,
            ..EmulatorConfig::default()
        })
        .await
    }

    pub async fn with(config: EmulatorConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            address,
            task: tokio::spawn(emulator::serve(listener, config, std::future::pending())),
        }
    }

    /// Waits until no request holds units any more.
    pub async fn wait_until_idle(&self) {
        let feed = format!("http://{}/account/concurrency/stream", self.address);
        let mut events = Events::of(http().get(feed).bearer_auth("any")).await;
        let is_idle =
            |snapshot: &Value| snapshot["used_cost"] == 0 && snapshot["request_count"] == 0;
        events.until("units are given back", is_idle).await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Requests to the REST door.
impl Gateway {
    /// A POST request with this JSON as its body, not yet sent: for requests with headers.
    pub fn post_request(&self, path: &str, body: impl ToString) -> RequestBuilder {
        with_json(self.http().post(self.url(path)), body.to_string())
    }

    /// Posts JSON. Only the head of the response has been read.
    pub async fn post(&self, path: &str, body: impl ToString) -> Response {
        self.post_request(path, body).send().await.unwrap()
    }

    /// Posts JSON: the status and the JSON of the response.
    pub async fn post_json(&self, path: &str, body: impl ToString) -> (u16, Value) {
        status_and_json(self.post(path, body).await).await
    }

    /// Gets JSON: the status and the JSON of the response.
    pub async fn get_json(&self, path: &str) -> (u16, Value) {
        status_and_json(self.http().get(self.url(path)).send().await.unwrap()).await
    }

    /// Requests a streamed answer from `model`. Only the headers of the response have been read.
    /// The call runs until the response is dropped.
    pub async fn open_stream(&self, model: &str) -> Response {
        let mut request = prompt(model, "hi");
        request["stream"] = json!(true);
        self.post("/v1/chat/completions", request).await
    }
}
