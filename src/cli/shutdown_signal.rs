//! The signal to shut down: Ctrl-C, or SIGTERM from a supervisor.

/// Completes at the first signal. A second signal exits at once with code 128 + 2, the code that
/// shells use for Ctrl-C.
pub async fn shutdown() {
    next().await;
    tokio::spawn(async {
        // The task outlives its caller on purpose. It interrupts the drain.
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
