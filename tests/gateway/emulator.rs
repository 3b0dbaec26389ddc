//! The emulator, seen by a client: real sockets, real answers, and the state afterwards.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod answers;
mod catalogue;
mod errors;
mod faults;
mod gateway;
mod help;
mod json;
mod kinds;
mod lengths;
mod readiness;
mod statuses;
mod strictness;
mod support;
mod switches;
mod units;
