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

use crate::{
    error::{Error, Kind},
    service::call::{self, BODY_TIMEOUT, body_timeout},
};

/// The five bytes before each gRPC message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Bounds the size of requests.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    /// The largest message, in bytes.
    pub(super) bytes_max: usize,
}

impl<S> tower::Layer<S> for Layer {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, bytes_max: self.bytes_max }
    }
}

#[derive(Clone)]
pub(super) struct Limited<S> {
    inner: S,
    bytes_max: usize,
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
        let timeout = call::timeout(request.headers()).ok().flatten().unwrap_or(BODY_TIMEOUT).min(BODY_TIMEOUT);
        self.inner.call(request.map(|body| {
            Body::new(Messages {
                body,
                bytes_max,
                prefix: Vec::new(),
                alarm: Box::pin(tokio::time::sleep(timeout)),
                received: 0,
                may_go_on,
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
    received: usize,
    /// Whether the caller may keep the stream open after its first message: only reflection's methods are like that.
    may_go_on: bool,
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
        let message = format!("The request takes {length} bytes; {max} are allowed (--max-request-bytes)");
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
            if !(this.may_go_on && this.is_complete()) {
                ready!(this.alarm.as_mut().poll(context));
                return Poll::Ready(Some(Err(Status::from(body_timeout()).into())));
            }
            return Poll::Pending;
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
