//! The HTTP client of the upstream.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::{
    body,
    error::{self, ErrorReply, local::no_key, request_id},
    event_stream::EventStream,
    limits::{ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX},
    options::RequestOptions,
    reply::Reply,
    retry::{Attempts, Policy},
    started::StartedStream,
    stream_message::StreamMessage,
    timeouts::{self, Purpose, Timeouts},
    transport::{EVENT_STREAM, IDENTITY, Request, Transport},
    unary::{self, UnaryMessage},
};
use crate::{
    config,
    error::{Error, ErrorCode, Result},
    offload,
};

/// Sends requests to Featherless. Cheap to clone: all clones share one pool of connections.
///
/// Every method fails with the kind that the reply means, or with
/// [`Kind::Upstream`](crate::error::Kind::Upstream) or
/// [`Kind::Timeout`](crate::error::Kind::Timeout) if there is no reply.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Transport,
    /// The API key, which no error may contain.
    secret: Option<SecretString>,
    timeouts: Timeouts,
    retry: Policy,
}

impl Client {
    /// A client for the upstream in `config`. Without an API key the client works, but requests
    /// that need the key fail.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if a header or the TLS settings
    /// cannot be built from `config`.
    pub fn new(config: &config::Upstream) -> Result<Self> {
        let inner = Inner {
            transport: Transport::new(config)?,
            secret: config.api_key().cloned(),
            timeouts: Timeouts {
                purpose: Purpose::Answer,
                first_token: config.first_token_timeout,
                idle: config.idle_timeout,
            },
            retry: Policy::new(config.retries, config.retry_wait),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Whether there is an API key.
    pub fn has_key(&self) -> bool {
        self.inner.transport.has_key()
    }

    /// Gets a resource. `segments` are its path below the base URL. Featherless lists its models
    /// without a key too.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub async fn get<M: UnaryMessage>(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        let transport = &self.inner.transport;
        let request = transport.get(transport.address.resource(segments, query)?);
        let (response, sent) = self.send_unary(request, options).await?;
        self.read_unary(response, sent, options).await
    }

    /// Gets a resource for which Featherless requires a key.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub async fn get_with_key<M: UnaryMessage>(
        &self,
        segments: &[&str],
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        if self.has_key() {
            self.get(segments, &[], options).await
        } else {
            Err(no_key())
        }
    }

    /// Gets a resource as JSON text, without decoding it: the list of models has several MB.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub async fn get_text(&self, segments: &[&str], options: RequestOptions<'_>) -> Result<Bytes> {
        let transport = &self.inner.transport;
        let request = transport.get(transport.address.resource(segments, &[])?);
        let (response, sent) = self.send_unary(request, options).await?;
        self.body(response, sent, options).await
    }

    /// Gets a resource of the account, whose path is beside the base URL's `/v1`, not below it.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub async fn get_account<M: UnaryMessage>(
        &self,
        segments: &[&str],
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        let transport = self.with_key()?;
        let request = transport.get(transport.address.account_resource(segments)?);
        let (response, sent) = self.send_unary(request, options).await?;
        self.read_unary(response, sent, options).await
    }

    /// Gets a stream of the account. The stream is endless: if its body ends, it was cut.
    ///
    /// # Errors
    /// As [`Client`] says. Later errors are items of the stream.
    pub async fn watch_account<M: StreamMessage>(
        &self,
        segments: &[&str],
    ) -> Result<Box<EventStream<M>>> {
        let transport = self.with_key()?;
        let request = transport.watch(transport.address.account_resource(segments)?);
        let mut attempts =
            self.attempts_with(timeouts::FEED, RequestOptions::default(), Duration::MAX);
        let response = self
            .send(
                &mut attempts,
                timeouts::FEED,
                &request,
                RequestOptions::default(),
            )
            .await?;
        Ok(self
            .event_stream(
                response,
                attempts.began(),
                RequestOptions::default(),
                timeouts::FEED,
            )
            .await?
            .answer)
    }

    /// Posts `body` and waits for the whole answer.
    ///
    /// # Errors
    /// As [`Client`] says.
    pub async fn post<M: UnaryMessage>(
        &self,
        segments: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        self.post_with(
            &mut self.attempts(options, Duration::MAX),
            segments,
            body,
            options,
        )
        .await
    }

    /// As [`post`](Self::post), with `attempts` that the caller made by
    /// [`attempts`](Self::attempts).
    ///
    /// # Errors
    /// As [`Client`] says. [`Attempts::take_later`] tells whether the same request may be sent
    /// again.
    pub async fn post_with<M: UnaryMessage>(
        &self,
        attempts: &mut Attempts<'_>,
        segments: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        let transport = self.with_key()?;
        let request = transport.post(transport.address.resource(segments, &[])?, body);
        let response = self
            .send(attempts, self.timeouts(options), &request, options)
            .await?;
        self.read_unary(response, attempts.began(), options).await
    }

    /// Posts `body`, waits for the first content of the answer, and returns the answer as a stream.
    /// Dropping the stream closes the upstream connection. A failure before the first content leads
    /// to another attempt if that can help.
    ///
    /// # Errors
    /// As [`post_with`](Self::post_with). Later errors are items of the stream.
    pub async fn stream_with<M: StreamMessage>(
        &self,
        attempts: &mut Attempts<'_>,
        segments: &[&str],
        body: Bytes,
        options: RequestOptions<'_>,
    ) -> Result<Reply<StartedStream<M>>> {
        let transport = self.with_key()?;
        let request = transport.stream(transport.address.resource(segments, &[])?, body);
        let timeouts = self.timeouts(options);
        loop {
            let response = self.send(attempts, timeouts, &request, options).await?;
            let started = async {
                let Reply { request_id, answer } = self
                    .event_stream(response, attempts.began(), options, timeouts)
                    .await?;
                Ok(Reply {
                    request_id,
                    answer: StartedStream::wait_for(answer).await?,
                })
            };
            match started.await {
                Ok(reply) => return Ok(reply),
                Err(error) => attempts.retry_after(self.without_secret(error)).await?,
            }
        }
    }

    async fn event_stream<M: StreamMessage>(
        &self,
        response: Response<Incoming>,
        sent: Instant,
        options: RequestOptions<'_>,
        timeouts: Timeouts,
    ) -> Result<Reply<Box<EventStream<M>>>> {
        let request_id = request_id(response.headers());
        if !has_media_type(&response, EVENT_STREAM) {
            let problem =
                "Featherless answered a streamed request with something other than a stream";
            let by = timeouts.first(sent, options.deadline).0;
            let body = body::read(
                response.into_body(),
                ERROR_BODY_BYTES_MAX,
                timeouts,
                sent,
                Some(by),
            )
            .await
            .unwrap_or_default();
            // The body may be an error with a status of success.
            let error = error::from_event(&body, options.model);
            return Err(error
                .unwrap_or_else(|| Error::new(ErrorCode::UpstreamBadAnswer, problem))
                .with_upstream_request_id(request_id.as_ref().and_then(text)));
        }
        let answer = EventStream::new(
            response.into_body(),
            timeouts,
            sent,
            options,
            request_id.as_ref().and_then(text),
        );
        let answer = Box::new(answer.hiding(self.inner.secret.clone()));
        Ok(Reply { request_id, answer })
    }

    /// The transport, if there is an API key.
    fn with_key(&self) -> Result<&Transport> {
        if self.has_key() {
            Ok(&self.inner.transport)
        } else {
            Err(no_key())
        }
    }

    /// The timeouts of a request with these `options`.
    fn timeouts(&self, options: RequestOptions<'_>) -> Timeouts {
        self.inner.timeouts.before_fallback(options.first_token_max)
    }

    /// The attempts of a request that begins now. The first-token timeout counts from the first
    /// attempt. If the wait before the next attempt is longer than `wait_max`, the caller must
    /// wait, as [`Attempts::take_later`] says.
    pub fn attempts(&self, options: RequestOptions<'_>, wait_max: Duration) -> Attempts<'_> {
        self.attempts_with(self.timeouts(options), options, wait_max)
    }

    fn attempts_with(
        &self,
        timeouts: Timeouts,
        options: RequestOptions<'_>,
        wait_max: Duration,
    ) -> Attempts<'_> {
        self.inner.retry.attempts(
            |now| timeouts.first(now, options.deadline).0,
            options.no_retries,
            wait_max,
        )
    }

    /// Sends the request of a unary answer. Returns the response, and when the request was sent.
    async fn send_unary(
        &self,
        request: Request<'_>,
        options: RequestOptions<'_>,
    ) -> Result<(Response<Incoming>, Instant)> {
        let timeouts = self.timeouts(options);
        let mut attempts = self.attempts_with(timeouts, options, Duration::MAX);
        let response = self
            .send(&mut attempts, timeouts, &request, options)
            .await?;
        Ok((response, attempts.began()))
    }

    /// Sends `request` until a successful reply begins, or until another attempt cannot help.
    async fn send(
        &self,
        attempts: &mut Attempts<'_>,
        timeouts: Timeouts,
        request: &Request<'_>,
        options: RequestOptions<'_>,
    ) -> Result<Response<Incoming>> {
        attempts.set_no_retries(options.no_retries);
        loop {
            if let Some(counter) = options.attempts {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            match self
                .attempt(timeouts, request, attempts.began(), options)
                .await
            {
                Ok(response) => return Ok(response),
                Err(error) => attempts.retry_after(error).await?,
            }
        }
    }

    /// Sends `request` once and waits for the head of a successful reply.
    async fn attempt(
        &self,
        timeouts: Timeouts,
        request: &Request<'_>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Response<Incoming>> {
        let (deadline, expired) = timeouts.first(sent, options.deadline);
        let response = timeout_at(deadline, self.inner.transport.send(request)).await;
        let response = response.map_err(|_| expired.error(timeouts))??;
        let is_readable = is_uncompressed(response.headers());
        if response.status().is_success() {
            if !is_readable {
                let problem = "The upstream answered with a Content-Encoding that was not \
                               requested: check what stands before FEATHERLESS_BASE_URL";
                return Err(Error::new(ErrorCode::UpstreamBadAnswer, problem));
            }
            if has_media_type(&response, "text/html") {
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
        // The status decides. A body that is cut, late or too long adds nothing.
        let body = body::read(body, ERROR_BODY_BYTES_MAX, timeouts, sent, Some(deadline))
            .await
            .unwrap_or_default();
        let body = if is_readable { body } else { Bytes::new() };
        Err(self.without_secret(
            ErrorReply {
                status,
                headers: &headers,
                body: &body,
                model: options.model,
            }
            .into(),
        ))
    }

    /// Removes the API key from `error`.
    fn without_secret(&self, error: Error) -> Error {
        error.without_secret(
            self.inner
                .secret
                .as_ref()
                .map(|secret| secret.expose_secret()),
        )
    }

    async fn read_unary<M: UnaryMessage>(
        &self,
        response: Response<Incoming>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        let request_id = request_id(response.headers());
        let body = self.body(response, sent, options).await?;
        let model = options.model.map(str::to_owned);
        let decoded =
            offload::run(body.len(), move || unary::decode(&body, model.as_deref())).await?;
        match decoded {
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
        options: RequestOptions<'_>,
    ) -> Result<Bytes> {
        let request_id = request_id(response.headers());
        let body = body::read(
            response.into_body(),
            ANSWER_BYTES_MAX,
            self.timeouts(options),
            sent,
            options.deadline,
        )
        .await;
        body.map_err(|error| error.with_upstream_request_id(request_id.as_ref().and_then(text)))
    }
}

/// Whether the body is not compressed, as requested.
fn is_uncompressed(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|coding| coding.is_empty() || coding == IDENTITY)
}

fn text(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().map(str::to_owned)
}

/// Whether the response has this `media_type`, whatever its parameters are.
fn has_media_type(response: &Response<Incoming>, media_type: &str) -> bool {
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
