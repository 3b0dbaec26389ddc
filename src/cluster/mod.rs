//! One queue for the gateways of an account: its protocol, as pure code without a clock.
//!
//! One gateway, the *leader*, has the queue. Each gateway is a *member*, also the leader itself: it
//! asks the leader for the units of its requests, and tells it when they end. Who leads is decided
//! elsewhere, by a lease. Here is what follows from it:
//!
//! - [`message`]: what members and the leader say to each other, in numbered *sessions*.
//! - [`member`]: the requests of one gateway. It alone knows what is true of them.
//! - [`leader`]: the queue, and what the leader knows of the members.
//! - [`redis`]: elections and messages through Redis.
//! - `simulation`: a cluster in simulated time, in which messages are lost, late and repeated,
//!   gateways die, and Redis forgets everything.
//!
//! # What it guarantees
//!
//! - Gateways that follow a leader never use more units than there are, whatever message is lost, late or repeated, and
//!   whichever gateway dies. A gateway that stands still for longer than
//!   [`GRANT_VALID`](member::GRANT_VALID), exactly between a grant and its use, can break this, and
//!   upstream refuses one request then. Gateways that go on without Redis are not in this guarantee:
//!   `admission` tells what they do.
//! - Each request gets its units, or an error, or its caller leaves: a lost message ends the session,
//!   and the next one begins with all that the member has.
//! - After the death of the leader nobody starts for [`DEAD_AFTER`](leader::DEAD_AFTER) at most, and
//!   what runs goes on.

pub mod leader;
pub mod member;
pub mod message;
pub mod queue;
pub mod redis;
#[cfg(test)]
mod simulation;
