//! What a request would meet in the queue.

use std::time::{Duration, Instant};

use super::state::Scheduler;
use crate::admission::{outlook::Outlook, request::PermitRequest};

impl Scheduler {
    /// What `request` would meet if it came into the queue at `now`. It takes about as long as
    /// [`Self::requests_ahead`].
    pub fn outlook(&mut self, request: &PermitRequest, now: Instant) -> Outlook {
        self.end_cooldowns(now);
        let available = self.availability(now);
        let capacity = self.units();
        let free = match capacity {
            Some(_) => available.free,
            None => u32::MAX.saturating_sub(self.in_use),
        };
        let starts_now = request.cost <= available.free
            && self.bypassed.first_due(now, available.usable).is_none()
            && !self.must_be_held_back(request, None);
        let wait = if starts_now {
            Duration::ZERO
        } else {
            let own = self
                .queues
                .of(request.priority)
                .queued_of(request.caller.key);
            let ahead = self.estimate_requests_ahead(request, own);
            self.estimate_wait(request.cost, ahead, now)
        };
        Outlook {
            capacity,
            is_limit_known: capacity.is_some(),
            is_within_plan: capacity.is_none_or(|capacity| request.cost <= capacity),
            starts_now,
            free,
            wait,
        }
    }
}
