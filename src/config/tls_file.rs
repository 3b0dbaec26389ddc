//! A PEM file for TLS, of the gateway or of a command. Every error is a sentence that names the
//! file and says what to do.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use rustls::{
    InconsistentKeys, RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use super::regular_file;

/// The largest file. A bundle of all public authorities has about 250 KB.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file, and the option that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFile {
    /// Its path.
    pub path: PathBuf,
    /// The flag.
    pub flag: &'static str,
}

/// The path and the option, such as `/etc/tls.crt (FEATHERWIRE_TLS_CERT, --tls-cert)`.
impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = self.flag;
        let variable = flag
            .trim_start_matches('-')
            .replace('-', "_")
            .to_uppercase();
        write!(
            f,
            "{} (FEATHERWIRE_{variable}, {flag})",
            self.path.display()
        )
    }
}

impl TlsFile {
    /// The file that this option names, if it is set.
    pub(super) fn new(path: Option<&Path>, flag: &'static str) -> Option<Self> {
        let path = path?.to_owned();
        Some(Self { path, flag })
    }

    /// The content.
    pub(crate) fn read(&self) -> Result<Vec<u8>, String> {
        regular_file::read(&self.path, BYTES_MAX).map_err(|problem| format!("{self} {problem}"))
    }

    /// The certificates in its `content`: at least one.
    pub(crate) fn certificates(
        &self,
        content: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| self.damaged(&error))?;
        if !certificates.is_empty() {
            return Ok(certificates);
        }
        let hint = match PrivateKeyDer::from_pem_slice(content) {
            Ok(_) => ". It has a private key: are two options exchanged?",
            Err(_) => "",
        };
        Err(format!(
            "there is no certificate in {self}: expected a PEM file with a line -----BEGIN \
             CERTIFICATE-----{hint}"
        ))
    }

    /// The private key in its `content`.
    pub(crate) fn private_key(&self, content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
        let has = |text: &str| memchr::memmem::find(content, text.as_bytes()).is_some();
        // OpenSSL has had two forms.
        if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
            return Err(format!(
                "the private key in {self} is encrypted, and there is no option for its password: \
                 decrypt it with `openssl pkey -in FILE -out OTHER-FILE`, and let only the \
                 program's user read the other file"
            ));
        }
        match PrivateKeyDer::from_pem_slice(content) {
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => {
                let hint = match has("-----BEGIN CERTIFICATE-----") {
                    true => ". It has a certificate: are two options exchanged?",
                    false => "",
                };
                Err(format!(
                    "there is no private key in {self}: expected a PEM file with a line -----BEGIN \
                     PRIVATE KEY-----{hint}"
                ))
            }
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// The authorities that its `certificates` are.
    pub(crate) fn authorities(
        &self,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        for authority in certificates {
            roots
                .add(authority)
                .map_err(|error| self.no_authority(&error))?;
        }
        Ok(roots)
    }

    /// A certificate in it cannot be used as an authority.
    pub(crate) fn no_authority(&self, problem: &dyn fmt::Display) -> String {
        format!(
            "a certificate in {self} is not usable as an authority ({problem}): remove it, or \
             replace it"
        )
    }

    fn damaged(&self, error: &pem::Error) -> String {
        // The error may repeat bytes of the file, which may be those of a key.
        let problem = match error {
            pem::Error::MissingSectionEnd { .. } => "a part of it has no -----END line",
            pem::Error::Base64Decode(_) => "a part of it is not Base64",
            _ => "it is not in the PEM format",
        };
        format!("{self} is damaged: {problem}. Write the file again")
    }
}

/// Why the certificates in `cert` and the private key in `key` are not usable together.
pub(crate) fn problem_of_pair(cert: &TlsFile, key: &TlsFile, error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "the private key in {key} does not belong to the first certificate in {cert}: give the \
             pair that was made together, with its own certificate before the others"
        ),
        rustls::Error::InvalidCertificate(problem) => format!(
            "the first certificate in {cert} is not usable ({problem:?}): give its own certificate \
             before the others"
        ),
        error => format!(
            "the private key in {key} is not usable ({error}): give an ECDSA (P-256 or P-384), \
             Ed25519 or RSA key"
        ),
    }
}
