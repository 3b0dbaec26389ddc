//! The services that need no key, health and reflection, and how much of the gateway everybody may
//! have by them: small messages, few calls at a time on one connection, and few streams in all.
//! Calls with a known key are not counted.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    auth::Keys,
    dialect,
    peer::{KEYLESS_CALLS_MAX, Peer},
    readiness::Readiness,
};
use crate::{
    error::{Error, ErrorCode},
    grpc::read_timeout,
};

/// The largest message, in bytes, also when it is decompressed. Names of services and symbols are
/// short.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// How many streams without a key may watch the health. One for each connection of each client is
/// usual.
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
pub(super) struct Keyless {
    keys: Keys,
    readiness: Readiness,
    watches: Arc<Semaphore>,
    reflections: Arc<Semaphore>,
}

impl Keyless {
    pub(super) fn new(keys: Keys, readiness: Readiness) -> Self {
        let [watches, reflections] =
            [WATCHES_MAX, REFLECTIONS_MAX].map(|max| Arc::new(Semaphore::new(max)));
        Self {
            keys,
            readiness,
            watches,
            reflections,
        }
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
        let take = |(places, max, what): (&Arc<Semaphore>, usize, &str)| {
            Arc::clone(places).try_acquire_owned().map_err(|_| {
                let message = format!(
                    "{max} {what} are open without a gateway key, and no more are taken: end \
                     some, or send a key"
                );
                Error::new(ErrorCode::TooManyOpenCalls, message).with_retry_after(RETRY_AFTER)
            })
        };
        of_connection.into_iter().chain(of_all).map(take).collect()
    }
}

/// Lets a call through if there is a place for it, which it has until its answer has ended.
pub(super) async fn bound(State(open): State<Keyless>, request: Request, next: Next) -> Response {
    let places = match open.admit(&request) {
        Ok(places) => places,
        Err(error) => return dialect::refuse(error, request.headers()),
    };
    let goes_on = request
        .uri()
        .path()
        .starts_with(REFLECTION)
        .then(|| read_timeout::GoesOn {
            idle_timeout: REFLECTION_IDLE_TIMEOUT,
            draining: open.readiness.draining(),
        });
    let response = next.run(read_timeout::timed(request, goes_on)).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &places;
            frame
        }))
    })
}
