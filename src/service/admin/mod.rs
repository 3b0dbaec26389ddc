//! The administration: what the services of `featherwire.admin.v1` mean, for both doors.
//!
//! - `keys`: `KeyService`. `settings` and `limits` read the settings of a key from its requests,
//!   `messages` writes keys into answers.
//! - `usage`: `UsageService`. `usage_query` reads the questions about sums of calls and writes their
//!   answers.
//! - `paging`: the pages of lists. `times`: the times and durations of protobuf.

mod keys;
pub(super) mod limits;
pub(super) mod messages;
mod paging;
mod settings;
pub(super) mod times;
mod usage;
pub(super) mod usage_query;

pub use keys::AdminKeys;
pub use usage::AdminUsage;
pub(super) use usage::queries;

/// Keys in messages, for clients.
pub(crate) mod key_messages {
    pub(crate) use super::{
        limits::{of_message as limits_of_message, to_message as limits_message},
        times::timestamp,
    };
}

/// Sums of calls in messages, for clients.
pub(crate) mod usage_messages {
    pub(crate) use super::usage_query::rows as usage_rows;
}
