//! Gateway keys: who calls, and what they may.
//!
//! A key is an identity with limits. It has one or more secrets, which callers send. The gateway
//! keeps only their digests.
//!
//! In reading order:
//!
//! - [`Limits`] and [`Budget`]: what a key may do.
//! - [`Spending`]: what a key has used of its budgets.
//! - [`Key`]: what the database has of a key. [`NewSecret`]: a secret when it is made, [`Digest`]:
//!   what is kept of it.
//! - [`Repository`]: the keys in the database. [`Actor`] changes them, and [`AuditEvent`] is the
//!   record of a change.
//! - [`Identity`]: a key, as a call knows it, and what it may do.
//! - [`Allowance`]: what one call reserves of the limits of its key.
//! - [`Directory`]: finds the identity that a secret belongs to, in memory. [`Refresh`] keeps it
//!   like the database, and [`Manager`] changes both.

mod account;
mod actor;
mod allowance;
mod audit;
mod budget;
mod catch_up;
mod check;
mod digest;
mod directory;
mod fence;
mod held_units;
mod identity;
mod key;
mod limits;
mod manager;
mod rate;
mod refresh;
mod refusal;
mod repository;
mod saver;
mod secret;
mod shared_rates;
mod spending;
mod spending_news;
mod status;
mod window;

pub use crate::clock;
pub use actor::Actor;
pub use allowance::{Allowance, Ask, CHOICE_TOKENS_MIN};
pub use audit::{AuditChange, AuditEvent};
pub use budget::{Budget, BudgetPeriod, BudgetUnit};
pub use check::Purpose;
pub use digest::Digest;
pub use directory::{Changes, DigestUntil, Directory, Ended, NotNamed, Unreadable};
pub use identity::Identity;
pub use key::{Key, KeySettings, KeyState, Role, SecretInfo};
pub use limits::{Limits, PriorityClass, WEIGHT_MAX};
pub use manager::Manager;
pub(crate) use manager::of_query;
pub use refresh::Refresh;
pub use repository::{KeysError, Repository};
pub use secret::{NewSecret, NoRandomness, SecretKind};
pub use shared_rates::SharedRates;
pub use spending::{Amounts, Reservation, Shortage, Spending};
pub use status::{BudgetStatus, RateStatus};
