//! Several gateways of one account: one queue for all of them, a fixed share for each of them, or
//! each by the account's feed alone.

mod alone;
mod cell;
mod cluster;
mod leader;
mod queue;
mod table;

pub use leader::leader;
pub use table::table;
