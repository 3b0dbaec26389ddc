//! The largest gRPC request, refused with the gateway's own error. Tonic's own limit is behind it and never reached: it
//! calls the same thing OUT_OF_RANGE.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use bytes::Bytes;
use http_body::Frame;
use tonic::Status;
use tower::Service;

use crate::error::{Error, Kind};

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
        self.inner.call(request.map(|body| Body::new(Messages { body, bytes_max, prefix: Vec::new() })))
    }
}

/// A request's body, watched for the length that its first message announces. Every method here takes one message; what
/// comes after it is not read.
struct Messages {
    body: Body,
    bytes_max: usize,
    prefix: Vec<u8>,
}

impl Messages {
    fn check(&mut self, data: &[u8]) -> Result<(), Status> {
        if self.prefix.len() == PREFIX_BYTES {
            return Ok(());
        }
        let missing = PREFIX_BYTES - self.prefix.len();
        self.prefix.extend(data.iter().take(missing));
        let &[_, a, b, c, d] = self.prefix.as_slice() else { return Ok(()) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length <= self.bytes_max {
            return Ok(());
        }
        let max = self.bytes_max;
        let message = format!("The request takes {length} bytes; {max} are allowed (--max-request-bytes)");
        Err(Error::new(Kind::TooLarge, "request_too_large", message).into())
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
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                this.check(data)?;
            }
            Ok(frame)
        }))
    }
}
