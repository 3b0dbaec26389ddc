//! Handshakes that have failed: counts for `/metrics`, and a line of the log a minute.

use std::{
    array, fmt, io,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{Error as TlsError, PeerIncompatible};

use crate::throttle::Throttle;

/// The version of TLS 1.2 in a hello.
const TLS_1_2: [u8; 2] = [3, 3];

/// Why a handshake has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Reason {
    /// It took too long.
    Timeout,
    /// The caller has shown no certificate, and must.
    NoCertificate,
    /// The caller's certificate has expired, or is not of one of the authorities of callers.
    UntrustedCertificate,
    /// The caller does not accept the gateway's certificate, or gives another reason.
    RefusedByCaller,
    /// The caller has no version of TLS that the gateway has.
    Version,
    /// The caller does not speak TLS.
    PlainText,
    /// The caller has begun, and closed the connection.
    Closed,
    Other,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Timeout,
        Self::NoCertificate,
        Self::UntrustedCertificate,
        Self::RefusedByCaller,
        Self::Version,
        Self::PlainText,
        Self::Closed,
        Self::Other,
    ];

    /// Why the handshake with a client has failed, whose hello has this highest version of TLS.
    pub(super) fn of(error: &io::Error, hello_version: Option<[u8; 2]>) -> Self {
        // It may lack what the gateway looks at before the version.
        let is_old = hello_version.is_some_and(|version| version < TLS_1_2);
        let tls = error.get_ref().and_then(|error| error.downcast_ref());
        match (tls, error.kind()) {
            (Some(TlsError::NoCertificatesPresented), _) => Self::NoCertificate,
            (Some(TlsError::InvalidCertificate(_)), _) => Self::UntrustedCertificate,
            (Some(TlsError::AlertReceived(_)), _) => Self::RefusedByCaller,
            (Some(TlsError::PeerIncompatible(_)), _) if is_old => Self::Version,
            (
                Some(TlsError::PeerIncompatible(
                    PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::SupportedVersionsExtensionRequired
                    | PeerIncompatible::ServerDoesNotSupportTls12Or13,
                )),
                _,
            ) => Self::Version,
            (
                None,
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe,
            ) => Self::Closed,
            _ => Self::Other,
        }
    }

    /// The value of the label.
    fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NoCertificate => "no_certificate",
            Self::UntrustedCertificate => "untrusted_certificate",
            Self::RefusedByCaller => "refused_by_caller",
            Self::Version => "version",
            Self::PlainText => "plain_text",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

/// The failures at one listener.
#[derive(Debug)]
pub(in crate::server) struct HandshakeFailures {
    listener: &'static str,
    counts: [AtomicU64; Reason::ALL.len()],
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    throttle: Throttle,
    /// How many the log does not know of.
    untold: u64,
}

impl HandshakeFailures {
    pub(in crate::server) fn new(listener: &'static str) -> Self {
        Self {
            listener,
            counts: array::from_fn(|_| AtomicU64::new(0)),
            log: Mutex::default(),
        }
    }

    /// Each reason, and how many handshakes have failed for it.
    pub(in crate::server) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = Reason::ALL.iter().zip(&self.counts);
        counts.map(|(reason, count)| (reason.name(), count.load(Ordering::Relaxed)))
    }

    /// Counts a failure. The log is told of it, or later of how many there were.
    pub(super) fn add(&self, reason: Reason, peer: Option<SocketAddr>, problem: &dyn fmt::Display) {
        let Some(failed) = self.count(reason) else {
            return;
        };
        tracing::warn!(
            listener = self.listener,
            failed,
            reason = reason.name(),
            peer = peer.map(tracing::field::display),
            %problem,
            "TLS handshakes have failed"
        );
    }

    /// How many the log is told of now.
    fn count(&self, reason: Reason) -> Option<u64> {
        if let Some(count) = self.counts.get(reason as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.untold += 1;
        log.throttle
            .lets_through()
            .then(|| std::mem::take(&mut log.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_told_once_a_minute_of_all_failures() {
        let failures = HandshakeFailures::new("main");
        assert_eq!(failures.count(Reason::Closed), Some(1));
        for _ in 0..3 {
            assert_eq!(failures.count(Reason::Timeout), None);
        }
        advance(Duration::from_secs(59)).await;
        assert_eq!(failures.count(Reason::Other), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(failures.count(Reason::Other), Some(5));
        assert_eq!(failures.count(Reason::Other), None);
        let counts: Vec<_> = failures.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("timeout", 3), ("closed", 1), ("other", 3)]);
    }

    #[test]
    fn each_reason_has_a_place_of_its_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
    }
}
