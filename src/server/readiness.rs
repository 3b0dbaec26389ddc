//! The state for load balancers: `/healthz`, `/readyz` and `grpc.health.v1`.

use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    error::Error,
    grpc::health,
    service::{Drain, DrainStarted},
};

/// The state that the probes report. Cheap to clone. All clones share the state.
#[derive(Clone)]
pub(super) struct Readiness {
    has_key: bool,
    drain: Drain,
    reporter: HealthReporter,
}

impl Readiness {
    pub(super) fn new(has_key: bool) -> Self {
        Self {
            has_key,
            drain: Drain::default(),
            reporter: HealthReporter::new(),
        }
    }

    /// Reports `SERVING`, unless the gateway has no upstream key.
    pub(super) async fn begin(&self) {
        self.report(if self.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        })
        .await;
    }

    /// Reports that the gateway accepts no new calls.
    pub(super) async fn drain(&self) {
        // In this order, so that health watches yield the new status before they end.
        self.report(ServingStatus::NotServing).await;
        self.drain.start();
    }

    async fn report(&self, status: ServingStatus) {
        for service in health::SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// The routes of `grpc.health.v1`.
    pub(super) fn health_routes(&self) -> Router {
        health::routes(self.reporter.clone(), self.drain.clone())
    }

    pub(super) fn probes(&self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready).with_state(self.clone()))
    }

    /// Whether `/readyz` says that calls are served.
    pub(super) fn is_ready(&self) -> bool {
        self.not_ready_because().is_none()
    }

    fn is_draining(&self) -> bool {
        self.drain.has_started()
    }

    /// Refuses new calls during the drain.
    ///
    /// # Errors
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable), `draining`.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_draining() {
            Err(Error::draining())
        } else {
            Ok(())
        }
    }

    /// Completes when the drain starts.
    pub(super) fn drain_started(&self) -> DrainStarted {
        self.drain.started()
    }

    fn not_ready_because(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining\n");
        }
        (!self.has_key).then_some("Featherless API key not configured: set FEATHERLESS_API_KEY\n")
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.not_ready_because() {
        None => (StatusCode::OK, "ready\n"),
        Some(not_ready_because) => (StatusCode::SERVICE_UNAVAILABLE, not_ready_because),
    }
}
