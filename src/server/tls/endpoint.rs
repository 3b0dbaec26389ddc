//! The TLS of one listener: the files, and what was made of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::{
    certificate::Untimely,
    client::ClientKeys,
    files::{Content, Fingerprint, InUse, Loaded},
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
    in_use: ArcSwap<InUse>,
    /// What the files had when they were last looked at.
    seen: Mutex<Seen>,
    status: Arc<CertificateStatus>,
    /// Why clients refused its certificate at the start.
    untimely: Option<(Untimely, String)>,
}

#[derive(Debug)]
struct Seen {
    content: Fingerprint,
    /// Why this content is not in use.
    problem: Option<Problem>,
    /// What is in use.
    in_use: Fingerprint,
    /// A new content that one look has found.
    unsettled: Option<Fingerprint>,
}

#[derive(Debug)]
struct Problem {
    sentence: String,
    /// Whether the same content becomes usable with time.
    passes: bool,
}

/// A usable content of the files. While it lives, nobody else reads them.
pub(super) struct New<'e> {
    endpoint: &'e Endpoint,
    seen: MutexGuard<'e, Seen>,
    /// `None` if it is in use already.
    new: Option<(Fingerprint, Loaded)>,
}

impl New<'_> {
    /// Uses it for new connections.
    pub(super) fn take_over(mut self) {
        let Some((fingerprint, loaded)) = self.new else {
            return;
        };
        let endpoint = self.endpoint;
        endpoint.in_use.store(Arc::new(loaded.tls));
        let changed = fingerprint.changed_files(&self.seen.in_use);
        for (certificate, changed) in loaded.certificates.iter().zip(changed) {
            if changed {
                let (subject, file) = (&certificate.subject, certificate.file.display());
                tracing::info!(
                    listener = endpoint.listener, %file, subject,
                    "new certificates are in use for new connections"
                );
            }
        }
        endpoint.status.set(endpoint.listener, loaded.certificates);
        self.seen.content = fingerprint;
        self.seen.in_use = fingerprint;
        self.seen.problem = None;
    }
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
        let fingerprint = content.fingerprint();
        let seen = Seen {
            content: fingerprint,
            problem: None,
            in_use: fingerprint,
            unsettled: None,
        };
        let Loaded {
            tls,
            certificates,
            untimely,
        } = content.load(&files, listener)?;
        status.set(listener, certificates);
        Ok(Self {
            listener,
            files,
            keys,
            in_use: ArcSwap::from_pointee(tls),
            seen: Mutex::new(seen),
            status,
            untimely,
        })
    }

    /// Reads the files again, for use if all else is valid too. A content that is not usable is
    /// logged and counted once.
    ///
    /// # Errors
    /// Why the content of the files cannot be used.
    pub(super) fn read(&self) -> Result<New<'_>, String> {
        self.check(self.seen(), Content::read(&self.files))
    }

    /// Looks at the files, and uses a new content when two looks have found it, because a file may
    /// be written just now, and the first part of a list of certificates is a list too.
    ///
    /// Returns true if the next look decides.
    pub(super) fn look(&self) -> bool {
        let mut seen = self.seen();
        let content = Content::read(&self.files);
        let fingerprint = content.fingerprint();
        if fingerprint != seen.content && seen.unsettled != Some(fingerprint) {
            seen.unsettled = Some(fingerprint);
            return true;
        }
        // A problem is logged there.
        if let Ok(new) = self.check(seen, content) {
            new.take_over();
        }
        false
    }

    /// Held from before the files are read, so that an older content does not replace a newer one.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check<'e>(
        &'e self,
        mut seen: MutexGuard<'e, Seen>,
        content: Content,
    ) -> Result<New<'e>, String> {
        seen.unsettled = None;
        let fingerprint = content.fingerprint();
        let is_known = fingerprint == seen.content;
        let new = match &seen.problem {
            None if is_known => None,
            Some(problem) if is_known && !problem.passes => return Err(problem.sentence.clone()),
            _ => match self.load_new(&seen, fingerprint, content) {
                Ok(loaded) => Some((fingerprint, loaded)),
                Err(found) => {
                    let problem = found.sentence.clone();
                    if !is_known {
                        tracing::warn!(
                            listener = self.listener,
                            "new certificates are not usable, and the previous ones stay in use: \
                             {problem}"
                        );
                        self.status.count_reload_failure(self.listener);
                    }
                    seen.content = fingerprint;
                    seen.problem = Some(found);
                    return Err(problem);
                }
            },
        };
        Ok(New {
            endpoint: self,
            seen,
            new,
        })
    }

    /// Checks a content in place of that in use. A new certificate must hold now: the previous one
    /// may still do. A pair in use stays, with new authorities of callers too.
    fn load_new(
        &self,
        seen: &Seen,
        fingerprint: Fingerprint,
        content: Content,
    ) -> Result<Loaded, Problem> {
        let loaded = content.load(&self.files, self.listener);
        let loaded = loaded.map_err(|sentence| Problem {
            sentence,
            passes: false,
        })?;
        let [is_new_pair, _] = fingerprint.changed_files(&seen.in_use);
        match loaded.untimely {
            Some((untimely, sentence)) if is_new_pair => Err(Problem {
                sentence,
                passes: matches!(untimely, Untimely::NotYet(_)),
            }),
            _ => Ok(loaded),
        }
    }

    /// Why clients refused its certificate at the start.
    pub(super) fn untimely(&self) -> Option<&(Untimely, String)> {
        self.untimely.as_ref()
    }

    /// The TLS of new connections.
    pub(super) fn in_use(&self) -> Arc<InUse> {
        self.in_use.load_full()
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
