//! The ledger: what calls have used.
//!
//! In reading order:
//!
//! - [`Record`]: what is kept of one call. [`Sums`]: what is kept of many, with a [`Histogram`] of
//!   their times; `time`: the hours and days that they are added up by.
//! - [`fixed_id`] and [`fixed_name`]: the ids of keys that are not in the database.
//! - [`Ledger`]: takes records, into a bounded queue.
//! - [`Writer`]: the task that makes [`Block`]s of them, and writes these with [`write()`] into the
//!   database, or into the files of `spill` while the database is away (`codec` and `frame` are
//!   their bytes). `retention` removes old
//!   ones.
//! - [`Queries`]: reads them.

mod block;
mod codec;
mod file_lock;
mod frame;
mod histogram;
mod key_names;
mod query;
mod queue;
mod record;
mod retention;
mod spill;
mod sums;
mod time;
mod write;
mod writer;

#[cfg(test)]
mod tests;

pub use block::Block;
pub use histogram::Histogram;
pub use key_names::{fixed_id, fixed_name};
pub use query::{
    ALL_TIME, CallFilter, Cursor, Grouping, KeysNamedError, Order, Queries, UsageError, UsageQuery,
    UsageRow,
};
pub use queue::{Ledger, LedgerStatus};
pub use record::{Door, Ending, Record, Rpc, TokenSource, Tokens};
pub use sums::Sums;
pub use time::Grain;
pub use write::write;
pub use writer::{Settings, Writer};
