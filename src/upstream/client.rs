//! The one HTTP client of the upstream.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::{
    begun::Begun,
    clocks::{self, Clocks, Of},
    events::{Chunk, Events},
    failures::{no_key, too_large, unreachable},
    retry::{self, Tries},
    whole::{self, Whole},
};
use crate::{
    aside, config,
    error::{self, Error, Kind, Result, request_id},
};

/// The largest answer that isn't streamed. The whole catalogue takes several MB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The one content coding that is asked for: what streams through us must not be held back by a compressor.
const IDENTITY: &str = "identity";

const EVENT_STREAM: &str = "text/event-stream";

/// How long an idle connection is kept for the next request: less than the minute or so after which load balancers
/// drop theirs, so that we seldom write into a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How often the kernel probes a silent connection, so that a peer that vanished is noticed.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Asks Featherless. Cheap to clone; all clones share one pool of connections.
///
/// HTTP/1.1 only: a connection for each request in flight, so that dropping a request closes its connection and no
/// answer waits behind another.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    base: reqwest::Url,
    authorization: Option<HeaderValue>,
    /// The API key, which no error may tell.
    secret: Option<SecretString>,
    clocks: Clocks,
    retry: retry::Policy,
}

/// What to ask, besides the body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The model in question, for advice in errors.
    pub model: Option<&'a str>,
    /// How many choices a streamed answer shall have; 0 is taken as 1.
    pub choices: usize,
    /// How many bytes a streamed answer may have; none for no limit.
    pub bytes_max: Option<usize>,
    /// How long the first token is waited for, if that is less than the configured time.
    pub first_token_max: Option<Duration>,
    /// Ask once only, whatever comes of it.
    pub is_single: bool,
}

/// An answer and the upstream's `request-id` for it.
#[derive(Debug)]
pub struct Reply<T> {
    /// The upstream's `request-id`.
    pub request_id: Option<HeaderValue>,
    /// The answer.
    pub answer: T,
}

impl<T> Reply<T> {
    /// The same reply with its answer made into something else.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Reply<U> {
        Reply { request_id: self.request_id, answer: make(self.answer) }
    }
}

impl Client {
    /// A client for this upstream. A missing API key is no error yet: asking without it is.
    ///
    /// # Errors
    /// Misconfigured, if a header or the TLS set-up can't be made of the configuration.
    pub fn new(config: &config::Upstream) -> Result<Self> {
        let misconfigured = |what: &str| Error::new(Kind::Misconfigured, "bad_configuration", what.to_owned());
        let mut headers = HeaderMap::new();
        let title = HeaderValue::from_str(&config.app_title);
        headers.insert("x-title", title.map_err(|_| misconfigured("FEATHERWIRE_APP_TITLE can't be a header"))?);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(IDENTITY));
        if let Some(url) = &config.app_url {
            let url = HeaderValue::from_str(url);
            headers.insert(header::REFERER, url.map_err(|_| misconfigured("FEATHERWIRE_APP_URL can't be a header"))?);
        }
        let authorization = config.api_key().map(|key| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))?;
            value.set_sensitive(true);
            Ok::<_, header::InvalidHeaderValue>(value)
        });
        // Two crates of the tree could each bring a TLS provider; whoever comes first has chosen already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder();
        // A proxy that the environment names is for the world outside, not for an emulator on this machine.
        let host = config.featherless_base_url.host_str().unwrap_or_default();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        let http = if is_loopback { http.no_proxy() } else { http };
        // Reading the machine's certificates takes longer than all else at the start, and nobody needs them here.
        let needs_tls = !is_loopback || config.featherless_base_url.scheme() == "https";
        let http = if needs_tls { http } else { http.tls_certs_only([]) };
        let http = http
            .default_headers(headers)
            .user_agent(concat!("featherwire/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(TCP_KEEPALIVE)
            .pool_idle_timeout(POOL_IDLE)
            .connect_timeout(config.connect_timeout)
            .build()
            .map_err(|error| misconfigured("the HTTP client can't be set up").with_source(error))?;
        let inner = Inner {
            http,
            base: config.featherless_base_url.clone(),
            authorization: authorization
                .transpose()
                .map_err(|_| misconfigured("FEATHERLESS_API_KEY can't be a header"))?,
            secret: config.api_key().cloned(),
            clocks: Clocks { of: Of::Answer, first_token: config.first_token_timeout, idle: config.idle_timeout },
            retry: retry::Policy::new(config.retries, config.retry_wait),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether there is an API key to ask with.
    pub fn has_key(&self) -> bool {
        self.inner.authorization.is_some()
    }

    /// Gets a resource. `segments` are the path below the base URL; the catalogue may be read without a key.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get<M: Whole>(&self, segments: &[&str], query: &[(&str, &str)], ask: Ask<'_>) -> Result<Reply<M>> {
        let mut url = self.url(segments)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let (response, sent) = self.send_whole(self.with_key(self.inner.http.get(url)), ask).await?;
        self.read_whole(response, sent, ask).await
    }

    /// Gets a resource that only a key opens.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_with_key<M: Whole>(&self, segments: &[&str], ask: Ask<'_>) -> Result<Reply<M>> {
        if self.has_key() { self.get(segments, &[], ask).await } else { Err(no_key()) }
    }

    /// Gets a resource as the text it is, without reading it: the catalogue, which is several MB.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_text(&self, segments: &[&str], ask: Ask<'_>) -> Result<Bytes> {
        let request = self.with_key(self.inner.http.get(self.url(segments)?));
        let (response, sent) = self.send_whole(request, ask).await?;
        self.body(response, sent, ask).await
    }

    /// Gets a resource of the account, which lies beside the base URL's `/v1` and not below it.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_account<M: Whole>(&self, segments: &[&str], ask: Ask<'_>) -> Result<Reply<M>> {
        let Some(key) = self.inner.authorization.clone() else { return Err(no_key()) };
        let request = self.inner.http.get(self.account_url(segments)?).header(header::AUTHORIZATION, key);
        let (response, sent) = self.send_whole(request, ask).await?;
        self.read_whole(response, sent, ask).await
    }

    /// Gets a stream of the account. It has no end of its own: a body that ends was cut.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none; after that, the stream's own items.
    pub async fn watch_account<M: Chunk>(&self, segments: &[&str]) -> Result<Events<M>> {
        let Some(key) = self.inner.authorization.clone() else { return Err(no_key()) };
        let request = self.inner.http.get(self.account_url(segments)?).header(header::AUTHORIZATION, key);
        let request = request.header(header::ACCEPT, EVENT_STREAM);
        let mut tries = self.tries_by(clocks::FEED, Ask::default(), Duration::MAX);
        let response = self.send(&mut tries, clocks::FEED, &request, Ask::default()).await?;
        Ok(self.events(response, tries.began(), Ask::default(), clocks::FEED).await?.answer)
    }

    /// Posts a body and waits for the whole answer.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn post<M: Whole>(&self, segments: &[&str], body: Bytes, ask: Ask<'_>) -> Result<Reply<M>> {
        self.post_by(&mut self.tries(ask, Duration::MAX), segments, body, ask).await
    }

    /// The same by these tries.
    ///
    /// # Errors
    /// As [`post`](Self::post). The tries know whether the same may be asked again.
    pub async fn post_by<M: Whole>(
        &self,
        tries: &mut Tries<'_>,
        segments: &[&str],
        body: Bytes,
        ask: Ask<'_>,
    ) -> Result<Reply<M>> {
        let request = self.json(segments, body)?;
        let response = self.send(tries, self.clocks(ask), &request, ask).await?;
        self.read_whole(response, tries.began(), ask).await
    }

    /// Posts a body, waits until the answer has begun, and hands it out as it comes. Dropping the answer closes the upstream
    /// connection. What fails before it has begun is asked again if that can help.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none; after that, the stream's own items. The tries know whether
    /// the same may be asked again.
    pub async fn stream_by<M: Chunk>(
        &self,
        tries: &mut Tries<'_>,
        segments: &[&str],
        body: Bytes,
        ask: Ask<'_>,
    ) -> Result<Reply<Begun<M>>> {
        let request = self.json(segments, body)?.header(header::ACCEPT, EVENT_STREAM);
        let clocks = self.clocks(ask);
        loop {
            let response = self.send(tries, clocks, &request, ask).await?;
            let begun = async {
                let Reply { request_id, answer } = self.events(response, tries.began(), ask, clocks).await?;
                Ok(Reply { request_id, answer: Begun::wait_for(answer).await? })
            };
            match begun.await {
                Ok(reply) => return Ok(reply),
                Err(error) => tries.again(self.without_secret(error)).await?,
            }
        }
    }

    async fn events<M: Chunk>(
        &self,
        response: reqwest::Response,
        sent: Instant,
        ask: Ask<'_>,
        clocks: Clocks,
    ) -> Result<Reply<Events<M>>> {
        let request_id = request_id(response.headers());
        if !is(&response, EVENT_STREAM) {
            let problem = "Featherless answered a streamed request with something else than a stream";
            let body = http::Response::from(response).into_body();
            let by = clocks.first(sent, ask.deadline).0;
            let body = self.read(body, error::BODY_BYTES_MAX, clocks, sent, Some(by)).await.unwrap_or_default();
            // Perhaps an error that calls itself a success.
            let error = Error::from_event(&body, ask.model);
            return Err(error
                .unwrap_or_else(|| Error::new(Kind::Upstream, "upstream_bad_answer", problem))
                .with_upstream_request_id(request_id.as_ref().and_then(text)));
        }
        let body = http::Response::from(response).into_body();
        let answer = Events::new(body, clocks, sent, ask, request_id.as_ref().and_then(text));
        let answer = answer.hiding(self.inner.secret.clone());
        Ok(Reply { request_id, answer })
    }

    /// The catalogue may be read without a key; with one, it says more.
    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.inner.authorization {
            Some(key) => request.header(header::AUTHORIZATION, key.clone()),
            None => request,
        }
    }

    fn json(&self, segments: &[&str], body: Bytes) -> Result<reqwest::RequestBuilder> {
        let Some(key) = self.inner.authorization.clone() else { return Err(no_key()) };
        Ok(self
            .inner
            .http
            .post(self.url(segments)?)
            .header(header::AUTHORIZATION, key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body))
    }

    fn url(&self, segments: &[&str]) -> Result<reqwest::Url> {
        below(self.inner.base.clone(), segments)
    }

    fn account_url(&self, segments: &[&str]) -> Result<reqwest::Url> {
        let mut root = self.inner.base.clone();
        let path = root.path().trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        root.set_path(&path);
        below(root, segments)
    }

    /// The clocks by which this is asked.
    fn clocks(&self, ask: Ask<'_>) -> Clocks {
        self.inner.clocks.before_fallback(ask.first_token_max)
    }

    /// The tries of a request that begins now. The clock for the first token begins with the first of them, however many
    /// there are. A wait between two of them that is longer than `wait_max` is its caller's to wait.
    pub fn tries(&self, ask: Ask<'_>, wait_max: Duration) -> Tries<'_> {
        self.tries_by(self.clocks(ask), ask, wait_max)
    }

    fn tries_by(&self, clocks: Clocks, ask: Ask<'_>, wait_max: Duration) -> Tries<'_> {
        self.inner.retry.begin(|now| clocks.first(now, ask.deadline).0, ask.is_single, wait_max)
    }

    /// Sends a request that is asked for whole, and tells when it began.
    async fn send_whole(&self, request: reqwest::RequestBuilder, ask: Ask<'_>) -> Result<(reqwest::Response, Instant)> {
        let clocks = self.clocks(ask);
        let mut tries = self.tries_by(clocks, ask, Duration::MAX);
        let response = self.send(&mut tries, clocks, &request, ask).await?;
        Ok((response, tries.began()))
    }

    /// Sends a request until there is the head of a successful reply, or no point in trying again.
    async fn send(
        &self,
        tries: &mut Tries<'_>,
        clocks: Clocks,
        request: &reqwest::RequestBuilder,
        ask: Ask<'_>,
    ) -> Result<reqwest::Response> {
        tries.ask_once(ask.is_single);
        loop {
            // Bodies are bytes in memory, so there is always another copy of the request.
            let Some(copy) = request.try_clone() else { return Err(Error::internal("a request can't be copied")) };
            match self.attempt(clocks, copy, tries.began(), ask).await {
                Ok(response) => return Ok(response),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Sends a request once and waits for the head of a successful reply.
    async fn attempt(
        &self,
        clocks: Clocks,
        request: reqwest::RequestBuilder,
        sent: Instant,
        ask: Ask<'_>,
    ) -> Result<reqwest::Response> {
        let (deadline, late) = clocks.first(sent, ask.deadline);
        let response = timeout_at(deadline, request.send()).await.map_err(|_| late.error(clocks))?;
        let response = response.map_err(unreachable)?;
        let is_readable = is_plain(response.headers());
        if response.status().is_success() {
            if !is_readable {
                let problem = "The upstream answered with a Content-Encoding that was not asked for: check what stands \
                               before FEATHERLESS_BASE_URL";
                return Err(Error::new(Kind::Upstream, "upstream_bad_answer", problem));
            }
            if is(&response, "text/html") {
                let problem = "The upstream answered with a web page instead of its API: check FEATHERLESS_BASE_URL";
                return Err(Error::new(Kind::Upstream, "upstream_bad_answer", problem));
            }
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        // The status is the main thing: a body that is cut, late or too long just has nothing to add.
        let body = http::Response::from(response).into_body();
        let body = self.read(body, error::BODY_BYTES_MAX, clocks, sent, Some(deadline)).await.unwrap_or_default();
        let body = if is_readable { body } else { Bytes::new() };
        Err(self.without_secret(error::Reply { status, headers: &headers, body: &body, model: ask.model }.into()))
    }

    /// The same error without the API key.
    fn without_secret(&self, error: Error) -> Error {
        error.without_secret(self.inner.secret.as_ref().map(|secret| secret.expose_secret()))
    }

    async fn read_whole<M: Whole>(&self, response: reqwest::Response, sent: Instant, ask: Ask<'_>) -> Result<Reply<M>> {
        let request_id = request_id(response.headers());
        let body = self.body(response, sent, ask).await?;
        let model = ask.model.map(str::to_owned);
        let read = aside::run(body.len(), move || whole::read(&body, model.as_deref())).await?;
        match read {
            Ok(answer) => Ok(Reply { request_id, answer }),
            Err(error) => Err(self.without_secret(error).with_upstream_request_id(request_id.as_ref().and_then(text))),
        }
    }

    async fn body(&self, response: reqwest::Response, sent: Instant, ask: Ask<'_>) -> Result<Bytes> {
        let request_id = request_id(response.headers());
        let body = http::Response::from(response).into_body();
        let body = self.read(body, ANSWER_BYTES_MAX, self.clocks(ask), sent, ask.deadline).await;
        body.map_err(|error| error.with_upstream_request_id(request_id.as_ref().and_then(text)))
    }

    /// Reads a body to its end, or to the error of one that falls silent, is cut, or is longer than the limit. White space
    /// is no beginning of an answer: some servers send it to keep a silent connection alive.
    async fn read(
        &self,
        mut body: reqwest::Body,
        bytes_max: usize,
        clocks: Clocks,
        sent: Instant,
        deadline: Option<Instant>,
    ) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        let mut has_begun = false;
        loop {
            let (first, rest) = (clocks.first(sent, deadline), clocks.rest(deadline));
            let (due, late) = if has_begun || rest.0 < first.0 { rest } else { first };
            let frame = timeout_at(due, body.frame()).await.map_err(|_| late.error(clocks))?;
            let Some(frame) = frame else { return Ok(whole.freeze()) };
            let frame = frame.map_err(|error| {
                let message = "The connection to Featherless broke in the middle of the answer: try again";
                Error::new(Kind::Upstream, "upstream_answer_cut", message).with_source(error.without_url())
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > bytes_max {
                return Err(too_large());
            }
            has_begun = has_begun || data.iter().any(|byte| !byte.is_ascii_whitespace());
            whole.extend_from_slice(&data);
        }
    }
}

fn below(mut url: reqwest::Url, segments: &[&str]) -> Result<reqwest::Url> {
    // A model's id is the caller's: dots in it must not climb out of the API's path.
    if segments.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
        return Err(Error::invalid("model", "not a model id"));
    }
    let depth = |url: &reqwest::Url| url.path_segments().into_iter().flatten().filter(|name| !name.is_empty()).count();
    let expected = depth(&url) + segments.len();
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(segments),
        Err(()) => return Err(Error::internal("the base URL has no path")),
    };
    // What else an address can't hold (tabs, line ends) is dropped on the way, which may leave dots alone.
    if depth(&url) != expected {
        return Err(Error::invalid("model", "not a model id"));
    }
    Ok(url)
}

/// Whether a body is as it was asked for: not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().all(|coding| coding.is_empty() || coding == IDENTITY)
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

fn is(response: &reqwest::Response, media_type: &str) -> bool {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.get(..media_type.len()).is_some_and(|head| head.eq_ignore_ascii_case(media_type)))
}
