//! The signal to read files again: SIGHUP.

use std::future::Future;

use crate::server::tls::Reload;

/// Reads the certificates again at each SIGHUP after this call. The future never completes.
#[cfg(unix)]
pub(super) fn at_signals(certificates: Reload) -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = signal(SignalKind::hangup());
    async move {
        let Ok(mut signals) = signals else {
            // The system does not deliver it to this process.
            return std::future::pending().await;
        };
        while signals.recv().await.is_some() {
            let certificates = certificates.clone();
            let reloading = tokio::task::spawn_blocking(move || certificates.reload_now());
            match reloading.await {
                Ok(Ok(())) => tracing::info!("SIGHUP: the certificates were read again"),
                Ok(Err(problem)) => tracing::warn!("SIGHUP: {problem}"),
                Err(error) => tracing::error!(%error, "SIGHUP: cannot read the certificates"),
            }
        }
    }
}

/// There is no such signal.
#[cfg(not(unix))]
pub(super) async fn at_signals(_: Reload) {
    std::future::pending().await
}
