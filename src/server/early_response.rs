//! Responses that are sent before the request's body has arrived. Most of them are errors. Over
//! HTTP/1.1 the connection would be closed after such a response. The kernel answers unread bytes
//! with a reset, and a reset destroys a response that the client has not read yet. Many clients
//! send their complete request first, and would see a broken pipe.
//!
//! If little of the body is left, the gateway reads it and keeps the connection. Otherwise the
//! response has `Connection: close`, and the connection is closed in stages (RFC 9112, section
//! 9.6): [`TimeoutStream`](super::timeout_stream::TimeoutStream) closes the sending half, reads and
//! discards bytes for a while, and then closes the socket.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use super::peer::Peer;

/// The largest rest of a body that is read to keep its connection, and the timeout for its arrival.
const REST_BYTES_MAX: u64 = 64 * 1024;
const REST_TIMEOUT: Duration = Duration::from_millis(100);

/// Handles the body of a request whose response does not wait for it.
pub(super) struct EarlyResponse {
    peer: Arc<Peer>,
    /// Whether the body can be read without sending `100 Continue`. A client whose request is
    /// refused must not get `100 Continue`.
    may_read: bool,
    returned: Arc<Mutex<Option<Body>>>,
}

impl EarlyResponse {
    /// Watches the body of `request`. `None` if no response to it can be early. Only HTTP/1.1 needs
    /// this: HTTP/2 resets only the stream, without an error and after the response.
    pub(super) fn watch(request: &mut Request) -> Option<Self> {
        if request.version() >= Version::HTTP_2 || request.body().is_end_stream() {
            return None;
        }
        let early_response = Self {
            peer: Peer::current()?,
            may_read: !request.headers().contains_key(header::EXPECT),
            returned: Arc::default(),
        };
        *request.body_mut() = Body::new(ReturnedOnDrop {
            body: std::mem::take(request.body_mut()),
            peer: Arc::clone(&early_response.peer),
            returned: Arc::clone(&early_response.returned),
        });
        Some(early_response)
    }

    /// Reads the rest of the body, or adds `Connection: close` to `response`.
    pub(super) async fn finish_body(self, response: &mut Response) {
        let rest = self
            .returned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(rest) = rest else { return };
        // Boxed, because this case is rare.
        if self.may_read && Box::pin(read_rest(rest)).await {
            self.peer.set_cut_short(false);
        } else {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Reads the rest of a body. Returns true if the body ends within the limits.
async fn read_rest(mut rest: Body) -> bool {
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

/// A request body that is put into `returned` if it is dropped before its end.
struct ReturnedOnDrop {
    body: Body,
    peer: Arc<Peer>,
    returned: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for ReturnedOnDrop {
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

impl Drop for ReturnedOnDrop {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            self.peer.set_cut_short(true);
            let rest = std::mem::take(&mut self.body);
            *self.returned.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}
