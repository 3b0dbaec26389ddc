//! The signal to shut down: Ctrl-C, or SIGTERM from a supervisor.

use std::future::Future;

use crate::telemetry;

/// Completes at the first signal after this call. A second signal exits at once with code 128 + 2,
/// the code that shells use for Ctrl-C.
pub fn shutdown() -> impl Future<Output = ()> {
    // On Unix, the same listeners for both waits: a signal that comes between them is not lost.
    let mut signals = Signals::listen();
    async move {
        _ = signals.next().await;
        tokio::spawn(async move {
            // The task outlives its caller on purpose. It interrupts the drain.
            _ = signals.next().await;
            super::output::tell("featherwire: second signal: exiting at once\n");
            telemetry::flush();
            std::process::exit(130);
        });
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Ctrl-C: to end what runs.
    Interrupt,
    /// SIGTERM: to end the program.
    Terminate,
}

/// The signals since `listen`.
#[cfg(unix)]
pub(super) struct Signals {
    /// `None` if the system does not deliver it to this process.
    interrupt: Option<tokio::signal::unix::Signal>,
    terminate: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    pub(super) fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = received(self.interrupt.as_mut()) => Signal::Interrupt,
            () = received(self.terminate.as_mut()) => Signal::Terminate,
        }
    }

    /// Forgets Ctrl-C that was pressed, and not SIGTERM.
    pub(super) fn forget_interrupts(&mut self) {
        self.interrupt = Self::listen().interrupt;
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
pub(super) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(super) fn listen() -> Self {
        Self
    }

    pub(super) async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::Interrupt
    }

    pub(super) fn forget_interrupts(&mut self) {}
}
