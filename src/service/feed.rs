//! The account's concurrency feed: one upstream connection, however many watch.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::Map};
use tokio::{sync::watch, task::AbortHandle};
use tonic::Status;

use super::{Call, Units};
use crate::{
    error::{Error, Kind, Result},
    proto::v1::Concurrency,
    upstream::{Chunk, Client, End, Events},
};

/// Hands the feed to whoever watches. Cheap to clone; all clones share one connection.
#[derive(Clone, Debug)]
pub struct Feed {
    upstream: Client,
    line: Arc<Mutex<Weak<Line>>>,
}

/// What the feed said last, or why it broke.
type Said = Option<Result<Concurrency>>;

/// One upstream connection, kept by those who watch: when the last of them leaves, it is closed.
#[derive(Debug)]
struct Line {
    said: watch::Receiver<Said>,
    task: AbortHandle,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    /// The feed of this upstream. It is asked only when somebody watches.
    pub fn new(upstream: Client) -> Self {
        Self { upstream, line: Arc::default() }
    }

    /// Watches from now on.
    pub fn watch(&self, call: Call) -> Watch {
        let line = self.line();
        // What the feed said before we came is news to us.
        let mut said = line.said.clone();
        said.mark_changed();
        Watch {
            next: Box::pin(next(said)),
            deadline: call.deadline.map(tokio::time::sleep_until).map(Box::pin),
            call,
            line: Some(line),
            view: None,
        }
    }

    /// Ends every watch there is.
    pub fn end(&self) {
        let current = self.line.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(line) = current {
            // With the task goes the sender, and those who watch are told that there is nothing more to come.
            line.task.abort();
        }
    }

    fn line(&self) -> Arc<Line> {
        let mut current = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = current.upgrade().filter(|line| !line.task.is_finished()) {
            return line;
        }
        let (say, said) = watch::channel(None);
        // A task of its own, since it serves several callers and must outlive the first of them.
        let task = tokio::spawn(listen(self.upstream.clone(), say)).abort_handle();
        let line = Arc::new(Line { said, task });
        *current = Arc::downgrade(&line);
        line
    }
}

async fn listen(upstream: Client, say: watch::Sender<Said>) {
    let mut events: Events<Concurrency> = match upstream.watch_account(&["account", "concurrency", "stream"]).await {
        Ok(events) => events,
        Err(error) => {
            say.send_replace(Some(Err(error)));
            return;
        }
    };
    while let Some(snapshot) = events.next().await {
        say.send_replace(Some(snapshot));
    }
}

impl Chunk for Concurrency {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        std::iter::empty()
    }

    fn ends(&self) -> impl Iterator<Item = End<'_>> {
        std::iter::empty()
    }

    fn before_failure(self) -> Option<Self> {
        None
    }

    fn has_begun(&self) -> bool {
        true
    }
}

/// One who watches. A slow one misses what was said in between, and never holds up the others.
pub struct Watch {
    next: BoxFuture<'static, (watch::Receiver<Said>, Said)>,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    call: Call,
    line: Option<Arc<Line>>,
    /// Adds the gateway's own view to each snapshot.
    view: Option<Units>,
}

/// The same, as tonic wants it.
pub type GrpcWatch = Map<Watch, fn(Result<Concurrency>) -> Result<Concurrency, Status>>;

impl Watch {
    pub(super) fn with_view(self, units: Units) -> Self {
        Self { view: Some(units), ..self }
    }

    pub(super) fn into_grpc(self) -> GrpcWatch {
        self.map(|item| item.map_err(Status::from))
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Concurrency>>> {
        self.call.fail(&error);
        self.line = None;
        Poll::Ready(Some(Err(error)))
    }
}

async fn next(mut said: watch::Receiver<Said>) -> (watch::Receiver<Said>, Said) {
    loop {
        if said.changed().await.is_err() {
            return (said, None);
        }
        let news = said.borrow_and_update().clone();
        if news.is_some() {
            return (said, news);
        }
    }
}

impl Stream for Watch {
    type Item = Result<Concurrency>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.line.is_none() {
            return Poll::Ready(None);
        }
        if this.deadline.as_mut().is_some_and(|deadline| deadline.poll_unpin(context).is_ready()) {
            return this.end(Error::new(Kind::Timeout, "deadline_exceeded", "The caller's own deadline has passed"));
        }
        let Poll::Ready((said, news)) = this.next.poll_unpin(context) else { return Poll::Pending };
        match news {
            Some(Ok(mut snapshot)) => {
                this.next = Box::pin(next(said));
                snapshot.gateway = this.view.as_ref().map(Units::view);
                Poll::Ready(Some(Ok(snapshot)))
            }
            Some(Err(error)) => this.end(error),
            None => {
                let message = "The gateway is going down: watch again, elsewhere or later";
                this.end(Error::new(Kind::Unavailable, "draining", message).with_retry_after(RETRY_AFTER))
            }
        }
    }
}

/// When to watch again after the feed broke.
const RETRY_AFTER: Duration = Duration::from_secs(2);
