//! A caller that the gateway knows.

use std::sync::Arc;

/// A caller that the gateway knows. Cheap to clone; all clones share one state.
///
/// There is no default identity. A call without one is a bug, not a call of the first key.
#[derive(Clone, Debug)]
pub struct Identity(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    name: String,
    number: u32,
    weight: u32,
}

impl Identity {
    /// The number of all callers of a gateway without keys.
    pub(super) const EVERYONE: u32 = 0;

    /// The number of the gateway itself.
    const GATEWAY: u32 = u32::MAX;

    pub(super) fn new(name: String, number: u32, weight: u32) -> Self {
        Self(Arc::new(Parts {
            name,
            number,
            weight,
        }))
    }

    /// Every caller of a gateway without keys.
    pub(super) fn everyone() -> Self {
        Self::new("everyone".to_owned(), Self::EVERYONE, 1)
    }

    /// The gateway itself, for what it asks on its own account.
    pub fn gateway() -> Self {
        Self::new("gateway".to_owned(), Self::GATEWAY, 1)
    }

    /// The name of the key. A key of `FEATHERWIRE_API_KEYS` is `env-1`, `env-2` and so on, in the
    /// order of the variable.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// A number that no other identity of this process has.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// The share of the units, relative to the weights of other keys. At least 1.
    pub fn weight(&self) -> u32 {
        self.0.weight
    }
}
