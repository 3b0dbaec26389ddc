//! Reads the files of certificates again: at SIGHUP, and when their content changes. The content is
//! compared, because notifications of the file system miss a symbolic link that is replaced in a
//! directory above, as Kubernetes does it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use super::{endpoint::Endpoint, status::CertificateStatus};

/// The pause between two looks at the files.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Reads the files of certificates again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reload(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    endpoints: Vec<Arc<Endpoint>>,
    status: Arc<CertificateStatus>,
}

impl Reload {
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>, status: Arc<CertificateStatus>) -> Self {
        Self(Arc::new(Parts { endpoints, status }))
    }

    /// Reads all files again. A file that is not usable changes nothing for its listener.
    ///
    /// # Errors
    /// A sentence for each listener whose files are not usable.
    pub fn reload_now(&self) -> Result<(), String> {
        let endpoints = self.0.endpoints.iter();
        let problems = endpoints.filter_map(|endpoint| endpoint.reload().err());
        let problems: Vec<_> = problems.collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(problems.join("; ")),
        }
    }

    /// Looks at the files every `interval`, and warns of certificates that end. Never completes.
    pub async fn watch(self, interval: Duration) {
        if self.0.endpoints.is_empty() {
            return std::future::pending().await;
        }
        loop {
            self.0.status.warn_of_expiry(SystemTime::now());
            sleep(interval).await;
            let reload = self.clone();
            // Files may be on a slow disk. Problems are logged by the endpoint.
            let looked = tokio::task::spawn_blocking(move || reload.reload_now());
            let _ = looked.await;
        }
    }

    /// The certificates in use.
    pub fn status(&self) -> &Arc<CertificateStatus> {
        &self.0.status
    }
}
