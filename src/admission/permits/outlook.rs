//! What a request would meet in the queue.

use tokio::time::Instant;

use super::Permits;
use crate::admission::{outlook::Outlook, request::PermitRequest};

impl Permits {
    /// What `request` would meet if it came into the queue now. `None` while the sources of the plan
    /// are asked.
    pub fn outlook(&self, request: &PermitRequest) -> Option<Outlook> {
        if !*self.shared.is_plan_known.borrow() {
            return None;
        }
        let seat = self.seat.as_ref().filter(|seat| !seat.has_queue());
        // Before the lock: the seat takes it too.
        let elsewhere = seat.map(|seat| Outlook::of_status(&seat.status(), request.cost));
        let mut state = self.shared.lock();
        let outlook = elsewhere.unwrap_or_else(|| {
            let cost = match request.is_cost_estimated {
                true => state.bounded_cost(request.cost),
                false => request.cost,
            };
            let request = PermitRequest { cost, ..*request };
            let now = Instant::now().into_std();
            state.scheduler.outlook(&request, now)
        });
        Some(Outlook {
            is_limit_known: outlook.is_limit_known || state.plan.is_known(),
            ..outlook
        })
    }
}
