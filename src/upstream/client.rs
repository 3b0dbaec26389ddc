//! The one HTTP client of the upstream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::{
    begun::Begun,
    body,
    clocks::{self, Clocks, Of},
    events::{Chunk, Events},
    failures::no_key,
    retry::{self, Tries},
    transport::{EVENT_STREAM, IDENTITY, Request, Transport},
    whole::{self, Whole},
};
use crate::{
    aside, config,
    error::{self, Error, ErrorCode, Result, request_id},
};

/// The largest answer that isn't streamed. The whole catalogue takes several MB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks Featherless. Cheap to clone; all clones share one pool of connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
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
    /// What counts how often upstream is asked.
    pub attempts: Option<&'a AtomicU32>,
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
        Reply {
            request_id: self.request_id,
            answer: make(self.answer),
        }
    }
}

impl Client {
    /// A client for this upstream. A missing API key is no error yet: asking without it is.
    ///
    /// # Errors
    /// Misconfigured, if a header or the TLS set-up can't be made of the configuration.
    pub fn new(config: &config::Upstream) -> Result<Self> {
        let inner = Inner {
            transport: Transport::new(config)?,
            secret: config.api_key().cloned(),
            clocks: Clocks {
                of: Of::Answer,
                first_token: config.first_token_timeout,
                idle: config.idle_timeout,
            },
            retry: retry::Policy::new(config.retries, config.retry_wait),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether there is an API key to ask with.
    pub fn has_key(&self) -> bool {
        self.inner.transport.has_key()
    }

    /// Gets a resource. `segments` are the path below the base URL; the catalogue may be read
    /// without a key.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get<M: Whole>(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
        ask: Ask<'_>,
    ) -> Result<Reply<M>> {
        let transport = &self.inner.transport;
        let request = transport.get(transport.address.of(segments, query)?);
        let (response, sent) = self.send_whole(request, ask).await?;
        self.read_whole(response, sent, ask).await
    }

    /// Gets a resource that only a key opens.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_with_key<M: Whole>(
        &self,
        segments: &[&str],
        ask: Ask<'_>,
    ) -> Result<Reply<M>> {
        if self.has_key() {
            self.get(segments, &[], ask).await
        } else {
            Err(no_key())
        }
    }

    /// Gets a resource as the text it is, without reading it: the catalogue, which is several MB.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_text(&self, segments: &[&str], ask: Ask<'_>) -> Result<Bytes> {
        let transport = &self.inner.transport;
        let request = transport.get(transport.address.of(segments, &[])?);
        let (response, sent) = self.send_whole(request, ask).await?;
        self.body(response, sent, ask).await
    }

    /// Gets a resource of the account, which lies beside the base URL's `/v1` and not below it.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn get_account<M: Whole>(&self, segments: &[&str], ask: Ask<'_>) -> Result<Reply<M>> {
        let transport = self.with_key()?;
        let request = transport.get(transport.address.of_account(segments)?);
        let (response, sent) = self.send_whole(request, ask).await?;
        self.read_whole(response, sent, ask).await
    }

    /// Gets a stream of the account. It has no end of its own: a body that ends was cut.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none; after that, the stream's own
    /// items.
    pub async fn watch_account<M: Chunk>(&self, segments: &[&str]) -> Result<Events<M>> {
        let transport = self.with_key()?;
        let request = transport.watch(transport.address.of_account(segments)?);
        let mut tries = self.tries_by(clocks::FEED, Ask::default(), Duration::MAX);
        let response = self
            .send(&mut tries, clocks::FEED, &request, Ask::default())
            .await?;
        Ok(self
            .events(response, tries.began(), Ask::default(), clocks::FEED)
            .await?
            .answer)
    }

    /// Posts a body and waits for the whole answer.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none.
    pub async fn post<M: Whole>(
        &self,
        segments: &[&str],
        body: Bytes,
        ask: Ask<'_>,
    ) -> Result<Reply<M>> {
        self.post_by(&mut self.tries(ask, Duration::MAX), segments, body, ask)
            .await
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
        let transport = self.with_key()?;
        let request = transport.post(transport.address.of(segments, &[])?, body);
        let response = self.send(tries, self.clocks(ask), &request, ask).await?;
        self.read_whole(response, tries.began(), ask).await
    }

    /// Posts a body, waits until the answer has begun, and hands it out as it comes. Dropping the
    /// answer closes the upstream connection. What fails before it has begun is asked again if that
    /// can help.
    ///
    /// # Errors
    /// Whatever the upstream's reply means, or why there is none; after that, the stream's own
    /// items. The tries know whether the same may be asked again.
    pub async fn stream_by<M: Chunk>(
        &self,
        tries: &mut Tries<'_>,
        segments: &[&str],
        body: Bytes,
        ask: Ask<'_>,
    ) -> Result<Reply<Begun<M>>> {
        let transport = self.with_key()?;
        let request = transport.stream(transport.address.of(segments, &[])?, body);
        let clocks = self.clocks(ask);
        loop {
            let response = self.send(tries, clocks, &request, ask).await?;
            let begun = async {
                let Reply { request_id, answer } =
                    self.events(response, tries.began(), ask, clocks).await?;
                Ok(Reply {
                    request_id,
                    answer: Begun::wait_for(answer).await?,
                })
            };
            match begun.await {
                Ok(reply) => return Ok(reply),
                Err(error) => tries.again(self.without_secret(error)).await?,
            }
        }
    }

    async fn events<M: Chunk>(
        &self,
        response: Response<Incoming>,
        sent: Instant,
        ask: Ask<'_>,
        clocks: Clocks,
    ) -> Result<Reply<Events<M>>> {
        let request_id = request_id(response.headers());
        if !is(&response, EVENT_STREAM) {
            let problem =
                "Featherless answered a streamed request with something else than a stream";
            let by = clocks.first(sent, ask.deadline).0;
            let body = body::read(
                response.into_body(),
                error::BODY_BYTES_MAX,
                clocks,
                sent,
                Some(by),
            )
            .await
            .unwrap_or_default();
            // Perhaps an error that calls itself a success.
            let error = Error::from_event(&body, ask.model);
            return Err(error
                .unwrap_or_else(|| Error::new(ErrorCode::UpstreamBadAnswer, problem))
                .with_upstream_request_id(request_id.as_ref().and_then(text)));
        }
        let answer = Events::new(
            response.into_body(),
            clocks,
            sent,
            ask,
            request_id.as_ref().and_then(text),
        );
        let answer = answer.hiding(self.inner.secret.clone());
        Ok(Reply { request_id, answer })
    }

    /// What sends requests, if there is a key to send with them.
    fn with_key(&self) -> Result<&Transport> {
        if self.has_key() {
            Ok(&self.inner.transport)
        } else {
            Err(no_key())
        }
    }

    /// The clocks by which this is asked.
    fn clocks(&self, ask: Ask<'_>) -> Clocks {
        self.inner.clocks.before_fallback(ask.first_token_max)
    }

    /// The tries of a request that begins now. The clock for the first token begins with the first
    /// of them, however many there are. A wait between two of them that is longer than `wait_max`
    /// is its caller's to wait.
    pub fn tries(&self, ask: Ask<'_>, wait_max: Duration) -> Tries<'_> {
        self.tries_by(self.clocks(ask), ask, wait_max)
    }

    fn tries_by(&self, clocks: Clocks, ask: Ask<'_>, wait_max: Duration) -> Tries<'_> {
        self.inner.retry.begin(
            |now| clocks.first(now, ask.deadline).0,
            ask.is_single,
            wait_max,
        )
    }

    /// Sends a request that is asked for whole, and tells when it began.
    async fn send_whole(
        &self,
        request: Request<'_>,
        ask: Ask<'_>,
    ) -> Result<(Response<Incoming>, Instant)> {
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
        request: &Request<'_>,
        ask: Ask<'_>,
    ) -> Result<Response<Incoming>> {
        tries.ask_once(ask.is_single);
        loop {
            if let Some(attempts) = ask.attempts {
                attempts.fetch_add(1, Ordering::Relaxed);
            }
            match self.attempt(clocks, request, tries.began(), ask).await {
                Ok(response) => return Ok(response),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Sends a request once and waits for the head of a successful reply.
    async fn attempt(
        &self,
        clocks: Clocks,
        request: &Request<'_>,
        sent: Instant,
        ask: Ask<'_>,
    ) -> Result<Response<Incoming>> {
        let (deadline, late) = clocks.first(sent, ask.deadline);
        let response = timeout_at(deadline, self.inner.transport.send(request)).await;
        let response = response.map_err(|_| late.error(clocks))??;
        let is_readable = is_plain(response.headers());
        if response.status().is_success() {
            if !is_readable {
                let problem = "The upstream answered with a Content-Encoding that was not asked \
                               for: check what stands before FEATHERLESS_BASE_URL";
                return Err(Error::new(ErrorCode::UpstreamBadAnswer, problem));
            }
            if is(&response, "text/html") {
                let problem = "The upstream answered with a web page instead of its API: check \
                               FEATHERLESS_BASE_URL";
                return Err(Error::new(ErrorCode::UpstreamBadAnswer, problem));
            }
            return Ok(response);
        }
        let (
            http::response::Parts {
                status, headers, ..
            },
            body,
        ) = response.into_parts();
        // The status is the main thing: a body that is cut, late or too long just has nothing to
        // add.
        let body = body::read(body, error::BODY_BYTES_MAX, clocks, sent, Some(deadline))
            .await
            .unwrap_or_default();
        let body = if is_readable { body } else { Bytes::new() };
        Err(self.without_secret(
            error::Reply {
                status,
                headers: &headers,
                body: &body,
                model: ask.model,
            }
            .into(),
        ))
    }

    /// The same error without the API key.
    fn without_secret(&self, error: Error) -> Error {
        error.without_secret(
            self.inner
                .secret
                .as_ref()
                .map(|secret| secret.expose_secret()),
        )
    }

    async fn read_whole<M: Whole>(
        &self,
        response: Response<Incoming>,
        sent: Instant,
        ask: Ask<'_>,
    ) -> Result<Reply<M>> {
        let request_id = request_id(response.headers());
        let body = self.body(response, sent, ask).await?;
        let model = ask.model.map(str::to_owned);
        let read = aside::run(body.len(), move || whole::read(&body, model.as_deref())).await?;
        match read {
            Ok(answer) => Ok(Reply { request_id, answer }),
            Err(error) => Err(self
                .without_secret(error)
                .with_upstream_request_id(request_id.as_ref().and_then(text))),
        }
    }

    async fn body(
        &self,
        response: Response<Incoming>,
        sent: Instant,
        ask: Ask<'_>,
    ) -> Result<Bytes> {
        let request_id = request_id(response.headers());
        let body = body::read(
            response.into_body(),
            ANSWER_BYTES_MAX,
            self.clocks(ask),
            sent,
            ask.deadline,
        )
        .await;
        body.map_err(|error| error.with_upstream_request_id(request_id.as_ref().and_then(text)))
    }
}

/// Whether a body is as it was asked for: not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.is_empty() || coding == IDENTITY)
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

fn is(response: &Response<Incoming>, media_type: &str) -> bool {
    let value = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.is_some_and(|value| {
        value
            .get(..media_type.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(media_type))
    })
}
