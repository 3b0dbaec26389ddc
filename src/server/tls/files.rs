//! Reads and checks the files of a listener's TLS. Every error is a sentence that names the file
//! and says what to do.

use std::sync::Arc;

use ring::digest::{self, SHA256};
use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
};

use super::{certificate::Parsed, status::CertificateInUse};
use crate::config::{TlsFile, TlsFiles, regular_file};

/// The largest file. A bundle of all public authorities has about 250 KB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

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
}

impl Content {
    pub(super) fn read(files: &TlsFiles) -> Self {
        Self {
            cert: read(&files.cert),
            key: read(&files.key),
            client_ca: files.client_ca.as_ref().map(read),
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
        let chain = certificates(&files.cert, &self.cert?)?;
        let key = private_key(&files.key, &self.key?)?;
        let mut in_use = vec![first_to_end(listener, &files.cert, &chain)?];
        let verifier = match (&files.client_ca, self.client_ca) {
            (Some(file), Some(content)) => {
                let authorities = certificates(file, &content?)?;
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
        .map_err(|error| problem_of_pair(files, &error))?;
    config.alpn_protocols = ALPN_PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if asks_for_certificates {
        // A resumed session would not look at the certificate again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn problem_of_pair(files: &TlsFiles, error: &rustls::Error) -> String {
    let (cert, key) = (name(&files.cert), name(&files.key));
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "the private key in {key} does not belong to the first certificate in {cert}: give the \
             pair that was made together, with the gateway's own certificate before the others"
        ),
        rustls::Error::InvalidCertificate(problem) => format!(
            "the first certificate in {cert} is not usable ({problem:?}): give the gateway's own \
             certificate before the others"
        ),
        error => format!(
            "the private key in {key} is not usable ({error}): give an ECDSA (P-256 or P-384), \
             Ed25519 or RSA key"
        ),
    }
}

fn verifier(
    file: &TlsFile,
    authorities: Vec<CertificateDer<'static>>,
    is_optional: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let unusable = |problem: &dyn std::fmt::Display| {
        format!(
            "a certificate in {} is not usable as an authority ({problem}): remove it, or replace \
             it",
            name(file)
        )
    };
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), default_provider().into());
    let builder = match is_optional {
        true => builder.allow_unauthenticated(),
        false => builder,
    };
    builder.build().map_err(|error| unusable(&error))
}

/// Refuses a certificate that may not sign others, such as a caller's: who has its key could sign
/// certificates with any name.
fn check_authorities(file: &TlsFile, authorities: &[CertificateDer<'_>]) -> Result<(), String> {
    let mut parsed = authorities.iter().filter_map(|der| Parsed::new(der));
    match parsed.find(|parsed| !parsed.is_authority()) {
        None => Ok(()),
        Some(other) => Err(format!(
            "the certificate {} in {} is not one of an authority (it has no basic constraints with \
             CA:TRUE, or no key usage keyCertSign): remove it, because callers' certificates are \
             not listed here",
            other.subject(),
            name(file)
        )),
    }
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
            "a certificate in {} cannot be read: the file is damaged, or one of its certificates \
             is no X.509 certificate",
            name(file)
        ));
    };
    Ok(CertificateInUse {
        listener,
        file: file.path.clone(),
        subject: first.subject(),
        not_after: first.not_after(),
    })
}

fn certificates(file: &TlsFile, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| damaged(file, &error))?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    let hint = match PrivateKeyDer::from_pem_slice(content) {
        Ok(_) => ". It has a private key: are two options exchanged?",
        Err(_) => "",
    };
    Err(format!(
        "there is no certificate in {}: expected a PEM file with a line -----BEGIN \
         CERTIFICATE-----{hint}",
        name(file)
    ))
}

fn private_key(file: &TlsFile, content: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let has = |text: &str| memchr::memmem::find(content, text.as_bytes()).is_some();
    // OpenSSL has had two forms.
    if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "the private key in {} is encrypted, and the gateway has no password for it: decrypt it \
             with `openssl pkey -in FILE -out OTHER-FILE`, and let only the gateway's user read the \
             other file",
            name(file)
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
                "there is no private key in {}: expected a PEM file with a line -----BEGIN PRIVATE \
                 KEY-----{hint}",
                name(file)
            ))
        }
        Err(error) => Err(damaged(file, &error)),
    }
}

fn damaged(file: &TlsFile, error: &pem::Error) -> String {
    // The error may repeat bytes of the file, which may be those of a key.
    let problem = match error {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no -----END line",
        pem::Error::Base64Decode(_) => "a part of it is not Base64",
        _ => "it is not in the PEM format",
    };
    format!("{} is damaged: {problem}. Write the file again", name(file))
}

fn read(file: &TlsFile) -> Read1 {
    regular_file::read(&file.path, FILE_BYTES_MAX)
        .map_err(|problem| format!("{} {problem}", name(file)))
}

/// The path and the option, such as `/etc/tls.crt (FEATHERWIRE_TLS_CERT, --tls-cert)`.
fn name(file: &TlsFile) -> String {
    let flag = file.flag;
    let variable = flag
        .trim_start_matches('-')
        .replace('-', "_")
        .to_uppercase();
    let path = file.path.display();
    format!("{path} (FEATHERWIRE_{variable}, {flag})")
}
