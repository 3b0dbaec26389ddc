//! What the leader needs of the queue for units. The scheduler is one, in `admission`.

use std::time::{Duration, Instant};

use super::message::{Again, End, Units, Waiting};

/// The queue for units, as the leader uses it.
pub trait Queue {
    /// What the queue must know of a request, such as its units and its key.
    type Request;
    /// What a refusal of upstream says.
    type Refusal;
    /// The name of a request in the queue.
    type Ticket: Copy + Eq + std::hash::Hash;
    /// Why a request gets no units.
    type Error;

    /// Adds a request.
    ///
    /// # Errors
    /// It cannot wait.
    fn enqueue(
        &mut self,
        now: Instant,
        arrival: Arrival<Self::Request>,
    ) -> Result<Self::Ticket, Self::Error>;

    /// Adds a request that runs already, and holds `cost` units whether they are free or not.
    fn adopt(
        &mut self,
        now: Instant,
        started_at: Instant,
        cost: u32,
        request: Self::Request,
    ) -> Self::Ticket;

    /// Does what can be done now: ends waits, and starts requests if they may start.
    fn advance(&mut self, now: Instant, may_start: bool)
    -> Vec<Outcome<Self::Ticket, Self::Error>>;

    /// Puts a started request back, as if it had never started.
    fn put_back(&mut self, now: Instant, ticket: Self::Ticket);

    /// Puts a request back that ran and waits again.
    ///
    /// # Errors
    /// It cannot wait, and has left the queue.
    fn wait_again(
        &mut self,
        now: Instant,
        ticket: Self::Ticket,
        arrival: Arrival<Self::Request>,
        again: Again<Self::Refusal>,
    ) -> Result<(), Self::Error>;

    /// Upstream has begun to answer a request.
    fn admitted(&mut self, now: Instant, ticket: Self::Ticket);

    /// Removes a request that waits.
    fn remove(&mut self, now: Instant, ticket: Self::Ticket);

    /// Ends a request that has its units.
    fn end(&mut self, now: Instant, ticket: Self::Ticket, end: End);

    /// Ends a request whose member is gone. Nobody knows whether upstream still works on it.
    fn abandon(&mut self, now: Instant, ticket: Self::Ticket);

    /// The units that a request holds; 0 if it waits.
    fn units_of(&self, ticket: Self::Ticket) -> u32;

    /// How many requests start before this one. `None` if that is not known.
    fn requests_ahead(&self, ticket: Self::Ticket) -> Option<u32>;

    /// Some members do not ask this queue, but may use their shares of the units alone: the queue must
    /// leave these to them. Returns `false` if the account shows that the silent ones are gone.
    fn leave_to_lost(&mut self, now: Instant, lost: Lost) -> bool;
}

/// The members that do not ask the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lost {
    /// Those of which nothing is heard. They may be dead, or unable to reach Redis.
    pub silent: usize,
    /// Those that are alone, and alive.
    pub alone: usize,
    /// All members, with these.
    pub members: usize,
}

/// A request that comes into the queue.
#[derive(Clone, Debug)]
pub struct Arrival<R> {
    /// Since when it waits. After now if it pauses.
    pub since: Instant,
    /// Until when it must not start.
    pub pause_until: Option<Instant>,
    /// What the queue must know of it.
    pub request: R,
}

impl<R> Arrival<R> {
    pub(super) fn new(now: Instant, waiting: Waiting<R>) -> Self {
        let pause_until = (waiting.pause > Duration::ZERO).then(|| now + waiting.pause);
        let from = pause_until.unwrap_or(now);
        Self {
            since: from.checked_sub(waiting.waited).unwrap_or(from),
            pause_until,
            request: waiting.request,
        }
    }
}

/// What becomes of a request that waits.
#[derive(Clone, Debug)]
pub enum Outcome<T, E> {
    /// It starts.
    Started(T, Units),
    /// It gets no units.
    Rejected(T, E),
}
