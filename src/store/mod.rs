//! The database: SQLite in a file, or PostgreSQL for several gateways.
//!
//! Both understand the same SQL as it is written here: parameters are `$1`, `$2` and so on, times
//! are Unix milliseconds in a `BIGINT`, lists are JSON in a `TEXT`. Only the definitions of the
//! tables differ ([`migrations`](Store::migrate)). So each statement is written once, and
//! [`on_each!`] runs it on whichever pool there is.
//!
//! Statements are not checked by sqlx's macros. They need a description of each statement and
//! database in the repository, and a second build of sqlx for the compiler. Tests run each
//! statement on both databases instead.
//!
//! No call waits for the database. What calls need is read before, and what they leave is written
//! later.

mod error;
mod health;
mod location;
mod migrate;
mod permissions;
mod pool;
mod presence;
mod release;
mod time_limit;

pub use error::{StoreError, StoreErrorKind};
pub use health::Written;
pub use migrate::Migrated;
pub use pool::{BeginWrite, Pool, Store};
pub(crate) use pool::{Bind, on_each};
pub use presence::Presence;
pub(crate) use time_limit::{begin_on, end_if_late};
