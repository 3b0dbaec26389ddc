//! `GET /`: the playground for a browser, and the addresses for a program. Besides, paths that
//! browsers request: `/docs/` with a slash at the end, and an icon.

use axum::{Router, response::Response, routing::get};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{embedded_file::EmbeddedFile, response::with_body, unknown::wrong_method};

/// How long a browser may use the icon without another request, in seconds.
const ICON_AGE: &str = "max-age=86400";

/// The playground may load and call this origin only. It makes no markup from text: the browser
/// refuses that by the policy of trusted types. Images of a conversation are `data:` and `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types \
                      'none'";

/// The icon: a feather.
const ICON: &[u8] = include_bytes!("../../web/dist/icon.svg");

/// The routes. They need no key, because they show nothing about the account.
pub fn routes() -> Router {
    let page = EmbeddedFile::plain(
        "text/html; charset=utf-8",
        include_bytes!("../../web/dist/index.html"),
    );
    let script = include_bytes!(concat!(env!("OUT_DIR"), "/playground-app.js.gz"));
    let script = EmbeddedFile::gzip("text/javascript; charset=utf-8", script);
    let style = include_bytes!(concat!(env!("OUT_DIR"), "/playground-app.css.gz"));
    let style = EmbeddedFile::gzip("text/css; charset=utf-8", style);
    let icon = EmbeddedFile::plain("image/svg+xml", ICON);
    let files = [
        ("/app.js", script),
        ("/app.css", style),
        ("/icon.svg", icon),
    ];
    files
        .into_iter()
        .fold(Router::new(), |router, (path, file)| {
            router.route(
                path,
                get(async move |headers: HeaderMap| file.respond(POLICY, &headers)),
            )
        })
        .route(
            "/",
            get(async move |headers: HeaderMap| root(&page, &headers)),
        )
        .route("/docs/", get(async || redirect("../docs")))
        .route("/favicon.ico", get(favicon))
        .method_not_allowed_fallback(wrong_method)
}

/// Sends the playground to a browser, and the addresses as JSON to a program.
fn root(page: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        page.respond(POLICY, headers)
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

/// Redirects a browser to the documentation. The redirect is relative, so that it also works behind
/// a proxy that adds a path.
fn redirect(to: &'static str) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(to));
    response
}

async fn favicon() -> Response {
    let headers =
        HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(ICON_AGE))]);
    with_body(ICON.into(), "image/svg+xml", headers)
}
