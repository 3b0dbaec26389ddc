//! The ledger: what calls have used.
//!
//! In reading order:
//!
//! - [`Record`]: what is kept of one call. [`Sums`]: what is kept of many, with a [`Histogram`] of
//!   their times; `time`: the hours and days that they are added up by.
//! - [`key_names`]: the ids of keys that are not in the database.
//! - [`write()`]: writes records and sums.
//! - [`Queries`]: reads them.

mod histogram;
pub mod key_names;
mod query;
mod record;
mod rows;
mod sums;
mod time;

#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use query::{ALL_TIME, CallFilter, Cursor, Grouping, Order, Queries, UsageQuery, UsageRow};
pub use record::{Door, Ending, Record, Rpc, TokenSource, Tokens};
pub use rows::write;
pub use sums::Sums;
pub use time::Grain;
