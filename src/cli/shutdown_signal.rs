//! The signal to shut down: Ctrl-C, or SIGTERM from a supervisor.

/// Completes at the first signal. A second one ends the process at once with exit code 128 + 2, as
/// shells do.
pub async fn shutdown() {
    next().await;
    tokio::spawn(async {
        // Outlives its caller on purpose: the drain has begun, and this interrupts it.
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
