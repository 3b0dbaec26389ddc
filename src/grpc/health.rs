//! `grpc.health.v1` as tonic implements it, with two differences. A watch ends with the drain,
//! because it would otherwise delay the drain. And the errors have the gateway's details.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::Router;
use futures_util::{FutureExt, Stream, StreamExt};
use tonic::{Code, Request, Response, Status, async_trait, service::Routes};
use tonic_health::{
    pb::{
        HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    },
    server::{HealthReporter, HealthService},
};

use crate::{
    error::{Error, ErrorCode, Kind},
    proto::v1::{
        account_service_server, chat_service_server, completion_service_server,
        embedding_service_server, model_service_server,
    },
    service::{Drain, DrainStarted},
};

/// The longest part of a service's name that an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 128;

/// The services whose health is reported. In the health protocol the empty name means the whole
/// server.
pub(crate) const SERVICES: [&str; 6] = [
    "",
    chat_service_server::SERVICE_NAME,
    completion_service_server::SERVICE_NAME,
    embedding_service_server::SERVICE_NAME,
    model_service_server::SERVICE_NAME,
    account_service_server::SERVICE_NAME,
];

/// The routes of the health service, which serves the status of `reporter`. Watches end when
/// `drain` starts.
pub(crate) fn routes(reporter: HealthReporter, drain: Drain) -> Router {
    let service = HealthServer::new(DrainingHealth {
        inner: HealthService::from_health_reporter(reporter),
        drain,
    });
    Routes::new(service).into_axum_router().reset_fallback()
}

/// The health service, whose watches end with the drain.
struct DrainingHealth<H> {
    inner: H,
    drain: Drain,
}

#[async_trait]
impl<H: Health<WatchStream: Unpin>> Health for DrainingHealth<H> {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.get_ref().service.clone();
        self.inner
            .check(request)
            .await
            .map_err(|status| explained(status, &service))
    }

    type WatchStream = Watch<H::WatchStream>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let drain_started = self.drain.started();
        let service = request.get_ref().service.clone();
        let watch = self
            .inner
            .watch(request)
            .await
            .map_err(|status| explained(status, &service))?;
        Ok(watch.map(|inner| Watch {
            inner,
            drain_started: Some(drain_started),
            has_ended: false,
        }))
    }
}

/// Tonic's error with the details of the gateway's errors. The health service has only one error:
/// an unknown service.
fn explained(status: Status, service: &str) -> Status {
    if status.code() != Code::NotFound {
        return status;
    }
    let service: String = service.chars().take(QUOTED_CHARS_MAX).collect();
    let known = SERVICES
        .iter()
        .filter(|name| !name.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let message = format!(
        "Unknown service \"{service}\": ask for {known}, or for the empty name, which is the \
         whole gateway"
    );
    Error::new(ErrorCode::UnknownService, message)
        .with_kind(Kind::NotFound)
        .into()
}

/// A watch. When the drain starts, it yields the last status, `NOT_SERVING`, and then the error
/// `draining`.
struct Watch<S> {
    inner: S,
    /// `None` once the drain has started.
    drain_started: Option<DrainStarted>,
    has_ended: bool,
}

impl<S: Stream<Item = Result<HealthCheckResponse, Status>> + Unpin> Stream for Watch<S> {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        // Polled before the status. The status is reported before the drain starts, so none is
        // missed.
        if this
            .drain_started
            .as_mut()
            .is_some_and(|drain_started| drain_started.poll_unpin(context).is_ready())
        {
            this.drain_started = None;
        }
        match this.inner.poll_next_unpin(context) {
            Poll::Pending if this.drain_started.is_none() => {
                this.has_ended = true;
                Poll::Ready(Some(Err(Error::draining().into())))
            }
            status => status,
        }
    }
}
