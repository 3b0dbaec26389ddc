//! What browsers ask for by themselves: the root, the page with a slash behind it, an icon.

use axum::{Router, response::Response, routing::get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::wrong_method;

/// How long a browser may do without asking for the icon again, in seconds.
const ICON_AGE: &str = "max-age=86400";

/// The routes, open to all: they tell nothing.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(root))
        .route("/docs/", get(async || moved("../docs")))
        .route("/favicon.ico", get(icon))
        .method_not_allowed_fallback(wrong_method)
}

/// People are led to the page, and programs are told where things are. The address is relative, so
/// that it is right behind a proxy that puts a path before ours.
async fn root(headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        moved("docs")
    } else {
        let told = json!({
            "name": "Featherwire",
            "version": env!("CARGO_PKG_VERSION"),
            "base_url": "/v1",
            "docs": "/docs",
            "openapi": "/openapi.json",
        });
        super::respond(
            told.to_string().into(),
            "application/json",
            HeaderMap::new(),
        )
    };
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn moved(to: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

/// A feather.
const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M2 14 6 9C5 4 10 1 14 2c1 4-2 9-7 8z" fill="#4a6fa5"/></svg>"##;

async fn icon() -> Response {
    let headers =
        HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(ICON_AGE))]);
    super::respond(ICON.into(), "image/svg+xml", headers)
}
