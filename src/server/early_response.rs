//! Answers that come before the request's body has arrived: refusals, mostly. Over HTTP/1.1 such a
//! connection can't simply be closed: the kernel answers bytes that nobody reads with a reset, and
//! a reset destroys the answer that the client has not read yet. Many clients write their whole
//! request first, and would see a broken pipe instead.
//!
//! A short rest is read, and the connection is kept. With a longer one the answer says `Connection:
//! close`, and the connection ends in stages (RFC 9112, section 9.6):
//! [`Unstuck`](super::timeout_stream::Unstuck) closes the sending half, reads on and discards for a while,
//! and closes then.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::peer::Peer;

/// The longest rest of a body that is read so that its connection can be kept, and how long it may
/// take to arrive.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// Takes care of bodies that an answer didn't wait for. Only HTTP/1.1 needs it: HTTP/2 resets the
/// stream alone, without an error, after the answer.
pub(super) async fn settle(request: Request, next: Next) -> Response {
    if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let Some(peer) = Peer::current() else {
        return next.run(request).await;
    };
    // Reading a body asks for it, and a client that is refused must not be told to continue.
    let is_asked_for = !request.headers().contains_key(header::EXPECT);
    let returned = Arc::<Mutex<Option<Body>>>::default();
    let lent = |body| {
        Body::new(Lent {
            body,
            peer: Arc::clone(&peer),
            returned: Arc::clone(&returned),
        })
    };
    let mut response = next.run(request.map(lent)).await;
    let rest = returned
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(rest) = rest else { return response };
    if is_asked_for && arrives(rest).await {
        peer.set_cut_short(false);
    } else {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads the rest of a body, if that is soon done.
async fn arrives(mut rest: Body) -> bool {
    let reading = async {
        let mut bytes = rest.size_hint().lower();
        while bytes <= REST_BYTES_MAX {
            match rest.frame().await {
                None => return true,
                Some(Ok(_)) if rest.is_end_stream() => return true,
                Some(Ok(frame)) if rest.size_hint().exact().is_none() => {
                    bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) => return false,
            }
        }
        false
    };
    tokio::time::timeout(REST_TIMEOUT, reading)
        .await
        .unwrap_or(false)
}

/// A request's body that is returned when it is dropped before its end.
struct Lent {
    body: Body,
    peer: Arc<Peer>,
    returned: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if frame.is_none() {
            this.body = Body::empty();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.peer.set_cut_short(true);
            let rest = std::mem::take(&mut self.body);
            *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}
