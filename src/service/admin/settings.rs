//! The settings of a key in requests: those of a new key, and changes by a field mask.

use std::collections::BTreeSet;

use prost_types::{Duration, Timestamp};

use super::{limits, times};
use crate::{
    error::{Error, Result},
    keys::{KeySettings, Limits, clock},
    proto::admin::v1::{CreateKeyRequest, UpdateKeyRequest},
};

/// The settings of a new key.
///
/// # Errors
/// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value that its field cannot have.
pub(super) fn of_new_key(request: CreateKeyRequest) -> Result<KeySettings> {
    let expires_at = end(request.expires_at, request.expires_in)?;
    Ok(KeySettings {
        name: request.name,
        owner: request.owner,
        labels: request.labels,
        expires_at,
        disabled_at: None,
        limits: limits::of_message(request.limits.unwrap_or_default())?,
    })
}

/// When a key ends, by the two fields that can set it.
fn end(at: Option<Timestamp>, life: Option<Duration>) -> Result<Option<clock::UnixMs>> {
    match (at, life) {
        (Some(_), Some(_)) => {
            let problem = "expires_at is set too: set one of them";
            Err(Error::invalid("expires_in", problem))
        }
        (Some(at), None) => times::future("expires_at", at).map(Some),
        (None, Some(life)) => times::after("expires_in", life).map(Some),
        (None, None) => Ok(None),
    }
}

/// A change of settings.
#[derive(Debug)]
pub(super) struct Change {
    fields: BTreeSet<Field>,
    name: String,
    owner: String,
    labels: std::collections::BTreeMap<String, String>,
    expires_at: Option<clock::UnixMs>,
    is_disabled: bool,
    limits: Limits,
}

/// Declares [`Field`] with the path of each field.
macro_rules! fields {
    ($($field:ident = $path:literal,)*) => {
        /// A setting that can be changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        enum Field {
            $($field,)*
        }

        impl Field {
            const ALL: &[(&str, Self)] = &[$(($path, Self::$field),)*];
        }
    };
}

fields! {
    Name = "name",
    Owner = "owner",
    Labels = "labels",
    ExpiresAt = "expires_at",
    Disabled = "disabled",
    Models = "limits.models",
    Weight = "limits.weight",
    MaxUnits = "limits.max_units",
    HighestPriority = "limits.highest_priority",
    RequestsPerMinute = "limits.requests_per_minute",
    TokensPerMinute = "limits.tokens_per_minute",
    Budgets = "limits.budgets",
    Accounts = "limits.accounts",
}

impl Change {
    /// The change that a request asks for.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::error::Kind::Invalid) for a value that its field cannot have, a
    /// mask with an unknown field, or a request that changes nothing.
    pub(super) fn of(request: UpdateKeyRequest) -> Result<Self> {
        let limits = request.limits.map(limits::of_message).transpose()?;
        let expires_at = end(request.expires_at, request.expires_in)?;
        let mask = request.update_mask.filter(|mask| !mask.paths.is_empty());
        let set = || {
            let settings = [
                (Field::Name, request.name.is_some()),
                (Field::Owner, request.owner.is_some()),
                (Field::Labels, !request.labels.is_empty()),
                (Field::ExpiresAt, expires_at.is_some()),
                (Field::Disabled, request.disabled.is_some()),
            ];
            let settings = settings.into_iter().filter(|(_, is_set)| *is_set);
            let limits = limits.iter().flat_map(set_limits);
            settings.map(|(field, _)| field).chain(limits).collect()
        };
        let fields: BTreeSet<Field> = match mask {
            Some(mask) => masked(&mask.paths)?,
            None => set(),
        };
        if fields.is_empty() {
            let problem = "the request changes nothing: set a field, or name the fields to clear";
            return Err(Error::invalid("update_mask", problem));
        }
        Ok(Self {
            fields,
            name: request.name.unwrap_or_default(),
            owner: request.owner.unwrap_or_default(),
            labels: request.labels,
            expires_at,
            is_disabled: request.disabled.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
        })
    }

    /// Whether it enables the key.
    pub(super) fn enables(&self) -> bool {
        !self.is_disabled && self.fields.contains(&Field::Disabled)
    }

    /// Changes `settings`.
    pub(super) fn apply(self, settings: &mut KeySettings) {
        let Self { limits: new, .. } = &self;
        let limits = &mut settings.limits;
        for field in &self.fields {
            match field {
                Field::Name => settings.name.clone_from(&self.name),
                Field::Owner => settings.owner.clone_from(&self.owner),
                Field::Labels => settings.labels.clone_from(&self.labels),
                Field::ExpiresAt => settings.expires_at = self.expires_at,
                Field::Disabled if self.is_disabled => {
                    settings.disabled_at.get_or_insert_with(clock::now);
                }
                Field::Disabled => settings.disabled_at = None,
                Field::Models => limits.models.clone_from(&new.models),
                Field::Weight => limits.weight = new.weight,
                Field::MaxUnits => limits.max_units = new.max_units,
                Field::HighestPriority => limits.highest_priority = new.highest_priority,
                Field::RequestsPerMinute => limits.requests_per_minute = new.requests_per_minute,
                Field::TokensPerMinute => limits.tokens_per_minute = new.tokens_per_minute,
                Field::Budgets => limits.budgets.clone_from(&new.budgets),
                Field::Accounts => limits.accounts.clone_from(&new.accounts),
            }
        }
    }
}

/// The limits that are set.
fn set_limits(limits: &Limits) -> impl Iterator<Item = Field> + use<> {
    let limits = [
        (Field::Models, !limits.models.is_empty()),
        (Field::Weight, limits.weight.is_some()),
        (Field::MaxUnits, limits.max_units.is_some()),
        (Field::HighestPriority, limits.highest_priority.is_some()),
        (
            Field::RequestsPerMinute,
            limits.requests_per_minute.is_some(),
        ),
        (Field::TokensPerMinute, limits.tokens_per_minute.is_some()),
        (Field::Budgets, !limits.budgets.is_empty()),
        (Field::Accounts, !limits.accounts.is_empty()),
    ];
    let set = limits.into_iter().filter(|(_, is_set)| *is_set);
    set.map(|(field, _)| field)
}

/// The fields that a mask names. `limits` is all limits, and `*` everything. A limit may also be
/// named without `limits.`.
fn masked(paths: &[String]) -> Result<BTreeSet<Field>> {
    let mut fields = BTreeSet::new();
    for path in paths {
        let path = match path.as_str() {
            "expires_in" => "expires_at",
            path => path,
        };
        let names = |field: &str| {
            path == "*" || field == path || field.strip_prefix("limits.") == Some(path)
        };
        let is_limits = |field: &str| path == "limits" && field.starts_with("limits.");
        let named = Field::ALL
            .iter()
            .filter(|(field, _)| names(field) || is_limits(field));
        let before = fields.len();
        let named: Vec<Field> = named.map(|(_, field)| *field).collect();
        fields.extend(&named);
        if named.is_empty() && before == fields.len() {
            let known: Vec<_> = Field::ALL.iter().map(|(field, _)| *field).collect();
            let problem = format!(
                "unknown field {:?}: the fields are {}, limits (all limits) and * (all fields); in \
                 JSON in lowerCamelCase",
                path.chars().take(64).collect::<String>(),
                known.join(", ")
            );
            return Err(Error::invalid("update_mask", problem));
        }
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use prost_types::FieldMask;

    use super::*;
    use crate::proto::v1::KeyLimits;

    fn changed(request: UpdateKeyRequest) -> KeySettings {
        let mut settings = KeySettings::named("app");
        settings.owner = "Ada".to_owned();
        settings.limits.weight = Some(2);
        settings.limits.max_units = Some(4);
        Change::of(request).unwrap().apply(&mut settings);
        settings
    }

    fn mask(paths: &[&str]) -> Option<FieldMask> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Some(FieldMask { paths })
    }

    fn with_weight(weight: i32) -> Option<KeyLimits> {
        let weight = Some(weight);
        Some(KeyLimits {
            weight,
            ..KeyLimits::default()
        })
    }

    #[test]
    fn without_a_mask_only_what_is_set_changes() {
        let settings = changed(UpdateKeyRequest {
            limits: with_weight(9),
            disabled: Some(true),
            ..UpdateKeyRequest::default()
        });
        assert_eq!(
            (settings.name.as_str(), settings.owner.as_str()),
            ("app", "Ada")
        );
        assert_eq!(settings.limits.weight, Some(9));
        assert_eq!(settings.limits.max_units, Some(4));
        assert!(settings.disabled_at.is_some());
    }

    #[test]
    fn a_mask_clears_what_is_not_set_and_keeps_what_it_does_not_name() {
        let update = |paths: &[&str]| {
            changed(UpdateKeyRequest {
                name: Some("other".to_owned()),
                limits: with_weight(9),
                update_mask: mask(paths),
                ..UpdateKeyRequest::default()
            })
        };
        let settings = update(&["owner", "limits.max_units"]);
        assert_eq!(
            (settings.name.as_str(), settings.owner.as_str()),
            ("app", "")
        );
        let limits = settings.limits;
        assert_eq!((limits.weight, limits.max_units), (Some(2), None));
        let limits = update(&["limits"]).limits;
        assert_eq!((limits.weight, limits.max_units), (Some(9), None));
        let limits = update(&["weight"]).limits;
        assert_eq!((limits.weight, limits.max_units), (Some(9), Some(4)));
        let settings = update(&["*"]);
        assert_eq!(
            (settings.name.as_str(), settings.owner.as_str()),
            ("other", "")
        );
    }

    #[test]
    fn a_mask_with_an_unknown_field_and_an_empty_change_are_refused() {
        for paths in [&["nam"][..], &["name", "id"], &["labels.team"], &["role"]] {
            let request = UpdateKeyRequest {
                update_mask: mask(paths),
                ..UpdateKeyRequest::default()
            };
            let error = Change::of(request).unwrap_err();
            assert_eq!(error.param(), Some("update_mask"), "{paths:?}");
        }
        assert!(Change::of(UpdateKeyRequest::default()).is_err());
    }
}
