//! One permit, from its start to its one end.

use std::{fmt, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Permits, QueuePosition, Want,
    refusal_budget::RefusalBudget,
    state::{Own, Waiting},
};
use crate::{
    admission::Ticket,
    error::{Error, Result},
};

/// How long the units of a cancelled request are kept from others: until upstream has noticed that
/// its connection closed.
pub(super) const CANCELLED_SETTLE: Duration = Duration::from_millis(250);

/// Leave to ask upstream. Dropped, its units come back a moment later, when upstream has noticed
/// that the connection was closed; [finished](Self::finish), at once.
pub struct Permit {
    permits: Permits,
    want: Want,
    /// The units it holds: what is wanted, or less if that was a guess.
    cost: u32,
    ticket: Ticket,
    asked_at: Instant,
    waited: Duration,
    tries: RefusalBudget,
    is_over: bool,
}

impl Permit {
    pub(super) fn new(
        permits: Permits,
        want: Want,
        cost: u32,
        ticket: Ticket,
        asked_at: Instant,
    ) -> Self {
        let (waited, tries) = (asked_at.elapsed(), RefusalBudget::default());
        Self {
            permits,
            want,
            cost,
            ticket,
            asked_at,
            waited,
            tries,
            is_over: false,
        }
    }

    /// How long it was waited for.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// How many units it holds.
    pub fn units(&self) -> u32 {
        self.cost
    }

    /// Upstream has begun to answer: there were units for it.
    pub fn mark_admitted(&self) {
        let mut state = self.permits.state();
        if state.let_in(self.ticket, &self.want.model, Instant::now()) {
            self.permits.advance(&mut state);
        }
    }

    /// Upstream has ended the request by itself: the units are free.
    pub fn finish(mut self) {
        self.give_back(Duration::ZERO);
    }

    /// Upstream was never asked: the request has cost nothing, and others may have its units at
    /// once.
    pub fn cancel_unsent(mut self) {
        self.is_over = true;
        let mut state = self.permits.state();
        state.undo(self.ticket);
        self.permits.advance(&mut state);
    }

    /// Upstream refused the request for want of units, in spite of all: another process was faster.
    /// The request waits again, before all others of its queue, and what upstream says corrects
    /// what we know. It is not sent again before upstream's `Retry-After` has passed.
    ///
    /// If upstream says so of this model again and again although units are free, it says nothing
    /// of the account: all who want the model then wait aside, and one at a time is sent.
    ///
    /// # Errors
    /// Saturated if it was refused too often, or would have to wait too long before it may be sent
    /// again.
    pub async fn requeue_after_refusal(
        mut self,
        refusal: &Error,
        place: &QueuePosition,
    ) -> Result<Self> {
        self.is_over = true;
        let (permits, want, ticket, mut tries) = (
            self.permits.clone(),
            self.want.clone(),
            self.ticket,
            self.tries,
        );
        let (tell, told) = oneshot::channel();
        {
            let waiting = permits.waiting(self.asked_at, &want, tell);
            let waiting = Waiting {
                own: Own {
                    cost: self.cost,
                    ..waiting.own
                },
                ..waiting
            };
            let mut state = permits.state();
            let until = permits.until(self.asked_at, &want);
            let refused = state.refused(ticket, waiting, refusal, &mut tries, until);
            permits.advance(&mut state);
            refused?;
        }
        let permit = permits
            .wait(want, ticket, self.asked_at, told, place)
            .await?;
        Ok(permit.after(tries))
    }

    /// The request is to be sent again after this time, for a reason other than want of units:
    /// until then, others may have its units. Then it waits for units again, before all others of
    /// its queue. `may_go_on` if upstream may still work on it.
    ///
    /// # Errors
    /// Saturated if it has waited too long. Only waits count, and not this time.
    pub async fn pause(
        mut self,
        time: Duration,
        may_go_on: bool,
        place: &QueuePosition,
    ) -> Result<Self> {
        self.is_over = true;
        let (permits, want, ticket) = (self.permits.clone(), self.want.clone(), self.ticket);
        let back_at = Instant::now() + time;
        // As if it had been asking since then: so it has waited for as long as before when it comes
        // back.
        let asked_at = back_at.checked_sub(self.waited).unwrap_or(back_at);
        let (tell, told) = oneshot::channel();
        {
            let waiting = permits.waiting(asked_at, &want, tell);
            let own = Own {
                cost: self.cost,
                ..waiting.own
            };
            let waiting = Waiting {
                own,
                back_at: Some(back_at),
                ..waiting
            };
            let settle = if may_go_on {
                CANCELLED_SETTLE
            } else {
                Duration::ZERO
            };
            let mut state = permits.state();
            state.pause(ticket, waiting, permits.until(asked_at, &want), settle);
            permits.advance(&mut state);
        }
        let permit = permits.wait(want, ticket, asked_at, told, place).await?;
        Ok(permit.after(self.tries))
    }

    fn after(mut self, tries: RefusalBudget) -> Self {
        self.tries = tries;
        self
    }

    fn give_back(&mut self, settle: Duration) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let mut state = self.permits.state();
        if settle.is_zero() {
            state.let_in(self.ticket, &self.want.model, Instant::now());
        }
        state.end(self.ticket, settle);
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
        f.debug_struct("Permit")
            .field("ticket", &self.ticket)
            .field("want", &self.want)
            .finish_non_exhaustive()
    }
}
