//! Reads and checks the files of a listener's TLS together. Every error is a sentence that names the
//! file and says what to do, as those of [`TlsFile`] do.

use std::{sync::Arc, time::SystemTime};

use ring::digest::{self, SHA256};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{
    certificate::{Parsed, Untimely},
    status::CertificateInUse,
};
use crate::config::{TlsFile, TlsFiles, problem_of_pair};

/// The protocols that the gateway offers in the handshake, the preferred one first.
const ALPN_PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The content of the files, read at one moment.
pub(super) struct Content {
    cert: Read1,
    key: Read1,
    client_ca: Option<Read1>,
}

/// The content of one file, or why it cannot be read.
type Read1 = Result<Vec<u8>, String>;

/// The digests of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pair: [u8; 32],
    client_ca: [u8; 32],
}

impl Fingerprint {
    /// Whether the pair differs, and whether the authorities of callers do: in the order of
    /// [`Loaded::certificates`].
    pub(super) fn changed_files(&self, previous: &Self) -> [bool; 2] {
        [
            self.pair != previous.pair,
            self.client_ca != previous.client_ca,
        ]
    }
}

fn digest<'c>(files: impl IntoIterator<Item = &'c Read1>) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for file in files {
        let bytes = match file {
            Ok(content) => content.as_slice(),
            Err(problem) => problem.as_bytes(),
        };
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    }
    let mut all = [0; 32];
    let digest = context.finish();
    for (byte, digest) in all.iter_mut().zip(digest.as_ref()) {
        *byte = *digest;
    }
    all
}

/// The TLS of new connections.
#[derive(Debug)]
pub(super) struct InUse {
    pub(super) config: Arc<ServerConfig>,
    /// Verifies the certificates of callers.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// A usable content.
pub(super) struct Loaded {
    pub(super) tls: InUse,
    /// That of the pair, and that of the authorities of callers.
    pub(super) certificates: Vec<CertificateInUse>,
    /// Why clients refuse the gateway's own certificate now.
    pub(super) untimely: Option<(Untimely, String)>,
}

impl Content {
    pub(super) fn read(files: &TlsFiles) -> Self {
        Self {
            cert: files.cert.read(),
            key: files.key.read(),
            client_ca: files.client_ca.as_ref().map(TlsFile::read),
        }
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            pair: digest([&self.cert, &self.key]),
            client_ca: digest(&self.client_ca),
        }
    }

    /// Checks the content, as a whole.
    pub(super) fn load(self, files: &TlsFiles, listener: &'static str) -> Result<Loaded, String> {
        let chain = files.cert.certificates(&self.cert?)?;
        let key = files.key.private_key(&self.key?)?;
        let untimely = untimely(&files.cert, &chain);
        let mut in_use = vec![first_to_end(listener, &files.cert, &chain)?];
        let verifier = match (&files.client_ca, self.client_ca) {
            (Some(file), Some(content)) => {
                let authorities = file.certificates(&content?)?;
                check_authorities(file, &authorities)?;
                in_use.push(first_to_end(listener, file, &authorities)?);
                Some(verifier(file, authorities, files.is_client_cert_optional)?)
            }
            _ => None,
        };
        Ok(Loaded {
            tls: InUse {
                config: Arc::new(server_config(files, chain, key, verifier.clone())?),
                verifier,
            },
            certificates: in_use,
            untimely,
        })
    }
}

fn server_config(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, String> {
    // TLS 1.2 and 1.3: rustls has no other versions.
    let builder = ServerConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let asks_for_certificates = verifier.is_some();
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| problem_of_pair(&files.cert, &files.key, &error))?;
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if asks_for_certificates {
        // A resumed session would not look at the certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn verifier(
    file: &TlsFile,
    authorities: Vec<CertificateDer<'static>>,
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(file.authorities(authorities)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, default_provider().into());
    let builder = match is_optional {
        true => builder.allow_unauthenticated(),
        false => builder,
    };
    builder.build().map_err(|error| file.no_authority(&error))
}

/// Refuses a certificate that may not sign others, such as a caller's: who has its key could sign
/// certificates with any name.
fn check_authorities(file: &TlsFile, authorities: &[CertificateDer<'_>]) -> Result<(), String> {
    let mut parsed = authorities.iter().filter_map(|der| Parsed::new(der));
    match parsed.find(|parsed| !parsed.is_authority()) {
        None => Ok(()),
        Some(other) => Err(format!(
            "the certificate {} in {file} is not one of an authority (it has no basic constraints \
             with CA:TRUE, or no key usage keyCertSign): remove it, because callers' certificates are \
             not listed here",
            other.subject()
        )),
    }
}

/// Whether the first certificate of the chain holds now, and a sentence if it does not. Clients may
/// do without another certificate of the chain.
fn untimely(file: &TlsFile, chain: &[CertificateDer<'_>]) -> Option<(Untimely, String)> {
    let own = Parsed::new(chain.first()?)?;
    let untimely = own.check_time(SystemTime::now()).err()?;
    let subject = own.subject();
    let sentence = match untimely {
        Untimely::Expired(end) => format!(
            "the certificate {subject} in {file} has expired ({}): replace it, if the clock of this \
             machine is right",
            humantime::format_rfc3339_seconds(end)
        ),
        Untimely::NotYet(begin) => format!(
            "the certificate {subject} in {file} is not valid before {}: is the clock of this \
             machine right?",
            humantime::format_rfc3339_seconds(begin)
        ),
    };
    Some((untimely, sentence))
}

/// The certificate that ends first.
fn first_to_end(
    listener: &'static str,
    file: &TlsFile,
    certificates: &[CertificateDer<'_>],
) -> Result<CertificateInUse, String> {
    let parsed = certificates.iter().map(|der| Parsed::new(der));
    let parsed = parsed.collect::<Option<Vec<_>>>();
    let first = parsed.and_then(|all| all.into_iter().min_by_key(Parsed::not_after));
    let Some(first) = first else {
        return Err(format!(
            "a certificate in {file} cannot be read: the file is damaged, or one of its \
             certificates is no X.509 certificate"
        ));
    };
    Ok(CertificateInUse {
        listener,
        file: file.path.clone(),
        subject: first.subject(),
        not_after: first.not_after(),
    })
}
