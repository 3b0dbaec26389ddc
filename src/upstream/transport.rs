//! HTTP to upstream: a pool of connections for each worker, and the headers of requests, built
//! once.
//!
//! HTTP/1.1 only. Each request in flight has its own connection, so dropping a request closes its
//! connection, and no answer waits behind another. Redirects are not followed.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, header};
use http_body_util::Full;
use secrecy::ExposeSecret;

use super::{
    address::Address, connector::Connector, error::local::unreachable, pools::Pools,
    response_body::ResponseBody,
};
use crate::{
    config,
    error::{Error, ErrorCode, Result},
    telemetry::ContextHeaders,
};

/// The only content coding that the gateway accepts from upstream. A compressor would hold back
/// parts of a stream.
pub(super) const IDENTITY: &str = "identity";

pub(super) const EVENT_STREAM: &str = "text/event-stream";

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("featherwire/", env!("CARGO_PKG_VERSION")));

/// Sends requests to one upstream.
#[derive(Debug)]
pub(super) struct Transport {
    pools: Pools,
    pub(super) address: Address,
    headers: RequestHeaders,
    has_key: bool,
}

/// The headers of each type of request.
#[derive(Debug)]
struct RequestHeaders {
    get: HeaderMap,
    watch: HeaderMap,
    post: HeaderMap,
    stream: HeaderMap,
}

/// A request. It can be sent more than once.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    method: Method,
    uri: Uri,
    headers: &'a HeaderMap,
    body: Bytes,
}

impl Transport {
    /// A transport to the upstream in `config`.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if a header or the TLS settings
    /// cannot be built from `config`.
    pub(super) fn new(config: &config::Upstream) -> Result<Self> {
        let misconfigured = |what: &str| Error::new(ErrorCode::BadConfiguration, what.to_owned());
        let no_header = |name: &str| misconfigured(&format!("{name} cannot be a header"));
        let base = config.featherless_base_url.as_str().parse::<Uri>().ok();
        let address = base.as_ref().and_then(Address::new);
        let (Some(base), Some(address)) = (base, address) else {
            return Err(misconfigured("FEATHERLESS_BASE_URL is not a usable URL"));
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            header::HOST,
            address
                .host()
                .ok_or_else(|| no_header("FEATHERLESS_BASE_URL"))?,
        );
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
        let title = HeaderValue::from_str(&config.app_title)
            .map_err(|_| no_header("FEATHERWIRE_APP_TITLE"))?;
        headers.insert(HeaderName::from_static("x-title"), title);
        if let Some(url) = &config.app_url {
            let url = HeaderValue::from_str(url).map_err(|_| no_header("FEATHERWIRE_APP_URL"))?;
            headers.insert(header::REFERER, url);
        }
        if let Some(key) = config.api_key() {
            let key = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
            let mut key = key.map_err(|_| no_header("FEATHERLESS_API_KEY"))?;
            key.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, key);
        }
        let proxy = config::proxy(&base);
        // With HTTPS, the request that opens the tunnel carries it.
        if let Some(auth) = proxy
            .as_ref()
            .and_then(|proxy| proxy.basic_auth())
            .filter(|_| !address.is_https())
        {
            headers.insert(header::PROXY_AUTHORIZATION, auth.clone());
        }
        let connector = Connector::new(base, proxy.as_ref(), &USER_AGENT, config.connect_timeout)
            .map_err(|error| {
            misconfigured("the HTTP client cannot be set up").with_source(error)
        })?;
        let pools = Pools::new(connector);
        let address = if pools.is_forwarded() {
            address
        } else {
            address.in_origin_form()?
        };
        Ok(Self {
            pools,
            address,
            headers: RequestHeaders::new(headers),
            has_key: config.api_key().is_some(),
        })
    }

    /// Whether there is an API key.
    pub(super) fn has_key(&self) -> bool {
        self.has_key
    }

    /// A request for a resource, with the API key if there is one.
    pub(super) fn get(&self, uri: Uri) -> Request<'_> {
        Request {
            method: Method::GET,
            uri,
            headers: &self.headers.get,
            body: Bytes::new(),
        }
    }

    /// A request for a resource, answered by a stream.
    pub(super) fn watch(&self, uri: Uri) -> Request<'_> {
        Request {
            headers: &self.headers.watch,
            ..self.get(uri)
        }
    }

    /// A request that posts JSON.
    pub(super) fn post(&self, uri: Uri, body: Bytes) -> Request<'_> {
        Request {
            method: Method::POST,
            uri,
            headers: &self.headers.post,
            body,
        }
    }

    /// A request that posts JSON, answered by a stream.
    pub(super) fn stream(&self, uri: Uri, body: Bytes) -> Request<'_> {
        Request {
            headers: &self.headers.stream,
            ..self.post(uri, body)
        }
    }

    /// Sends `request`, with the headers of its `trace`, and waits for the head of the reply. Dropping the future, or the body of the
    /// reply, closes the connection.
    ///
    /// # Errors
    /// [`Kind::Upstream`](crate::error::Kind::Upstream) or
    /// [`Kind::Timeout`](crate::error::Kind::Timeout) if there is no reply.
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if the gateway is out of file
    /// descriptors.
    pub(super) async fn send(
        &self,
        request: &Request<'_>,
        trace: Option<Box<ContextHeaders>>,
    ) -> Result<Response<ResponseBody>> {
        let mut sent = http::Request::new(Full::new(request.body.clone()));
        sent.method_mut().clone_from(&request.method);
        sent.uri_mut().clone_from(&request.uri);
        sent.headers_mut().clone_from(request.headers);
        if let Some(trace) = trace {
            trace.add_to(sent.headers_mut());
        }
        self.pools.current()?.send(sent).await.map_err(unreachable)
    }
}

impl RequestHeaders {
    fn new(get: HeaderMap) -> Self {
        let streamed = |headers: &HeaderMap| {
            let mut headers = headers.clone();
            headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
            headers
        };
        let mut post = get.clone();
        post.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Self {
            watch: streamed(&get),
            stream: streamed(&post),
            get,
            post,
        }
    }
}
