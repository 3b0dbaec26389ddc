//! The stream of a connection, with a timeout for writes and a watcher for disconnects. When a
//! caller stops reading or disconnects, everything that its call holds upstream must be released,
//! above all the concurrency units, because other callers need them.
//!
//! Hyper notices the end of an HTTP/1.1 connection only while it reads. During a call it stops
//! reading after the first byte behind the request, such as an empty line or the next request. Then
//! [`DisconnectWatcher`] reads instead and keeps the bytes for hyper.
//!
//! The stream also closes in stages, so that a client that is still sending can read the response:
//! see [`early_response`](super::early_response).

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    http1_framing::Http1Framing,
    peer::{OpenCall, Peer},
    tls::transport::Transport,
};

/// A connection whose writes fail when they make no progress for `write_timeout`.
pub(super) struct TimeoutStream {
    shared: Arc<Mutex<Shared>>,
    write_timeout: Duration,
    /// The timer while a write makes no progress. The call stays open during this time, even if the
    /// complete response is already in buffers.
    alarm: Option<(Pin<Box<Sleep>>, OpenCall)>,
    peer: Arc<Peer>,
    /// Set while the gateway still reads after closing its sending half.
    linger: Option<Linger>,
}

/// The time and the bytes during which a closed connection is still read.
struct Linger {
    until: Instant,
    bytes_left: usize,
    alarm: Pin<Box<Sleep>>,
    /// Lingering has its own limits, so the connection does not count as idle.
    _call: OpenCall,
}

/// Completes when the caller disconnects while hyper does not read. Poll this future after hyper
/// and in the same task, because the stream wakes only the task that read last.
pub(super) struct DisconnectWatcher {
    shared: Arc<Mutex<Shared>>,
}

/// The socket, shared by [`TimeoutStream`] and [`DisconnectWatcher`]. One task polls both, so
/// neither waits for the lock.
struct Shared {
    stream: Transport,
    /// Bytes that were read before hyper asked for them.
    read_ahead: BytesMut,
    framing: Http1Framing,
    peer: Arc<Peer>,
    /// Whether hyper's last read returned `Pending`. Its task is then woken when bytes arrive.
    has_pending_read: bool,
}

/// The largest number of bytes that are read ahead of hyper on one connection. Beyond it, the
/// gateway cannot detect a disconnect. The caller may be sending a large upload, and the call has
/// other timeouts.
const READ_AHEAD_BYTES_MAX: usize = 64 * 1024;

/// The size of the read buffer, which is on the stack.
const READ_BYTES: usize = 8 * 1024;

/// The limits for a client that continues to send after its response: the total time, the time
/// without a byte, and the bytes. The gateway discards these bytes. It reads them only so that the
/// client can read its response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 256 * 1024 * 1024;

impl TimeoutStream {
    pub(super) fn new(
        stream: Transport,
        write_timeout: Duration,
        peer: Arc<Peer>,
    ) -> (Self, DisconnectWatcher) {
        let (read_ahead, framing) = (BytesMut::new(), Http1Framing::default());
        let shared = Shared {
            stream,
            read_ahead,
            framing,
            peer: Arc::clone(&peer),
            has_pending_read: false,
        };
        let shared = Arc::new(Mutex::new(shared));
        let watcher = DisconnectWatcher {
            shared: Arc::clone(&shared),
        };
        (
            Self {
                shared,
                write_timeout,
                alarm: None,
                peer,
                linger: None,
            },
            watcher,
        )
    }

    /// Runs a write, with the timeout. A flush and a shutdown write too if the connection has TLS.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Transport>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let (write, has_progressed) = {
            let stream = &mut lock(&self.shared).stream;
            let write = write(Pin::new(stream), context);
            let has_progressed = stream.take_progress(write.is_ready());
            (write, has_progressed)
        };
        if has_progressed {
            self.alarm = None;
        }
        if write.is_ready() {
            return write;
        }
        let until = Instant::now() + self.write_timeout;
        let (alarm, _) = self
            .alarm
            .get_or_insert_with(|| (Box::pin(sleep_until(until)), self.peer.open_call()));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the caller stopped reading",
        )))
    }

    /// Waits for the first bytes of the caller, and returns what `look` finds in them. They stay for
    /// hyper to read. There are none if the caller has closed the connection.
    pub(super) async fn first_bytes<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        poll_fn(|context| lock(&self.shared).poll_first_bytes(context)).await;
        look(&lock(&self.shared).read_ahead)
    }

    /// Reads and discards bytes until the client closes its half too, or until a limit is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = lock(&self.shared);
        let has_more = !mem::take(&mut shared.read_ahead).is_empty() || self.peer.is_cut_short();
        if has_more && self.linger.is_none() {
            self.linger = Some(Linger::new(&self.peer));
        }
        let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            let mut chunk = ReadBuf::uninit(&mut chunk);
            let read = shared.poll_read(context, &mut chunk);
            let bytes = chunk.filled().len();
            match (read, &mut self.linger) {
                (Poll::Pending, None) => return Poll::Ready(()),
                (Poll::Pending, Some(linger)) => return linger.alarm.as_mut().poll(context),
                (Poll::Ready(read), _) if read.is_err() || bytes == 0 => return Poll::Ready(()),
                (Poll::Ready(_), linger) => {
                    if !linger
                        .get_or_insert_with(|| Linger::new(&self.peer))
                        .consume(bytes)
                    {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl Linger {
    fn new(peer: &Arc<Peer>) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + LINGER_SILENCE));
        Self {
            until: now + LINGER_TIMEOUT,
            bytes_left: LINGER_BYTES_MAX,
            alarm,
            _call: peer.open_call(),
        }
    }

    /// Subtracts `bytes` from the limit. Returns true if more bytes may follow.
    fn consume(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.alarm
            .as_mut()
            .reset(self.until.min(now + LINGER_SILENCE));
        self.bytes_left > 0 && now < self.until
    }
}

impl DisconnectWatcher {
    /// Tells a caller with TLS that the connection ends here and was not cut. Does not wait.
    pub(super) async fn say_goodbye(&self) {
        poll_fn(|context| {
            lock(&self.shared).stream.say_goodbye(context);
            Poll::Ready(())
        })
        .await;
    }
}

impl Future for DisconnectWatcher {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut shared = lock(&self.shared);
        // Reset, because hyper may not read again when it is woken.
        if mem::take(&mut shared.has_pending_read) {
            return Poll::Pending;
        }
        shared.poll_disconnect(context)
    }
}

impl Shared {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_ahead.is_empty() {
            self.take_read_ahead(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let stream = Pin::new(&mut self.stream);
        let read = if self.framing.is_in_head() {
            poll_read_piece(stream, context, buffer)
        } else {
            stream.poll_read(context, buffer)
        };
        self.has_pending_read = read.is_pending();
        self.parse(buffer.filled().get(before..).unwrap_or_default());
        read
    }

    /// Passes the received bytes to the HTTP/1 parser, which finds incomplete heads and requests
    /// with two lengths.
    fn parse(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.framing.feed(data);
        self.peer.set_in_head(self.framing.is_in_head());
        if let Some(number) = self.framing.conflict() {
            self.peer.set_conflict(number);
        }
    }

    fn take_read_ahead(&mut self, buffer: &mut ReadBuf<'_>) {
        let given = self
            .read_ahead
            .split_to(self.read_ahead.len().min(buffer.remaining()));
        buffer.put_slice(&given);
        if self.read_ahead.is_empty() {
            // Frees the buffer, because connections live long and rarely need it again.
            self.read_ahead = BytesMut::new();
        }
    }

    /// Completes when bytes have arrived, or when the caller has disconnected. Reads once, like
    /// [`poll_read_piece`].
    fn poll_first_bytes(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
        let mut chunk = ReadBuf::uninit(&mut chunk);
        let _ = ready!(Pin::new(&mut self.stream).poll_read(context, &mut chunk));
        self.read_ahead.extend_from_slice(chunk.filled());
        self.parse(chunk.filled());
        Poll::Ready(())
    }

    /// Reads ahead until no bytes are available or the buffer is full. In the first case the task
    /// is woken when bytes arrive. In the second case hyper makes room when it reads.
    fn poll_disconnect(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut chunk = [MaybeUninit::uninit(); READ_BYTES];
        while self.read_ahead.len() + READ_BYTES <= READ_AHEAD_BYTES_MAX {
            let mut chunk = ReadBuf::uninit(&mut chunk);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut chunk));
            if read.is_err() || chunk.filled().is_empty() {
                return Poll::Ready(());
            }
            self.read_ahead.extend_from_slice(chunk.filled());
            self.parse(chunk.filled());
        }
        Poll::Pending
    }
}

/// Reads at most [`READ_BYTES`]. Hyper doubles the size of its reads as long as each read is full,
/// and checks the length of a head only between two reads: with large reads, a head could be twice
/// as long as its limit.
fn poll_read_piece(
    stream: Pin<&mut Transport>,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(buffer.remaining().min(READ_BYTES)));
    let read = stream.poll_read(context, &mut piece);
    let bytes = piece.filled().len();
    buffer.advance(bytes);
    read
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for TimeoutStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.peer.has_too_many_new_streams() {
            // Their tasks are before this one in the worker's queue.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        lock(&self.shared).poll_read(context, buffer)
    }
}

impl AsyncWrite for TimeoutStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(context, |stream, context| {
            stream.poll_write_vectored(context, data)
        })
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.shared).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .write(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.linger.is_none() {
            ready!(this.write(context, |stream, context| stream.poll_shutdown(context)))?;
        }
        this.poll_linger(context).map(Ok)
    }
}
