//! TLS from a command to a gateway. The files are checked here, because tonic's errors do not say
//! which of them is wrong.

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::failure::Failure;
use crate::{
    config::{GatewayTls, HealthPlace, TlsFile, problem_of_pair},
    tls_client::{self, Trust},
};

/// TLS of a client of gRPC.
pub(super) fn of_tonic(options: &GatewayTls) -> Result<ClientTlsConfig, Failure> {
    let config = ClientTlsConfig::new();
    let config = match Authorities::read(options)? {
        Some(Authorities { pem, .. }) => config.ca_certificate(Certificate::from_pem(pem)),
        None => config.with_native_roots(),
    };
    let Some(pair) = Pair::read(options)? else {
        return Ok(config);
    };
    let identity = Identity::from_pem(&pair.cert_pem, &pair.key_pem);
    pair.shown_by(Trust::Nothing)?;
    Ok(config.identity(identity))
}

/// TLS of `featherwire health`. The certificate of the gateway beside this program is not verified:
/// it is for the name that callers use, and not for a loopback address. Kubernetes' probes do the
/// same. The question has no secret, and the answer is one word.
pub(super) fn of_health(place: &HealthPlace) -> Result<ClientConfig, Failure> {
    let trust = if place.is_own() {
        Trust::Any
    } else {
        match Authorities::read(&place.tls)? {
            Some(Authorities { roots, .. }) => Trust::Authorities(roots),
            None => Trust::Machine,
        }
    };
    match Pair::read(&place.tls)? {
        Some(pair) => pair.shown_by(trust),
        None => Ok(tls_client::config(trust)?.with_no_client_auth()),
    }
}

/// The authorities of the gateway's certificate.
struct Authorities {
    pem: Vec<u8>,
    roots: RootCertStore,
}

impl Authorities {
    fn read(options: &GatewayTls) -> Result<Option<Self>, Failure> {
        let Some(file) = options.authorities() else {
            return Ok(None);
        };
        let pem = file.read()?;
        let roots = file.authorities(file.certificates(&pem)?)?;
        Ok(Some(Self { pem, roots }))
    }
}

/// The certificate to show, and its key.
struct Pair {
    cert: TlsFile,
    cert_pem: Vec<u8>,
    chain: Vec<CertificateDer<'static>>,
    key: TlsFile,
    key_pem: Vec<u8>,
    private_key: PrivateKeyDer<'static>,
}

impl Pair {
    fn read(options: &GatewayTls) -> Result<Option<Self>, Failure> {
        let Some((cert, key)) = options.pair()? else {
            return Ok(None);
        };
        let (cert_pem, key_pem) = (cert.read()?, key.read()?);
        Ok(Some(Self {
            chain: cert.certificates(&cert_pem)?,
            private_key: key.private_key(&key_pem)?,
            cert,
            cert_pem,
            key,
            key_pem,
        }))
    }

    /// TLS that shows the certificate.
    fn shown_by(self, trust: Trust) -> Result<ClientConfig, Failure> {
        let config = tls_client::config(trust)?;
        let config = config.with_client_auth_cert(self.chain, self.private_key);
        config.map_err(|error| problem_of_pair(&self.cert, &self.key, &error).into())
    }
}
