//! Why a change or a query of keys fails.

use std::fmt;

use crate::{
    keys::{key::Key, secret::NoRandomness},
    store::StoreError,
};

/// Why a change or a query of keys failed. `Display` says what to do.
#[derive(Debug)]
pub enum KeysError {
    /// There is no such key.
    NotFound(String),
    /// Several keys have this name.
    Ambiguous {
        /// The name.
        name: String,
        /// The number of keys with this name.
        keys: usize,
    },
    /// A setting is wrong, or the change is not possible.
    Invalid(String),
    /// The system has no random numbers.
    NoRandomness(NoRandomness),
    /// The database failed.
    Store(StoreError),
}

impl KeysError {
    /// A change that would make a revoked key valid.
    pub(crate) fn revoked(key: &Key) -> Self {
        let name = &key.settings.name;
        Self::Invalid(format!(
            "the key {name:?} was revoked, which is for ever: create another key"
        ))
    }
}

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(key) => write!(
                f,
                "there is no key with the id or the name {key:?}: `featherwire keys list` shows \
                 all keys"
            ),
            Self::Ambiguous { name, keys } => write!(
                f,
                "{keys} keys have the name {name:?}: use the id, which `featherwire keys list` \
                 shows"
            ),
            Self::Invalid(problem) => f.write_str(problem),
            Self::NoRandomness(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for KeysError {}

impl From<StoreError> for KeysError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
