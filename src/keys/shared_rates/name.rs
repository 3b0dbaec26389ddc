//! The name of a limit that gateways share.

use uuid::Uuid;

use crate::error::RateUnit;

/// A limit of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::keys) struct Name {
    /// The key.
    pub(in crate::keys) key: Uuid,
    /// What the limit counts.
    pub(in crate::keys) of: RateUnit,
}

impl Name {
    /// Its name in Redis.
    pub(super) fn text(self) -> String {
        let of = match self.of {
            RateUnit::Requests => "requests",
            RateUnit::Tokens => "tokens",
        };
        format!("{}:{of}", self.key)
    }
}
