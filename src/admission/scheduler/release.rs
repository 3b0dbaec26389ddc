//! How what runs ends: for good, for a while, or as if it had never begun.

use std::time::{Duration, Instant};

use super::{Running, Scheduler, Waiter, service_time::Work};
use crate::admission::request::{Priority, Ticket};

impl Scheduler {
    /// One that runs has ended, and its units are free at `now + settle`: at once if it was
    /// answered to the end, a moment later if it was cancelled, as upstream has to notice. False if
    /// it didn't run: nothing is freed twice.
    pub fn release(&mut self, ticket: Ticket, now: Instant, settle: Duration) -> bool {
        let Some((waiter, held)) = self.free(ticket, now, settle) else {
            return false;
        };
        let ask = waiter.ask;
        self.classes
            .of_mut(ask.priority)
            .ended(ask.key, ask.cost, held);
        self.pace.ended(ask.cost, held);
        true
    }

    /// A request that runs gives its units back, as by [`Self::release`], and steps aside: it will
    /// ask for them again, from its place in the queue, and waits until this deadline at the
    /// latest. False if it didn't run.
    pub fn pause(
        &mut self,
        ticket: Ticket,
        now: Instant,
        settle: Duration,
        deadline: Option<Instant>,
    ) -> bool {
        let Some((waiter, _)) = self.free(ticket, now, settle) else {
            return false;
        };
        self.may_not_fit = true;
        let ask = crate::admission::PermitRequest {
            deadline,
            ..waiter.ask
        };
        self.set_aside(
            ticket,
            Waiter {
                ask,
                is_back: true,
                ..waiter
            },
        );
        true
    }

    /// Upstream refused one that was started: it waits again, before all of its queue that came
    /// after it, as old as it was and due when it was; it has cost nothing. False if it didn't run.
    ///
    /// Tell what upstream said of the units ([`Self::set_external_usage_from_refusal`], [`Self::set_capacity`])
    /// before the next [`Self::start`], or it is started again at once.
    pub fn requeue(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.settle(now);
        let whole = self.whole();
        let Some(running) = self.unrun(ticket, now) else {
            return false;
        };
        let ask = running.waiter.ask;
        for priority in Priority::ALL {
            let class = self.classes.of_mut(priority);
            if priority == ask.priority {
                class.correct(ask.key, running.billed, Work::default(), whole);
            } else {
                class.owe_not(*running.owed.of(priority));
            }
        }
        self.kept_for = None;
        self.may_not_fit = true;
        self.wait(
            ticket,
            Waiter {
                is_back: true,
                ..running.waiter
            },
            now,
        );
        // When it is in the queue, for a class that nobody waits in has no claims.
        self.classes
            .of_mut(ask.priority)
            .claim_again(running.claims);
        true
    }

    /// Takes back the units of one that ran, and bills what it took. Tells for how long it has held
    /// them.
    fn free(
        &mut self,
        ticket: Ticket,
        now: Instant,
        settle: Duration,
    ) -> Option<(Waiter, Duration)> {
        self.settle(now);
        let whole = self.whole();
        let running = self.unrun(ticket, now)?;
        let ask = running.waiter.ask;
        let held = now.saturating_duration_since(running.started) + settle;
        let class = self.classes.of_mut(ask.priority);
        let wanted = class.contended(ask.key).saturating_sub(running.contended);
        let wanted = if class.is_contended(ask.key) {
            wanted + settle
        } else {
            wanted
        };
        class.correct(
            ask.key,
            running.billed,
            Work::of(ask.cost, wanted.min(held)),
            whole,
        );
        if let Some(account) = self.accounts.get_mut(&ask.key) {
            account.granted = account.granted + Work::of(ask.cost, held);
        }
        if settle.is_zero() {
            self.guard.hand_over(ask.cost, now);
        } else {
            self.settling.push(now + settle, ticket, ask.cost);
        }
        Some((running.waiter, held))
    }

    fn unrun(&mut self, ticket: Ticket, now: Instant) -> Option<Running> {
        let running = self.running.remove(&ticket)?;
        let ask = running.waiter.ask;
        self.in_use = self.in_use.saturating_sub(ask.cost);
        let class = self.classes.of_mut(ask.priority);
        class.count_to(now);
        class.let_go(ask.key, ask.cost);
        if let Some(account) = self.accounts.get_mut(&ask.key) {
            account.in_use = account.in_use.saturating_sub(ask.cost);
        }
        Some(running)
    }
}
