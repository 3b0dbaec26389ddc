//! What time alone brings: requests start and waits end. And the end of a gateway in a cluster.

use tokio::time::sleep_until;

use super::{Permits, seat::Seat};

impl Permits {
    /// Starts requests and ends waits when it is time. Run it in a task; it never completes.
    pub async fn drive(&self) {
        match (&self.seat, &self.link) {
            (None, _) => self.drive_queue().await,
            (Some(seat), None) => self.drive_seat(seat).await,
            (Some(seat), Some(link)) => _ = tokio::join!(self.drive_seat(seat), link.run()),
        }
    }

    /// Leaves the cluster, if it is one, so that the others need not wait for this gateway. Call it
    /// after the last request.
    pub async fn leave(&self) {
        if let Some(link) = &self.link {
            link.leave().await;
        }
    }

    async fn drive_seat(&self, seat: &Seat) {
        loop {
            let woken = self.shared.driver_wake.notified();
            let wakes_at = seat.tick();
            tokio::select! {
                () = sleep_until(wakes_at) => {}
                () = woken => {}
            }
        }
    }

    async fn drive_queue(&self) {
        loop {
            let woken = self.shared.driver_wake.notified();
            match self.shared.advance_driver() {
                Some(wakes_at) => tokio::select! {
                    () = sleep_until(wakes_at) => {}
                    () = woken => {}
                },
                None => woken.await,
            }
        }
    }
}
