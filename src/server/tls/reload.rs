//! Reads the files of certificates again: at SIGHUP, and when their content changes. The content is
//! compared, because notifications of the file system miss a symbolic link that is replaced in a
//! directory above, as Kubernetes does it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::sleep;

use super::{
    endpoint::{Endpoint, New},
    status::CertificateStatus,
};

/// The pause between two looks at the files.
pub const POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The pause after which a new content is looked at again, to see whether all of it is written.
const SETTLING_PAUSE: Duration = Duration::from_secs(1);

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

    pub(super) fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.0.endpoints
    }

    /// Reads all files again, and uses them for new connections if all are usable.
    ///
    /// # Errors
    /// A sentence for each listener whose files are not usable. Nothing changes then.
    pub fn reload_now(&self) -> Result<(), String> {
        let (mut new, mut problems) = (Vec::new(), Vec::new());
        for endpoint in &self.0.endpoints {
            match endpoint.read() {
                Ok(read) => new.push(read),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        new.into_iter().for_each(New::take_over);
        Ok(())
    }

    /// Looks at the files every `interval`, and warns of certificates that end. Files that are not
    /// usable change nothing for their listener. Never completes.
    pub async fn watch(self, interval: Duration) {
        if self.0.endpoints.is_empty() {
            return std::future::pending().await;
        }
        let mut pause = interval;
        loop {
            self.0.status.warn_of_expiry(SystemTime::now());
            sleep(pause).await;
            let reload = self.clone();
            // Files may be on a slow disk.
            let looked = tokio::task::spawn_blocking(move || reload.look()).await;
            pause = match looked {
                Ok(true) => interval.min(SETTLING_PAUSE),
                Ok(false) | Err(_) => interval,
            };
        }
    }

    /// Looks at the files of each listener once, as [`watch`](Self::watch) does. Returns true if
    /// the next look decides.
    pub fn look(&self) -> bool {
        let looks = self.0.endpoints.iter().map(|endpoint| endpoint.look());
        looks.fold(false, |some, one| some | one)
    }

    /// The certificates in use.
    pub fn status(&self) -> &Arc<CertificateStatus> {
        &self.0.status
    }
}
