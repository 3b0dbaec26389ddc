//! The handshake of a connection. It runs in the connection's task, so a slow one delays no other.

use std::{
    io,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Endpoint,
    client::ClientCertificate,
    failures::{HandshakeFailures, Reason},
    transport::{Transport, Wire},
};

/// The longest time from the connection to the end of the handshake. Until then the connection
/// counts as one without a key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time in which a client can read why it is disconnected.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How many bytes of such a client are read and discarded.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// The first byte of a TLS connection: the type of a record with a handshake message.
const HANDSHAKE_RECORD: u8 = 22;

/// The answer to a request without TLS.
const REFUSAL: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: \
                       71\r\nconnection: close\r\n\r\nThis port speaks TLS: the URL begins with \
                       https:// instead of http://.\n";

/// A connection after its handshake.
pub(in crate::server) struct Secured {
    pub(in crate::server) transport: Transport,
    /// The certificate that the caller has shown.
    pub(in crate::server) certificate: Option<ClientCertificate>,
}

/// Completes the handshake. `None` if it fails, or takes too long: that is counted in `failures`. A
/// client that closes before its first byte is not counted.
pub(in crate::server) async fn accept(
    stream: TcpStream,
    endpoint: &Arc<Endpoint>,
    failures: &HandshakeFailures,
) -> Option<Secured> {
    let peer = stream.peer_addr().ok();
    let until = Instant::now() + HANDSHAKE_TIMEOUT;
    // Set when the client has begun, for the certificates of that moment.
    let mut in_use = None;
    let handshake = async {
        let mut first = [0];
        // Load balancers look in this way whether the port is open. It is no failure.
        if !stream.peek(&mut first).await.is_ok_and(|bytes| bytes > 0) {
            tracing::debug!("connection closed before its TLS handshake");
            return Err(None);
        }
        if first != [HANDSHAKE_RECORD] {
            return Err(Some(Failed::PlainText(stream, first)));
        }
        let tls = in_use.insert(endpoint.in_use());
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        let accepted = acceptor.accept(Wire::new(stream)).into_fallible().await;
        accepted.map_err(|(error, wire)| Some(Failed::Handshake(error, wire)))
    };
    let stream = match timeout_at(until, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(failed)) => {
            if let Some(failed) = failed {
                failed.end(failures, peer).await;
            }
            return None;
        }
        Err(_) => {
            tracing::debug!("connection closed: the TLS handshake takes too long");
            failures.add(Reason::Timeout, peer, &"the handshake takes too long");
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().zip(in_use);
    Some(Secured {
        certificate: shown.and_then(|(chain, by)| ClientCertificate::new(endpoint, by, chain)),
        transport: Transport::Tls(Box::new(stream)),
    })
}

/// A handshake that has failed, with its connection.
enum Failed {
    /// The client does not speak TLS. The first byte tells what it speaks.
    PlainText(TcpStream, [u8; 1]),
    Handshake(io::Error, Wire),
}

impl Failed {
    /// Counts it, and disconnects the client in a way that it can read why.
    async fn end(self, failures: &HandshakeFailures, peer: Option<SocketAddr>) {
        match self {
            Self::PlainText(stream, first) => {
                failures.add(Reason::PlainText, peer, &"the client does not speak TLS");
                refuse(&stream, first).await;
            }
            Self::Handshake(error, wire) => {
                tracing::debug!(%error, "connection closed: the TLS handshake has failed");
                failures.add(Reason::of(&error, wire.hello_version()), peer, &error);
                // The client has been sent an alert that says why.
                end(&wire.stream).await;
            }
        }
    }
}

/// Tells a client that sends HTTP without TLS what is wrong. Other clients are only disconnected.
async fn refuse(stream: &TcpStream, first: [u8; 1]) {
    tracing::debug!("connection closed: the client does not speak TLS");
    if !first.iter().all(u8::is_ascii_uppercase) {
        return;
    }
    // The answer fits into the socket's buffer, which is empty.
    if stream.try_write(REFUSAL.as_bytes()).is_err() {
        return;
    }
    end(stream).await;
}

/// Closes the sending half, and reads for a moment, because closing with unread bytes would discard
/// what was sent.
async fn end(stream: &TcpStream) {
    if socket2::SockRef::from(stream)
        .shutdown(Shutdown::Write)
        .is_err()
    {
        return;
    }
    let discard = async {
        let (mut chunk, mut left) = ([0; 1024], REFUSED_BYTES_MAX);
        while left > 0 && stream.readable().await.is_ok() {
            match stream.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = timeout(REFUSAL_TIMEOUT, discard).await;
}
