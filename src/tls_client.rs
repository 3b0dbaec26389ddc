//! The client's side of TLS: to upstream, to a proxy, to a collector of traces by HTTP, and from the
//! commands to a gateway. tonic does that to a collector by gRPC, and sqlx that to PostgreSQL.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// Which certificates of servers are accepted.
pub(crate) enum Trust {
    /// Those of the authorities of this machine. On Linux, `SSL_CERT_FILE` and `SSL_CERT_DIR` can
    /// replace them. Reading them takes long.
    Machine,
    /// Those of these authorities.
    Authorities(RootCertStore),
    /// All of them, if the server has the private key. Only for what sends no secret.
    Any,
    /// None, because no connection has TLS.
    Nothing,
}

/// TLS 1.2 and 1.3 to servers with such a certificate. The caller adds its own certificate, if it
/// has one.
///
/// # Errors
/// The certificates of the machine cannot be read.
pub(crate) fn config(
    trust: Trust,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Machine => Arc::new(rustls_platform_verifier::Verifier::new(provider)?),
        Trust::Any => Arc::new(Unverified(provider)),
        Trust::Authorities(roots) => return Ok(builder.with_root_certificates(roots)),
        Trust::Nothing => return Ok(builder.with_root_certificates(RootCertStore::empty())),
    };
    let builder = builder.dangerous();
    Ok(builder.with_custom_certificate_verifier(verifier))
}

/// Accepts every certificate, if its owner has its private key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
