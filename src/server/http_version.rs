//! The version of HTTP of a new connection, by its handshake or its first bytes.

use tokio::net::TcpStream;

/// The first bytes of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) enum Version {
    Http1,
    Http2,
}

impl Version {
    /// The version that the first bytes begin. `None` if they are too few.
    pub(super) fn of(first: &[u8]) -> Option<Self> {
        let first = first.get(..PREFACE.len()).unwrap_or(first);
        if first.is_empty() {
            return None;
        }
        match PREFACE.strip_prefix(first) {
            Some([]) => Some(Self::Http2),
            Some(_) => None,
            None => Some(Self::Http1),
        }
    }

    /// The version that the client has agreed on in the handshake.
    pub(super) fn agreed(alpn_protocol: &[u8]) -> Option<Self> {
        match alpn_protocol {
            b"h2" => Some(Self::Http2),
            b"http/1.1" => Some(Self::Http1),
            _ => None,
        }
    }
}

/// Waits for the first bytes of the caller, and tells which version of HTTP they begin. `None` if
/// they are too few for that, or if the caller has closed the connection.
///
/// Hyper can recognise the version too, but it hands the bytes that it read for that to HTTP/1 as
/// the first read. A second read follows, for which the buffer grows to twice its size, and stays
/// so for as long as the connection lives.
pub(super) async fn peek_version(stream: &TcpStream) -> Option<Version> {
    let mut first = [0; PREFACE.len()];
    let bytes = stream.peek(&mut first).await.ok()?;
    first.get(..bytes).and_then(Version::of)
}
