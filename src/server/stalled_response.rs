//! Answers that nobody reads. Over HTTP/2 a caller can stop reading one answer and keep its
//! connection well alive: hyper then asks the body for nothing more, so no clock inside the answer
//! gets to ring, and what it holds upstream (concurrency units above all) would be held for ever.
//! So the task that sends the answer is watched from outside of it.
//!
//! A body tells when it has handed out a frame and hasn't been asked for the next one. A task that
//! waits in that state for `--write-timeout`, or until the caller's deadline, is dropped: the
//! stream is reset, and everything unwinds.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
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
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::{
    task::futures::TaskLocalFuture,
    time::{Instant, Sleep, sleep_until},
};

use super::peer::{OpenCall, Peer};
use crate::service::call::{self, Keeper};

tokio::task_local! {
    /// How the answer gets on that the current task sends.
    static PROGRESS: Arc<Progress>;
}

/// What sends the answer of the current task.
pub(super) fn keeper() -> Option<Arc<dyn Keeper>> {
    PROGRESS
        .try_with(|progress| Arc::clone(progress) as Arc<dyn Keeper>)
        .ok()
}

/// How an answer gets on. Written by the body and read by the watch, both in one task.
#[derive(Debug, Default)]
struct Progress {
    /// Odd from when a frame was handed out until the next one is asked for; never the same again.
    turn: AtomicU64,
    deadline: Mutex<Option<Instant>>,
}

impl Progress {
    fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    fn is_unread(turn: u64) -> bool {
        turn % 2 == 1
    }

    fn set_unread(&self, is_unread: bool) {
        let turn = self.turn();
        if Self::is_unread(turn) != is_unread {
            self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins, of which no deadline is known yet.
    fn begin(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Keeper for Progress {
    fn keep(&self, deadline: Instant) {
        let mut known = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(deadline, |known| known.min(deadline)));
    }
}

/// Runs the tasks of one connection's HTTP/2 streams, each under watch.
#[derive(Clone)]
pub(super) struct Streams {
    /// How long an answer may go unread.
    pub(super) patience: Duration,
    pub(super) peer: Arc<Peer>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (call, peer) = (self.peer.begin(), Arc::clone(&self.peer));
        tokio::spawn(Watched::new(
            peer.scope(async move {
                let _call = call;
                stream.await
            }),
            self.patience,
        ));
    }
}

/// A task that sends answers, which is given up when one of them goes unread for too long.
pub(super) struct Watched<F> {
    task: Pin<Box<TaskLocalFuture<Arc<Progress>, F>>>,
    progress: Arc<Progress>,
    patience: Duration,
    /// The turn that was last seen unread, and when that has lasted too long.
    unread: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> Watched<F> {
    pub(super) fn new(task: F, patience: Duration) -> Self {
        let progress = Arc::<Progress>::default();
        Self {
            task: Box::pin(PROGRESS.scope(Arc::clone(&progress), task)),
            progress,
            patience,
            unread: None,
        }
    }

    fn poll_unread(&mut self, turn: u64, context: &mut Context<'_>) -> Poll<()> {
        let until = || {
            let limit = Instant::now() + self.patience;
            self.progress
                .deadline()
                .map_or(limit, |deadline| deadline.min(limit))
        };
        let (seen, alarm) = self
            .unread
            .get_or_insert_with(|| (turn, Box::pin(sleep_until(until()))));
        if *seen != turn {
            *seen = turn;
            alarm.as_mut().reset(until());
        }
        alarm.as_mut().poll(context)
    }
}

impl<F: Future> Future for Watched<F> {
    /// None if it was given up.
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = this.task.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let turn = this.progress.turn();
        if !Progress::is_unread(turn) {
            return Poll::Pending;
        }
        ready!(this.poll_unread(turn, context));
        tracing::info!("an answer went unread for too long and was given up");
        Poll::Ready(None)
    }
}

/// Whole answers up to this hold nothing upstream any more, and little here: they need no watch.
const UNWATCHED_BYTES_MAX: u64 = 64 * 1024;

/// Makes the answer tell how it gets on.
pub(super) async fn track(request: Request, next: Next) -> Response {
    let Ok(progress) = PROGRESS.try_with(Arc::clone) else {
        return next.run(request).await;
    };
    // The task of an HTTP/2 stream is a call by itself. Over HTTP/1.1, what is whole is written at
    // once.
    let is_http1 = request.version() < Version::HTTP_2;
    let call = Peer::current()
        .filter(|_| is_http1)
        .map(|peer| peer.begin());
    let arrived_at = Instant::now();
    let timeout = call::timeout(request.headers()).ok().flatten();
    progress.begin();
    let response = next.run(request).await;
    if response
        .body()
        .size_hint()
        .exact()
        .is_some_and(|bytes| bytes <= UNWATCHED_BYTES_MAX)
    {
        return response;
    }
    // What the call itself was told in its message is known by now, or will be when it has been
    // read.
    if let Some(timeout) = timeout {
        progress.keep(arrived_at + timeout);
    }
    response.map(|body| {
        Body::new(Tracked {
            body,
            progress,
            _call: call,
        })
    })
}

struct Tracked {
    body: Body,
    progress: Arc<Progress>,
    _call: Option<OpenCall>,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        this.progress.set_unread(false);
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        this.progress.set_unread(frame.is_some());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.progress.set_unread(false);
    }
}
