//! The wish to end: Ctrl-C, or SIGTERM from whoever runs us.

/// Completes at the first such signal. The second one ends the process at once, with 128 + 2, as
/// shells put it.
pub async fn shutdown() {
    next().await;
    tokio::spawn(async {
        // Outlives its caller on purpose: draining is under way, and this is how to cut it short.
        next().await;
        super::output::tell("featherwire: second signal: exiting at once\n");
        std::process::exit(130);
    });
}

#[cfg(unix)]
async fn next() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn next() {
    let _ = tokio::signal::ctrl_c().await;
}
