//! Limits for calls without a gateway key to the services that need no key: health and reflection.
//! The limits are for the size of messages, the open calls of one connection, and the open streams
//! of all connections. Calls with a known key are not limited.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    auth,
    peer::{KEYLESS_CALLS_MAX, Peer},
    readiness::Readiness,
};
use crate::{
    error::{Error, ErrorCode},
    grpc::{
        self,
        read_timeout::{self, TimedBody},
    },
    keys::Directory,
};

/// The largest message, in bytes, before and after decompression. Names of services and symbols are
/// short.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// The largest number of open health watches without a key. Usually each connection of each client
/// has one.
const WATCHES_MAX: usize = 1024;

/// The largest number of open reflection streams without a key. Tools use one for a moment.
const REFLECTIONS_MAX: usize = 64;

/// The longest time for which a reflection stream may be without a request.
const REFLECTION_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.";

/// The time after which a refused caller may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The limits. All clones share the counts.
#[derive(Clone)]
pub(super) struct KeylessLimits {
    keys: Directory,
    readiness: Readiness,
    watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

impl KeylessLimits {
    pub(super) fn new(keys: Directory, readiness: Readiness) -> Self {
        let [watches, reflections] =
            [WATCHES_MAX, REFLECTIONS_MAX].map(|max| Arc::new(Semaphore::new(max)));
        Self {
            keys,
            readiness,
            watches,
            reflections,
        }
    }

    /// Counts a call without a key, as long as the returned permits live.
    ///
    /// # Errors
    /// [`Kind::Saturated`](crate::error::Kind::Saturated) if a limit is reached.
    fn acquire(&self, request: &Request) -> Result<Vec<OwnedSemaphorePermit>, Error> {
        if auth::is_known(&self.keys, request.headers()) {
            return Ok(Vec::new());
        }
        let path = request.uri().path();
        let of_all = if path == WATCH {
            Some((&self.watches, WATCHES_MAX, "streams of Health/Watch"))
        } else {
            path.starts_with(REFLECTION).then_some((
                &self.reflections,
                REFLECTIONS_MAX,
                "streams of reflection",
            ))
        };
        let peer = Peer::current();
        let of_connection = peer.as_ref().map(|peer| {
            (
                &peer.keyless_calls,
                KEYLESS_CALLS_MAX,
                "calls to health and reflection on this connection",
            )
        });
        let take = |(permits, max, what): (&Arc<Semaphore>, usize, &str)| {
            Arc::clone(permits).try_acquire_owned().map_err(|_| {
                let message = format!(
                    "{max} {what} without a gateway key are open, which is the limit: end some of \
                     them, or send a key"
                );
                Error::new(ErrorCode::TooManyOpenCalls, message).with_retry_after(RETRY_AFTER)
            })
        };
        of_connection.into_iter().chain(of_all).map(take).collect()
    }
}

/// Passes a call with this `timeout` of its caller to `next` if the limits allow it. The call
/// counts until its response has ended.
pub(super) async fn limit<F>(
    limits: &KeylessLimits,
    request: Request,
    timeout: Option<Duration>,
    next: impl FnOnce(http::Request<TimedBody<Body>>) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let permits = match limits.acquire(&request) {
        Ok(permits) => permits,
        Err(error) => return grpc::refuse(error, request.headers()),
    };
    let message_stream =
        request
            .uri()
            .path()
            .starts_with(REFLECTION)
            .then(|| read_timeout::MessageStream {
                idle_timeout: REFLECTION_IDLE_TIMEOUT,
                drain_started: limits.readiness.drain_started(),
            });
    let request = read_timeout::with_timeout(request, timeout, message_stream);
    let response = next(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &permits;
            frame
        }))
    })
}
