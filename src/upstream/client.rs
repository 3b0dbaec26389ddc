//! The HTTP client of the upstream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    error::local::no_key, event_stream::EventStream, options::RequestOptions, reply::Reply,
    retry::Attempts, sender::Sender, started::StartedStream, stream_message::StreamMessage,
    timeouts, unary::UnaryMessage,
};
use crate::{config, error::Result};

/// Sends requests to Featherless. Cheap to clone: all clones share one pool of connections.
///
/// Every method fails with the kind that the reply means, or with
/// [`Kind::Upstream`](crate::error::Kind::Upstream) or
/// [`Kind::Timeout`](crate::error::Kind::Timeout) if there is no reply.
#[derive(Clone, Debug)]
pub struct Client {
    sender: Arc<Sender>,
}

impl Client {
    /// A client for the upstream in `config`. Without an API key the client works, but requests
    /// that need the key fail.
    ///
    /// # Errors
    /// [`Kind::Misconfigured`](crate::error::Kind::Misconfigured) if a header or the TLS settings
    /// cannot be built from `config`.
    pub fn new(config: &config::Upstream) -> Result<Self> {
        Ok(Self {
            sender: Arc::new(Sender::new(config)?),
        })
    }

    /// Takes over the timeouts of `config`, for requests that begin from now on.
    pub fn set_timeouts(&self, config: &config::Upstream) {
        self.sender.set_timeouts(config);
    }

    /// Whether there is an API key, or none is needed.
    pub fn has_key(&self) -> bool {
        self.sender.has_key()
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
        let transport = self.sender.transport();
        let request = transport.get(transport.address.resource(segments, query)?);
        let (response, sent) = self.sender.send_unary(request, options).await?;
        self.sender.read_unary(response, sent, options).await
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
        let transport = self.sender.transport();
        let request = transport.get(transport.address.resource(segments, &[])?);
        let (response, sent) = self.sender.send_unary(request, options).await?;
        self.sender.body(response, sent, options).await
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
        let transport = self.sender.with_key()?;
        let request = transport.get(transport.address.account_resource(segments)?);
        let (response, sent) = self.sender.send_unary(request, options).await?;
        self.sender.read_unary(response, sent, options).await
    }

    /// Gets a stream of the account. The stream is endless: if its body ends, it was cut.
    ///
    /// # Errors
    /// As [`Client`] says. Later errors are items of the stream.
    pub async fn watch_account<M: StreamMessage>(
        &self,
        segments: &[&str],
    ) -> Result<Box<EventStream<M>>> {
        let transport = self.sender.with_key()?;
        let request = transport.watch(transport.address.account_resource(segments)?);
        let mut attempts =
            self.sender
                .attempts_with(timeouts::FEED, RequestOptions::default(), Duration::MAX);
        let response = self
            .sender
            .send(
                &mut attempts,
                timeouts::FEED,
                &request,
                RequestOptions::default(),
            )
            .await?;
        Ok(self
            .sender
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
        let transport = self.sender.with_key()?;
        let request = transport.post(transport.address.resource(segments, &[])?, body);
        let response = self
            .sender
            .send(attempts, self.sender.timeouts(options), &request, options)
            .await?;
        self.sender
            .read_unary(response, attempts.began(), options)
            .await
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
        let transport = self.sender.with_key()?;
        let request = transport.stream(transport.address.resource(segments, &[])?, body);
        let timeouts = self.sender.timeouts(options);
        loop {
            let response = self
                .sender
                .send(attempts, timeouts, &request, options)
                .await?;
            let started = async {
                let Reply { request_id, answer } = self
                    .sender
                    .event_stream(response, attempts.began(), options, timeouts)
                    .await?;
                Ok(Reply {
                    request_id,
                    answer: StartedStream::wait_for(answer).await?,
                })
            };
            match started.await {
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    attempts
                        .wait_for_next(self.sender.without_secret(error))
                        .await?
                }
            }
        }
    }

    /// The attempts of a request that begins now. The first-token timeout counts from the first
    /// attempt. If the wait before the next attempt is longer than `wait_max`, the caller must
    /// wait, as [`Attempts::take_later`] says.
    pub fn attempts<'a>(&'a self, options: RequestOptions<'a>, wait_max: Duration) -> Attempts<'a> {
        self.sender
            .attempts_with(self.sender.timeouts(options), options, wait_max)
    }
}
