//! Who starts next.

use std::time::{Duration, Instant};

use super::{Availability, Reservation, Scheduler, bypassed, fair_queue::Next, service_time::Work};
use crate::admission::request::{KeyId, Priority, Ticket};

impl Scheduler {
    /// Who would start now.
    pub(super) fn choose(&mut self, room: Availability, now: Instant) -> Option<Ticket> {
        if let Some((ticket, cost)) = self.passed_over.first_due(now, room.whole) {
            // Or what there is is kept for it.
            return (cost <= room.free).then_some(ticket);
        }
        let (priority, next) = self.next(room.whole, room.whole)?;
        if let Some(ticket) = self.follow(priority, room) {
            if next.cost > room.free {
                self.is_due_at(
                    next.ticket,
                    now + self.patience(priority, next.cost, room.whole),
                );
            }
            return Some(ticket);
        }
        if next.cost <= room.free {
            return Some(next.ticket);
        }
        let (overtaking, smaller) = self.next(room.whole, room.free)?;
        let patience = self.patience(priority, next.cost, room.whole);
        if self.lags(priority, next, overtaking, smaller, room.whole, patience) {
            self.is_due_at(next.ticket, now);
            return None;
        }
        self.is_due_at(next.ticket, now + patience);
        if overtaking != priority {
            let work = self.expected(overtaking, smaller.key, smaller.cost);
            self.classes.of_mut(priority).overtake(work);
        }
        Some(smaller.ticket)
    }

    /// Who follows one that units were kept for: another that costs as much, of the class whose
    /// turn it is, while the room that was made is still whole. It may not be its turn yet; but to
    /// make room for it then, units would have to be kept once more.
    fn follow(&mut self, priority: Priority, room: Availability) -> Option<Ticket> {
        let Reservation { cost, left } = self.kept_for?;
        if room.free < cost {
            return None;
        }
        let next = self.classes.of(priority).first_within(cost..=room.free)?;
        let work = self.expected(priority, next.key, next.cost);
        if work > left {
            self.kept_for = None;
            return None;
        }
        self.kept_for = Some(Reservation {
            cost,
            left: left - work,
        });
        Some(next.ticket)
    }

    /// Whether the one whose turn it is has been overtaken so often, it or its like, that this must
    /// not go on: its key (by others of its class) or its class (by other classes) lacks more than
    /// all units do in its patience.
    ///
    /// Its patience alone doesn't see to that: those that get through where one of their own has
    /// ended would each begin to be patient anew, while small ones divide among them whatever else
    /// there is. But if so much is held by the key or the class itself that only an end of its own
    /// can make room, nothing would come of keeping units.
    fn lags(
        &self,
        of: Priority,
        next: Next,
        by: Priority,
        smaller: Next,
        whole: u32,
        patience: Duration,
    ) -> bool {
        let class = self.classes.of(of);
        let (lacking, held) = if of == by {
            (
                class.lacks(next.key, smaller.key),
                class.in_use_of(next.key),
            )
        } else {
            (class.overtaken(), class.in_use())
        };
        lacking > Work::of(whole, patience) && next.cost <= whole.saturating_sub(held)
    }

    /// Whether somebody would start if it were known that what is not ours is free.
    pub(super) fn is_held_up(&self, room: Availability, now: Instant) -> bool {
        let unguarded = room.whole.saturating_sub(room.held);
        unguarded > room.free
            && match self.passed_over.first_due(now, room.whole) {
                Some((_, cost)) => cost <= unguarded,
                None => self.next(room.whole, unguarded).is_some(),
            }
    }

    /// Whose turn it is among those that cost at most so much.
    pub(super) fn next(&self, whole: u32, cost_max: u32) -> Option<(Priority, Next)> {
        let owed = Priority::ALL
            .into_iter()
            .filter(|&priority| self.is_owed(priority, whole));
        owed.chain(Priority::ALL)
            .find_map(|priority| Some((priority, self.classes.of(priority).first(cost_max)?)))
    }

    /// Whether it is this class's turn before those above it. Its next one counts, whether or not
    /// it fits: or else the small ones would use up what is owed to the big one before them.
    fn is_owed(&self, priority: Priority, whole: u32) -> bool {
        let class = self.classes.of(priority);
        class
            .first(whole)
            .is_some_and(|next| class.is_owed(self.expected(priority, next.key, next.cost)))
    }

    /// It was passed over: it is due then, if it wasn't to be due before.
    fn is_due_at(&mut self, ticket: Ticket, due: Instant) {
        let Some(waiter) = self.waiting.get_mut(&ticket) else {
            return;
        };
        let cost = waiter.ask.cost;
        match waiter.due {
            Some(before) if before <= due => return,
            Some(before) => self.passed_over.remove(before, ticket, cost),
            None => {}
        }
        waiter.due = Some(due);
        self.passed_over.insert(due, ticket, cost);
    }

    /// How long one that costs so much may be passed over.
    pub(super) fn patience(&self, priority: Priority, cost: u32, whole: u32) -> Duration {
        bypassed::patience(&self.settings, priority, cost, whole, self.pace.service())
    }

    /// What a request of this key's is expected to take.
    pub(super) fn expected(&self, priority: Priority, key: KeyId, cost: u32) -> Work {
        let service = self
            .classes
            .of(priority)
            .service(key)
            .unwrap_or_else(|| self.pace.service());
        Work::of(cost, service)
    }
}
