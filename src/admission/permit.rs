//! One permit, from its start to its one end.

use std::{fmt, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    Ticket,
    permits::{Permits, Place, Want},
    refused::refused_in_vain,
    tries::{Next, Tries},
};
use crate::error::{Error, Result};

/// How long the units of a cancelled request are kept from others: until upstream has noticed that its connection closed.
pub(super) const CANCELLED_SETTLE: Duration = Duration::from_millis(250);

/// Leave to ask upstream. Dropped, its units come back a moment later, when upstream has noticed that the connection was
/// closed; [ended](Self::end), at once.
pub struct Permit {
    permits: Permits,
    want: Want,
    ticket: Ticket,
    asked_at: Instant,
    waited: Duration,
    tries: Tries,
    is_over: bool,
}

impl Permit {
    pub(super) fn new(permits: Permits, want: Want, ticket: Ticket, asked_at: Instant) -> Self {
        Self { permits, want, ticket, asked_at, waited: asked_at.elapsed(), tries: Tries::default(), is_over: false }
    }

    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Upstream has begun to answer: there were units for it.
    pub fn answered(&self) {
        self.permits.state().distrust.answered(&self.want.model);
    }

    /// Upstream has ended the request by itself: the units are free.
    pub fn end(mut self) {
        self.give_back(Duration::ZERO);
    }

    /// Upstream was never asked: the request has cost nothing, and others may have its units at once.
    pub fn undo(mut self) {
        self.is_over = true;
        let mut state = self.permits.state();
        state.undo(self.ticket);
        self.permits.advance(&mut state);
    }

    /// Upstream refused the request for want of units, in spite of all: another process was faster. The request waits again,
    /// before all others of its queue, and what upstream says corrects what we know. It is not sent again before
    /// upstream's `Retry-After` has passed.
    ///
    /// If upstream says so of this model again and again although units are free, it says nothing of the account: the
    /// request then steps aside for a while, and comes back as the last of its queue.
    ///
    /// # Errors
    /// Saturated if it was refused too often, or would have to wait too long before it may be sent again.
    pub async fn wait_again(mut self, refusal: &Error, place: &Place) -> Result<Self> {
        self.is_over = true;
        let (permits, want, ticket, mut tries) = (self.permits.clone(), self.want.clone(), self.ticket, self.tries);
        let until = permits.until(self.asked_at, &want);
        let (tell, told) = oneshot::channel();
        let (next, aside) = {
            let mut state = permits.state();
            let now = Instant::now();
            let worth = state.refused(ticket, &want, refusal.unit_refusal().unwrap_or_default(), now);
            let told = refusal.unit_refusal().and_then(|units| units.retry_after).unwrap_or_default();
            let next = tries.refused(worth, told).filter(|next| now + next.aside < until);
            tracing::info!(
                ?worth,
                ?next,
                refusals = tries.refusals(),
                "upstream refused for want of concurrency units"
            );
            let aside = match next {
                Some(Next { aside: Duration::ZERO, .. }) => {
                    permits.insert(&mut state, ticket, self.asked_at, &want, tell);
                    None
                }
                _ => state.scheduler.step_aside(ticket),
            };
            permits.advance(&mut state);
            (next, aside)
        };
        let Some(next) = next else { return Err(refused_in_vain(&want.model, tries.refusals(), refusal)) };
        let permit = match aside {
            None => permits.wait(want, ticket, self.asked_at, told, place).await,
            Some(aside) => {
                sleep(next.aside).await;
                if next.keeps_place {
                    permits.acquire_in_place(aside, self.asked_at, want, place).await
                } else {
                    permits.acquire_again(self.asked_at, want, place).await
                }
            }
        };
        permit.map(|permit| permit.after(tries))
    }

    fn after(mut self, tries: Tries) -> Self {
        self.tries = tries;
        self
    }

    fn give_back(&mut self, settle: Duration) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let now = Instant::now();
        let mut state = self.permits.state();
        if let Some(own) = state.running.remove(&self.ticket) {
            state.ended.push_back((own, now));
        }
        state.scheduler.release(self.ticket, now.into_std(), settle);
        state.forget_ended(now);
        self.permits.advance(&mut state);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(CANCELLED_SETTLE);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("ticket", &self.ticket).field("want", &self.want).finish_non_exhaustive()
    }
}
