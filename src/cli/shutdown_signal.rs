//! The signal to shut down: Ctrl-C, or SIGTERM from a supervisor.

/// Completes at the first signal. A second signal exits at once with code 128 + 2, the code that
/// shells use for Ctrl-C.
pub async fn shutdown() {
    // The same signals for both waits: a signal that comes between them is not lost.
    let mut signals = Signals::listen();
    signals.next().await;
    tokio::spawn(async move {
        // The task outlives its caller on purpose. It interrupts the drain.
        signals.next().await;
        super::output::tell("featherwire: second signal: exiting at once\n");
        std::process::exit(130);
    });
}

#[cfg(unix)]
struct Signals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt());
        let terminate = signal(SignalKind::terminate());
        Self(interrupt.and_then(|first| Ok([first, terminate?])).ok())
    }

    async fn next(&mut self) {
        let Some([interrupt, terminate]) = &mut self.0 else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
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
