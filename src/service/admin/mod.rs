//! The administration: what the services of `featherwire.admin.v1` mean, for both doors.
//!
//! - `keys`: `KeyService`. `settings` and `limits` read the settings of a key from its requests,
//!   `messages` writes keys into answers.
//! - `paging`: the pages of lists. `times`: the times and durations of protobuf.

mod keys;
mod limits;
mod messages;
mod paging;
mod settings;
mod times;

pub use keys::AdminKeys;
