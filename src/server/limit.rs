//! The largest and the slowest gRPC request, refused with the gateway's own errors. Tonic's limit of size stands behind
//! it: it calls the same thing OUT_OF_RANGE.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;
use tonic::Status;
use tower::Service;

use super::ready::{Draining, Readiness};
use crate::{
    error::{Error, Kind},
    service::{
        call::{self, BODY_TIMEOUT, body_timeout},
        running,
    },
};

/// The five bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Bounds the size of requests.
#[derive(Clone)]
pub(super) struct Layer {
    /// The largest message, in bytes.
    pub(super) bytes_max: usize,
    /// Tells when requests that go on have to end.
    pub(super) readiness: Readiness,
}

impl<S> tower::Layer<S> for Layer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, bytes_max: self.bytes_max, readiness: self.readiness.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    bytes_max: usize,
    readiness: Readiness,
}

impl<S: Service<Request>> Service<Request> for Limited<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> S::Future {
        let bytes_max = self.bytes_max;
        let may_go_on = request.uri().path().starts_with("/grpc.reflection.");
        let timeout = call::timeout(request.headers()).ok().flatten();
        let is_hurried = timeout.is_some_and(|timeout| timeout < BODY_TIMEOUT);
        let timeout = timeout.unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
        self.inner.call(request.map(|body| {
            Body::new(Messages {
                body,
                bytes_max,
                prefix: Vec::new(),
                alarm: Box::pin(tokio::time::sleep(timeout)),
                is_hurried,
                received: 0,
                draining: may_go_on.then(|| self.readiness.draining()),
            })
        }))
    }
}

/// A request's body, watched for the length that its first message announces, and for how long that takes to arrive. Every
/// method of ours takes one message.
struct Messages {
    body: Body,
    bytes_max: usize,
    prefix: Vec<u8>,
    /// Rings when the request has taken too long to arrive.
    alarm: Pin<Box<Sleep>>,
    /// It is the caller's own deadline.
    is_hurried: bool,
    received: usize,
    /// Set if the caller may keep the stream open after its first message, as only reflection's methods let it: what ends
    /// that.
    draining: Option<Draining>,
}

impl Messages {
    fn check(&mut self, data: &[u8]) -> Result<(), Status> {
        self.received = self.received.saturating_add(data.len());
        if self.prefix.len() == PREFIX_BYTES {
            return Ok(());
        }
        let missing = PREFIX_BYTES - self.prefix.len();
        self.prefix.extend(data.iter().take(missing));
        let Some(length) = self.announced().filter(|length| *length > self.bytes_max) else { return Ok(()) };
        let max = self.bytes_max;
        let message =
            format!("The request takes {length} bytes, and {max} are allowed: send less, or raise --max-request-bytes");
        Err(Error::new(Kind::TooLarge, "request_too_large", message).into())
    }

    fn announced(&self) -> Option<usize> {
        let &[_, a, b, c, d] = self.prefix.as_slice() else { return None };
        Some(usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX))
    }

    fn is_complete(&self) -> bool {
        self.announced().is_some_and(|length| self.received >= PREFIX_BYTES.saturating_add(length))
    }
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            let error = if this.is_complete()
                && let Some(draining) = &mut this.draining
            {
                ready!(draining.as_mut().poll(context));
                running::draining()
            } else {
                ready!(this.alarm.as_mut().poll(context));
                if this.is_hurried { call::deadline_exceeded() } else { body_timeout() }
            };
            return Poll::Ready(Some(Err(Status::from(error).into())));
        };
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                this.check(data)?;
            }
            Ok(frame)
        }))
    }
}
