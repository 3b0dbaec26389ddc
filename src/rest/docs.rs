//! `GET /openapi.json`, and `GET /docs`: the page that shows the document and can send requests.
//! All files are in this binary. They need no key, because they describe only the program, not the
//! account.

use axum::{Router, routing::get};
use http::HeaderMap;

use super::{embedded_file::EmbeddedFile, unknown::wrong_method};
use crate::proto::OPENAPI;

/// The page may load and call this origin only. Its style sheet has images of its own, and it sets
/// styles on elements.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src \
                      'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action \
                      'none'; frame-ancestors 'none'";

/// The routes of the document and the page.
pub fn routes() -> Router {
    let json = EmbeddedFile::plain("application/json", OPENAPI.as_bytes());
    let page = EmbeddedFile::plain(
        "text/html; charset=utf-8",
        include_bytes!("docs/index.html"),
    );
    let script = EmbeddedFile::plain(
        "text/javascript; charset=utf-8",
        include_bytes!("docs/page.js"),
    );
    let bundle = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"));
    let bundle = EmbeddedFile::gzip("text/javascript; charset=utf-8", bundle);
    let style = EmbeddedFile::gzip(
        "text/css; charset=utf-8",
        include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz")),
    );
    let files = [
        ("/openapi.json", json),
        ("/docs", page),
        ("/docs/page.js", script),
        ("/docs/swagger-ui-bundle.js", bundle),
        ("/docs/swagger-ui.css", style),
    ];
    files
        .into_iter()
        .fold(Router::new(), |router, (path, file)| {
            router.route(
                path,
                get(async move |headers: HeaderMap| file.respond(POLICY, &headers)),
            )
        })
        .method_not_allowed_fallback(wrong_method)
}
