//! The bytes of a connection, with TLS or without.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// The stream of a connection.
pub(in crate::server) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<Wire>>),
}

/// The TCP stream below TLS. TLS accepts bytes before it can send them, so only this stream sees
/// whether the caller reads.
pub(in crate::server) struct Wire {
    pub(super) stream: TcpStream,
    /// Whether bytes were sent since [`Transport::take_progress`].
    has_sent: bool,
    /// The first bytes that have arrived, and how many there are.
    head: ([u8; HEAD_BYTES], usize),
}

/// A client's first bytes, as far as the version in its hello: the head of a record (5 bytes), and
/// of a message (4).
const HEAD_BYTES: usize = 11;

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            has_sent: false,
            head: ([0; HEAD_BYTES], 0),
        }
    }

    /// The highest version of TLS that the client's hello has, as its bytes. That of TLS 1.3 is the
    /// one of 1.2 there. `None` without a hello.
    pub(super) fn hello_version(&self) -> Option<[u8; 2]> {
        match self.head {
            ([22, _, _, _, _, 1, _, _, _, major, minor], HEAD_BYTES) => Some([major, minor]),
            _ => None,
        }
    }

    fn note_head(&mut self, bytes: &[u8]) {
        let (head, length) = &mut self.head;
        for (place, byte) in head.iter_mut().skip(*length).zip(bytes) {
            *place = *byte;
            *length += 1;
        }
    }
}

impl Transport {
    /// Whether a write made progress. `is_ready` tells whether it has completed.
    pub(in crate::server) fn take_progress(&mut self, is_ready: bool) -> bool {
        match self {
            Self::Plain(_) => is_ready,
            Self::Tls(stream) => {
                let (wire, session) = stream.get_mut();
                mem::take(&mut wire.has_sent) || (is_ready && !session.wants_write())
            }
        }
    }

    /// Ends the sending half with `close_notify`, if the connection has TLS and the bytes can be
    /// sent at once.
    pub(in crate::server) fn say_goodbye(&mut self, context: &mut Context<'_>) {
        if let Self::Tls(stream) = self {
            let _ = Pin::new(stream.as_mut()).poll_shutdown(context);
        }
    }

    /// Whether the client has agreed in the handshake on a protocol, and on which one.
    pub(in crate::server) fn alpn_protocol(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }
}

/// Calls a method of the stream.
macro_rules! with_stream {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport.get_mut() {
            Self::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Self::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write(context, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self, stream => stream.poll_write_vectored(context, data))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self, stream => stream.poll_shutdown(context))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.head.1 < HEAD_BYTES {
            this.note_head(buffer.filled().get(before..).unwrap_or_default());
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write(context, data);
        this.has_sent |= write.is_ready();
        write
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let write = Pin::new(&mut this.stream).poll_write_vectored(context, data);
        this.has_sent |= write.is_ready();
        write
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
