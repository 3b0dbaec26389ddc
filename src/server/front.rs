//! The steps that every request passes before the routes, and every response after them. The order
//! is that of [`Front::answer`]: requests pass it from top to bottom, and responses from bottom to
//! top.
//!
//! All steps are one future. As layers of the router, each step would need a clone of all services
//! behind it, and its own boxed future.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::Request, response::Response};
use futures_util::{FutureExt, future::BoxFuture};
use hyper::body::Incoming;
use tokio::time::Instant;
use tower::{Layer, Service as _};
use tower_http::cors::{Cors, CorsLayer};

use super::{
    ambiguous_request,
    auth::Keys,
    early_response::EarlyResponse,
    peer::Peer,
    stalled_response::{self, ResponseTracker},
};
use crate::{
    service::{ActiveCalls, Arrival},
    telemetry::Observation,
};

/// Answers the requests of all connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Front(Arc<Inner>);

struct Inner {
    /// The routes, behind the answers to browsers.
    routes: Cors<Router>,
    keys: Keys,
    active_calls: ActiveCalls,
}

impl Front {
    /// Answers requests with `routes`. `cors` decides which web pages may call.
    pub(super) fn new(
        routes: Router,
        cors: &CorsLayer,
        keys: Keys,
        active_calls: ActiveCalls,
    ) -> Self {
        Self(Arc::new(Inner {
            routes: cors.layer(routes),
            keys,
            active_calls,
        }))
    }

    async fn answer(self, mut request: Request) -> Response {
        // Handles the rest of a body that the response does not wait for.
        let early_response = EarlyResponse::watch(&mut request);
        // Records whether the caller reads the response.
        let tracker = ResponseTracker::start(&request);
        // Records the time of the call's arrival, and whether it has a known key.
        self.arrive(&mut request);
        // Gives the call an id, and logs one line at `debug`.
        let observation = Observation::start(&mut request);
        // Refuses ambiguous requests, such as requests with two hosts.
        let mut response = match ambiguous_request::refusal(&request) {
            Some(refusal) => refusal,
            None => self.route(request).await,
        };
        observation.end(&mut response);
        if let Some(tracker) = tracker {
            response = tracker.track(response);
        }
        if let Some(early_response) = early_response {
            early_response.finish_body(&mut response).await;
        }
        response
    }

    fn arrive(&self, request: &mut Request) {
        if let Some(peer) = Peer::current().filter(|peer| !peer.is_authenticated())
            && self.0.keys.has_known_key(request.headers())
        {
            peer.authenticate();
        }
        request.extensions_mut().insert(Arrival {
            at: Instant::now(),
            active_calls: self.0.active_calls.clone(),
            deadline_observer: stalled_response::deadline_observer(),
        });
    }

    async fn route(&self, request: Request) -> Response {
        let mut routes = self.0.routes.clone();
        match routes.call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }
}

impl hyper::service::Service<http::Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let answering = self.clone().answer(request.map(Body::new));
        answering.map(Ok).boxed()
    }
}
