//! CORS: the web pages that may call from a browser.

use std::{convert::Infallible, future::Future, sync::Arc};

use arc_swap::ArcSwap;
use axum::{extract::Request, response::Response};
use http::{HeaderName, HeaderValue, Method, Uri, header};
use tower::{Layer, Service, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::host::is_this_machine;
use crate::{
    config,
    error::{Error, ErrorCode, Result, rate_state},
    service::headers,
    telemetry::REQUEST_ID,
};

/// The time for which a browser may cache the response to a preflight request. Chromium's limit is
/// two hours.
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7200);

/// Tells browsers which web pages may call.
pub(super) struct Cors(ArcSwap<CorsLayer>);

impl Cors {
    /// For a gateway that needs no keys (`is_open`), or for one with keys.
    pub(super) fn new(config: &config::Serve, is_open: bool) -> Result<Self> {
        layer(config, is_open).map(|layer| Self(ArcSwap::from_pointee(layer)))
    }

    /// Takes over the origins of `config`, which [`new`](Self::new) accepts.
    pub(super) fn change(&self, config: &config::Serve, is_open: bool) {
        if let Ok(layer) = layer(config, is_open) {
            self.0.store(Arc::new(layer));
        }
    }

    /// Passes a request to `next`, and tells a browser what it needs to know. A request without
    /// `Origin` does not come from a web page of another origin, so its answer needs only
    /// `Vary: origin`, which tells caches that answers to web pages differ.
    pub(super) async fn answer<F>(
        &self,
        request: Request,
        mut next: impl FnMut(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        if request.method() == Method::OPTIONS || request.headers().contains_key(header::ORIGIN) {
            // In memory of its own, because it is rare.
            return Box::pin(self.answer_browser(request, next)).await;
        }
        // No cache keeps the answer to a POST.
        let may_be_cached = request.method() != Method::POST;
        let mut response = next(request).await;
        if may_be_cached {
            response
                .headers_mut()
                .append(header::VARY, header::ORIGIN.into());
        }
        response
    }

    async fn answer_browser<F>(
        &self,
        request: Request,
        mut next: impl FnMut(Request) -> F,
    ) -> Response
    where
        F: Future<Output = Response>,
    {
        let next = service_fn(|request| {
            let answering = next(request);
            async { Ok::<_, Infallible>(answering.await) }
        });
        let mut service = self.0.load().layer(next);
        match service.call(request).await {
            Ok(response) => response,
            Err(impossible) => match impossible {},
        }
    }
}

fn layer(config: &config::Serve, is_open: bool) -> Result<CorsLayer> {
    let names = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-encoding",
        headers::UPSTREAM_REQUEST_ID,
        headers::MODEL,
        headers::TRIED,
        headers::WAITED_MS,
        headers::MAX_TOKENS,
        "retry-after",
        "age",
    ];
    let exposed = names.map(HeaderName::from_static).into_iter();
    Ok(CorsLayer::new()
        .allow_origin(origins(config, is_open)?)
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(
            exposed
                .chain(rate_state::HEADERS)
                .chain([REQUEST_ID])
                .collect::<Vec<_>>(),
        )
        .max_age(MAX_AGE))
}

fn origins(config: &config::Serve, is_open: bool) -> Result<AllowOrigin> {
    if config.cors_origins.is_empty() && is_open {
        // The gateway has no keys, so any web page that the user visits could use the account's
        // units.
        return Ok(AllowOrigin::predicate(|origin, _| is_local_origin(origin)));
    }
    if config.cors_origins.is_empty() || config.cors_origins.iter().any(|origin| origin == "*") {
        return Ok(AllowOrigin::any());
    }
    let origins = config
        .cors_origins
        .iter()
        .map(|origin| origin.trim_end_matches('/').parse());
    let origins: std::result::Result<Vec<HeaderValue>, _> = origins.collect();
    origins.map(AllowOrigin::list).map_err(|_| {
        let message = "FEATHERWIRE_CORS_ORIGINS: expected origins such as https://app.example, \
                       comma-separated";
        Error::new(ErrorCode::BadConfiguration, message)
    })
}

/// Whether `origin` is a page of this machine.
pub(super) fn is_local_origin(origin: &HeaderValue) -> bool {
    let uri = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok());
    uri.as_ref()
        .and_then(Uri::host)
        .is_some_and(is_this_machine)
}
