//! What the gateway reads in a certificate.

use std::time::SystemTime;

use x509_cert::{
    Certificate,
    der::{Decode, oid::db::rfc4519::COMMON_NAME},
    ext::pkix::{
        BasicConstraints, KeyUsage, SubjectAltName,
        name::{DirectoryString, GeneralName},
    },
};

use crate::config::CertificateName;

/// The longest subject in a log line, in characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// Why a certificate does not hold at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untimely {
    /// It has ended then.
    Expired(SystemTime),
    /// It begins then.
    NotYet(SystemTime),
}

/// A certificate, parsed.
pub(super) struct Parsed(Certificate);

impl Parsed {
    /// Parses a certificate (DER). `None` if it is none.
    pub(super) fn new(der: &[u8]) -> Option<Self> {
        Certificate::from_der(der).ok().map(Self)
    }

    /// When it ends.
    pub(super) fn not_after(&self) -> SystemTime {
        self.0
            .tbs_certificate()
            .validity()
            .not_after
            .to_system_time()
    }

    /// Whether it holds at this time.
    ///
    /// # Errors
    /// It has ended, or has not begun.
    pub(super) fn check_time(&self, now: SystemTime) -> Result<(), Untimely> {
        let begin = self.0.tbs_certificate().validity().not_before;
        match (self.not_after(), begin.to_system_time()) {
            (end, _) if end < now => Err(Untimely::Expired(end)),
            (_, begin) if begin > now => Err(Untimely::NotYet(begin)),
            _ => Ok(()),
        }
    }

    /// Its subject, such as `CN=gateway.example,O=Example`, for people. A certificate with only
    /// alternative names has the first one of them instead.
    pub(super) fn subject(&self) -> String {
        let subject = self.0.tbs_certificate().subject();
        let text = match subject.is_empty() {
            false => subject.to_string(),
            true => match self.alternative_names().into_iter().next() {
                Some(CertificateName::Dns(name) | CertificateName::Uri(name)) => name,
                _ => "a certificate without a name".to_owned(),
            },
        };
        let printable = text.chars().filter(|c| !c.is_control());
        printable.take(SUBJECT_CHARS_MAX).collect()
    }

    /// Whether it may sign other certificates. A caller's certificate may not, and the verification
    /// does not look at this for the certificates that it starts from.
    pub(super) fn is_authority(&self) -> bool {
        let certificate = self.0.tbs_certificate();
        let constraints = certificate.get_extension::<BasicConstraints>();
        let usage = certificate.get_extension::<KeyUsage>();
        matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
            && match usage {
                Ok(Some((_, usage))) => usage.key_cert_sign(),
                Ok(None) => true,
                Err(_) => false,
            }
    }

    /// The names that it is recognised by.
    pub(super) fn names(&self) -> Vec<CertificateName> {
        let mut names = self.alternative_names();
        names.extend(self.common_name().map(CertificateName::CommonName));
        names
    }

    /// The common name of the subject. Of several ones, none counts.
    fn common_name(&self) -> Option<String> {
        let subject = self.0.tbs_certificate().subject();
        let mut names = subject.iter().filter(|part| part.oid == COMMON_NAME);
        let name = names.next().filter(|_| names.next().is_none())?;
        let name = DirectoryString::try_from(&name.value).ok()?;
        Some(name.value().into_owned())
    }

    fn alternative_names(&self) -> Vec<CertificateName> {
        let extension = self.0.tbs_certificate().get_extension::<SubjectAltName>();
        let Ok(Some((_, SubjectAltName(names)))) = extension else {
            return Vec::new();
        };
        let names = names.iter().filter_map(|name| match name {
            GeneralName::DnsName(name) => {
                Some(CertificateName::Dns(name.as_str().to_ascii_lowercase()))
            }
            GeneralName::UniformResourceIdentifier(uri) => {
                Some(CertificateName::Uri(uri.as_str().to_owned()))
            }
            _ => None,
        });
        names.collect()
    }
}
