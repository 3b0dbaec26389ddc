//! Whether to send calls here: `/healthz`, `/readyz` and `grpc.health.v1`.

use std::{future::Future, pin::Pin};

use axum::{Router, extract::State, routing::get};
use http::StatusCode;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::{HealthReporter, HealthService},
};

use super::health;
use crate::{
    error::Error,
    proto::v1::{
        account_service_server, chat_service_server, completion_service_server,
        embedding_service_server, model_service_server,
    },
};

/// The services whose health is told. The empty name stands for the server as a whole, as the
/// health protocol has it.
pub(super) const SERVICES: [&str; 6] = [
    "",
    chat_service_server::SERVICE_NAME,
    completion_service_server::SERVICE_NAME,
    embedding_service_server::SERVICE_NAME,
    model_service_server::SERVICE_NAME,
    account_service_server::SERVICE_NAME,
];

/// What the probes say. Cheap to clone; all clones say the same.
#[derive(Clone)]
pub(super) struct Readiness {
    has_key: bool,
    is_draining: watch::Sender<bool>,
    reporter: HealthReporter,
}

/// Completes when the server drains.
pub(super) type Draining = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Readiness {
    pub(super) fn new(has_key: bool) -> Self {
        Self {
            has_key,
            is_draining: watch::Sender::new(false),
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
        self.is_draining.send_replace(true);
    }

    async fn report(&self, status: ServingStatus) {
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    pub(super) fn health_service(&self) -> HealthServer<impl Health + use<>> {
        HealthServer::new(health::Ending {
            inner: HealthService::from_health_reporter(self.reporter.clone()),
            readiness: self.clone(),
        })
    }

    pub(super) fn probes(&self) -> Router {
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready).with_state(self.clone()))
    }

    fn is_draining(&self) -> bool {
        *self.is_draining.borrow()
    }

    /// Lets no new call begin while this drains.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_draining() {
            Err(Error::draining())
        } else {
            Ok(())
        }
    }

    /// Completes when this drains.
    pub(super) fn draining(&self) -> Draining {
        let mut is_draining = self.is_draining.subscribe();
        Box::pin(async move {
            // The sender can't go before those who wait for its word: they are in calls of its
            // server's.
            let _ = is_draining.wait_for(|is_draining| *is_draining).await;
        })
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
