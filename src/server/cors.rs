//! CORS: the web pages that may call from a browser.

use http::{HeaderName, HeaderValue, Method, Uri};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::host::is_this_machine;
use crate::{
    config,
    error::{Error, ErrorCode, Result},
    service::headers,
    telemetry::REQUEST_ID,
};

/// The time for which a browser may cache the response to a preflight request. Chromium's limit is
/// two hours.
const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(7200);

pub(super) fn layer(config: &config::Serve) -> Result<CorsLayer> {
    let names = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-encoding",
        headers::UPSTREAM_REQUEST_ID,
        headers::MODEL,
        headers::TRIED,
        headers::WAITED_MS,
        "retry-after",
        "age",
    ];
    let exposed = names.map(HeaderName::from_static).into_iter();
    Ok(CorsLayer::new()
        .allow_origin(origins(config)?)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.chain([REQUEST_ID]).collect::<Vec<_>>())
        .max_age(MAX_AGE))
}

fn origins(config: &config::Serve) -> Result<AllowOrigin> {
    if config.cors_origins.is_empty() && config.api_keys.is_empty() {
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

fn is_local_origin(origin: &HeaderValue) -> bool {
    let uri = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.parse::<Uri>().ok());
    uri.as_ref()
        .and_then(Uri::host)
        .is_some_and(is_this_machine)
}
