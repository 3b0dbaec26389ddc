//! Connections to upstream: straight or through a proxy, with TLS or without, each within one time
//! limit.
//!
//! TLS trusts whom the machine trusts (on Linux also `SSL_CERT_FILE` and `SSL_CERT_DIR` say whom).

use std::{
    fmt,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
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
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::net::TcpStream;
use tower::Service;

/// How often the kernel probes a silent connection, so that a peer that vanished is noticed.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The same from the first probe that wasn't answered, and after how many of those the connection
/// is lost.
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const TCP_KEEPALIVE_RETRIES: u32 = 3;

/// How long the peer's kernel may leave bytes unconfirmed.
#[cfg(any(target_os = "android", target_os = "linux"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many reads may follow one another without a pause in which others see what came. hyper reads
/// heads of status 1xx for as long as they come, and learns only after a pause that the request has
/// been given up.
const READS_AT_ONCE_MAX: u8 = 4;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Connects to one upstream.
#[derive(Clone)]
pub(super) struct Connector {
    connector: HttpsConnector<Way>,
    timeout: Duration,
}

/// No connection within the time limit.
#[derive(Debug)]
pub(super) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time to connect is over")
    }
}

impl std::error::Error for TooSlow {}

impl Connector {
    /// For an upstream with TLS (`is_https`) or without, by this proxy if there is one.
    ///
    /// # Errors
    /// The machine's certificates can't be read.
    pub(super) fn new(
        is_https: bool,
        proxy: Option<&Intercept>,
        user_agent: &HeaderValue,
        timeout: Duration,
    ) -> Result<Self, BoxError> {
        // Reading the machine's certificates takes longer than all else at the start: only where
        // they are needed.
        let needs_roots =
            is_https || proxy.is_some_and(|proxy| proxy.uri().scheme() == Some(&Scheme::HTTPS));
        let config = tls(needs_roots)?;
        let way = match proxy {
            None => Way::Straight(tcp(timeout)),
            Some(proxy) => {
                // Some proxies don't know the protocol that the upstream is to speak, and say no.
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
                    Way::Tunnel(tunnel.with_headers(headers))
                } else {
                    Way::Forward(to_proxy, proxy.uri().clone())
                }
            }
        };
        Ok(Self {
            connector: HttpsConnector::from((way, config)),
            timeout,
        })
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
    // All addresses of a name share the time.
    tcp.set_connect_timeout(Some(timeout));
    tcp
}

fn tls(needs_roots: bool) -> Result<ClientConfig, BoxError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = if needs_roots {
        let verifier = rustls_platform_verifier::Verifier::new(provider)?;
        config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Link>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.connector.call(upstream));
        Box::pin(async { connecting.await.unwrap_or_else(|_| Err(TooSlow.into())) })
    }
}

/// How upstream is reached, below its own TLS.
#[derive(Clone)]
enum Way {
    Straight(HttpConnector),
    /// The proxy reads the requests and sends them on.
    Forward(HttpsConnector<HttpConnector>, Uri),
    /// The proxy connects, and sees nothing more.
    Tunnel(Tunnel<HttpsConnector<HttpConnector>>),
}

impl Service<Uri> for Way {
    type Response = Link;
    type Error = BoxError;
    type Future = Connecting<Link>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, upstream: Uri) -> Self::Future {
        match self {
            Self::Straight(tcp) => {
                let connecting = tcp.call(upstream);
                Box::pin(async { Ok(Link::new(MaybeHttpsStream::Http(connecting.await?), false)) })
            }
            Self::Forward(to_proxy, proxy) => {
                let connecting = to_proxy.call(proxy.clone());
                Box::pin(async { Ok(Link::new(connecting.await?, true)) })
            }
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(upstream);
                Box::pin(async { Ok(Link::new(connecting.await?, false)) })
            }
        }
    }
}

/// A connection, below upstream's own TLS.
pub(super) struct Link {
    io: MaybeHttpsStream<TokioIo<TcpStream>>,
    /// A proxy reads the requests: they name the whole URL.
    is_forwarded: bool,
    /// How many reads have followed one another.
    reads_at_once: u8,
}

impl Link {
    fn new(io: MaybeHttpsStream<TokioIo<TcpStream>>, is_forwarded: bool) -> Self {
        Self {
            io,
            is_forwarded,
            reads_at_once: 0,
        }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.reads_at_once == READS_AT_ONCE_MAX {
            self.reads_at_once = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        self.reads_at_once = if read.is_ready() {
            self.reads_at_once + 1
        } else {
            0
        };
        read
    }
}

impl Write for Link {
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
