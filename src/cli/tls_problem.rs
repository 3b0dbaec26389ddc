//! What an error of TLS means for the user of a command: one sentence that says what to do.

use std::{error::Error, fmt, io};

use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// The server that a command has called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server {
    /// A gateway.
    Gateway,
    /// Featherless, or a proxy before it.
    Upstream,
}

/// The port was asked without TLS, and speaks it.
#[derive(Debug)]
pub(super) struct SpeaksTls;

impl fmt::Display for SpeaksTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port speaks TLS")
    }
}

impl Error for SpeaksTls {}

/// A sentence for an error of TLS, to be written after a colon. `None` for another error.
pub(super) fn sentence(error: &(dyn Error + 'static), server: Server) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<TlsError>() {
            return Some(server.sentence(error));
        }
        if error.is::<SpeaksTls>() {
            return Some(
                "its port speaks TLS: use https:// instead of http:// (--gateway, or \
                 FEATHERWIRE_GATEWAY)"
                    .to_owned(),
            );
        }
        next = cause(error);
    }
    None
}

fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().map(io::Error::get_ref) {
        // Its own source would be the next but one.
        Some(Some(inner)) => Some(inner),
        _ => error.source(),
    }
}

impl Server {
    fn sentence(self, error: &TlsError) -> String {
        use CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        match error {
            // Another authority may have the same name.
            TlsError::InvalidCertificate(UnknownIssuer | BadSignature) => {
                let what_to_do = match self {
                    Self::Gateway => {
                        "give the authority's certificate (--gateway-ca FILE, or \
                         FEATHERWIRE_GATEWAY_CA)"
                    }
                    Self::Upstream => {
                        "if a proxy of your network reads TLS, add its authority to those of this \
                         machine, or name a file with all authorities (SSL_CERT_FILE)"
                    }
                };
                format!("its certificate is of an authority that is not trusted: {what_to_do}")
            }
            TlsError::InvalidCertificate(
                problem @ (NotValidForName | NotValidForNameContext { .. }),
            ) => {
                let what_to_do = match self {
                    Self::Gateway => "use one of its names",
                    Self::Upstream => {
                        "correct FEATHERLESS_BASE_URL, or the address of the proxy before it"
                    }
                };
                format!("its certificate is for another name: {what_to_do} ({problem})")
            }
            TlsError::InvalidCertificate(Expired | ExpiredContext { .. }) => {
                "its certificate has expired: its owner must replace it, if the clock of this \
                 machine is right"
                    .to_owned()
            }
            TlsError::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => {
                "its certificate is not valid yet: is the clock of this machine right?".to_owned()
            }
            TlsError::InvalidCertificate(problem) => {
                format!("its certificate is not accepted: {problem}")
            }
            TlsError::InvalidMessage(_) => match self {
                Self::Gateway => "it does not speak TLS: use http:// instead of https://",
                // The key must not go to it in clear.
                Self::Upstream => {
                    "what answers does not speak TLS: check FEATHERLESS_BASE_URL, and the proxies \
                     of your network"
                }
            }
            .to_owned(),
            TlsError::AlertReceived(alert) => self.alert(*alert),
            error => format!("TLS fails: {error}"),
        }
    }

    fn alert(self, alert: AlertDescription) -> String {
        match (self, alert) {
            (
                Self::Gateway,
                AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
            ) => "it requires a certificate: give one (--gateway-cert FILE and --gateway-cert-key \
                  FILE, or FEATHERWIRE_GATEWAY_CERT and FEATHERWIRE_GATEWAY_CERT_KEY)"
                .to_owned(),
            (Self::Gateway, alert) => format!(
                "it refuses the connection ({alert:?}): is the certificate (--gateway-cert) of an \
                 authority that the gateway trusts, and has it not expired?"
            ),
            (Self::Upstream, alert) => {
                format!(
                    "it refuses the connection ({alert:?}): check FEATHERLESS_BASE_URL, and the \
                     proxies of your network"
                )
            }
        }
    }
}
