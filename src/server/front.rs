//! The steps that every request passes before the routes, and every response after them. The order
//! is that of [`Front::answer`]: requests pass it from top to bottom, and responses from bottom to
//! top.
//!
//! All steps are one future. As layers of the router, each step would need a clone of all services
//! behind it, and its own boxed future.

use std::{convert::Infallible, sync::Arc};

use axum::{body::Body, extract::Request, response::Response};
use futures_util::{FutureExt, future::BoxFuture};
use hyper::body::Incoming;

use super::{
    ambiguous_request, auth,
    cors::Cors,
    early_response::EarlyResponse,
    peer::Peer,
    plane::Plane,
    routes::Routes,
    stalled_response::{self, ResponseTracker},
};
use crate::{
    keys::Directory,
    ledger::Ledger,
    service::{ActiveCalls, Arrival},
    telemetry::{Observation, Observer},
};

/// Answers the requests of all connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Front(Arc<Inner>);

struct Inner {
    cors: Arc<Cors>,
    routes: Arc<Routes>,
    plane: Plane,
    keys: Directory,
    active_calls: ActiveCalls,
    ledger: Ledger,
    observer: Observer,
}

impl Front {
    /// Answers requests with `routes`. `cors` decides which web pages may call.
    pub(super) fn new(
        routes: Routes,
        cors: Cors,
        plane: Plane,
        keys: Directory,
        active_calls: ActiveCalls,
        ledger: Ledger,
        observer: Observer,
    ) -> Self {
        Self(Arc::new(Inner {
            cors: Arc::new(cors),
            routes: Arc::new(routes),
            plane,
            keys,
            active_calls,
            ledger,
            observer,
        }))
    }

    /// Which web pages may call.
    pub(super) fn cors(&self) -> Arc<Cors> {
        Arc::clone(&self.0.cors)
    }

    /// The same, for a listener that serves this `plane`.
    pub(super) fn for_plane(&self, plane: Plane) -> Self {
        let Inner {
            cors,
            routes,
            plane: _,
            keys,
            active_calls,
            ledger,
            observer,
        } = &*self.0;
        Self(Arc::new(Inner {
            cors: Arc::clone(cors),
            routes: Arc::clone(routes),
            plane,
            keys: keys.clone(),
            active_calls: active_calls.clone(),
            ledger: ledger.clone(),
            observer: observer.clone(),
        }))
    }

    async fn answer(self, mut request: Request) -> Response {
        // Handles the rest of a body that the response does not wait for.
        let early_response = EarlyResponse::watch(&mut request);
        // Records whether the caller reads the response.
        let tracker = ResponseTracker::start(&request);
        // Gives the call an id. Sees it until its end, for the log, the metrics and the traces.
        let observation = Observation::start(&request, &self.0.observer);
        // Records the time of the call's arrival, and whether it has a known key.
        self.arrive(&mut request, &observation);
        // Refuses ambiguous requests, such as requests with two hosts.
        let mut response = match ambiguous_request::refusal(&request) {
            Some(refusal) => refusal,
            // Tells browsers which web pages may call.
            None => {
                let answer = |request| self.0.routes.answer(self.0.plane, request);
                self.0.cors.answer(request, answer).await
            }
        };
        observation.answer(&mut response);
        if let Some(tracker) = tracker {
            response = tracker.track(response);
        }
        if let Some(early_response) = early_response {
            early_response.finish_body(&mut response).await;
        }
        response
    }

    fn arrive(&self, request: &mut Request, observation: &Observation) {
        if let Some(peer) = Peer::current().filter(|peer| !peer.is_authenticated())
            && auth::is_known(&self.0.keys, request.headers())
        {
            peer.authenticate();
        }
        request.extensions_mut().insert(Arrival {
            at: observation.arrived_at(),
            active_calls: self.0.active_calls.clone(),
            connection_cut: Peer::current()
                .map(|peer| peer.cut().clone())
                .unwrap_or_default(),
            ledger: self.0.ledger.clone(),
            observation: Some(observation.clone()),
            deadline_observer: stalled_response::deadline_observer(),
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        server::readiness::Readiness,
        service::tests::{FUTURE_BYTES_MAX, config, services},
    };

    #[tokio::test]
    async fn the_future_of_a_request_is_small() {
        let config = config();
        let keys = Directory::new(&[], &[]);
        let readiness = Readiness::new(true);
        let routes = Routes::new(&config, services(), &readiness, keys.clone(), None).unwrap();
        let cors = Cors::new(&config, keys.is_open()).unwrap();
        let front = Front::new(
            routes,
            cors,
            Plane::Whole,
            keys,
            ActiveCalls::default(),
            Ledger::default(),
            Observer::default(),
        );
        let size = size_of_val(&front.answer(Request::default()));
        assert!(size <= FUTURE_BYTES_MAX, "{size}");
    }
}
