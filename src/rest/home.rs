//! Paths that browsers request: the root, `/docs/` with a slash at the end, and an icon.

use axum::{Router, response::Response, routing::get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{response::with_body, unknown::wrong_method};

/// How long a browser may use the icon without another request, in seconds.
const ICON_AGE: &str = "max-age=86400";

/// The routes. They need no key, because they show nothing about the account.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(root))
        .route("/docs/", get(async || redirect("../docs")))
        .route("/favicon.ico", get(icon))
        .method_not_allowed_fallback(wrong_method)
}

/// Redirects a browser to the documentation, and sends the addresses as JSON to a program. The
/// redirect is relative, so that it also works behind a proxy that adds a path.
async fn root(headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        redirect("docs")
    } else {
        let links = json!({
            "name": "Featherwire",
            "version": env!("CARGO_PKG_VERSION"),
            "base_url": "/v1",
            "docs": "/docs",
            "openapi": "/openapi.json",
        });
        with_body(
            links.to_string().into(),
            "application/json",
            HeaderMap::new(),
        )
    };
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn redirect(to: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

/// The icon: a feather.
const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M2 14 6 9C5 4 10 1 14 2c1 4-2 9-7 8z" fill="#4a6fa5"/></svg>"##;

async fn icon() -> Response {
    let headers =
        HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(ICON_AGE))]);
    with_body(ICON.into(), "image/svg+xml", headers)
}
