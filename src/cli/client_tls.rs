//! TLS to a running gateway, and what its errors mean.

use std::{error::Error, io, path::Path};

use rustls::{
    AlertDescription, CertificateError, Error as TlsError,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use super::failure::Failure;
use crate::config::{GatewayTls, regular_file};

/// The largest file. A bundle of all public authorities has about 250 KB.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The client's side of TLS.
pub(super) fn config(options: &GatewayTls) -> Result<ClientTlsConfig, Failure> {
    let config = ClientTlsConfig::new();
    let config = match &options.gateway_ca {
        Some(path) => {
            let pem = read(path, "--gateway-ca, or FEATHERWIRE_GATEWAY_CA", |pem| {
                CertificateDer::from_pem_slice(pem).is_ok()
            })?;
            config.ca_certificate(Certificate::from_pem(pem))
        }
        None => config.with_native_roots(),
    };
    match (&options.gateway_cert, &options.gateway_cert_key) {
        (Some(cert), Some(key)) => {
            let cert = read(cert, "--gateway-cert, or FEATHERWIRE_GATEWAY_CERT", |pem| {
                CertificateDer::from_pem_slice(pem).is_ok()
            })?;
            let name = "--gateway-cert-key, or FEATHERWIRE_GATEWAY_CERT_KEY";
            let key = read(key, name, |pem| PrivateKeyDer::from_pem_slice(pem).is_ok())?;
            Ok(config.identity(Identity::from_pem(cert, key)))
        }
        (None, None) => Ok(config),
        _ => Err(Failure::failed(
            "a certificate is shown together with its private key: set --gateway-cert and \
             --gateway-cert-key (FEATHERWIRE_GATEWAY_CERT and FEATHERWIRE_GATEWAY_CERT_KEY), or \
             none of them",
        )),
    }
}

fn read(path: &Path, option: &str, is_it: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>, Failure> {
    let path_name = path.display();
    let pem = regular_file::read(path, FILE_BYTES_MAX)
        .map_err(|problem| format!("{path_name} ({option}) {problem}"))?;
    if is_it(&pem) {
        return Ok(pem);
    }
    Err(Failure::failed(format_args!(
        "{path_name} ({option}) is not usable: expected a PEM file with a certificate, or with a \
         private key that is not encrypted"
    )))
}

/// A sentence for an error of TLS. `None` for another one.
pub(super) fn problem(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let mut chain = String::new();
    while let Some(error) = next {
        if let Some(error) = of_tls(error) {
            return Some(sentence(error));
        }
        chain.push_str(&error.to_string());
        next = error.source();
    }
    // HTTP/2 keeps only the text of an error.
    for alert in [
        AlertDescription::CertificateRequired,
        AlertDescription::UnknownCA,
        AlertDescription::CertificateExpired,
        AlertDescription::BadCertificate,
        AlertDescription::CertificateUnknown,
        AlertDescription::DecryptError,
        AlertDescription::AccessDenied,
    ] {
        let error = TlsError::AlertReceived(alert);
        if chain.contains(&error.to_string()) {
            return Some(sentence(&error));
        }
    }
    None
}

fn of_tls<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| inner.downcast_ref());
    error.downcast_ref().or(inner)
}

fn sentence(error: &TlsError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        UnknownIssuer,
    };
    match error {
        // Another authority may have the same name.
        TlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "its certificate is of an authority that is not trusted: give the authority's \
             certificate (--gateway-ca FILE, or FEATHERWIRE_GATEWAY_CA)"
                .to_owned()
        }
        TlsError::InvalidCertificate(
            problem @ (NotValidForName | NotValidForNameContext { .. }),
        ) => {
            format!("its certificate is for another name: use one of its names ({problem})")
        }
        TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
            "its certificate has expired: the gateway's owner must replace it".to_owned()
        }
        TlsError::InvalidCertificate(problem) => {
            format!("its certificate is not accepted: {problem}")
        }
        TlsError::InvalidMessage(_) => {
            "it does not speak TLS: use http:// instead of https://".to_owned()
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => "the gateway requires a certificate: give one (--gateway-cert FILE and \
              --gateway-cert-key FILE, or FEATHERWIRE_GATEWAY_CERT and \
              FEATHERWIRE_GATEWAY_CERT_KEY)"
            .to_owned(),
        TlsError::AlertReceived(alert) => format!(
            "the gateway refuses the connection ({alert:?}): is the certificate (--gateway-cert) \
             of an authority that the gateway trusts, and has it not expired?"
        ),
        error => format!("TLS fails: {error}"),
    }
}
