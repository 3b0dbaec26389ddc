//! The URLs of upstream's resources: the base URL, split once, and the path of a resource.

use bytes::Bytes;
use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::{Error, Result};

/// The characters that are percent-encoded in a segment of a path: those of WHATWG's URL standard,
/// and those that would end the segment.
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// The resources that most requests are for. Their URLs are made once.
const USUAL: [&[&str]; 3] = [&["chat", "completions"], &["completions"], &["embeddings"]];

/// The base URL of an upstream.
#[derive(Debug)]
pub(super) struct Address {
    scheme: Scheme,
    authority: Authority,
    /// Whether the URLs of requests contain the scheme and the host.
    is_absolute: bool,
    /// The path of the API, without a final slash.
    api: String,
    /// The path of the account, which is beside the API's `/v1`, not below it.
    account: String,
    /// The URLs of [`USUAL`].
    usual: Vec<Uri>,
}

impl Address {
    /// Splits `base`. `None` if it has no scheme or no host.
    pub(super) fn new(base: &Uri) -> Option<Self> {
        let api = base.path().trim_end_matches('/');
        let address = Self {
            scheme: base.scheme()?.clone(),
            authority: base.authority()?.clone(),
            is_absolute: true,
            api: api.to_owned(),
            account: api.strip_suffix("/v1").unwrap_or(api).to_owned(),
            usual: Vec::new(),
        };
        address.with_usual().ok()
    }

    /// The same address, with only a path and a query in the URLs of requests: what a server reads.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a path that cannot be in a URL.
    pub(super) fn in_origin_form(self) -> Result<Self> {
        let address = Self {
            is_absolute: false,
            ..self
        };
        address.with_usual()
    }

    fn with_usual(mut self) -> Result<Self> {
        let usual = USUAL.map(|segments| self.below(&self.api, segments, &[]));
        self.usual = usual.into_iter().collect::<Result<_>>()?;
        Ok(self)
    }

    /// Whether upstream is reached with TLS.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The `Host` header of requests.
    pub(super) fn host(&self) -> Option<HeaderValue> {
        let port_default = if self.is_https() { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port != port_default => {
                HeaderValue::from_str(self.authority.as_str()).ok()
            }
            _ => HeaderValue::from_str(self.authority.host()).ok(),
        }
    }

    /// The URL of a resource of the API. `segments` are its path below the base URL.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a model id that cannot be in a path.
    pub(super) fn resource(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Uri> {
        let usual = USUAL.iter().position(|usual| *usual == segments);
        match usual.and_then(|place| self.usual.get(place)) {
            Some(url) if query.is_empty() => Ok(url.clone()),
            _ => self.below(&self.api, segments, query),
        }
    }

    /// The URL of a resource of the account.
    ///
    /// # Errors
    /// As [`resource`](Self::resource).
    pub(super) fn account_resource(&self, segments: &[&str]) -> Result<Uri> {
        self.below(&self.account, segments, &[])
    }

    fn below(&self, base: &str, segments: &[&str], query: &[(&str, &str)]) -> Result<Uri> {
        let no_id = || Error::invalid("model", "not a model id");
        let mut path = String::with_capacity(
            base.len()
                + segments
                    .iter()
                    .map(|segment| 1 + segment.len())
                    .sum::<usize>(),
        );
        path.push_str(base);
        for segment in segments {
            // The caller chooses the model id. Its dots must not lead out of the path of the API.
            if matches!(*segment, "" | "." | "..") {
                return Err(no_id());
            }
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        if !query.is_empty() {
            path.push('?');
            let start = path.len();
            path = form_urlencoded::Serializer::for_suffix(path, start)
                .extend_pairs(query)
                .finish();
        }
        let mut parts = http::uri::Parts::default();
        if self.is_absolute {
            parts.scheme = Some(self.scheme.clone());
            parts.authority = Some(self.authority.clone());
        }
        parts.path_and_query =
            Some(PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| no_id())?);
        Uri::from_parts(parts).map_err(|_| no_id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(base: &str) -> Address {
        Address::new(&base.parse().unwrap()).unwrap()
    }

    #[test]
    fn resources_lie_below_the_base_url_and_the_accounts_beside_its_v1() {
        for (base, api, account) in [
            (
                "https://api.featherless.ai/v1",
                "https://api.featherless.ai/v1/plan",
                "https://api.featherless.ai/a/b",
            ),
            (
                "http://127.0.0.1:9/v1/",
                "http://127.0.0.1:9/v1/plan",
                "http://127.0.0.1:9/a/b",
            ),
            (
                "http://x.example:80",
                "http://x.example:80/plan",
                "http://x.example:80/a/b",
            ),
            (
                "https://x.example/deep/v1",
                "https://x.example/deep/v1/plan",
                "https://x.example/deep/a/b",
            ),
            (
                "https://x.example/deep",
                "https://x.example/deep/plan",
                "https://x.example/deep/a/b",
            ),
        ] {
            let address = address(base);
            assert_eq!(address.resource(&["plan"], &[]).unwrap(), api);
            assert_eq!(address.account_resource(&["a", "b"]).unwrap(), account);
        }
    }

    #[test]
    fn whatever_the_model_id_is_its_path_stays_below_the_base_url() {
        let address = address("https://x.example/v1");
        for (segment, encoded) in [
            ("Llama-3.1_8B~x", "Llama-3.1_8B~x"),
            ("a/../b", "a%2F..%2Fb"),
            ("%2e%2e", "%252e%252e"),
            (".\t.", ".%09."),
            ("a b?c#d\\e", "a%20b%3Fc%23d%5Ce"),
            ("größe漢", "gr%C3%B6%C3%9Fe%E6%BC%A2"),
            ("{`<\">`}", "%7B%60%3C%22%3E%60%7D"),
            ("a:b@c,d;e=f+g$h|i^j[k]", "a:b@c,d;e=f+g$h|i^j[k]"),
        ] {
            assert_eq!(
                address.resource(&["models", segment], &[]).unwrap().path(),
                format!("/v1/models/{encoded}")
            );
        }
        for segment in ["", ".", ".."] {
            assert!(
                address.resource(&["models", segment], &[]).is_err(),
                "{segment:?}"
            );
        }
        assert!(
            address
                .resource(&["models", &"x".repeat(70_000)], &[])
                .is_err()
        );
        let query = [("q", "a b&c=ü"), ("page", "2")];
        assert_eq!(
            address.resource(&["models"], &query).unwrap().query(),
            Some("q=a+b%26c%3D%C3%BC&page=2")
        );
    }

    #[test]
    fn the_host_has_a_port_unless_it_is_the_schemes_own() {
        for (base, host) in [
            ("https://api.featherless.ai/v1", "api.featherless.ai"),
            ("https://x.example:443/v1", "x.example"),
            ("https://x.example:80/v1", "x.example:80"),
            ("http://x.example:80/v1", "x.example"),
            ("http://[::1]:9/v1", "[::1]:9"),
        ] {
            assert_eq!(address(base).host().unwrap(), host);
        }
    }
}
