//! Sends requests of the [`Client`](super::client::Client): attempt after attempt until a
//! successful reply begins, within the timeouts. And begins to read the reply.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::{
    body,
    error::{self, ErrorReply, local::no_key, request_id},
    event_stream::EventStream,
    limits::{ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX},
    options::RequestOptions,
    reply::Reply,
    response_body::ResponseBody,
    retry::{Attempts, Policy},
    stream_message::StreamMessage,
    timeouts::{Purpose, Timeouts},
    transport::{EVENT_STREAM, IDENTITY, Request, Transport},
    unary::{self, UnaryMessage},
};
use crate::{
    config,
    error::{Error, ErrorCode, Result},
    offload,
    telemetry::ContextHeaders,
};

/// Sends requests, and knows what all of them share.
#[derive(Debug)]
pub(super) struct Sender {
    transport: Transport,
    /// The API key, which no error may contain.
    secret: Option<SecretString>,
    /// Whether requests may be sent without a key.
    works_without_key: bool,
    timeouts: ArcSwap<Timeouts>,
    retry: Policy,
}

fn timeouts(config: &config::Upstream) -> Timeouts {
    Timeouts {
        purpose: Purpose::Answer,
        first_token: config.first_token_timeout,
        idle: config.idle_timeout,
    }
}

impl Sender {
    /// A sender to the upstream in `config`.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if a header or the TLS settings
    /// cannot be built from `config`.
    pub(super) fn new(config: &config::Upstream) -> Result<Self> {
        Ok(Self {
            transport: Transport::new(config)?,
            secret: config.api_key().cloned(),
            works_without_key: config.works_without_key,
            timeouts: ArcSwap::from_pointee(timeouts(config)),
            retry: Policy::new(config.retries, config.retry_wait),
        })
    }

    /// Whether there is an API key, or none is needed.
    pub(super) fn has_key(&self) -> bool {
        self.works_without_key || self.transport.has_key()
    }

    /// The transport, for requests that need no API key.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The transport, if there is an API key or none is needed.
    pub(super) fn with_key(&self) -> Result<&Transport> {
        if self.has_key() {
            Ok(&self.transport)
        } else {
            Err(no_key())
        }
    }

    /// The timeouts of a request with these `options`.
    pub(super) fn timeouts(&self, options: RequestOptions<'_>) -> Timeouts {
        let timeouts = **self.timeouts.load();
        timeouts.before_fallback(options.first_token_max)
    }

    /// Takes over the timeouts of `config`, for requests that begin from now on.
    pub(super) fn set_timeouts(&self, config: &config::Upstream) {
        self.timeouts.store(Arc::new(timeouts(config)));
    }

    /// The attempts of a request with these `timeouts` that begins now.
    pub(super) fn attempts_with<'a>(
        &'a self,
        timeouts: Timeouts,
        options: RequestOptions<'a>,
        wait_max: Duration,
    ) -> Attempts<'a> {
        self.retry.attempts(
            |now| timeouts.first(now, options.deadline).0,
            options,
            wait_max,
        )
    }

    /// Sends the request of a unary answer. Returns the response, and when the request was sent.
    pub(super) async fn send_unary(
        &self,
        request: Request<'_>,
        options: RequestOptions<'_>,
    ) -> Result<(Response<ResponseBody>, Instant)> {
        let timeouts = self.timeouts(options);
        let mut attempts = self.attempts_with(timeouts, options, Duration::MAX);
        let response = self
            .send(&mut attempts, timeouts, &request, options)
            .await?;
        Ok((response, attempts.began()))
    }

    /// Sends `request` until a successful reply begins, or until another attempt cannot help.
    pub(super) async fn send(
        &self,
        attempts: &mut Attempts<'_>,
        timeouts: Timeouts,
        request: &Request<'_>,
        options: RequestOptions<'_>,
    ) -> Result<Response<ResponseBody>> {
        attempts.set_no_retries(options.no_retries);
        loop {
            let trace = options.sent.and_then(|sent| sent.add(options.model));
            match self
                .attempt(timeouts, request, trace, attempts.began(), options)
                .await
            {
                Ok(response) => return Ok(response),
                Err(error) => attempts.wait_for_next(error).await?,
            }
        }
    }

    /// Sends `request` once, with the headers of its `trace`, and waits for the head of a successful
    /// reply.
    async fn attempt(
        &self,
        timeouts: Timeouts,
        request: &Request<'_>,
        trace: Option<Box<ContextHeaders>>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Response<ResponseBody>> {
        let (deadline, expired) = timeouts.first(sent, options.deadline);
        let response = timeout_at(deadline, self.transport.send(request, trace)).await;
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
    pub(super) fn without_secret(&self, error: Error) -> Error {
        error.without_secret(self.secret.as_ref().map(|secret| secret.expose_secret()))
    }

    /// Reads a unary answer.
    pub(super) async fn read_unary<M: UnaryMessage>(
        &self,
        response: Response<ResponseBody>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Reply<M>> {
        let request_id = request_id(response.headers());
        let body = self
            .read_body(response.into_body(), request_id.as_ref(), sent, options)
            .await?;
        let decoded = if body.len() <= offload::LARGE_BYTES {
            unary::decode(&body, options.model)
        } else {
            let model = options.model.map(str::to_owned);
            offload::run(body.len(), move || unary::decode(&body, model.as_deref())).await?
        };
        match decoded {
            Ok(answer) => Ok(Reply { request_id, answer }),
            Err(error) => Err(self
                .without_secret(error)
                .with_upstream_request_id(request_id.as_ref().and_then(text))),
        }
    }

    /// Reads the body of a unary answer.
    pub(super) async fn body(
        &self,
        response: Response<ResponseBody>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Bytes> {
        let request_id = request_id(response.headers());
        self.read_body(response.into_body(), request_id.as_ref(), sent, options)
            .await
    }

    async fn read_body(
        &self,
        body: ResponseBody,
        request_id: Option<&HeaderValue>,
        sent: Instant,
        options: RequestOptions<'_>,
    ) -> Result<Bytes> {
        let timeouts = self.timeouts(options);
        let body = body::read(body, ANSWER_BYTES_MAX, timeouts, sent, options.deadline).await;
        body.map_err(|error| error.with_upstream_request_id(request_id.and_then(text)))
    }

    /// The stream that a successful reply begins.
    pub(super) async fn event_stream<M: StreamMessage>(
        &self,
        response: Response<ResponseBody>,
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
        let answer = Box::new(answer.hiding(self.secret.clone()));
        Ok(Reply { request_id, answer })
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
fn has_media_type(response: &Response<ResponseBody>, media_type: &str) -> bool {
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
