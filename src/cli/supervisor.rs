//! What systemd is told (`sd_notify`): when callers are served, when the drain begins, and that the
//! program is not stuck.
//!
//! systemd says by variables where to tell it, and the package `sd-notify` reads them itself:
//! `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. They are about this one process and do not
//! configure it, so they are no options of [`config`](crate::config). Without them nothing is told.

#[cfg(unix)]
pub(super) use systemd::{ready, stopping, watchdog};

#[cfg(not(unix))]
pub(super) use nothing::{ready, stopping, watchdog};

#[cfg(unix)]
mod systemd {
    use std::{convert::Infallible, future::pending, net::SocketAddr, time::Duration};

    use sd_notify::NotifyState;
    use tokio::time::{MissedTickBehavior, interval};

    /// The time beyond `--drain-timeout` in which the program ends: calls are cut, and the ledger
    /// is written.
    const END_MARGIN: Duration = Duration::from_secs(15);

    /// Callers are served at this address.
    pub(in crate::cli) fn ready(address: SocketAddr) {
        let status = format!("serving on {address}");
        tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The drain begins, and takes at most this time.
    pub(in crate::cli) fn stopping(drain_timeout: Duration) {
        // The unit's TimeoutStopSec may be shorter.
        let longest = drain_timeout.saturating_add(END_MARGIN).as_micros();
        tell(&[
            NotifyState::Stopping,
            NotifyState::Status("draining: running calls may finish"),
            NotifyState::ExtendTimeoutUsec(u32::try_from(longest).unwrap_or(u32::MAX)),
        ]);
    }

    /// Says, as often as systemd expects it, that the task of the caller is not stuck. Never
    /// completes.
    pub(in crate::cli) async fn watchdog() -> Infallible {
        let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
            return pending().await;
        };
        // Twice in the limit, as sd_watchdog_enabled(3) advises.
        let mut ticks = interval(limit / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(state: &[NotifyState]) {
        if let Err(error) = sd_notify::notify(state) {
            tracing::warn!(%error, "cannot tell systemd the state of the gateway");
        }
    }
}

#[cfg(not(unix))]
mod nothing {
    use std::{convert::Infallible, future::pending, net::SocketAddr, time::Duration};

    pub(in crate::cli) fn ready(_address: SocketAddr) {}

    pub(in crate::cli) fn stopping(_drain_timeout: Duration) {}

    pub(in crate::cli) async fn watchdog() -> Infallible {
        pending().await
    }
}
