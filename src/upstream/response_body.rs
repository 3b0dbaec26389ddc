//! The body of a response. At its end its connection goes back to the pool. If it is dropped
//! before, the connection is closed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{connection::Connection, pool::Pool};

/// The body of a response of upstream.
pub struct ResponseBody {
    body: Incoming,
    /// `None` when it has been given back.
    connection: Option<Box<Connection>>,
    pool: Arc<Pool>,
}

impl ResponseBody {
    /// The `body` that comes through `connection`, which goes back to `pool`.
    pub(super) fn new(body: Incoming, connection: Box<Connection>, pool: Arc<Pool>) -> Self {
        Self {
            body,
            connection: Some(connection),
            pool,
        }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.give_back(connection);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(connection) = &mut this.connection else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        let body = &mut this.body;
        let frame = connection.poll_with(context, |own| Pin::new(&mut *body).poll_frame(own));
        let frame = ready!(frame);
        if frame.is_none() {
            this.give_back();
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

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body of a known length is not polled after its last frame, and an empty one never.
        if self.body.is_end_stream() {
            self.give_back();
        }
    }
}
