//! Keys and changes of keys, as answers have them.

use std::collections::HashMap;

use uuid::Uuid;

use super::{limits, times::timestamp};
use crate::{
    keys::{self, Role},
    proto::{
        admin::v1 as admin,
        v1::{KeyRole, KeyState},
    },
};

/// A key, and what is left of its budgets.
pub(super) fn key(key: &keys::Key, left: &HashMap<Uuid, Vec<keys::BudgetStatus>>) -> admin::Key {
    let settings = &key.settings;
    let budgets = left.get(&key.id).into_iter().flatten();
    admin::Key {
        id: key.id.to_string(),
        name: settings.name.clone(),
        owner: settings.owner.clone(),
        labels: settings.labels.clone(),
        role: role(key.role).into(),
        state: state(key.state()).into(),
        created_at: Some(timestamp(key.created_at)),
        expires_at: settings.expires_at.map(timestamp),
        disabled_at: settings.disabled_at.map(timestamp),
        revoked_at: key.revoked_at.map(timestamp),
        calls_cut_at: key.calls_cut_at.map(timestamp),
        last_used_at: key.last_used_at.map(timestamp),
        limits: Some(limits::to_message(&settings.limits)),
        secrets: key.secrets.iter().map(secret).collect(),
        budgets: budgets.map(limits::budget_status).collect(),
    }
}

fn secret(secret: &keys::SecretInfo) -> admin::SecretInfo {
    admin::SecretInfo {
        public_id: secret.public_id.clone(),
        last_four: secret.last_four.clone(),
        created_at: Some(timestamp(secret.created_at)),
        ends_at: secret.ends_at.map(timestamp),
    }
}

pub(in crate::service) fn role(role: Role) -> KeyRole {
    match role {
        Role::Inference => KeyRole::Inference,
        Role::Admin => KeyRole::Admin,
        Role::Viewer => KeyRole::Viewer,
    }
}

pub(in crate::service) fn state(state: keys::KeyState) -> KeyState {
    match state {
        keys::KeyState::Active => KeyState::Active,
        keys::KeyState::Disabled => KeyState::Disabled,
        keys::KeyState::Expired => KeyState::Expired,
        keys::KeyState::Revoked => KeyState::Revoked,
    }
}

/// A change of a key.
pub(super) fn event(event: keys::AuditEvent) -> admin::AuditEvent {
    let changes = event.changes.into_iter().map(|change| {
        let text = |value: Option<serde_json::Value>| {
            value.map(|value| value.to_string()).unwrap_or_default()
        };
        admin::AuditChange {
            field: change.field,
            old_value: text(change.old),
            new_value: text(change.new),
        }
    });
    admin::AuditEvent {
        id: event.id,
        at: Some(timestamp(event.at)),
        actor: event.actor.name().to_owned(),
        actor_id: event
            .actor
            .id()
            .map(|id| id.to_string())
            .unwrap_or_default(),
        action: event.action,
        key_id: event.key.map(|key| key.to_string()).unwrap_or_default(),
        changes: changes.collect(),
    }
}
