//! The TLS of one listener: the files, and what was made of them.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use super::{
    client::ClientKeys,
    files::{Content, Fingerprint, Loaded},
    status::CertificateStatus,
};
use crate::config::TlsFiles;

/// The TLS of one listener.
#[derive(Debug)]
pub struct Endpoint {
    listener: &'static str,
    files: TlsFiles,
    keys: ClientKeys,
    /// That of new connections.
    config: ArcSwap<ServerConfig>,
    /// What the files had when they were last looked at.
    seen: Mutex<Seen>,
    status: Arc<CertificateStatus>,
}

#[derive(Debug)]
struct Seen {
    content: Fingerprint,
    /// Why this content is not in use.
    problem: Option<String>,
}

impl Endpoint {
    /// Reads the files.
    pub(super) fn load(
        listener: &'static str,
        files: TlsFiles,
        keys: ClientKeys,
        status: Arc<CertificateStatus>,
    ) -> Result<Self, String> {
        let content = Content::read(&files);
        let seen = Seen {
            content: content.fingerprint(),
            problem: None,
        };
        let Loaded {
            config,
            certificates,
        } = content.load(&files, listener)?;
        status.set(listener, certificates);
        Ok(Self {
            listener,
            files,
            keys,
            config: ArcSwap::new(config),
            seen: Mutex::new(seen),
            status,
        })
    }

    /// Reads the files again, and uses them for new connections if their content has changed. A
    /// content that is not usable changes nothing, and is logged and counted once.
    ///
    /// # Errors
    /// Why the content of the files is not in use.
    pub(super) fn reload(&self) -> Result<(), String> {
        // Held while the files are read, so that an older content does not replace a newer one.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let content = Content::read(&self.files);
        let fingerprint = content.fingerprint();
        if fingerprint == seen.content {
            return seen.problem.clone().map_or(Ok(()), Err);
        }
        seen.content = fingerprint;
        match content.load(&self.files, self.listener) {
            Ok(loaded) => {
                self.config.store(loaded.config);
                for certificate in &loaded.certificates {
                    let (subject, file) = (&certificate.subject, certificate.file.display());
                    tracing::info!(
                        listener = self.listener, %file, subject,
                        "new certificates are in use for new connections"
                    );
                }
                self.status.set(self.listener, loaded.certificates);
                seen.problem = None;
                Ok(())
            }
            Err(problem) => {
                tracing::warn!(
                    listener = self.listener,
                    "new certificates are not usable, and the previous ones stay in use: {problem}"
                );
                self.status.count_reload_failure(self.listener);
                seen.problem = Some(problem.clone());
                Err(problem)
            }
        }
    }

    /// What a new connection needs for its handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// The keys that certificates stand for.
    pub(crate) fn keys(&self) -> &ClientKeys {
        &self.keys
    }

    /// The certificates in use of all listeners.
    pub fn status(&self) -> &Arc<CertificateStatus> {
        &self.status
    }
}
