//! `GET /metrics`: the values of all metrics, for Prometheus.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, Request, header};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    readiness::Readiness,
    tls::{CertificateStatus, HandshakeFailures, Listener},
};
use crate::{
    build_info,
    config::ReloadStatus,
    error::{Error, ErrorCode, Result},
    ledger::{Ledger, Queries},
    service::{ActiveCalls, Gauges, inflight_bytes::InflightBytes},
    telemetry::{
        self,
        metrics::{self, CallMetrics, Samples, TextFormat, table},
        traces::Tracer,
    },
};

/// The path of the metrics.
pub(super) const PATH: &str = "/metrics";

/// What is measured, and by whom.
pub(super) struct Sources {
    pub(super) calls: CallMetrics,
    pub(super) tracer: Option<Tracer>,
    pub(super) gauges: Gauges,
    pub(super) active_calls: ActiveCalls,
    pub(super) ledger: Ledger,
    pub(super) queries: Option<Queries>,
    /// The connections of each listener.
    pub(super) connections: Vec<Arc<ConnectionCounts>>,
    /// One scrape is answered at a time: its text can have megabytes.
    pub(super) turn: Semaphore,
    /// The certificates of the listeners, if they have TLS.
    pub(super) certificates: Option<Arc<CertificateStatus>>,
    /// How often the configuration was read again.
    pub(super) reloads: Arc<ReloadStatus>,
}

/// Counts the connections of a listener, and its failed handshakes.
#[derive(Debug)]
pub(super) struct ConnectionCounts {
    listener: &'static str,
    accepted: AtomicU64,
    ended: AtomicU64,
    handshakes: HandshakeFailures,
    has_tls: bool,
}

/// Counts a connection as open until it is dropped.
pub(super) struct OpenConnection(Arc<ConnectionCounts>);

impl ConnectionCounts {
    pub(super) fn new(name: &'static str, listener: Option<&Listener>) -> Arc<Self> {
        Arc::new(Self {
            listener: name,
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            handshakes: HandshakeFailures::new(name),
            has_tls: listener.is_some_and(|listener| listener.tls.is_some()),
        })
    }

    /// Counts a connection that was accepted.
    pub(super) fn open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(self))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    fn collect(&self, samples: &mut Samples) {
        // In this order, so that no more have ended than were accepted.
        let ended = self.ended.load(Ordering::Acquire);
        let accepted = self.accepted.load(Ordering::Acquire);
        let open = accepted.saturating_sub(ended);
        samples.add(table::CONNECTIONS_TOTAL, &[self.listener], accepted as f64);
        samples.add(table::CONNECTIONS, &[self.listener], open as f64);
        if self.has_tls {
            for (reason, failures) in self.handshakes.counts() {
                let labels = [self.listener, reason];
                samples.add(table::HANDSHAKE_FAILURES, &labels, failures as f64);
            }
        }
    }
}

impl OpenConnection {
    /// The failed handshakes of its listener.
    pub(super) fn handshakes(&self) -> &HandshakeFailures {
        &self.0.handshakes
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

impl Sources {
    /// Answers a request for the metrics.
    ///
    /// # Errors
    /// [`Kind::WrongMethod`](crate::error::Kind::WrongMethod).
    pub(super) async fn answer(
        &self,
        request: &Request<()>,
        readiness: &Readiness,
        inflight: &InflightBytes,
    ) -> Result<Response> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let message = format!("{PATH} supports only GET");
            return Err(Error::new(ErrorCode::MethodNotAllowed, message));
        }
        let accept = request.headers().get(header::ACCEPT);
        let accept = accept.and_then(|accept| accept.to_str().ok());
        let format = TextFormat::of_accept(accept.unwrap_or_default());
        let mut samples = Samples::default();
        self.collect(&mut samples, readiness, inflight);
        let calls = self.calls.clone();
        // Of many models, the text has megabytes.
        let _turn = self.turn.acquire().await.map_err(Error::internal)?;
        let text = spawn_blocking(move || {
            calls.collect(&mut samples);
            metrics::add_process(&mut samples);
            samples.encode(format)
        });
        let text = text.await.map_err(Error::internal)?;
        let mut response = Response::new(Body::from(text.map_err(Error::internal)?));
        let content_type = HeaderValue::from_static(format.content_type());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        Ok(response)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts for graphs")]
    fn collect(&self, samples: &mut Samples, readiness: &Readiness, inflight: &InflightBytes) {
        self.gauges.collect(samples);
        for connections in &self.connections {
            connections.collect(samples);
        }
        let active = self.active_calls.count() as f64;
        samples.add(table::CALLS_ACTIVE, &[], active);
        samples.add(table::INFLIGHT_BYTES, &[], inflight.used() as f64);
        if let Some(ledger) = self.ledger.status() {
            samples.add(table::LEDGER_QUEUE, &[], ledger.waiting as f64);
            samples.add(table::LEDGER_SPILL, &[], ledger.spill_bytes as f64);
            samples.add(table::LEDGER_LOST, &[], ledger.lost as f64);
        }
        let is_up = |queries: &Queries| f64::from(u8::from(queries.database_is_up()));
        if let Some(certificates) = &self.certificates {
            for (listener, end) in certificates.ends() {
                let end = end.duration_since(SystemTime::UNIX_EPOCH);
                let end = end.map_or(0.0, |end| end.as_secs_f64());
                samples.add(table::CERTIFICATE_EXPIRY, &[listener], end);
            }
            for (listener, failures) in certificates.reload_failures() {
                samples.add(table::CERTIFICATE_FAILURES, &[listener], failures as f64);
                let is_ok = f64::from(u8::from(certificates.is_ok(listener)));
                samples.add(table::CERTIFICATE_OK, &[listener], is_ok);
            }
        }
        samples.add_known(table::DATABASE_UP, self.queries.as_ref().map(is_up));
        samples.add(table::LOG_LOST, &[], telemetry::lost_lines() as f64);
        for (result, count) in [
            ("success", self.reloads.succeeded()),
            ("failure", self.reloads.failed()),
        ] {
            samples.add(table::CONFIG_RELOADS, &[result], count as f64);
        }
        let is_ok = f64::from(u8::from(self.reloads.is_ok()));
        samples.add(table::CONFIG_OK, &[], is_ok);
        let reloaded_at = self.reloads.last_success_at().map(|at| at as f64);
        samples.add_known(table::CONFIG_RELOADED, reloaded_at);
        let lost_spans = self
            .tracer
            .as_ref()
            .map(|tracer| tracer.lost_spans() as f64);
        samples.add_known(table::SPANS_LOST, lost_spans);
        let is_ready = f64::from(u8::from(readiness.is_ready()));
        samples.add(table::READY, &[], is_ready);
        let revision = build_info::REVISION.unwrap_or_default();
        samples.add(table::BUILD, &[build_info::VERSION, revision], 1.0);
    }
}
