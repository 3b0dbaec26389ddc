//! One connection to upstream, and the request on it. No task of its own serves the connection: the
//! call that uses it polls it, so that no chunk passes from one task to another. Dropping it closes
//! it at once.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{self, SendRequest},
    },
};
use pin_project_lite::pin_project;

use super::{connector::Stream, wakes::Wakes};

/// The most informational responses (status 1xx) before an answer. A few are normal (100, 103). An
/// endless series would keep a core busy until a timeout expires.
pub(super) const INFORMATIONAL_RESPONSES_MAX: usize = 16;

/// How often the parts of a connection are polled in a row because they wake each other. Then other
/// tasks run first.
const ROUNDS_MAX: usize = 4;

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Reads and writes. `None` after the end of the connection.
    driver: Option<http1::Connection<Stream, Full<Bytes>>>,
    wakes: Arc<Wakes>,
    /// The waker of `wakes`.
    waker: Waker,
    /// The informational responses to the present request.
    informational: Arc<AtomicUsize>,
    /// The extensions of every request: hyper counts its informational responses by them.
    extensions: Extensions,
}

/// Why there is no response.
pub(super) enum SendError {
    /// Nothing was sent, because the connection had been closed.
    Unsent(Box<Request<Full<Bytes>>>, hyper::Error),
    /// The connection broke, or what came is not a response.
    Broken(hyper::Error),
    /// There were more than [`INFORMATIONAL_RESPONSES_MAX`] informational responses.
    OnlyInformational,
}

pin_project! {
    /// Waits for the head of a response. Written by hand: an `async fn` would hold the request
    /// twice.
    struct Sending<'a, F> {
        connection: &'a mut Connection,
        #[pin]
        response: F,
    }
}

impl Connection {
    /// A connection over `stream`.
    pub(super) async fn new(stream: Stream) -> hyper::Result<Self> {
        let (sender, driver) = http1::handshake(stream).await?;
        let wakes = Arc::new(Wakes::new());
        let informational = Arc::<AtomicUsize>::default();
        let mut template = Request::new(());
        let counting = Arc::clone(&informational);
        hyper::ext::on_informational(&mut template, move |_| {
            counting.fetch_add(1, Ordering::Relaxed);
        });
        Ok(Self {
            sender,
            driver: Some(driver),
            waker: Waker::from(Arc::clone(&wakes)),
            wakes,
            informational,
            extensions: template.into_parts().0.extensions,
        })
    }

    /// Sends `request` and waits for the head of the response. [`poll_with`](Self::poll_with) reads
    /// the body.
    pub(super) fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        request.extensions_mut().clone_from(&self.extensions);
        self.informational.store(0, Ordering::Relaxed);
        let response = self.sender.try_send_request(request);
        // The connection must be polled, whether the request has woken it or not.
        self.waker.wake_by_ref();
        Sending {
            response,
            connection: self,
        }
    }

    /// Polls the connection and then `part`: the response or its body, until it is ready or neither
    /// can go on.
    pub(super) fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        mut part: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.wakes.set_task(context.waker());
        for _ in 0..ROUNDS_MAX {
            if self.wakes.begin() {
                self.drive();
            }
            let ready = part(&mut Context::from_waker(&self.waker));
            if ready.is_ready() || self.wakes.end() {
                return ready;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether it can serve another request. If so, `task` is woken when upstream closes it, or
    /// sends bytes without a request.
    pub(super) fn park(&mut self, task: &Waker) -> bool {
        if !self.is_usable() {
            return false;
        }
        self.wakes.set_task(task);
        if !self.wakes.end() {
            task.wake_by_ref();
        }
        true
    }

    /// As [`park`](Self::park), for a connection that is parked already.
    pub(super) fn is_still_parked(&mut self, task: &Waker) -> bool {
        !self.wakes.is_woken() || self.park(task)
    }

    /// Whether it can serve another request.
    pub(super) fn is_usable(&mut self) -> bool {
        if self.wakes.begin() || !self.sender.is_ready() {
            self.drive();
        }
        self.driver.is_some() && self.sender.is_ready()
    }

    fn drive(&mut self) {
        let mut own = Context::from_waker(&self.waker);
        // Its errors reach the response and its body. No caller waits for those of a parked one.
        if let Some(driver) = &mut self.driver
            && Pin::new(driver).poll(&mut own).is_ready()
        {
            self.driver = None;
        }
    }
}

type Sent = Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>>;

impl<F: Future<Output = Sent>> Future for Sending<'_, F> {
    type Output = Result<Response<Incoming>, SendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let informational = &Arc::clone(&this.connection.informational);
        this.connection
            .poll_with(context, |own| match this.response.as_mut().poll(own) {
                Poll::Pending
                    if informational.load(Ordering::Relaxed) > INFORMATIONAL_RESPONSES_MAX =>
                {
                    Poll::Ready(Err(SendError::OnlyInformational))
                }
                Poll::Pending => Poll::Pending,
                Poll::Ready(sent) => Poll::Ready(sent.map_err(SendError::from)),
            })
    }
}

impl From<TrySendError<Request<Full<Bytes>>>> for SendError {
    fn from(mut error: TrySendError<Request<Full<Bytes>>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request), error.into_error()),
            None => Self::Broken(error.into_error()),
        }
    }
}
