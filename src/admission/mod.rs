//! Who may ask upstream now, and who has to wait: the gateway's one queue for an account's
//! concurrency units.
//!
//! Featherless meters one thing. A plan has so many units, a request in flight holds what its model
//! costs, and one more than fits is refused with 429. All of this module but `permits` and `permit`
//! is pure: no I/O, no task, no clock and no dice of its own. Whoever drives it says what happened
//! and what time it is, and then asks [`Scheduler::start`] until it says that nobody may.
//!
//! # Order
//!
//! 1. Whoever is *due*, the one that became so first before the others (see below).
//! 2. The classes: interactive before default before batch. A lower class is *owed* a fixed share
//!    of what the others are granted while it waits; when that has added up to the price of its
//!    next request, it has the next turn.
//! 3. In a class, the keys by weighted fair queueing: the key that was granted the fewest
//!    unit-seconds for its weight. A request is billed what it is expected to take when it starts,
//!    and what it did take when it ends; but only for the time in which somebody of the class
//!    waited and another key was about, for what nobody else wants is free. A key that comes back
//!    from idleness starts where the others are: idle time is not saved up. Nor is what a key took
//!    before held against it for more than what all units do in two minutes.
//! 4. Of a key in a class, the request that came first.
//!
//! Who is next but doesn't fit is *passed over*: the first in the same order that does fit starts
//! instead, so that no unit is idle while somebody who fits waits. Requests of one key, class and
//! cost never overtake each other; one can be overtaken by a smaller one of its own key only in
//! this way.
//!
//! Room that was kept is dear, so it is used: when one that it was kept for has started, others
//! that cost as much *follow* in it, whosever turn it is, if they are of its class or a higher one;
//! until they were granted as much as [`Settings::reservation_reuse_share`] says, or there is none. They are
//! charged as always.
//!
//! # What is guaranteed
//!
//! A waiter that was passed over is *due* when its patience has passed since the first time
//! ([`Settings::passed_over`]), or as soon as its key or its class lags too far (see below). Once
//! it is due, nobody starts before it but those that became due earlier, and what is freed is kept
//! until it fits. So it starts no later than when what runs at that moment has ended and those due
//! earlier were served. This holds while its cost fits into what outsiders leave of the plan; while
//! it doesn't, no end of ours could help it, and nothing is kept.
//!
//! Only who is next in the order can be passed over, so that those who are due are those whose turn
//! it already was: however long the waits, the shares of the keys stay what their weights say. A
//! key *lags* by what it lacks to be even with the key that would start in its place; a class, by
//! what other classes were granted when it was its turn. Where that is more than all units do in
//! one patience, the next one is due at once. So no key is ever short by more than that, except by
//! its own doing: if it holds so much that only its own ends can make room. And as every class and
//! every key gets its share, everybody is next some day (keys being finite in number): nobody
//! starves.
//!
//! Keeping units is the only reason why one is idle while somebody who fits it waits, the guard
//! against outsiders aside ([`Settings::headroom`]). Patience is long enough for that to cost about
//! [`Settings::reserved_share`] of the plan.

pub mod cost;
pub mod external_usage;

mod permits;
mod request;
mod scheduler;
mod settings;
mod status;

pub use permits::{Caller, Permit, Permits, QueuePosition, Want};
pub use request::{EnqueueError, KeyId, PerPriority, PermitRequest, Priority, Ticket};
pub use scheduler::Scheduler;
pub use settings::Settings;
pub use status::{KeyStatus, QueueStatus};
