//! The connection of a command to a gateway, with TLS or without. It notices what is wrong with TLS:
//! HTTP/2 does not tell each call why its connection was closed, and an answer of TLS to a request
//! without it is only no HTTP.

use std::{
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use memchr::memmem;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::ServiceExt;

use super::tls_problem::{self, Server, SpeaksTls};

/// The first bytes of a TLS record with an alert, or with a handshake message.
const TLS_RECORDS: [&[u8]; 2] = [&[21, 3], &[22, 3]];

/// How servers with TLS begin an answer to HTTP without it. Its text has one of the names.
const REFUSALS: [&[u8]; 2] = [b"HTTP/1.1 400 ", b"HTTP/1.0 400 "];
const NAMES: [&[u8]; 2] = [b"TLS", b"HTTPS"];

/// The longest time until there is a connection, with its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is wrong with TLS. The process runs one command, which has one gateway.
static PROBLEM: Mutex<Option<String>> = Mutex::new(None);

/// A sentence about what is wrong with TLS, to be written after a colon.
pub(super) fn problem() -> Option<String> {
    PROBLEM
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// The connection.
pub(super) struct GatewayStream {
    io: Pin<Box<dyn ReadWrite + Send>>,
    has_tls: bool,
    has_http2: bool,
    has_read: bool,
}

trait ReadWrite: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> ReadWrite for T {}

impl GatewayStream {
    /// Connects to the host and the port of `url`, with TLS if `tls` is set, in ten seconds at most.
    pub(super) async fn connect(url: &Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let connecting = timeout(CONNECT_TIMEOUT, Self::connected(url, tls));
        let too_long =
            |_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 seconds");
        let stream = connecting.await.map_err(too_long)??;
        // What an earlier connection has met is no reason for the end of this one.
        *PROBLEM.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(stream)
    }

    async fn connected(url: &Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // It tries the addresses of both families at nearly the same time.
        let stream = tcp.oneshot(url.clone()).await.map_err(|error| {
            // Its own text does not say why.
            let why = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            io::Error::other(why)
        })?;
        let stream = stream.into_inner();
        let Some(tls) = tls else {
            return Ok(Self {
                io: Box::pin(stream),
                has_tls: false,
                has_http2: true,
                has_read: false,
            });
        };
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        let stream = stream.map_err(noted)?;
        let has_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Self {
            io: Box::pin(stream),
            has_tls: true,
            has_http2,
            has_read: false,
        })
    }

    /// Whether the gateway accepts HTTP/2. Without TLS, only its answer tells that.
    pub(super) fn has_http2(&self) -> bool {
        self.has_http2
    }
}

/// Keeps what an error says of TLS.
fn noted(error: io::Error) -> io::Error {
    if let Some(problem) = tls_problem::sentence(&error, Server::Gateway) {
        // The first one is the cause of the others.
        let mut first = PROBLEM.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(problem);
    }
    error
}

fn is_of_tls(first: &[u8]) -> bool {
    let begins = |all: [&[u8]; 2]| all.iter().any(|one| first.starts_with(one));
    let has_name = || NAMES.iter().any(|name| memmem::find(first, name).is_some());
    begins(TLS_RECORDS) || (begins(REFUSALS) && has_name())
}

impl AsyncRead for GatewayStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.io.as_mut().poll_read(context, buffer)).map_err(noted)?;
        let is_first = !std::mem::replace(&mut self.has_read, true);
        let read = buffer.filled().get(before..).unwrap_or_default();
        if is_first && !self.has_tls && is_of_tls(read) {
            return Poll::Ready(Err(noted(io::Error::other(SpeaksTls))));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GatewayStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }
}
