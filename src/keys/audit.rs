//! What a change of a key has changed, for the audit.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    actor::Actor,
    clock::{UnixMs, system_time},
    key::{KeySettings, Role},
};

/// A change of a key.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Its number. Later changes have larger ones.
    pub id: i64,
    /// When it was made.
    pub at: UnixMs,
    /// Who made it.
    pub actor: Actor,
    /// What was done: `create`, `update`, `rotate`, `revoke` or `delete`.
    pub action: String,
    /// The key.
    pub key: Option<Uuid>,
    /// What has changed.
    pub changes: Vec<AuditChange>,
}

/// The change of one setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditChange {
    /// The setting, such as `limits.weight`.
    pub field: String,
    /// The value before, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The value after, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What the database has of a change. It contains no secret.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Detail {
    pub(super) changes: Vec<AuditChange>,
}

impl Detail {
    /// A new key.
    pub(super) fn created(role: Role, settings: &KeySettings) -> Self {
        let mut changes = differences(&Map::new(), &fields(settings));
        changes.push(AuditChange::to("role", role.name()));
        Self { changes }
    }

    /// Other settings of a key.
    pub(super) fn updated(before: &KeySettings, after: &KeySettings) -> Self {
        Self {
            changes: differences(&fields(before), &fields(after)),
        }
    }

    /// Another secret of a key, whose others stay valid for `grace`.
    pub(super) fn rotated(public_id: &str, grace: Duration) -> Self {
        let grace = humantime::format_duration(grace).to_string();
        Self {
            changes: vec![
                AuditChange::to("secret", public_id),
                AuditChange::to("grace", grace),
            ],
        }
    }

    /// A key that was ended, and its running calls too if `cuts_calls`.
    pub(super) fn revoked(cuts_calls: bool) -> Self {
        let change = || AuditChange::to("running_calls", "ended");
        Self {
            changes: cuts_calls.then(change).into_iter().collect(),
        }
    }

    /// A key with this name that was removed.
    pub(super) fn deleted(name: &str) -> Self {
        Self {
            changes: vec![AuditChange {
                field: "name".to_owned(),
                old: Some(name.into()),
                new: None,
            }],
        }
    }

    /// As the database has it.
    pub(super) fn to_json(&self) -> String {
        // Texts, numbers and lists of them always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What the database has as `text`. What cannot be read is empty.
    pub(super) fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl AuditChange {
    fn to(field: &str, value: impl Into<Value>) -> Self {
        Self {
            field: field.to_owned(),
            old: None,
            new: Some(value.into()),
        }
    }
}

/// The settings that are set, by their names.
fn fields(settings: &KeySettings) -> Map<String, Value> {
    let mut fields = Map::new();
    let KeySettings {
        name,
        owner,
        labels,
        expires_at,
        disabled_at,
        limits,
    } = settings;
    fields.insert("name".to_owned(), json!(name));
    if !owner.is_empty() {
        fields.insert("owner".to_owned(), json!(owner));
    }
    if !labels.is_empty() {
        fields.insert("labels".to_owned(), json!(labels));
    }
    if let Some(at) = expires_at {
        let at = humantime::format_rfc3339_millis(system_time(*at)).to_string();
        fields.insert("expires_at".to_owned(), json!(at));
    }
    if disabled_at.is_some() {
        fields.insert("disabled".to_owned(), json!(true));
    }
    let set: BTreeMap<String, Value> = serde_json::to_value(limits)
        .and_then(serde_json::from_value)
        .unwrap_or_default();
    for (name, value) in set {
        let value = match name.as_str() {
            "budgets" => limits.budgets.iter().map(ToString::to_string).collect(),
            _ => value,
        };
        fields.insert(format!("limits.{name}"), value);
    }
    fields
}

fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<AuditChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name));
    let change = |name: &String| AuditChange {
        field: name.clone(),
        old: before.get(name).cloned(),
        new: after.get(name).cloned(),
    };
    changed.map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_with_another_value_are_changes() {
        let before = KeySettings::named("app");
        let mut after = before.clone();
        after.limits.weight = Some(3);
        after.limits.budgets = vec!["tokens=5/day".parse().unwrap()];
        after.disabled_at = Some(5);
        let detail = Detail::updated(&before, &after);
        let read = Detail::from_json(&detail.to_json());
        assert_eq!(read.changes, detail.changes);
        let told: Vec<_> = read
            .changes
            .iter()
            .map(|change| {
                (
                    change.field.as_str(),
                    change.old.clone(),
                    change.new.clone(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("disabled", None, Some(json!(true))),
                ("limits.budgets", None, Some(json!(["tokens=5/day"]))),
                ("limits.weight", None, Some(json!(3))),
            ]
        );
        let back = Detail::updated(&after, &before).changes;
        assert_eq!((&back[2].old, &back[2].new), (&Some(json!(3)), &None));
        assert!(Detail::from_json("{}").changes.is_empty());
    }
}
