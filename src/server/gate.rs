//! A layer that checks each request, and passes it on or refuses it. Unlike axum's `from_fn`, it
//! needs no boxed future for each request.

use std::task::{Context, Poll};

use axum::{extract::Request, response::Response};
use futures_util::future::{Either, Ready, ready};
use tower::{Layer, Service};

use super::dialect;
use crate::error::Error;

/// A layer of `check`, which may change the request. An error of `check` is the response, in the
/// caller's protocol.
pub(super) fn gate<F>(check: F) -> GateLayer<F>
where
    F: Fn(&mut Request) -> Result<(), Error> + Clone,
{
    GateLayer(check)
}

#[derive(Clone)]
pub(super) struct GateLayer<F>(F);

impl<S, F: Clone> Layer<S> for GateLayer<F> {
    type Service = Gate<S, F>;

    fn layer(&self, inner: S) -> Gate<S, F> {
        Gate {
            inner,
            check: self.0.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct Gate<S, F> {
    inner: S,
    check: F,
}

impl<S, F> Service<Request> for Gate<S, F>
where
    S: Service<Request, Response = Response>,
    F: Fn(&mut Request) -> Result<(), Error>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        match (self.check)(&mut request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(error) => Either::Right(ready(Ok(dialect::refuse(error, request.headers())))),
        }
    }
}
