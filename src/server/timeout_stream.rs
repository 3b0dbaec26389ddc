//! A caller's connection that doesn't wait for ever for a caller who stopped reading, and notices
//! one who leaves: what it holds upstream (concurrency units above all) is everybody's.
//!
//! Hyper sees the end of an HTTP/1.1 connection only if it reads, and during a call it doesn't once
//! any byte follows the request: an empty line, or the next request. Then [`Hangup`] reads in its
//! place, and keeps the bytes for it.
//!
//! It also closes in stages, so that a client that is still sending gets to read the answer: see
//! [`early_response`](super::early_response).

use std::{
    future::Future,
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
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    http1_framing::Framing,
    peer::{OpenCall, Peer},
};

/// A connection whose writes fail when they have been stuck for too long.
pub(super) struct Unstuck {
    line: Arc<Mutex<Line>>,
    patience: Duration,
    /// Runs while a write is stuck. The answer is part of a call, even if all of it lies in
    /// buffers.
    alarm: Option<(Pin<Box<Sleep>>, OpenCall)>,
    peer: Arc<Peer>,
    /// Set while the receiving half is still read, after the sending half is closed.
    lingering: Option<Lingering>,
}

/// What is left of the time and bytes for which a closed connection is still read.
struct Lingering {
    until: Instant,
    bytes_left: usize,
    alarm: Pin<Box<Sleep>>,
    /// It is bounded by itself, and no idle connection.
    _call: OpenCall,
}

/// Completes when the caller has left though hyper doesn't read. To be polled after hyper, and in
/// the same task: the stream wakes only the last one who read.
pub(super) struct Hangup {
    line: Arc<Mutex<Line>>,
}

/// The stream that both read. One task polls them, so neither ever waits for the other.
struct Line {
    stream: TcpStream,
    /// What was read before hyper asked for it.
    ahead: BytesMut,
    framing: Framing,
    peer: Arc<Peer>,
    /// Hyper's last read found nothing, and its task is woken when there is something.
    is_awaited: bool,
}

/// The most that is read ahead of hyper on one connection. Beyond it we can't tell whether the
/// caller is still there: it may be a large upload that waits for us, and the call has clocks of
/// its own.
const AHEAD_BYTES_MAX: usize = 64 * 1024;

/// The most that is read ahead at once. It lies on the stack.
const PIECE_BYTES: usize = 8 * 1024;

/// How long, and how many bytes of it, a client may go on sending after its answer: in all, and
/// without a byte. What a client has to send by then is lost to it anyway, and only its answer is
/// at stake.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
const LINGER_SILENCE: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 256 * 1024 * 1024;

impl Unstuck {
    pub(super) fn new(stream: TcpStream, patience: Duration, peer: Arc<Peer>) -> (Self, Hangup) {
        let (ahead, framing) = (BytesMut::new(), Framing::default());
        let line = Line {
            stream,
            ahead,
            framing,
            peer: Arc::clone(&peer),
            is_awaited: false,
        };
        let line = Arc::new(Mutex::new(line));
        let hangup = Hangup {
            line: Arc::clone(&line),
        };
        (
            Self {
                line,
                patience,
                alarm: None,
                peer,
                lingering: None,
            },
            hangup,
        )
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.alarm = None;
            return write;
        }
        let until = Instant::now() + self.patience;
        let (alarm, _) = self
            .alarm
            .get_or_insert_with(|| (Box::pin(sleep_until(until)), self.peer.begin()));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the caller stopped reading",
        )))
    }

    /// Reads and discards until the client has closed its half too, or was given enough time for
    /// that.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut line = lock(&self.line);
        let has_more = !mem::take(&mut line.ahead).is_empty() || self.peer.is_cut_short();
        if has_more && self.lingering.is_none() {
            self.lingering = Some(Lingering::new(&self.peer));
        }
        let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
        loop {
            let mut piece = ReadBuf::uninit(&mut piece);
            let read = line.poll_read(context, &mut piece);
            let bytes = piece.filled().len();
            match (read, &mut self.lingering) {
                (Poll::Pending, None) => return Poll::Ready(()),
                (Poll::Pending, Some(lingering)) => return lingering.alarm.as_mut().poll(context),
                (Poll::Ready(read), _) if read.is_err() || bytes == 0 => return Poll::Ready(()),
                (Poll::Ready(_), lingering) => {
                    if !lingering
                        .get_or_insert_with(|| Lingering::new(&self.peer))
                        .may_go_on(bytes)
                    {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl Lingering {
    fn new(peer: &Arc<Peer>) -> Self {
        let now = Instant::now();
        let alarm = Box::pin(sleep_until(now + LINGER_SILENCE));
        Self {
            until: now + LINGER_TIMEOUT,
            bytes_left: LINGER_BYTES_MAX,
            alarm,
            _call: peer.begin(),
        }
    }

    /// Whether more may come after this many bytes.
    fn may_go_on(&mut self, bytes: usize) -> bool {
        let now = Instant::now();
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.alarm
            .as_mut()
            .reset(self.until.min(now + LINGER_SILENCE));
        self.bytes_left > 0 && now < self.until
    }
}

impl Future for Hangup {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut line = lock(&self.line);
        // Taken, because hyper may read no more when it is woken.
        if mem::take(&mut line.is_awaited) {
            return Poll::Pending;
        }
        line.poll_hangup(context)
    }
}

impl Line {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            self.give_ahead(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.is_awaited = read.is_pending();
        self.follow(buffer.filled().get(before..).unwrap_or_default());
        read
    }

    /// Follows what has come, for the clock of heads and for requests with two lengths.
    fn follow(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        self.framing.feed(data);
        self.peer.set_in_head(self.framing.is_in_head());
        if let Some(number) = self.framing.conflict() {
            self.peer.set_conflict(number);
        }
    }

    fn give_ahead(&mut self, buffer: &mut ReadBuf<'_>) {
        let given = self
            .ahead
            .split_to(self.ahead.len().min(buffer.remaining()));
        buffer.put_slice(&given);
        if self.ahead.is_empty() {
            // Connections live long and seldom need it again.
            self.ahead = BytesMut::new();
        }
    }

    /// Reads ahead until there is nothing more, for which it is woken, or no room; then hyper makes
    /// some when it reads.
    fn poll_hangup(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut piece = [MaybeUninit::uninit(); PIECE_BYTES];
        while self.ahead.len() + PIECE_BYTES <= AHEAD_BYTES_MAX {
            let mut piece = ReadBuf::uninit(&mut piece);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                return Poll::Ready(());
            }
            self.ahead.extend_from_slice(piece.filled());
            self.follow(piece.filled());
        }
        Poll::Pending
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for Unstuck {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.line).poll_read(context, buffer)
    }
}

impl AsyncWrite for Unstuck {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut lock(&this.line).stream).poll_write(context, data);
        this.watch(context, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut lock(&this.line).stream).poll_write_vectored(context, data);
        this.watch(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.line).stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.line).stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut lock(&this.line).stream).poll_shutdown(context))?;
        }
        this.poll_linger(context).map(Ok)
    }
}
