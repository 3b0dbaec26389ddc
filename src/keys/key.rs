//! A key: an identity with limits, and the secrets by which it is recognised.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{
    clock::{UnixMs, now},
    limits::Limits,
};

/// The longest name, owner, and name or value of a label, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// How many labels a key may have.
const LABELS_MAX: usize = 64;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Calls of models.
    Inference,
    /// Managing keys. It calls no model.
    Admin,
    /// Reading what administrators see. It calls no model.
    Viewer,
}

impl Role {
    const ALL: [Self; 3] = [Self::Inference, Self::Admin, Self::Viewer];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Admin => "admin",
            Self::Viewer => "viewer",
        }
    }

    /// The role with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// What the owner of the gateway decides about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// The name. Several keys may have the same.
    pub name: String,
    /// Whose key it is.
    pub owner: String,
    /// Further texts by name.
    pub labels: BTreeMap<String, String>,
    /// When it ends.
    pub expires_at: Option<UnixMs>,
    /// Since when it is disabled.
    pub disabled_at: Option<UnixMs>,
    /// What it may do.
    pub limits: Limits,
}

/// A key, without its secrets.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id, which never changes.
    pub id: Uuid,
    /// What it is for.
    pub role: Role,
    /// What its owner decides.
    pub settings: KeySettings,
    /// When it was created.
    pub created_at: UnixMs,
    /// When it was revoked, for ever.
    pub revoked_at: Option<UnixMs>,
    /// When its running calls were ended, after it was revoked.
    pub calls_cut_at: Option<UnixMs>,
    /// When it was used last, about.
    pub last_used_at: Option<UnixMs>,
    /// Its secrets that have not ended, oldest first, and those that have ended.
    pub secrets: Vec<SecretInfo>,
}

/// What is known of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    /// Its beginning, which is not secret.
    pub public_id: String,
    /// Its last letters.
    pub last_four: String,
    /// When it was created.
    pub created_at: UnixMs,
    /// When a rotation ends it.
    pub ends_at: Option<UnixMs>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It can.
    Active,
    /// It is disabled, and can be enabled.
    Disabled,
    /// Its time has passed.
    Expired,
    /// It was revoked.
    Revoked,
}

impl KeyState {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    /// Whether it can be used now.
    pub fn state(&self) -> KeyState {
        let settings = &self.settings;
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if settings.disabled_at.is_some() {
            KeyState::Disabled
        } else if settings.expires_at.is_some_and(|at| at <= now()) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

impl KeySettings {
    /// Settings without limits.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            owner: String::new(),
            labels: BTreeMap::new(),
            expires_at: None,
            disabled_at: None,
            limits: Limits::default(),
        }
    }

    /// Checks the settings of a key with this role.
    ///
    /// # Errors
    /// As [`check`](Self::check); also for limits of a key that calls no model.
    pub fn check_for(&self, role: Role) -> Result<(), String> {
        self.check()?;
        if role != Role::Inference && self.limits != Limits::default() {
            return Err(format!(
                "a key with the role {} calls no model, so it takes no limits of models, units, \
                 requests, tokens or budgets",
                role.name()
            ));
        }
        Ok(())
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// A sentence that names the wrong setting and says what is right.
    pub fn check(&self) -> Result<(), String> {
        if self.name.trim().is_empty() {
            return Err("name: it is empty: give the key a name by which you recognise it".into());
        }
        text("name", &self.name)?;
        text("owner", &self.owner)?;
        if self.labels.len() > LABELS_MAX {
            return Err(format!("labels: a key may have at most {LABELS_MAX}"));
        }
        for (name, value) in &self.labels {
            if name.is_empty() {
                return Err("labels: a name is empty: expected NAME=VALUE".into());
            }
            text("labels", name)?;
            text("labels", value)?;
        }
        self.limits.check()
    }
}

fn text(name: &str, text: &str) -> Result<(), String> {
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(format!(
            "{name}: it has more than {TEXT_CHARS_MAX} characters"
        ));
    }
    // They would damage tables and logs.
    if text.chars().any(char::is_control) {
        return Err(format!(
            "{name}: it has a line break or another control character"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_a_name_and_texts_of_one_line() {
        assert_eq!(KeySettings::named("app").check(), Ok(()));
        let long = "a".repeat(TEXT_CHARS_MAX + 1);
        for bad in ["", "  ", "two\nlines", "bell\u{7}", &long] {
            assert!(KeySettings::named(bad).check().is_err(), "{bad:?}");
        }
        let label = |name: &str, value: &str| KeySettings {
            labels: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..KeySettings::named("app")
        };
        assert_eq!(label("team", "").check(), Ok(()));
        assert!(label("", "a").check().is_err() && label("a", "\n").check().is_err());
    }
}
