//! The services that need no key, health and reflection, and how much of the gateway everybody may have by them: small
//! messages, few calls at a time on one connection, and few streams in all. Calls with a known key are not counted.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::Service;

use super::{
    auth::Keys,
    grpc, limit,
    peer::{KEYLESS_CALLS_MAX, Peer},
    ready::Readiness,
};
use crate::error::{Error, Kind};

/// The largest message, in bytes, also when it is decompressed. Names of services and symbols are short.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How many streams without a key may watch the health. One for each connection of each client is usual.
const WATCHES_MAX: usize = 1024;

/// How many streams of reflection without a key may be open. Tools use one for a moment.
const REFLECTIONS_MAX: usize = 64;

/// How long a stream of reflection may go without a question.
const REFLECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.";

/// When to try again what is refused because there is too much of it.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Bounds what everybody may have. All clones share the counts.
#[derive(Clone)]
pub(super) struct Layer {
    keys: Keys,
    readiness: Readiness,
    watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

impl Layer {
    pub(super) fn new(keys: Keys, readiness: Readiness) -> Self {
        let [watches, reflections] = [WATCHES_MAX, REFLECTIONS_MAX].map(|max| Arc::new(Semaphore::new(max)));
        Self { keys, readiness, watches, reflections }
    }

    /// Takes this call's place among those without a key, for as long as the value returned lives.
    fn admit(&self, request: &Request) -> Result<Vec<OwnedSemaphorePermit>, Error> {
        if self.keys.know(request.headers()) {
            return Ok(Vec::new());
        }
        let path = request.uri().path();
        let of_all = if path == WATCH {
            Some((&self.watches, WATCHES_MAX, "streams of Health/Watch"))
        } else {
            path.starts_with(REFLECTION).then_some((&self.reflections, REFLECTIONS_MAX, "streams of reflection"))
        };
        let peer = Peer::current();
        let of_connection = peer
            .as_ref()
            .map(|peer| (&peer.keyless_calls, KEYLESS_CALLS_MAX, "calls to health and reflection on this connection"));
        let take = |(places, max, what): (&Arc<Semaphore>, usize, &str)| {
            Arc::clone(places).try_acquire_owned().map_err(|_| {
                let message = format!(
                    "{max} {what} are open without a gateway key, and no more are taken: end some, or send a key"
                );
                Error::new(Kind::Saturated, "too_many_open_calls", message).with_retry_after(RETRY_AFTER)
            })
        };
        of_connection.into_iter().chain(of_all).map(take).collect()
    }
}

impl<S> tower::Layer<S> for Layer {
    type Service = Open<S>;

    fn layer(&self, inner: S) -> Open<S> {
        Open { inner, layer: self.clone() }
    }
}

#[derive(Clone)]
pub(super) struct Open<S> {
    inner: S,
    layer: Layer,
}

impl<S> Service<Request> for Open<S>
where
    S: Service<Request, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let places = match self.layer.admit(&request) {
            Ok(places) => places,
            Err(error) => {
                let refusal = grpc::respond(error.into(), request.headers());
                return std::future::ready(Ok(refusal)).boxed();
            }
        };
        let verdict = Arc::<OnceLock<Status>>::default();
        let bound = limit::Bound { bytes_max: MESSAGE_BYTES_MAX, advice: "a message to this service is a short name" };
        let goes_on = request.uri().path().starts_with(REFLECTION).then(|| limit::GoesOn {
            idle_timeout: REFLECTION_IDLE_TIMEOUT,
            draining: self.layer.readiness.draining(),
            verdict: Arc::clone(&verdict),
        });
        let answering = self.inner.call(limit::bounded(request, bound, goes_on));
        async move { Ok(answering.await?.map(|body| Body::new(Answer { body, verdict, _places: places }))) }.boxed()
    }
}

/// An answer that holds its places, and whose end tells why its request was ended, should the service not do so.
struct Answer {
    body: Body,
    verdict: Arc<OnceLock<Status>>,
    _places: Vec<OwnedSemaphorePermit>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let is_good_end = |frame: &Frame<Bytes>| frame.trailers_ref().is_some_and(is_ok);
        Poll::Ready(match (frame, this.verdict.get()) {
            (Some(Ok(frame)), Some(verdict)) if is_good_end(&frame) => Some(Ok(Frame::trailers(trailers(verdict)))),
            (frame, _) => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn is_ok(trailers: &HeaderMap) -> bool {
    trailers.get("grpc-status").is_some_and(|status| status == "0")
}

fn trailers(status: &Status) -> HeaderMap {
    let headers = status.clone().into_http::<()>().into_parts().0.headers;
    headers
        .into_iter()
        .filter_map(|(name, value)| Some((name?, value)))
        .filter(|(name, _)| name != "content-type")
        .collect()
}
