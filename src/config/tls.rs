//! The options for TLS: the certificates of the listeners, and the certificates of callers.

use std::path::PathBuf;

use clap::Args;

use super::{heading, regular_file, tls_file::TlsFile, values::switch};

/// The options for TLS.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = heading::TLS)]
pub struct Tls {
    /// The certificate of --listen (PEM), followed by the intermediate certificates. With it, the
    /// port speaks only TLS. The files of all --tls options are read again when their content
    /// changes, and at SIGHUP
    #[arg(long, env = "FEATHERWIRE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert (PEM, not encrypted)
    #[arg(long, env = "FEATHERWIRE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// The authorities of callers' certificates (PEM). With it, every caller must show a
    /// certificate of one of them, besides a gateway key (see --tls-client-keys)
    #[arg(long, env = "FEATHERWIRE_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Accept callers without a certificate too. A certificate that is not of --tls-client-ca is
    /// still refused
    #[arg(long, env = "FEATHERWIRE_TLS_CLIENT_CERT_OPTIONAL", value_parser = switch)]
    pub tls_client_cert_optional: bool,

    /// Certificates that stand for gateway keys: `cn:NAME=KEY`, `dns:NAME=KEY` or `uri:URI=KEY`,
    /// comma-separated. A caller with such a certificate who sends no key acts as the key with this
    /// name. Only keys for calls of models
    #[arg(
        long,
        env = "FEATHERWIRE_TLS_CLIENT_KEYS",
        value_name = "CERTIFICATE=KEY",
        value_delimiter = ',',
        value_parser = certificate_key
    )]
    pub tls_client_keys: Vec<CertificateKey>,

    /// The certificate of --admin-listen (PEM). Unset: --admin-listen has the TLS of --listen
    #[arg(long, env = "FEATHERWIRE_ADMIN_TLS_CERT", value_name = "FILE")]
    pub admin_tls_cert: Option<PathBuf>,

    /// The private key of --admin-tls-cert (PEM, not encrypted)
    #[arg(long, env = "FEATHERWIRE_ADMIN_TLS_KEY", value_name = "FILE")]
    pub admin_tls_key: Option<PathBuf>,

    /// The authorities of administrators' certificates (PEM), which every caller of --admin-listen
    /// must show
    #[arg(long, env = "FEATHERWIRE_ADMIN_TLS_CLIENT_CA", value_name = "FILE")]
    pub admin_tls_client_ca: Option<PathBuf>,

    /// Certificates that stand for admin keys, in the form of --tls-client-keys, where the
    /// administration answers. Only keys with the role admin or viewer
    #[arg(
        long,
        env = "FEATHERWIRE_ADMIN_TLS_CLIENT_KEYS",
        value_name = "CERTIFICATE=KEY",
        value_delimiter = ',',
        value_parser = certificate_key
    )]
    pub admin_tls_client_keys: Vec<CertificateKey>,

    /// No TLS at --admin-listen, which must be a loopback address, although --listen has TLS
    #[arg(long, env = "FEATHERWIRE_ADMIN_WITHOUT_TLS", value_parser = switch)]
    pub admin_without_tls: bool,
}

/// The files for TLS of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: TlsFile,
    /// The private key.
    pub key: TlsFile,
    /// The authorities of callers' certificates.
    pub client_ca: Option<TlsFile>,
    /// Whether callers without a certificate are accepted too.
    pub is_client_cert_optional: bool,
}

/// What a certificate is recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name of its subject.
    CommonName(String),
    /// A DNS name of its subject alternative names, in lower case.
    Dns(String),
    /// A URI of its subject alternative names, such as a SPIFFE id.
    Uri(String),
}

/// A certificate that stands for a gateway key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateKey {
    /// What the certificate is recognised by.
    pub certificate: CertificateName,
    /// The name of the key.
    pub key: String,
}

impl Tls {
    /// The files of `--listen`. `None` for no TLS.
    pub fn of_callers(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            cert: TlsFile::new(self.tls_cert.as_deref(), "--tls-cert")?,
            key: TlsFile::new(self.tls_key.as_deref(), "--tls-key")?,
            client_ca: TlsFile::new(self.tls_client_ca.as_deref(), "--tls-client-ca"),
            is_client_cert_optional: self.tls_client_cert_optional,
        })
    }

    /// The files of `--admin-listen`. `None` for no TLS.
    pub fn of_administration(&self) -> Option<TlsFiles> {
        if self.admin_without_tls {
            return None;
        }
        let callers = self.of_callers();
        let client_ca = TlsFile::new(self.admin_tls_client_ca.as_deref(), "--admin-tls-client-ca");
        let cert = TlsFile::new(self.admin_tls_cert.as_deref(), "--admin-tls-cert");
        let key = TlsFile::new(self.admin_tls_key.as_deref(), "--admin-tls-key");
        match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => Some(TlsFiles {
                cert,
                key,
                client_ca,
                is_client_cert_optional: false,
            }),
            (.., Some(client_ca)) => Some(TlsFiles {
                client_ca: Some(client_ca),
                is_client_cert_optional: false,
                ..callers?
            }),
            _ => callers,
        }
    }

    /// Warnings about private keys that other users may read or change, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let all = self
            .of_callers()
            .into_iter()
            .chain(self.of_administration());
        let mut keys: Vec<_> = all.map(|files| files.key).collect();
        keys.dedup();
        let open = keys
            .iter()
            .filter(|key| regular_file::is_open_to_others(&key.path));
        open.map(|key| {
            let path = key.path.display();
            format!(
                "{key} is a private key and other users may read or change it: run `chmod o-rw \
                 {path}`"
            )
        })
        .collect()
    }

    /// Checks the options together. `admin_listen` tells whether `--admin-listen` is set, and
    /// whether it is a loopback address.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to correct it.
    pub fn check(&self, admin_listen: Option<IsLoopback>) -> Result<(), String> {
        check_pair(&self.tls_cert, &self.tls_key, "tls")?;
        check_pair(&self.admin_tls_cert, &self.admin_tls_key, "admin-tls")?;
        let problem = self
            .problem_of_callers()
            .or_else(|| self.problem_of_administration(admin_listen));
        problem.map_or(Ok(()), |problem| Err(problem.to_owned()))
    }

    fn problem_of_callers(&self) -> Option<&'static str> {
        if self.tls_client_ca.is_some() && self.tls_cert.is_none() {
            return Some(
                "FEATHERWIRE_TLS_CLIENT_CA (--tls-client-ca) has no effect without TLS: set \
                 FEATHERWIRE_TLS_CERT (--tls-cert) and FEATHERWIRE_TLS_KEY (--tls-key) too, or \
                 unset it",
            );
        }
        if self.tls_client_cert_optional && self.tls_client_ca.is_none() {
            return Some(
                "FEATHERWIRE_TLS_CLIENT_CERT_OPTIONAL (--tls-client-cert-optional) has no effect \
                 without the authorities of callers' certificates: set FEATHERWIRE_TLS_CLIENT_CA \
                 (--tls-client-ca) too, or unset it",
            );
        }
        if !self.tls_client_keys.is_empty() && self.tls_client_ca.is_none() {
            return Some(
                "FEATHERWIRE_TLS_CLIENT_KEYS (--tls-client-keys) has no effect without the \
                 authorities of callers' certificates: set FEATHERWIRE_TLS_CLIENT_CA \
                 (--tls-client-ca) too, or unset it",
            );
        }
        None
    }

    fn problem_of_administration(&self, listen: Option<IsLoopback>) -> Option<&'static str> {
        let has_own = self.admin_tls_cert.is_some() || self.admin_tls_client_ca.is_some();
        if listen.is_none() && (has_own || self.admin_without_tls) {
            return Some(
                "FEATHERWIRE_ADMIN_TLS_CERT (--admin-tls-cert), --admin-tls-client-ca and \
                 --admin-without-tls are for the address of the administration: set \
                 FEATHERWIRE_ADMIN_LISTEN (--admin-listen) too, or unset them",
            );
        }
        if self.admin_without_tls && has_own {
            return Some(
                "FEATHERWIRE_ADMIN_WITHOUT_TLS (--admin-without-tls) contradicts \
                 FEATHERWIRE_ADMIN_TLS_CERT (--admin-tls-cert) and --admin-tls-client-ca: unset it, \
                 or unset them",
            );
        }
        if self.admin_without_tls && listen == Some(IsLoopback(false)) {
            return Some(
                "without TLS, admin keys would be readable on the network. Therefore \
                 FEATHERWIRE_ADMIN_WITHOUT_TLS (--admin-without-tls) needs a loopback address: set \
                 FEATHERWIRE_ADMIN_LISTEN (--admin-listen) to one, such as 127.0.0.1:9000, or unset \
                 it",
            );
        }
        let of_administration = match listen {
            Some(_) => self.of_administration(),
            None => self.of_callers(),
        };
        if self.admin_tls_client_ca.is_some() && of_administration.is_none() {
            return Some(
                "FEATHERWIRE_ADMIN_TLS_CLIENT_CA (--admin-tls-client-ca) has no effect without \
                 TLS: set FEATHERWIRE_ADMIN_TLS_CERT (--admin-tls-cert) and \
                 FEATHERWIRE_ADMIN_TLS_KEY (--admin-tls-key) too, or unset it",
            );
        }
        let has_client_ca = of_administration.is_some_and(|files| files.client_ca.is_some());
        if !self.admin_tls_client_keys.is_empty() && !has_client_ca {
            return Some(
                "FEATHERWIRE_ADMIN_TLS_CLIENT_KEYS (--admin-tls-client-keys) has no effect where \
                 no caller is asked for a certificate: set FEATHERWIRE_ADMIN_TLS_CLIENT_CA \
                 (--admin-tls-client-ca), or FEATHERWIRE_TLS_CLIENT_CA (--tls-client-ca) if the \
                 administration has no address of its own, or unset it",
            );
        }
        None
    }
}

/// Whether an address is a loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsLoopback(pub bool);

/// Checks that both options of a pair are set, or none.
fn check_pair(
    cert: &Option<PathBuf>,
    key: &Option<PathBuf>,
    prefix: &'static str,
) -> Result<(), String> {
    let (set, missing) = match (cert, key) {
        (Some(_), None) => ("cert", "key"),
        (None, Some(_)) => ("key", "cert"),
        _ => return Ok(()),
    };
    let variable = |name: &str| {
        let name = format!("FEATHERWIRE_{prefix}_{name}").to_uppercase();
        name.replace('-', "_")
    };
    Err(format!(
        "TLS needs a certificate and its private key, and only {} (--{prefix}-{set}) is set: set {} \
         (--{prefix}-{missing}) to the PEM file of the other too, or unset both",
        variable(set),
        variable(missing)
    ))
}

/// Parses `cn:NAME=KEY`, `dns:NAME=KEY` or `uri:URI=KEY`. The last `=` separates, because a URI may
/// contain one.
fn certificate_key(text: &str) -> Result<CertificateKey, String> {
    const EXAMPLE: &str = "expected cn:NAME=KEY, dns:NAME=KEY or uri:URI=KEY, such as \
                           uri:spiffe://example.org/app=team-a";
    let fix = |what: &str| Err(format!("{what}: {EXAMPLE}"));
    let Some((certificate, key)) = text.trim().rsplit_once('=') else {
        return fix("the = and the name of a key are missing");
    };
    let (certificate, key) = (certificate.trim(), key.trim());
    if key.is_empty() {
        return fix("the name of the key is missing after the =");
    }
    let Some((kind, name)) = certificate.split_once(':') else {
        return fix("it does not say what the certificate is recognised by");
    };
    if name.is_empty() {
        return fix("the name in the certificate is missing");
    }
    let certificate = match kind.to_ascii_lowercase().as_str() {
        "cn" => CertificateName::CommonName(name.to_owned()),
        "dns" => CertificateName::Dns(name.to_ascii_lowercase()),
        "uri" => CertificateName::Uri(name.to_owned()),
        _ => return fix("a certificate is recognised by cn, dns or uri"),
    };
    Ok(CertificateKey {
        certificate,
        key: key.to_owned(),
    })
}

#[cfg(test)]
mod tests;
