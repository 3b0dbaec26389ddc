//! `GET /openapi.json`, and `GET /docs`: the page that shows the document and can send requests.
//! All files are in this binary. They need no key, because they describe only the program, not the
//! account.

use std::hash::Hasher;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::unknown::wrong_method;
use crate::proto::OPENAPI;

/// The page may load and call this origin only. Its style sheet has images of its own, and it sets
/// styles on elements.
const POLICY: &str = "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src \
                      'self'; style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action \
                      'none'; frame-ancestors 'none'";

/// The routes of the document and the page.
pub fn routes() -> Router {
    let json = File::plain("application/json", OPENAPI.as_bytes());
    let page = File::plain(
        "text/html; charset=utf-8",
        include_bytes!("docs/index.html"),
    );
    let script = File::plain(
        "text/javascript; charset=utf-8",
        include_bytes!("docs/page.js"),
    );
    let bundle = include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"));
    let bundle = File::gzip("text/javascript; charset=utf-8", bundle);
    let style = File::gzip(
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
                get(async move |headers: HeaderMap| file.respond(&headers)),
            )
        })
        .method_not_allowed_fallback(wrong_method)
}

/// A file in this binary.
#[derive(Clone)]
struct File {
    media_type: &'static str,
    /// Whether `bytes` are compressed by gzip. All browsers accept that, and only they request the
    /// parts of the page.
    is_gzip: bool,
    bytes: &'static [u8],
    tag: String,
}

impl File {
    fn plain(media_type: &'static str, bytes: &'static [u8]) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(bytes);
        Self {
            media_type,
            is_gzip: false,
            bytes,
            tag: format!("\"{:016x}\"", hasher.finish()),
        }
    }

    fn gzip(media_type: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            is_gzip: true,
            ..Self::plain(media_type, bytes)
        }
    }

    fn respond(&self, headers: &HeaderMap) -> Response {
        let mut response = if self.is_cached(headers) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = self.bytes.into_response();
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.media_type),
            );
            if self.is_gzip {
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        };
        let headers = response.headers_mut();
        // Another version of the gateway has other files under the same names, so a browser must
        // revalidate.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend(HeaderValue::from_str(&self.tag).map(|tag| (header::ETAG, tag)));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        );
        response
    }

    /// Whether the caller already has this version of the file.
    fn is_cached(&self, headers: &HeaderMap) -> bool {
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|tags| tags.to_str().ok());
        known
            .flat_map(|tags| tags.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == self.tag)
    }
}
