//! A caller's connection that doesn't wait for ever for a caller who stopped reading: what it holds upstream (concurrency
//! units above all) is everybody's.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

/// A connection whose writes fail when they have been stuck for too long, and whose first read does when nothing comes.
pub(super) struct Unstuck {
    stream: TcpStream,
    patience: Duration,
    /// Runs while a write is stuck.
    alarm: Option<Pin<Box<Sleep>>>,
    /// Runs until so much has been read that the version of HTTP is known: hyper has no clock for that.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
}

/// The length of HTTP/2's preface, by which the versions are told apart.
const PREFACE_BYTES: usize = 24;

impl Unstuck {
    pub(super) fn new(stream: TcpStream, opening: Duration, patience: Duration) -> Self {
        let opening = Some((0, Box::pin(tokio::time::sleep(opening))));
        Self { stream, patience, alarm: None, opening }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.alarm = None;
            return write;
        }
        let until = Instant::now() + self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller stopped reading")))
    }
}

impl AsyncRead for Unstuck {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some((seen, alarm)) = &mut this.opening else { return read };
        if read.is_pending() {
            ready!(alarm.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller never began")));
        }
        *seen += buffer.filled().len() - before;
        if *seen >= PREFACE_BYTES {
            this.opening = None;
        }
        read
    }
}

impl AsyncWrite for Unstuck {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write(context, data);
        this.watch(context, write)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write_vectored(context, data);
        this.watch(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
