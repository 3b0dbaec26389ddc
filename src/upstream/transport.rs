//! HTTP to upstream: one pool of connections, and the heads of requests, made once.
//!
//! HTTP/1.1 only: a connection for each request in flight, so that dropping a request closes its
//! connection and no answer waits behind another. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::ExposeSecret;

use super::{
    address::Address,
    connect::Connector,
    failures::{announced_without_end, unreachable},
    informational::Announcements,
};
use crate::{
    config,
    error::{Error, ErrorCode, Result},
};

/// The one content coding that is asked for: what streams through us must not be held back by a
/// compressor.
pub(super) const IDENTITY: &str = "identity";

pub(super) const EVENT_STREAM: &str = "text/event-stream";

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("featherwire/", env!("CARGO_PKG_VERSION")));

/// How long an idle connection is kept for the next request: less than the minute or so after which
/// load balancers drop theirs, so that we seldom write into a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// Sends requests to one upstream.
#[derive(Debug)]
pub(super) struct Transport {
    client: legacy::Client<Connector, Full<Bytes>>,
    pub(super) address: Address,
    heads: Heads,
    has_key: bool,
}

/// The heads of requests: what is asked for, and in which form.
#[derive(Debug)]
struct Heads {
    get: HeaderMap,
    watch: HeaderMap,
    post: HeaderMap,
    stream: HeaderMap,
}

/// A request. It can be sent again and again.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    method: Method,
    uri: Uri,
    head: &'a HeaderMap,
    body: Bytes,
}

impl Transport {
    /// # Errors
    /// Misconfigured, if a header or the TLS set-up can't be made of the configuration.
    pub(super) fn new(config: &config::Upstream) -> Result<Self> {
        let misconfigured = |what: &str| Error::new(ErrorCode::BadConfiguration, what.to_owned());
        let no_header = |name: &str| misconfigured(&format!("{name} can't be a header"));
        let base = config.featherless_base_url.as_str().parse::<Uri>().ok();
        let address = base.as_ref().and_then(Address::new);
        let (Some(base), Some(address)) = (base, address) else {
            return Err(misconfigured("FEATHERLESS_BASE_URL can't be asked"));
        };
        let mut head = HeaderMap::new();
        head.insert(
            header::HOST,
            address
                .host()
                .ok_or_else(|| no_header("FEATHERLESS_BASE_URL"))?,
        );
        head.insert(header::USER_AGENT, USER_AGENT);
        head.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        head.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
        let title = HeaderValue::from_str(&config.app_title)
            .map_err(|_| no_header("FEATHERWIRE_APP_TITLE"))?;
        head.insert(HeaderName::from_static("x-title"), title);
        if let Some(url) = &config.app_url {
            let url = HeaderValue::from_str(url).map_err(|_| no_header("FEATHERWIRE_APP_URL"))?;
            head.insert(header::REFERER, url);
        }
        if let Some(key) = config.api_key() {
            let key = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()));
            let mut key = key.map_err(|_| no_header("FEATHERLESS_API_KEY"))?;
            key.set_sensitive(true);
            head.insert(header::AUTHORIZATION, key);
        }
        let proxy = config::proxy(&base);
        // Through a tunnel it goes with the tunnel's own request.
        if let Some(auth) = proxy
            .as_ref()
            .and_then(|proxy| proxy.basic_auth())
            .filter(|_| !address.is_https())
        {
            head.insert(header::PROXY_AUTHORIZATION, auth.clone());
        }
        let connector = Connector::new(
            address.is_https(),
            proxy.as_ref(),
            &USER_AGENT,
            config.connect_timeout,
        )
        .map_err(|error| misconfigured("the HTTP client can't be set up").with_source(error))?;
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            // It is part of every head.
            .set_host(false)
            .build(connector);
        Ok(Self {
            client,
            address,
            heads: Heads::new(head),
            has_key: config.api_key().is_some(),
        })
    }

    /// Whether there is an API key to ask with.
    pub(super) fn has_key(&self) -> bool {
        self.has_key
    }

    /// Asks for a resource; with the key, if there is one.
    pub(super) fn get(&self, uri: Uri) -> Request<'_> {
        Request {
            method: Method::GET,
            uri,
            head: &self.heads.get,
            body: Bytes::new(),
        }
    }

    /// Asks for a stream.
    pub(super) fn watch(&self, uri: Uri) -> Request<'_> {
        Request {
            head: &self.heads.watch,
            ..self.get(uri)
        }
    }

    /// Posts JSON.
    pub(super) fn post(&self, uri: Uri, body: Bytes) -> Request<'_> {
        Request {
            method: Method::POST,
            uri,
            head: &self.heads.post,
            body,
        }
    }

    /// Posts JSON and asks for a stream.
    pub(super) fn stream(&self, uri: Uri, body: Bytes) -> Request<'_> {
        Request {
            head: &self.heads.stream,
            ..self.post(uri, body)
        }
    }

    /// Sends a request and waits for the head of the reply. Dropping this, or the reply's body,
    /// closes the connection.
    ///
    /// # Errors
    /// Why there is no reply.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Response<Incoming>> {
        let mut sent = http::Request::new(Full::new(request.body.clone()));
        sent.method_mut().clone_from(&request.method);
        sent.uri_mut().clone_from(&request.uri);
        sent.headers_mut().clone_from(request.head);
        let announcements = Announcements::of(&mut sent);
        tokio::select! {
            biased;
            response = self.client.request(sent) => response.map_err(unreachable),
            () = announcements.too_many() => Err(announced_without_end()),
        }
    }
}

impl Heads {
    fn new(get: HeaderMap) -> Self {
        let streamed = |head: &HeaderMap| {
            let mut head = head.clone();
            head.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
            head
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
