//! The certificates in use, for `/metrics` and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// From this time before its end, a certificate is warned of.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * DAY_SECONDS);

/// The pause between two warnings of the same certificates.
const WARNING_PAUSE: Duration = Duration::from_secs(DAY_SECONDS);

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The certificates in use, and how many reloads have failed.
#[derive(Debug, Default)]
pub struct CertificateStatus {
    in_use: Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    certificates: Vec<CertificateInUse>,
    reload_failures: BTreeMap<&'static str, u64>,
    /// The listeners whose files have a content that is not usable.
    broken: BTreeSet<&'static str>,
    warned_at: Option<SystemTime>,
}

/// A file of certificates in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInUse {
    /// `main` or `admin`. If both listeners have the same TLS, only `main`.
    pub listener: &'static str,
    /// The path, as the option names it.
    pub file: PathBuf,
    /// The subject of the certificate in it that ends first.
    pub subject: String,
    /// When that certificate ends.
    pub not_after: SystemTime,
}

impl CertificateStatus {
    /// The files of certificates in use.
    pub fn certificates(&self) -> Vec<CertificateInUse> {
        self.in_use().certificates.clone()
    }

    /// Each listener with TLS, and when the first of its certificates ends.
    pub fn ends(&self) -> BTreeMap<&'static str, SystemTime> {
        let mut ends = BTreeMap::new();
        for certificate in &self.in_use().certificates {
            let end = ends
                .entry(certificate.listener)
                .or_insert(certificate.not_after);
            *end = certificate.not_after.min(*end);
        }
        ends
    }

    /// Each listener with TLS, and how often the new content of its files was not usable. Each
    /// content counts once.
    pub fn reload_failures(&self) -> BTreeMap<&'static str, u64> {
        self.in_use().reload_failures.clone()
    }

    /// Whether the content of the listener's files is in use.
    pub fn is_ok(&self, listener: &str) -> bool {
        !self.in_use().broken.contains(listener)
    }

    pub(super) fn count_reload_failure(&self, listener: &'static str) {
        let mut in_use = self.in_use();
        *in_use.reload_failures.entry(listener).or_default() += 1;
        in_use.broken.insert(listener);
    }

    /// Replaces the certificates of `listener`.
    pub(super) fn set(&self, listener: &'static str, certificates: Vec<CertificateInUse>) {
        let mut in_use = self.in_use();
        in_use.certificates.retain(|one| one.listener != listener);
        in_use.certificates.extend(certificates);
        in_use.reload_failures.entry(listener).or_default();
        in_use.broken.remove(listener);
        // The new ones may end soon too.
        in_use.warned_at = None;
    }

    /// Logs the certificates that end soon or have ended, once a day.
    pub(super) fn warn_of_expiry(&self, now: SystemTime) {
        for (certificate, expiry) in self.expiring(now) {
            let CertificateInUse { subject, file, .. } = &certificate;
            let (file, listener) = (file.display(), certificate.listener);
            match expiry {
                Expiry::Past => tracing::error!(
                    listener, %file, subject,
                    "a certificate in use has expired: replace it in the file"
                ),
                Expiry::InDays(days) => tracing::warn!(
                    listener, %file, subject, days,
                    "a certificate in use expires soon: replace it in the file"
                ),
            }
        }
    }

    /// The certificates to warn of at this time.
    fn expiring(&self, now: SystemTime) -> Vec<(CertificateInUse, Expiry)> {
        let mut in_use = self.in_use();
        let is_due = in_use.warned_at.is_none_or(|at| {
            now.duration_since(at)
                .is_ok_and(|passed| passed >= WARNING_PAUSE)
        });
        if !is_due {
            return Vec::new();
        }
        let expiring = in_use.certificates.iter().filter_map(|certificate| {
            let expiry = match certificate.not_after.duration_since(now) {
                Ok(left) if left > EXPIRY_WARNING => return None,
                Ok(left) => Expiry::InDays(left.as_secs() / DAY_SECONDS),
                Err(_) => Expiry::Past,
            };
            Some((certificate.clone(), expiry))
        });
        let expiring: Vec<_> = expiring.collect();
        // Without a warning, the next look may find one.
        if !expiring.is_empty() {
            in_use.warned_at = Some(now);
        }
        expiring
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Past,
    InDays(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_warned_of_once_a_day_from_two_weeks_before_its_end() {
        let day = Duration::from_secs(DAY_SECONDS);
        let begun = SystemTime::UNIX_EPOCH + 20_000 * day;
        let certificate = |end: SystemTime| CertificateInUse {
            listener: "main",
            file: PathBuf::from("a.pem"),
            subject: "CN=a".to_owned(),
            not_after: end,
        };
        let status = CertificateStatus::default();
        status.set("main", vec![certificate(begun + 20 * day)]);
        let expiring = |after: Duration| {
            let expiring = status.expiring(begun + after);
            expiring.into_iter().map(|(_, expiry)| expiry).next()
        };
        let second = Duration::from_secs(1);
        assert_eq!(expiring(6 * day - second), None);
        assert_eq!(expiring(6 * day + second), Some(Expiry::InDays(13)));
        assert_eq!(expiring(7 * day), None, "once a day");
        assert_eq!(expiring(7 * day + second), Some(Expiry::InDays(12)));
        assert_eq!(expiring(20 * day + second), Some(Expiry::Past));
        status.set("main", vec![certificate(begun + 30 * day)]);
        assert_eq!(
            expiring(20 * day + 2 * second),
            Some(Expiry::InDays(9)),
            "a new one"
        );
        status.set("main", vec![certificate(begun + 90 * day)]);
        assert_eq!(expiring(21 * day + 2 * second), None);
        assert_eq!(status.certificates().len(), 1);
    }
}
