//! Gateway keys: who calls, and what they may.
//!
//! In reading order:
//!
//! - [`Digest`]: the form in which the gateway knows a secret.
//! - [`Identity`]: a caller that the gateway knows.
//! - [`Directory`]: finds the identity that a secret belongs to.

mod digest;
mod directory;
mod identity;

pub use digest::Digest;
pub use directory::Directory;
pub use identity::Identity;
