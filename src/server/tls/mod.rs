//! TLS of the listeners. [`Endpoint`] has the certificate of one listener, [`Reload`] reads its
//! files again, and [`CertificateStatus`] says which certificates are in use.
//!
//! A connection keeps the gateway's certificate of its handshake. A new one is for new connections.
//! A caller's certificate that stands for a key is checked again at each call.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use crate::config;

mod certificate;
mod client;
mod endpoint;
mod failures;
mod files;
pub(super) mod handshake;
mod reload;
mod status;
pub(super) mod transport;

use certificate::Untimely;
pub(super) use client::{ClientCertificate, Distrust, IsForAdministrators};
pub use endpoint::Endpoint;
pub(super) use failures::HandshakeFailures;
pub use reload::{POLL_INTERVAL, Reload};
pub use status::{CertificateInUse, CertificateStatus};

/// A listener, and its TLS if it has one.
#[derive(Debug)]
pub struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) tls: Option<Arc<Endpoint>>,
}

impl Listener {
    /// The listener that speaks TLS if `tls` is set.
    pub fn new(tcp: TcpListener, tls: Option<Arc<Endpoint>>) -> Self {
        Self { tcp, tls }
    }

    /// The certificates in use of all listeners, if this one has TLS.
    pub fn certificates(&self) -> Option<&Arc<CertificateStatus>> {
        self.tls.as_ref().map(|tls| tls.status())
    }

    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A listener without TLS.
impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self::new(tcp, None)
    }
}

/// The TLS of both listeners, with the certificates of the files.
#[derive(Debug)]
pub struct Tls {
    /// That of `--listen`.
    pub callers: Option<Arc<Endpoint>>,
    /// That of `--admin-listen`.
    pub administration: Option<Arc<Endpoint>>,
    /// Reads the files of both again.
    pub reload: Reload,
}

/// Why clients refuse the certificate of a listener, each as a sentence.
#[derive(Debug)]
pub enum Refused {
    /// It has ended.
    Expired(String),
    /// It has not begun.
    NotYet(String),
}

impl Tls {
    /// Reads the files that `options` name. `has_admin_listen`: whether the administration has a
    /// listener of its own.
    ///
    /// # Errors
    /// A sentence that names the file and says what to do.
    pub fn load(options: &config::Tls, has_admin_listen: bool) -> Result<Self, String> {
        let status = Arc::new(CertificateStatus::default());
        let load = |listener, files: Option<config::TlsFiles>| {
            let load = |files| {
                let keys = client::ClientKeys::new(options);
                Endpoint::load(listener, files, keys, Arc::clone(&status)).map(Arc::new)
            };
            files.map(load).transpose()
        };
        let (of_callers, of_administration) = (options.of_callers(), options.of_administration());
        let callers = load("main", of_callers.clone())?;
        let administration = match has_admin_listen {
            false => None,
            // One endpoint for both, so that one reload counts once.
            true if of_administration == of_callers => callers.clone(),
            true => load("admin", of_administration)?,
        };
        let mut endpoints: Vec<_> = callers.iter().chain(&administration).cloned().collect();
        endpoints.dedup_by(|one, other| Arc::ptr_eq(one, other));
        Ok(Self {
            callers,
            administration,
            reload: Reload::new(endpoints, status),
        })
    }

    /// The certificates that did not hold when they were read.
    pub fn refused(&self) -> impl Iterator<Item = Refused> {
        let endpoints = self.reload.endpoints().iter();
        endpoints.filter_map(|endpoint| {
            let (untimely, sentence) = endpoint.untimely()?.clone();
            Some(match untimely {
                Untimely::Expired(_) => Refused::Expired(sentence),
                Untimely::NotYet(_) => Refused::NotYet(sentence),
            })
        })
    }
}
