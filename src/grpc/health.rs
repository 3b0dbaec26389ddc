//! `grpc.health.v1` as tonic has it, except that its watches come to an end (a watch without an end
//! would hold up the drain, whenever it began), and that its errors are in words.

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

/// How much of a service's name an error quotes, in characters.
const QUOTED_CHARS_MAX: usize = 128;

/// The services whose health is told. The empty name stands for the server as a whole, as the
/// health protocol has it.
pub(crate) const SERVICES: [&str; 6] = [
    "",
    chat_service_server::SERVICE_NAME,
    completion_service_server::SERVICE_NAME,
    embedding_service_server::SERVICE_NAME,
    model_service_server::SERVICE_NAME,
    account_service_server::SERVICE_NAME,
];

/// The route of the health service, which tells what `reporter` was told.
pub(crate) fn routes(reporter: HealthReporter, drain: Drain) -> Router {
    let service = HealthServer::new(Ending {
        inner: HealthService::from_health_reporter(reporter),
        drain,
    });
    Routes::new(service).into_axum_router().reset_fallback()
}

/// The health service of a server that drains one day.
struct Ending<H> {
    inner: H,
    drain: Drain,
}

#[async_trait]
impl<H: Health<WatchStream: Unpin>> Health for Ending<H> {
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
        let draining = self.drain.started();
        let service = request.get_ref().service.clone();
        let watch = self
            .inner
            .watch(request)
            .await
            .map_err(|status| explained(status, &service))?;
        Ok(watch.map(|inner| Watch {
            inner,
            draining: Some(draining),
            is_over: false,
        }))
    }
}

/// The error that tonic made, with the details that all our errors have. Tonic makes a single
/// error: nothing is known of such a service.
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
        "There is no health of a service \"{service}\" here: ask for {known}, or for the empty \
         name, which is the whole gateway"
    );
    Error::new(ErrorCode::UnknownService, message)
        .with_kind(Kind::NotFound)
        .into()
}

/// One who watches. During the drain it is told what there is to tell, which is that nothing is
/// served, and then the end: unavailable, `draining`.
struct Watch<S> {
    inner: S,
    /// None when the server drains.
    draining: Option<DrainStarted>,
    is_over: bool,
}

impl<S: Stream<Item = Result<HealthCheckResponse, Status>> + Unpin> Stream for Watch<S> {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        // Asked before the status, which is reported before the drain begins, so that none is
        // missed.
        if this
            .draining
            .as_mut()
            .is_some_and(|draining| draining.poll_unpin(context).is_ready())
        {
            this.draining = None;
        }
        match this.inner.poll_next_unpin(context) {
            Poll::Pending if this.draining.is_none() => {
                this.is_over = true;
                Poll::Ready(Some(Err(Error::draining().into())))
            }
            status => status,
        }
    }
}
