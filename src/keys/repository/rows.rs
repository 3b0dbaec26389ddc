//! The rows of keys and of their secrets.

use uuid::Uuid;

use super::{KeysError, Repository};
use crate::keys::key::{Key, KeySettings, Role, SecretInfo};

/// A row of `featherwire_keys`, in the order of `select_keys!`.
pub(super) type KeyRow = (
    Uuid,
    String,
    String,
    String,
    String,
    String,
    i64,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

/// A row of `featherwire_secrets`.
pub(super) type SecretRow = (Uuid, String, String, i64, Option<i64>, Vec<u8>);

/// A query of [`KeyRow`]s with this condition, in this order.
macro_rules! select_keys {
    ($where:literal) => {
        select_keys!($where, "created_at, id")
    };
    ($where:literal, $order:literal) => {
        concat!(
            "SELECT id, name, owner, labels, role, limits, created_at, expires_at, disabled_at, \
             revoked_at, calls_cut_at, last_used_at FROM featherwire_keys WHERE deleted_at IS NULL ",
            $where,
            " ORDER BY ",
            $order
        )
    };
}

/// A query of [`SecretRow`]s with this condition.
macro_rules! select_secrets {
    ($where:literal) => {
        concat!(
            "SELECT key_id, public_id, last_four, created_at, ends_at, digest FROM \
             featherwire_secrets ",
            $where,
            " ORDER BY created_at, public_id"
        )
    };
}

impl Repository {
    /// The key in a row, without its secrets.
    pub(super) fn key(&self, row: KeyRow) -> Result<Key, KeysError> {
        let (
            id,
            name,
            owner,
            labels,
            role,
            limits,
            created_at,
            expires_at,
            disabled_at,
            revoked_at,
            calls_cut_at,
            last_used_at,
        ) = row;
        let unreadable = |column: &str| {
            KeysError::Invalid(format!(
                "{}: the column {column} of the key {id} cannot be read: it was changed by hand, \
                 or by another version of Featherwire",
                self.store.place()
            ))
        };
        Ok(Key {
            id,
            role: Role::from_name(&role).ok_or_else(|| unreadable("role"))?,
            settings: KeySettings {
                name,
                owner,
                labels: serde_json::from_str(&labels).map_err(|_| unreadable("labels"))?,
                expires_at,
                disabled_at,
                limits: serde_json::from_str(&limits).map_err(|_| unreadable("limits"))?,
            },
            created_at,
            revoked_at,
            calls_cut_at,
            last_used_at,
            secrets: Vec::new(),
        })
    }
}

pub(super) fn secret_info(
    (_, public_id, last_four, created_at, ends_at, _): SecretRow,
) -> SecretInfo {
    SecretInfo {
        public_id,
        last_four,
        created_at,
        ends_at,
    }
}

pub(super) fn labels_json(settings: &KeySettings) -> String {
    // A map of texts always serialises.
    serde_json::to_string(&settings.labels).unwrap_or_default()
}
