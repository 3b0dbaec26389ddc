//! What an error of TLS means for the user of a command.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// A sentence for an error of TLS. `None` for another one.
pub(super) fn sentence(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let mut chain = String::new();
    while let Some(error) = next {
        if let Some(error) = of_tls(error) {
            return Some(sentence_of(error));
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
            return Some(sentence_of(&error));
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

fn sentence_of(error: &TlsError) -> String {
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
