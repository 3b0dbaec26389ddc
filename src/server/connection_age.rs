//! The age of a connection. At the largest age it takes no new calls, so that its client connects
//! again, perhaps to another instance of the gateway: a client of gRPC otherwise keeps one
//! connection for as long as it runs, and no balancer can move it.

use std::{future::pending, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{connections::CLOSING_GRACE, peer::Peer};
use crate::service::ActiveCalls;

/// How much the largest age differs from one connection to the next, at most: many that were opened
/// together do not all come back together.
const SPREAD: f64 = 0.1;

/// The limit of the age of connections.
#[derive(Clone, Copy)]
pub(super) struct AgeLimit {
    /// The largest age; `None` for no limit.
    pub(super) max: Option<Duration>,
    /// For how long calls may run after the largest age.
    pub(super) grace: Duration,
}

/// The age of one connection.
pub(super) struct ConnectionAge {
    /// When it takes no new calls, and when its last calls are cut. `None` for no limit.
    ends: Option<(Instant, Instant)>,
    active_calls: ActiveCalls,
}

impl AgeLimit {
    /// The age of a connection that begins now.
    pub(super) fn begin(self, active_calls: ActiveCalls) -> ConnectionAge {
        let ends = self.max.map(|max| {
            let reached =
                Instant::now() + max.mul_f64(1.0 + SPREAD * (2.0 * fastrand::f64() - 1.0));
            (reached, reached + self.grace)
        });
        ConnectionAge { ends, active_calls }
    }
}

impl ConnectionAge {
    /// Completes at the largest age.
    pub(super) async fn is_reached(&self) {
        match self.ends {
            Some((reached, _)) => sleep_until(reached).await,
            None => pending().await,
        }
    }

    /// Cuts the calls of the connection when their time after the largest age is over. Completes
    /// when they have had time to send their errors.
    pub(super) async fn is_over(&self, peer: &Peer) {
        let Some((_, cut_at)) = self.ends else {
            return pending().await;
        };
        sleep_until(cut_at).await;
        peer.cut().set();
        self.active_calls.wake_all();
        sleep(CLOSING_GRACE).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MAX: Duration = Duration::from_secs(100);

    fn age(max: Option<Duration>) -> ConnectionAge {
        let limit = AgeLimit {
            max,
            grace: Duration::from_secs(60),
        };
        limit.begin(ActiveCalls::default())
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_begin_together_do_not_end_together() {
        let begun = Instant::now();
        let mut ages: Vec<_> = (0..100)
            .filter_map(|_| age(Some(MAX)).ends)
            .map(|(reached, _)| reached - begun)
            .collect();
        ages.sort();
        ages.dedup();
        assert_eq!(ages.len(), 100);
        assert!(ages[0] >= MAX.mul_f64(0.9) && ages[99] <= MAX.mul_f64(1.1));
        assert!(
            ages[99] - ages[0] > MAX.mul_f64(0.1),
            "{:?}",
            ages[99] - ages[0]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn calls_are_cut_after_the_grace_and_not_without_a_limit() {
        let (peer, begun) = (Peer::new(MAX, true), Instant::now());
        let limited = age(Some(MAX));
        limited.is_reached().await;
        let reached = begun.elapsed();
        limited.is_over(&peer).await;
        assert_eq!(
            begun.elapsed() - reached,
            Duration::from_secs(60) + CLOSING_GRACE
        );
        let (endless, year) = (age(None), 365 * 864 * MAX);
        for is_over in [
            endless.is_reached().left_future(),
            endless.is_over(&peer).right_future(),
        ] {
            assert!(tokio::time::timeout(year, is_over).await.is_err());
        }
    }
}
