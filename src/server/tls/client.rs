//! The keys that callers' certificates stand for: `--tls-client-keys` and
//! `--admin-tls-client-keys`.

use std::sync::Arc;

use super::certificate::Parsed;
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

/// The certificate that a caller has shown in the handshake, and that was verified then.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The names of the keys that it stands for.
    callers: Option<Arc<str>>,
    administrators: Option<Arc<str>>,
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

    /// The verified certificate `der` of a caller.
    pub(super) fn certificate(&self, der: &[u8]) -> ClientCertificate {
        // Without a mapping, nothing is parsed.
        let names = match self.names().next() {
            Some(_) => Parsed::new(der).map_or_else(Vec::new, |parsed| parsed.names()),
            None => Vec::new(),
        };
        // The first one in the order of the option counts.
        let find = |keys: &[(CertificateName, Arc<str>)]| {
            let found = keys.iter().find(|(name, _)| names.contains(name));
            found.map(|(_, key)| Arc::clone(key))
        };
        ClientCertificate {
            callers: find(&self.callers),
            administrators: find(&self.administrators),
        }
    }
}

impl ClientCertificate {
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

/// Whether a key must have the role admin or viewer, or must have neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IsForAdministrators(pub(crate) bool);
