//! The connection of a command to a gateway, with TLS or without. It notices what is wrong with TLS:
//! HTTP/2 does not tell each call why its connection was closed, and an answer of TLS to a request
//! without it is only no HTTP.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use http::Uri;
use memchr::memmem;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::tls_problem::{self, Server};

/// The first bytes of a TLS record with an alert, or with a handshake message.
const TLS_RECORDS: [&[u8]; 2] = [&[21, 3], &[22, 3]];

/// How servers with TLS begin an answer to HTTP without it. Its text has one of the names.
const REFUSALS: [&[u8]; 2] = [b"HTTP/1.1 400 ", b"HTTP/1.0 400 "];
const NAMES: [&[u8]; 2] = [b"TLS", b"HTTPS"];

/// What is wrong with TLS. The process runs one command, which has one gateway.
static PROBLEM: OnceLock<String> = OnceLock::new();

/// A sentence about what is wrong with TLS, to be written after a colon.
pub(super) fn problem() -> Option<&'static str> {
    PROBLEM.get().map(String::as_str)
}

/// The port was asked without TLS, and speaks it.
#[derive(Debug)]
pub(super) struct SpeaksTls;

impl fmt::Display for SpeaksTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port speaks TLS")
    }
}

impl std::error::Error for SpeaksTls {}

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
    /// Connects to the host and the port of `url`, with TLS if `tls` is set.
    pub(super) async fn connect(url: &Uri, tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let default_port = if tls.is_some() { 443 } else { 80 };
        let port = url.port_u16().unwrap_or(default_port);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = tls else {
            return Ok(Self {
                io: Box::pin(stream),
                has_tls: false,
                has_http2: true,
                has_read: false,
            });
        };
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
        let _ = PROBLEM.set(problem);
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
