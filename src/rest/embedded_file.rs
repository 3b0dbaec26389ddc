//! A file that is in this binary: of the page of the API, and of the playground.

use std::hash::Hasher;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A file in this binary.
#[derive(Clone)]
pub(super) struct EmbeddedFile {
    media_type: &'static str,
    /// Whether `bytes` are compressed by gzip. All browsers accept that, and only they request the
    /// parts of the page.
    is_gzip: bool,
    bytes: &'static [u8],
    tag: String,
}

impl EmbeddedFile {
    pub(super) fn plain(media_type: &'static str, bytes: &'static [u8]) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(bytes);
        Self {
            media_type,
            is_gzip: false,
            bytes,
            tag: format!("\"{:016x}\"", hasher.finish()),
        }
    }

    pub(super) fn gzip(media_type: &'static str, bytes: &'static [u8]) -> Self {
        Self {
            is_gzip: true,
            ..Self::plain(media_type, bytes)
        }
    }

    /// Answers a request with these `headers`. `policy` is what the page may load and call.
    pub(super) fn respond(&self, policy: &'static str, headers: &HeaderMap) -> Response {
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
            HeaderValue::from_static(policy),
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
