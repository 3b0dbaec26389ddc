//! The scheduler: a pure queue. It does no I/O, starts no task, and has no clock and no randomness
//! of its own.
//!
//! Leaves, in reading order:
//!
//! - `work`: unit-seconds.
//! - `key_queue`: the waiting requests of one key in one class.
//! - `service_time`: how long requests hold units and how long they wait.
//! - `claims`: what one class can claim from the others: its credit, and the work that bypassed it.
//! - `fair_queue`: the keys of one class, their virtual times, and the class's claims.
//! - `bypassed`: the requests that smaller ones bypassed, and when they are due.
//! - `headroom`: which of the last free units may be given out.
//! - `cooldown`: the units of cancelled requests.
//!
//! `state` holds them together as the [`Scheduler`]. Its operations, none of which imports another:
//!
//! - `capacity`: the units of the plan and the external usage.
//! - `estimate`: requests ahead and expected waits.
//! - `key_limit`: requests of a key that holds as many units as it may.
//! - `enqueue`: requests come, are parked, and leave.
//! - `selection`: which request is next.
//! - `start`: a request takes its units.
//! - `release`: a request gives them back.
//! - `status`: a snapshot for monitoring. `outlook`: what a request would meet.

mod bypassed;
mod capacity;
mod claims;
mod cooldown;
mod enqueue;
mod estimate;
mod fair_queue;
mod headroom;
mod key_limit;
mod key_queue;
mod outlook;
mod release;
mod selection;
mod service_time;
mod start;
mod state;
mod status;
mod work;

pub use state::Scheduler;

#[cfg(test)]
mod tests;
