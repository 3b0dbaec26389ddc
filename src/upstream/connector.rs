//! Connects to upstream: directly or through a proxy, with TLS or without, each within one timeout.
//! TLS trusts the certificate authorities of the machine.

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Uri, header, uri::Scheme};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
        proxy::matcher::Intercept,
    },
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::Service;

use crate::tls_client::{self, Trust};

/// How long a connection is silent before the kernel probes it, to notice a peer that has vanished.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The time between two probes without an answer.
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// After this many probes without an answer, the connection is closed.
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// How long sent bytes may stay without an acknowledgement.
#[cfg(any(target_os = "android", target_os = "linux"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many reads may succeed before one is postponed. hyper reads informational responses for as
/// long as they come. After a postponed read the call counts them.
const READS_IN_A_ROW_MAX: u8 = 4;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection to upstream.
pub(super) type Stream = MaybeHttpsStream<ProxiedStream>;

type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects to one upstream.
#[derive(Clone)]
pub(super) struct Connector {
    connector: HttpsConnector<Route>,
    upstream: Uri,
    is_forwarded: bool,
    timeout: Duration,
}

/// There was no connection within the timeout.
#[derive(Debug)]
pub(super) struct ConnectTimeout;

impl fmt::Display for ConnectTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connecting took too long")
    }
}

impl std::error::Error for ConnectTimeout {}

impl Connector {
    /// A connector to `upstream`, through `proxy` if there is one.
    ///
    /// # Errors
    /// The certificates of the machine cannot be read.
    pub(super) fn new(
        upstream: Uri,
        proxy: Option<&Intercept>,
        user_agent: &HeaderValue,
        timeout: Duration,
    ) -> Result<Self, BoxError> {
        let is_https = upstream.scheme() == Some(&Scheme::HTTPS);
        // Reading the certificates of the machine is the slowest step of the start, so it is done
        // only if they are needed.
        let needs_roots =
            is_https || proxy.is_some_and(|proxy| proxy.uri().scheme() == Some(&Scheme::HTTPS));
        let trust = match needs_roots {
            true => Trust::Machine,
            false => Trust::Nothing,
        };
        let mut config = tls_client::config(trust)?.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let route = match proxy {
            None => Route::Direct(tcp(timeout)),
            Some(proxy) => {
                // Some proxies refuse a connection that offers the protocol of the upstream.
                let mut to_proxy = config.clone();
                to_proxy.alpn_protocols.clear();
                let to_proxy = HttpsConnector::from((tcp(timeout), to_proxy));
                if is_https {
                    let tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
                    let tunnel = match proxy.basic_auth() {
                        Some(auth) => tunnel.with_auth(auth.clone()),
                        None => tunnel,
                    };
                    let headers = HeaderMap::from_iter([(header::USER_AGENT, user_agent.clone())]);
                    Route::Tunnel(tunnel.with_headers(headers))
                } else {
                    Route::Forward(to_proxy, proxy.uri().clone())
                }
            }
        };
        Ok(Self {
            is_forwarded: matches!(route, Route::Forward(..)),
            connector: HttpsConnector::from((route, config)),
            upstream,
            timeout,
        })
    }

    /// Whether a proxy reads the requests, so that they must contain the whole URL.
    pub(super) fn is_forwarded(&self) -> bool {
        self.is_forwarded
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// There is none, or not within the timeout ([`ConnectTimeout`]).
    pub(super) async fn connect(&self) -> Result<Stream, BoxError> {
        let connecting = self.connector.clone().call(self.upstream.clone());
        tokio::time::timeout(self.timeout, connecting)
            .await
            .unwrap_or_else(|_| Err(ConnectTimeout.into()))
    }
}

fn tcp(timeout: Duration) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES));
    #[cfg(any(target_os = "android", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
    // All addresses of a host name share this timeout.
    tcp.set_connect_timeout(Some(timeout));
    tcp
}

/// The route to upstream, below the TLS of upstream itself.
#[derive(Clone)]
enum Route {
    Direct(HttpConnector),
    /// The proxy reads the requests and forwards them.
    Forward(HttpsConnector<HttpConnector>, Uri),
    /// The proxy opens a connection and sees nothing of its content.
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
}

impl Service<Uri> for Route {
    type Response = ProxiedStream;
    type Error = BoxError;
    type Future = Connecting<ProxiedStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(upstream);
                Box::pin(async {
                    Ok(ProxiedStream::new(MaybeHttpsStream::Http(
                        connecting.await?,
                    )))
                })
            }
            Self::Forward(to_proxy, proxy) => {
                let connecting = to_proxy.call(proxy.clone());
                Box::pin(async { Ok(ProxiedStream::new(connecting.await?)) })
            }
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(upstream);
                Box::pin(async { Ok(ProxiedStream::new(connecting.await?)) })
            }
        }
    }
}

/// A connection, below the TLS of upstream itself.
pub(super) struct ProxiedStream {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// How many reads have succeeded since one was postponed.
    reads_in_a_row: u8,
}

impl ProxiedStream {
    fn new(io: MaybeHttpsStream<TokioIo<TcpStream>>) -> Self {
        Self {
            io,
            reads_in_a_row: 0,
        }
    }
}

impl Connection for ProxiedStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for ProxiedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads_in_a_row == READS_IN_A_ROW_MAX {
            self.reads_in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        self.reads_in_a_row = if read.is_ready() {
            self.reads_in_a_row + 1
        } else {
            0
        };
        read
    }
}

impl Write for ProxiedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }
}
