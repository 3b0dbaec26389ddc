//! The signal to shut down: Ctrl-C, or SIGTERM from a supervisor.

use std::future::Future;

use crate::telemetry;

/// Completes at the first signal after this call. A second signal exits at once with code 128 + 2,
/// the code that shells use for Ctrl-C.
pub fn shutdown() -> impl Future<Output = ()> {
    // On Unix, the same listeners for both waits: a signal that comes between them is not lost.
    let mut signals = Signals::listen();
    async move {
        signals.next().await;
        tokio::spawn(async move {
            // The task outlives its caller on purpose. It interrupts the drain.
            signals.next().await;
            super::output::tell("featherwire: second signal: exiting at once\n");
            telemetry::flush();
            std::process::exit(130);
        });
    }
}

#[cfg(unix)]
struct Signals {
    /// `None` if the system does not deliver it to this process.
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            () = received(self.interrupt.as_mut()) => {}
            () = received(self.terminate.as_mut()) => {}
        }
    }
}

#[cfg(unix)]
async fn received(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
