//! One permit, from its start to its one end.

use std::{fmt, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    Ticket, outside,
    permits::{Own, Permits, Place, Waiting, Want},
    refused::{refused_in_vain, waited_too_long},
    words::{Numbers, numbers},
};
use crate::error::{Error, Result};

/// How long the units of a cancelled request are kept from others: until upstream has noticed that its connection closed.
pub(super) const CANCELLED_SETTLE: Duration = Duration::from_millis(250);

/// How long what a refusal said is believed when no snapshot comes to say otherwise: as long as it asks for, within these
/// bounds.
const REFUSAL_BELIEVED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// The wait after a refusal that says nothing, when the plan's units aren't known either.
const BLIND_WAIT: Duration = Duration::from_secs(1);

/// Leave to ask upstream. Dropped, its units come back a moment later, when upstream has noticed that the connection was
/// closed; [ended](Self::end), at once.
pub struct Permit {
    permits: Permits,
    want: Want,
    ticket: Ticket,
    asked_at: Instant,
    waited: Duration,
    is_over: bool,
}

impl Permit {
    pub(super) fn new(permits: Permits, want: Want, ticket: Ticket, asked_at: Instant) -> Self {
        Self { permits, want, ticket, asked_at, waited: asked_at.elapsed(), is_over: false }
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

    /// Upstream refused the request for want of units, in spite of all: somebody else was faster. The request waits again,
    /// before all others of its queue, and what upstream says corrects what we know.
    ///
    /// If upstream says so of this model again and again although units are free, it says nothing of the account: the
    /// request then steps aside for a while, and comes back as the last of its queue.
    ///
    /// # Errors
    /// Saturated if it has waited too long.
    pub async fn wait_again(mut self, refusal: &Error, place: &Place) -> Result<Self> {
        self.is_over = true;
        let (permits, want, ticket) = (self.permits.clone(), self.want.clone(), self.ticket);
        let (tell, told) = oneshot::channel();
        let aside = {
            let mut state = permits.state();
            let now = Instant::now();
            let Numbers { active, limit } = numbers(refusal.message());
            state.scheduler.put_back(ticket, now.into_std());
            state.refusals = state.refusals.saturating_add(1);
            let ours = state.scheduler.held();
            let own = state.running.remove(&ticket);
            let sent_at = own.as_ref().map_or(now, |own| own.started_at);
            let aside = state.distrust.refused(&want.model, sent_at.into_std(), now.into_std());
            tracing::info!(active, limit, ours, aside = ?aside, "upstream refused for want of units; the request waits again");
            let units = [state.capacity, limit].into_iter().flatten().min();
            let aside = aside.or_else(|| units.is_none().then_some(BLIND_WAIT));
            if aside.is_some() {
                state.scheduler.leave(ticket);
            } else if let Some(units) = units {
                let least = outside::by_silent_refusal(units, ours, want.cost);
                let told = active.map_or(0, |active| outside::by_refusal(active, ours));
                state.scheduler.set_capacity_refused(limit);
                state.scheduler.set_outside_refused(least.max(told), now.into_std());
                let believed = refusal.retry_after().unwrap_or_default().clamp(REFUSAL_BELIEVED.0, REFUSAL_BELIEVED.1);
                state.doubt_at = Some(now + believed);
                let new = || Own { model: want.model.clone(), cost: want.cost, started_at: now };
                let is_hurried = permits.is_hurried(self.asked_at, &want);
                state.waiting.insert(ticket, Waiting { own: own.unwrap_or_else(new), is_hurried, tell });
            }
            permits.advance(&mut state);
            aside
        };
        let Some(aside) = aside else { return permits.wait(want, ticket, self.asked_at, told, place).await };
        let until = permits.until(self.asked_at, want.deadline);
        let back_at = Instant::now() + aside;
        sleep_until(back_at.min(until)).await;
        if until <= back_at {
            // Its own deadline is told as such; and who knows of no units can't say that there were some.
            let is_hurried = permits.is_hurried(self.asked_at, &want);
            return Err(if is_hurried || permits.state().capacity.is_none() {
                waited_too_long(is_hurried, permits.shared.queue_timeout)
            } else {
                refused_in_vain(&want.model)
            });
        }
        permits.acquire_again(self.asked_at, want, place).await
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
