//! Responses that their caller does not read. An HTTP/2 caller can stop reading one response and
//! keep its connection alive. Hyper then does not poll the body again, so no timeout inside the
//! response can fire, and what it holds upstream, above all its concurrency units, would be held
//! for ever. So the task that sends the response is watched from outside.
//!
//! A body records when it has yielded a frame and has not been polled for the next one. A task that
//! stays in that state for `--write-timeout`, or until the caller's deadline, is dropped. That
//! resets the stream and releases everything.

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
use crate::service::{call::DeadlineObserver, headers};

tokio::task_local! {
    /// The progress of the response that the current task sends.
    static PROGRESS: Arc<ResponseProgress>;
}

/// The observer of the deadline of the response that the current task sends.
pub(super) fn deadline_observer() -> Option<Arc<dyn DeadlineObserver>> {
    PROGRESS
        .try_with(|progress| Arc::clone(progress) as Arc<dyn DeadlineObserver>)
        .ok()
}

/// The progress of a response. The body writes it and the guard reads it, both in one task.
#[derive(Debug, Default)]
struct ResponseProgress {
    /// A generation counter. Odd: a frame was yielded and the next poll has not come yet.
    generation: AtomicU64,
    deadline: Mutex<Option<Instant>>,
}

impl ResponseProgress {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn is_unread(generation: u64) -> bool {
        generation % 2 == 1
    }

    fn set_unread(&self, is_unread: bool) {
        let generation = self.generation();
        if Self::is_unread(generation) != is_unread {
            self.generation
                .store(generation.wrapping_add(1), Ordering::Relaxed);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a new call, whose deadline is not known yet.
    fn begin(&self) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl DeadlineObserver for ResponseProgress {
    fn set_deadline(&self, deadline: Instant) {
        let mut known = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(known.map_or(deadline, |known| known.min(deadline)));
    }
}

/// Spawns the tasks of one connection's HTTP/2 streams, each with a guard.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// The longest time for which a response may stay unread.
    pub(super) write_timeout: Duration,
    pub(super) peer: Arc<Peer>,
}

impl<F> hyper::rt::Executor<F> for StreamExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (call, peer) = (self.peer.open_call(), Arc::clone(&self.peer));
        let new_stream = self.peer.add_new_stream();
        tokio::spawn(StallGuard::new(
            peer.scope(async move {
                drop(new_stream);
                let _call = call;
                stream.await
            }),
            self.write_timeout,
        ));
    }
}

/// A task that sends responses. The guard drops the task when a response stays unread for too long.
pub(super) struct StallGuard<F> {
    task: Pin<Box<TaskLocalFuture<Arc<ResponseProgress>, F>>>,
    progress: Arc<ResponseProgress>,
    write_timeout: Duration,
    /// The generation that was last seen unread, and the timer for it.
    unread: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<F: Future> StallGuard<F> {
    pub(super) fn new(task: F, write_timeout: Duration) -> Self {
        let progress = Arc::<ResponseProgress>::default();
        Self {
            task: Box::pin(PROGRESS.scope(Arc::clone(&progress), task)),
            progress,
            write_timeout,
            unread: None,
        }
    }

    fn poll_stalled(&mut self, generation: u64, context: &mut Context<'_>) -> Poll<()> {
        let until = || {
            let limit = Instant::now() + self.write_timeout;
            self.progress
                .deadline()
                .map_or(limit, |deadline| deadline.min(limit))
        };
        let (seen, alarm) = self
            .unread
            .get_or_insert_with(|| (generation, Box::pin(sleep_until(until()))));
        if *seen != generation {
            *seen = generation;
            alarm.as_mut().reset(until());
        }
        alarm.as_mut().poll(context)
    }
}

impl<F: Future> Future for StallGuard<F> {
    /// `None` if the task was dropped because a response stayed unread.
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(output) = this.task.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let generation = this.progress.generation();
        if !ResponseProgress::is_unread(generation) {
            return Poll::Pending;
        }
        ready!(this.poll_stalled(generation, context));
        tracing::info!("response dropped: the caller did not read it for too long");
        Poll::Ready(None)
    }
}

/// A complete response of at most this size holds nothing upstream and little memory, so it is not
/// watched.
const UNGUARDED_BYTES_MAX: u64 = 64 * 1024;

/// Records the progress of the response to one request.
pub(super) struct ResponseTracker {
    progress: Arc<ResponseProgress>,
    /// Counts the call of an HTTP/1.1 request. An HTTP/2 stream has a task, which counts as the
    /// call.
    call: Option<OpenCall>,
    /// The deadline that the headers set. The message of the request may set another one later.
    deadline: Option<Instant>,
}

impl ResponseTracker {
    /// Starts with a new request. `None` in a task without a [`StallGuard`].
    pub(super) fn start(request: &Request) -> Option<Self> {
        let progress = PROGRESS.try_with(Arc::clone).ok()?;
        progress.begin();
        let is_http1 = request.version() < Version::HTTP_2;
        let timeout = headers::timeout(request.headers()).ok().flatten();
        Some(Self {
            progress,
            call: Peer::current()
                .filter(|_| is_http1)
                .map(|peer| peer.open_call()),
            deadline: timeout.map(|timeout| Instant::now() + timeout),
        })
    }

    /// Records the progress of `response`.
    pub(super) fn track(self, response: Response) -> Response {
        // A complete HTTP/1.1 response is written at once.
        let bytes = response.body().size_hint().exact();
        if bytes.is_some_and(|bytes| bytes <= UNGUARDED_BYTES_MAX) {
            return response;
        }
        // A timeout in the message of the request is known now, or after the message is read.
        if let Some(deadline) = self.deadline {
            self.progress.set_deadline(deadline);
        }
        response.map(|body| {
            Body::new(TrackedBody {
                body,
                progress: self.progress,
                _call: self.call,
            })
        })
    }
}

struct TrackedBody {
    body: Body,
    progress: Arc<ResponseProgress>,
    _call: Option<OpenCall>,
}

impl HttpBody for TrackedBody {
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

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.progress.set_unread(false);
    }
}
