//! Whether to send calls here: `/healthz`, `/readyz` and `grpc.health.v1`.

use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    error::Error,
    grpc::health,
    service::{Drain, DrainStarted},
};

/// What the probes say. Cheap to clone; all clones say the same.
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

    /// Says from now on that calls are welcome, unless something is missing.
    pub(super) async fn begin(&self) {
        let is_ready = self.obstacle().is_none();
        self.report(if is_ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        })
        .await;
    }

    /// Says from now on that no new calls are wanted.
    pub(super) async fn drain(&self) {
        // In this order: those who watch the health are told this before their streams end.
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

    fn is_draining(&self) -> bool {
        self.drain.has_started()
    }

    /// Lets no new call begin while this drains.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_draining() {
            Err(Error::draining())
        } else {
            Ok(())
        }
    }

    /// Completes when the drain starts.
    pub(super) fn draining(&self) -> DrainStarted {
        self.drain.started()
    }

    fn obstacle(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining\n");
        }
        (!self.has_key).then_some("Featherless API key not configured: set FEATHERLESS_API_KEY\n")
    }
}

async fn ready(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.obstacle() {
        None => (StatusCode::OK, "ready\n"),
        Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, obstacle),
    }
}
