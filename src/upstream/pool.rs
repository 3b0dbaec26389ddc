//! The idle connections to upstream of one worker. A connection belongs to the worker that opened
//! it, because the runtime of this worker watches its socket. A call without an idle connection
//! opens one and waits for it, even if another call ends before it is open.

use std::{
    error, fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    connection::{Connection, SendError},
    connector::{BoxError, Connector},
    response_body::ResponseBody,
};

/// How long an idle connection is kept. Load balancers close idle connections after a minute or so.
/// The gateway closes them before, so that it seldom writes into a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The most idle connections of a worker.
const IDLE_MAX: usize = 1024;

/// The connections of one worker.
pub(super) struct Pool {
    connector: Connector,
    idle: Mutex<Idle>,
    sweeper: Arc<Sweeper>,
    /// Wakes the sweeper.
    sweeper_waker: Waker,
}

#[derive(Default)]
struct Idle {
    /// The connections, and since when each is idle: the longest first.
    connections: Vec<(Box<Connection>, Instant)>,
    /// The sweeper wakes when the first one has been idle for too long.
    has_timer: bool,
}

/// The task that removes connections that are idle for too long, or that upstream has closed.
struct Sweeper(Notify);

/// Why there is no response.
#[derive(Debug)]
pub(super) enum RequestError {
    /// There is no connection.
    Connect(BoxError),
    /// The connection broke, or what came is not a response.
    Exchange(hyper::Error),
    /// Upstream sent too many informational responses (status 1xx).
    OnlyInformational,
}

impl Pool {
    /// A pool without connections. Must be called within the runtime of its worker.
    pub(super) fn new(connector: Connector) -> Arc<Self> {
        let sweeper = Arc::new(Sweeper(Notify::new()));
        let pool = Arc::new(Self {
            connector,
            idle: Mutex::default(),
            sweeper_waker: Waker::from(Arc::clone(&sweeper)),
            sweeper: Arc::clone(&sweeper),
        });
        tokio::spawn(sweeper.run(Arc::downgrade(&pool)));
        pool
    }

    /// Sends `request` and waits for the head of the response. Its body gives the connection back
    /// at its end.
    ///
    /// # Errors
    /// There is no connection, or no response.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<ResponseBody>, RequestError> {
        loop {
            let (mut connection, is_new) = match self.take() {
                Some(connection) => (connection, false),
                // In memory of its own: it is larger than the rest, and rare.
                None => (Box::pin(self.connect()).await?, true),
            };
            match connection.send(request).await {
                Ok(response) => {
                    return Ok(
                        response.map(|body| ResponseBody::new(body, connection, Arc::clone(self)))
                    );
                }
                // Upstream has closed it just before. This ends: each round takes an idle
                // connection out of the list, and a new one is not tried twice.
                Err(SendError::Unsent(unsent, _)) if !is_new => request = *unsent,
                Err(SendError::Unsent(_, error) | SendError::Broken(error)) => {
                    return Err(RequestError::Exchange(error));
                }
                Err(SendError::OnlyInformational) => return Err(RequestError::OnlyInformational),
            }
        }
    }

    async fn connect(&self) -> Result<Box<Connection>, RequestError> {
        let stream = self.connector.connect().await;
        let stream = stream.map_err(RequestError::Connect)?;
        let connection = Connection::new(stream).await;
        connection.map(Box::new).map_err(RequestError::Exchange)
    }

    /// An idle connection that is still open.
    fn take(&self) -> Option<Box<Connection>> {
        loop {
            let (mut connection, since) = self.idle().connections.pop()?;
            if since.elapsed() < IDLE_TIMEOUT && connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request, if it can serve one.
    pub(super) fn give_back(&self, mut connection: Box<Connection>) {
        // Before the connection is parked: the sweeper must find it in the list.
        let mut idle = self.idle();
        if connection.park(&self.sweeper_waker) && idle.connections.len() < IDLE_MAX {
            idle.connections.push((connection, Instant::now()));
            if !std::mem::replace(&mut idle.has_timer, true) {
                self.sweeper.0.notify_one();
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // No code panics while it holds the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the connections that are idle for too long or closed. Returns when the next one is
    /// idle for too long.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle();
        idle.connections.retain_mut(|(connection, since)| {
            now < *since + IDLE_TIMEOUT && connection.is_still_parked(&self.sweeper_waker)
        });
        let next = idle.connections.first();
        let next = next.map(|(_, since)| *since + IDLE_TIMEOUT);
        idle.has_timer = next.is_some();
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The sweeper ends.
        self.sweeper.0.notify_one();
    }
}

impl Sweeper {
    async fn run(self: Arc<Self>, pool: Weak<Pool>) {
        let mut next = None;
        loop {
            let woken = self.0.notified();
            match next {
                Some(next) => _ = timeout_at(next, woken).await,
                None => woken.await,
            }
            let Some(pool) = pool.upgrade() else { return };
            next = pool.sweep();
        }
    }
}

impl Wake for Sweeper {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect(_) => "no connection",
            Self::Exchange(_) => "no response",
            Self::OnlyInformational => "only informational responses",
        })
    }
}

impl error::Error for RequestError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(&**error),
            Self::Exchange(error) => Some(error),
            Self::OnlyInformational => None,
        }
    }
}
