//! The keys that callers' certificates stand for: `--tls-client-keys` and
//! `--admin-tls-client-keys`.

use std::{
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::{sync::Notify, time::sleep};

use super::{Endpoint, certificate::Parsed, files::InUse};
use crate::{
    config::{self, CertificateKey, CertificateName},
    keys::Purpose,
};

/// Which certificates stand for which keys.
#[derive(Debug)]
pub(crate) struct ClientKeys {
    callers: Vec<(CertificateName, Arc<str>)>,
    administrators: Vec<(CertificateName, Arc<str>)>,
}

/// The longest sleep until the end of a certificate, because the clock may be changed.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);

/// The certificate that a caller has shown in the handshake, and that was verified then.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The names of the keys that it stands for.
    callers: Option<Arc<str>>,
    administrators: Option<Arc<str>>,
    /// `None` if it stands for no key.
    proof: Option<Proof>,
}

/// What shows that a certificate still holds. A connection may live for weeks.
#[derive(Debug)]
struct Proof {
    /// The certificate and those between it and its authority.
    chain: Vec<CertificateDer<'static>>,
    not_after: SystemTime,
    endpoint: Arc<Endpoint>,
    verdict: Mutex<Verdict>,
    /// Told when the chain no longer holds.
    ended: Notify,
}

#[derive(Debug)]
struct Verdict {
    by: Arc<InUse>,
    is_trusted: bool,
}

/// Why a certificate no longer stands for its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distrust {
    /// It has ended.
    Expired,
    /// Its authority is no longer one of those of callers.
    Authority,
}

impl ClientKeys {
    pub(super) fn new(options: &config::Tls) -> Self {
        let keys = |list: &[CertificateKey]| {
            let keys = list.iter();
            keys.map(|one| (one.certificate.clone(), Arc::from(one.key.as_str())))
                .collect()
        };
        Self {
            callers: keys(&options.tls_client_keys),
            administrators: keys(&options.admin_tls_client_keys),
        }
    }

    /// The names of all keys that certificates stand for.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let all = self.callers.iter().chain(&self.administrators);
        all.map(|(_, key)| key)
    }
}

impl ClientCertificate {
    /// The certificate that begins `chain`, which was verified at `endpoint` with the files in `by`.
    pub(super) fn new(
        endpoint: &Arc<Endpoint>,
        by: Arc<InUse>,
        chain: &[CertificateDer<'static>],
    ) -> Option<Self> {
        let keys = endpoint.keys();
        let first = chain.first()?;
        // Without a mapping, nothing is parsed.
        let parsed = keys.names().next().and_then(|_| Parsed::new(first));
        let names = parsed.as_ref().map_or_else(Vec::new, Parsed::names);
        // The first one in the order of the option counts.
        let find = |keys: &[(CertificateName, Arc<str>)]| {
            let found = keys.iter().find(|(name, _)| names.contains(name));
            found.map(|(_, key)| Arc::clone(key))
        };
        let (callers, administrators) = (find(&keys.callers), find(&keys.administrators));
        let stands_for_any = callers.is_some() || administrators.is_some();
        let proof = parsed.filter(|_| stands_for_any).map(|parsed| Proof {
            chain: chain.to_vec(),
            not_after: parsed.not_after(),
            endpoint: Arc::clone(endpoint),
            verdict: Mutex::new(Verdict {
                by,
                is_trusted: true,
            }),
            ended: Notify::new(),
        });
        Some(Self {
            callers,
            administrators,
            proof,
        })
    }

    /// Whether it would still pass the handshake.
    ///
    /// # Errors
    /// Why it would not.
    pub(crate) fn check(&self) -> Result<(), Distrust> {
        let Some(proof) = &self.proof else {
            return Ok(());
        };
        let checked = proof.check();
        if checked.is_err() {
            proof.ended.notify_one();
        }
        checked
    }

    /// Completes when it has expired, or when a check has failed.
    pub(crate) async fn ends(&self) {
        let Some(proof) = &self.proof else {
            return pending().await;
        };
        while let Ok(left) = proof.not_after.duration_since(SystemTime::now()) {
            tokio::select! {
                () = sleep(left.min(SLEEP_MAX)) => {}
                () = proof.ended.notified() => return,
            }
        }
    }

    /// The name of the key that it stands for in a call with this `purpose`, and whether the key
    /// must be one for administrators.
    pub(crate) fn key(&self, purpose: Purpose) -> Option<(&str, IsForAdministrators)> {
        let of_administrators = match purpose {
            Purpose::Admin => self.administrators.as_deref(),
            Purpose::Models | Purpose::Own => None,
        };
        let key = |name, is_for_administrators| (name, IsForAdministrators(is_for_administrators));
        of_administrators
            .map(|name| key(name, true))
            .or_else(|| self.callers.as_deref().map(|name| key(name, false)))
    }
}

impl Proof {
    fn check(&self) -> Result<(), Distrust> {
        if self.not_after < SystemTime::now() {
            return Err(Distrust::Expired);
        }
        let by = self.endpoint.in_use();
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        // Verified again only after the files have changed.
        if !Arc::ptr_eq(&verdict.by, &by) {
            let is_trusted = self.is_trusted_by(&by);
            *verdict = Verdict { by, is_trusted };
        }
        match verdict.is_trusted {
            true => Ok(()),
            false => Err(Distrust::Authority),
        }
    }

    fn is_trusted_by(&self, by: &InUse) -> bool {
        let (Some(verifier), Some((first, between))) = (&by.verifier, self.chain.split_first())
        else {
            return false;
        };
        let verified = verifier.verify_client_cert(first, between, UnixTime::now());
        verified.is_ok()
    }
}

/// Whether a key must have the role admin or viewer, or must have neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsForAdministrators(pub(crate) bool);
