//! Keys as a gateway sends and takes them.

use prost_types::{FieldMask, Timestamp};
use uuid::Uuid;

use crate::{
    cli::failure::Failure,
    keys::{Budget, BudgetStatus, Key, KeySettings, Role, SecretInfo, SecretKind, clock::UnixMs},
    proto::{
        admin::v1::{self as admin, CreateKeyRequest, UpdateKeyRequest},
        v1::{self, KeyRole},
    },
    service::key_messages::{limits_message, limits_of_message, timestamp},
};

/// The key in an answer.
///
/// # Errors
/// The gateway is of another version, and the key has something that this one does not know.
pub(super) fn key(key: Option<admin::Key>) -> Result<Key, Failure> {
    key.and_then(known).ok_or_else(|| {
        Failure::failed(
            "the gateway's answer has a key that this version does not understand: use the \
             gateway's version of this command",
        )
    })
}

fn known(key: admin::Key) -> Option<Key> {
    let role = match key.role() {
        KeyRole::Unspecified => return None,
        KeyRole::Inference => Role::Inference,
        KeyRole::Admin => Role::Admin,
        KeyRole::Viewer => Role::Viewer,
    };
    let secret = |secret: admin::SecretInfo| {
        Some(SecretInfo {
            public_id: secret.public_id,
            last_four: secret.last_four,
            created_at: unix_ms(secret.created_at)?,
            ends_at: unix_ms(secret.ends_at),
        })
    };
    Some(Key {
        id: Uuid::try_parse(&key.id).ok()?,
        role,
        settings: KeySettings {
            name: key.name,
            owner: key.owner,
            labels: key.labels,
            expires_at: unix_ms(key.expires_at),
            disabled_at: unix_ms(key.disabled_at),
            limits: limits_of_message(key.limits.unwrap_or_default()).ok()?,
        },
        created_at: unix_ms(key.created_at)?,
        revoked_at: unix_ms(key.revoked_at),
        calls_cut_at: unix_ms(key.calls_cut_at),
        last_used_at: unix_ms(key.last_used_at),
        secrets: key.secrets.into_iter().map(secret).collect::<Option<_>>()?,
    })
}

/// What is left of the budgets of `key`, which an answer has in the order of its limits.
pub(super) fn budget_statuses(key: &Key, left: Vec<v1::BudgetStatus>) -> Vec<BudgetStatus> {
    let amount = |number: i64| u64::try_from(number).unwrap_or_default();
    let budgets = key.settings.limits.budgets.iter().zip(left);
    let status = |(budget, left): (&Budget, v1::BudgetStatus)| BudgetStatus {
        budget: *budget,
        spent: amount(left.spent),
        reserved: amount(left.reserved),
        left: amount(left.left),
        renews_at: unix_ms(left.renews_at),
    };
    budgets.map(status).collect()
}

fn unix_ms(at: Option<Timestamp>) -> Option<UnixMs> {
    at.map(|at| at.seconds.saturating_mul(1000) + i64::from(at.nanos / 1_000_000))
}

/// The request for a new key.
pub(super) fn new_key(role: Role, kind: SecretKind, settings: KeySettings) -> CreateKeyRequest {
    let role = match role {
        Role::Inference => KeyRole::Inference,
        Role::Admin => KeyRole::Admin,
        Role::Viewer => KeyRole::Viewer,
    };
    CreateKeyRequest {
        name: settings.name,
        owner: settings.owner,
        labels: settings.labels,
        role: role.into(),
        test: kind == SecretKind::Test,
        expires_at: settings.expires_at.map(timestamp),
        expires_in: None,
        limits: Some(limits_message(&settings.limits)),
    }
}

/// The request that changes what differs. Without a difference it has no mask.
pub(super) fn differences(id: Uuid, before: &KeySettings, after: KeySettings) -> UpdateKeyRequest {
    let (old, new) = (&before.limits, &after.limits);
    let changed = [
        ("name", before.name != after.name),
        ("owner", before.owner != after.owner),
        ("labels", before.labels != after.labels),
        ("expires_at", before.expires_at != after.expires_at),
        ("disabled", before.disabled_at != after.disabled_at),
        ("limits.models", old.models != new.models),
        ("limits.weight", old.weight != new.weight),
        ("limits.max_units", old.max_units != new.max_units),
        (
            "limits.highest_priority",
            old.highest_priority != new.highest_priority,
        ),
        (
            "limits.requests_per_minute",
            old.requests_per_minute != new.requests_per_minute,
        ),
        (
            "limits.tokens_per_minute",
            old.tokens_per_minute != new.tokens_per_minute,
        ),
        ("limits.budgets", old.budgets != new.budgets),
        ("limits.accounts", old.accounts != new.accounts),
    ];
    let changed = changed.iter().filter(|(_, is_changed)| *is_changed);
    let paths: Vec<_> = changed.map(|(path, _)| (*path).to_owned()).collect();
    let limits = Some(limits_message(new));
    UpdateKeyRequest {
        id: id.to_string(),
        // One that has passed is not sent again.
        expires_at: (before.expires_at != after.expires_at)
            .then_some(after.expires_at)
            .flatten()
            .map(timestamp),
        expires_in: None,
        update_mask: (!paths.is_empty()).then_some(FieldMask { paths }),
        name: Some(after.name),
        owner: Some(after.owner),
        labels: after.labels,
        disabled: Some(after.disabled_at.is_some()),
        limits,
    }
}
