//! The account's concurrency feed: one upstream connection for all watchers.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    FutureExt, Stream, StreamExt,
    stream::{BoxStream, SelectAll},
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, interval},
};
use tokio_stream::wrappers::WatchStream;

use super::call::Call;
use crate::{
    error::{AccountFault, Error, Result},
    json::{Chunk, SingleText},
    proto::v1::Concurrency,
    upstream::{ChoiceEnd, Client, EventStream, StreamMessage},
};

/// The time between two messages of a feed without an upstream: the same as of Featherless's.
const EMPTY_INTERVAL: Duration = Duration::from_secs(2);

/// Passes the feed to every watcher. Cheap to clone; all clones share one connection.
#[derive(Clone, Debug)]
pub struct Feed {
    /// `None` if no upstream tells it.
    upstream: Option<Client>,
    current: Arc<Mutex<Current>>,
}

/// The state that the next watcher finds.
#[derive(Debug, Default)]
struct Current {
    line: Weak<Line>,
    /// The feed has ended: no caller may watch.
    is_over: bool,
}

/// A message of the feed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// As the upstream sent it.
    pub message: Concurrency,
    /// When it arrived. A new watch begins with the last one.
    pub arrived_at: Instant,
}

/// What the feed said last, or why it broke.
type Said = Option<Result<Snapshot>>;

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
    /// The feed of this upstream. It is connected only while a caller watches.
    pub fn new(upstream: Client) -> Self {
        Self {
            upstream: Some(upstream),
            current: Arc::default(),
        }
    }

    /// The feed of an account with fixed units: an empty message every two seconds, for what the
    /// gateway adds to it.
    pub(super) fn empty() -> Self {
        Self {
            upstream: None,
            current: Arc::default(),
        }
    }

    /// Watches from now on. After [`end`](Self::end) that is over at once: unavailable, `draining`.
    pub fn watch(&self, call: Call) -> Watch {
        Self::watch_all([(0, self)], call)
    }

    /// Watches several feeds, each with a number for its messages. The watch ends if one of them
    /// breaks, because its last message would soon be wrong. A feed whose upstream refuses the
    /// account has none, so the others go on without it.
    pub(super) fn watch_all<'a>(
        feeds: impl IntoIterator<Item = (usize, &'a Self)>,
        call: Call,
    ) -> Watch {
        let (mut said, mut lines) = (SelectAll::new(), Vec::new());
        let mut is_over = false;
        for (number, feed) in feeds {
            match feed.line() {
                // It begins with the feed's last message, because this caller has not seen it.
                Some(line) => {
                    let of_line = WatchStream::new(line.said.clone());
                    said.push(of_line.map(move |said| (number, said)).boxed());
                    lines.push(line);
                }
                None => is_over = true,
            }
        }
        let feeds = lines.len();
        let state = match is_over {
            false => State::Watching {
                said,
                _lines: lines,
            },
            true => State::Refused(Error::draining()),
        };
        let deadline = call.deadline.map(tokio::time::sleep_until).map(Box::pin);
        Watch {
            state,
            deadline,
            call,
            left: feeds,
        }
    }

    /// Ends every watch there is, and every one that begins later: a call may have passed all other
    /// checks before.
    pub fn end(&self) {
        let mut current = self.current();
        current.is_over = true;
        if let Some(line) = current.line.upgrade() {
            // The sender is dropped with the task, so every watcher sees the end.
            line.task.abort();
        }
    }

    /// The existing line, or a new one. `None` after the end.
    fn line(&self) -> Option<Arc<Line>> {
        let mut current = self.current();
        if current.is_over {
            return None;
        }
        if let Some(line) = current
            .line
            .upgrade()
            .filter(|line| !line.task.is_finished())
        {
            return Some(line);
        }
        let (say, said) = watch::channel(None);
        // A task of its own, since it serves several callers and must outlive the first of them.
        let task = match self.upstream.clone() {
            Some(upstream) => tokio::spawn(listen(upstream, say)),
            None => tokio::spawn(repeat(say)),
        };
        let task = task.abort_handle();
        let line = Arc::new(Line { said, task });
        current.line = Arc::downgrade(&line);
        Some(line)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No code panics while it holds the lock, and every statement leaves the data consistent.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn repeat(say: watch::Sender<Said>) {
    let mut ticks = interval(EMPTY_INTERVAL);
    loop {
        say.send_replace(Some(Ok(Snapshot {
            message: Concurrency::default(),
            arrived_at: ticks.tick().await,
        })));
    }
}

async fn listen(upstream: Client, say: watch::Sender<Said>) {
    let mut events: Box<EventStream<Concurrency>> = match upstream
        .watch_account(&["account", "concurrency", "stream"])
        .await
    {
        Ok(events) => events,
        Err(error) => {
            say.send_replace(Some(Err(error)));
            return;
        }
    };
    while let Some(snapshot) = events.next().await {
        let arrived_at = Instant::now();
        say.send_replace(Some(snapshot.map(|chunk| Snapshot {
            message: Chunk::into_message(chunk),
            arrived_at,
        })));
    }
}

// A snapshot has no text that grows.
impl SingleText for Concurrency {}

impl StreamMessage for Concurrency {
    fn extra(&self) -> &BTreeMap<String, String> {
        &self.extra
    }

    fn choices(&self) -> impl Iterator<Item = (i32, bool)> {
        std::iter::empty()
    }

    fn choice_ends(&self) -> impl Iterator<Item = ChoiceEnd<'_>> {
        std::iter::empty()
    }

    fn without_failure(self) -> Option<Self> {
        None
    }

    fn has_content(&self) -> bool {
        true
    }
}

/// One who watches. A slow one misses what was said in between, and never holds up the others.
pub struct Watch {
    state: State,
    deadline: Option<Pin<Box<tokio::time::Sleep>>>,
    call: Call,
    /// How many feeds there are, without those that were refused.
    left: usize,
}

enum State {
    Watching {
        said: SelectAll<BoxStream<'static, (usize, Said)>>,
        /// Keep the connections.
        _lines: Vec<Arc<Line>>,
    },
    /// The watch may not begin, and this has not been sent yet.
    Refused(Error),
    Ended,
}

impl Watch {
    /// Ends the watch with `error` before its first message.
    pub(super) fn refuse(&mut self, error: Error) {
        self.state = State::Refused(error);
    }

    fn end(&mut self, error: Error) -> Poll<Option<<Self as Stream>::Item>> {
        self.call.fail(&error);
        self.state = State::Ended;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Watch {
    /// A message, with the number of its feed.
    type Item = Result<(usize, Snapshot)>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let said = match &mut this.state {
            State::Watching { said, .. } => said,
            State::Refused(error) => {
                let error = error.clone();
                return this.end(error);
            }
            State::Ended => return Poll::Ready(None),
        };
        if this
            .deadline
            .as_mut()
            .is_some_and(|deadline| deadline.poll_unpin(context).is_ready())
        {
            return this.end(Error::deadline_exceeded("the watch ended"));
        }
        if let Poll::Ready(error) = this.call.poll_cut(context) {
            return this.end(error);
        }
        loop {
            return match ready!(said.poll_next_unpin(context)) {
                // Nothing has been said yet.
                Some((_, None)) => continue,
                Some((number, Some(Ok(snapshot)))) => Poll::Ready(Some(Ok((number, snapshot)))),
                Some((_, Some(Err(error)))) => {
                    this.left = this.left.saturating_sub(1);
                    if this.left > 0 && error.account_fault() == AccountFault::Refused {
                        continue;
                    }
                    this.end(error)
                }
                None => this.end(Error::draining()),
            };
        }
    }
}
