//! The limits of a key.

use serde::{Deserialize, Serialize};

use super::budget::Budget;
use crate::config::{ACCOUNTS_MAX, Glob, MODEL_BYTES_MAX, check_account_name};

/// How many patterns of models a key may have.
const MODELS_MAX: usize = 256;

/// The largest weight.
pub const WEIGHT_MAX: u32 = 1000;

/// The largest number of units at once. No plan has as many.
const UNITS_MAX: u32 = 100_000;

/// The largest number of requests and of tokens in a minute.
const REQUESTS_MAX: u32 = 10_000_000;
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// What a key may do. The default has no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The models that it may use: ids with `*` and `?`. Empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Its share of the units, from 1 to 1000, relative to the weights of other keys. Unset: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// The largest number of units that its calls may hold at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_units: Option<u32>,
    /// The highest class in which its calls wait for units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_priority: Option<PriorityClass>,
    /// The largest number of calls in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// The largest number of tokens in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Budgets, at most one for each unit and time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// The accounts of the gateway that its calls may use, by their names. Empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<String>,
}

/// A class in the queue for units, highest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityClass {
    /// A person is waiting for the answer.
    Interactive,
    /// The caller did not name a class.
    Default,
    /// The answer may take hours.
    Batch,
}

impl Limits {
    /// Checks all limits.
    ///
    /// # Errors
    /// A sentence that names the wrong limit and says what is right.
    pub fn check(&self) -> Result<(), String> {
        let Self {
            models,
            weight,
            max_units,
            highest_priority: _,
            requests_per_minute,
            tokens_per_minute,
            budgets,
            accounts,
        } = self;
        if models.len() > MODELS_MAX {
            return Err(format!(
                "models: {} patterns are more than the {MODELS_MAX} that a key may have: use \
                 patterns such as org/*",
                models.len()
            ));
        }
        for model in models {
            Glob::parse(model).map_err(|problem| format!("models: {problem}"))?;
            if model.len() > MODEL_BYTES_MAX {
                return Err(format!(
                    "models: a pattern has more than {MODEL_BYTES_MAX} characters"
                ));
            }
        }
        if accounts.len() > ACCOUNTS_MAX {
            return Err(format!(
                "accounts: {} are more than the {ACCOUNTS_MAX} that a gateway may have",
                accounts.len()
            ));
        }
        for account in accounts {
            check_account_name(account).map_err(|problem| format!("accounts: a name {problem}"))?;
        }
        within("weight", weight.map(u64::from), WEIGHT_MAX.into())?;
        within("max_units", max_units.map(u64::from), UNITS_MAX.into())?;
        let requests = requests_per_minute.map(u64::from);
        within("requests_per_minute", requests, REQUESTS_MAX.into())?;
        within("tokens_per_minute", *tokens_per_minute, TOKENS_MAX)?;
        for (place, budget) in budgets.iter().enumerate() {
            budget
                .check()
                .map_err(|problem| format!("budgets: {problem}"))?;
            let is_same = |other: &Budget| other.of == budget.of && other.per == budget.per;
            if budgets.iter().skip(place + 1).any(is_same) {
                return Err(format!(
                    "budgets: there are two budgets of {} for the same time ({}): give one",
                    budget.of.name(),
                    budget.per.name()
                ));
            }
        }
        Ok(())
    }

    /// The limits as the database has them.
    pub(super) fn to_json(&self) -> String {
        // Numbers, texts and lists of them always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

fn within(name: &str, value: Option<u64>, max: u64) -> Result<(), String> {
    match value {
        Some(value) if !(1..=max).contains(&value) => Err(format!(
            "{name}: {value} is out of range: expected 1 to {max}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_limit_is_named() {
        let none = Limits::default();
        assert_eq!(none.check(), Ok(()));
        assert_eq!(none.to_json(), "{}");
        let budget = |text: &str| text.parse::<Budget>().unwrap();
        let wrong: [(&str, Limits); 9] = [
            (
                "models",
                Limits {
                    models: vec!["org/[a]".into()],
                    ..none.clone()
                },
            ),
            (
                "models",
                Limits {
                    models: vec![String::new()],
                    ..none.clone()
                },
            ),
            (
                "accounts",
                Limits {
                    accounts: vec!["Team A".into()],
                    ..none.clone()
                },
            ),
            (
                "accounts",
                Limits {
                    accounts: vec!["a".into(); 65],
                    ..none.clone()
                },
            ),
            (
                "weight",
                Limits {
                    weight: Some(0),
                    ..none.clone()
                },
            ),
            (
                "max_units",
                Limits {
                    max_units: Some(0),
                    ..none.clone()
                },
            ),
            (
                "requests_per_minute",
                Limits {
                    requests_per_minute: Some(0),
                    ..none.clone()
                },
            ),
            (
                "tokens_per_minute",
                Limits {
                    tokens_per_minute: Some(0),
                    ..none.clone()
                },
            ),
            (
                "budgets",
                Limits {
                    budgets: vec![budget("tokens=5/day"), budget("tokens=6/day")],
                    ..none.clone()
                },
            ),
        ];
        for (name, limits) in wrong {
            assert!(limits.check().unwrap_err().starts_with(name), "{limits:?}");
        }
    }

    #[test]
    fn limits_in_the_database_are_read_as_they_were_written() {
        let limits = Limits {
            models: vec!["org/*".to_owned(), "a/b".to_owned()],
            weight: Some(3),
            max_units: Some(4),
            highest_priority: Some(PriorityClass::Batch),
            requests_per_minute: Some(60),
            tokens_per_minute: Some(10_000),
            budgets: vec!["unit-seconds=3600/month".parse().unwrap()],
            accounts: vec!["main".to_owned(), "team-2".to_owned()],
        };
        assert_eq!(limits.check(), Ok(()));
        let json = limits.to_json();
        assert_eq!(serde_json::from_str::<Limits>(&json).unwrap(), limits);
        // An unknown limit must not be ignored.
        assert!(serde_json::from_str::<Limits>(r#"{"oops": 1}"#).is_err());
    }
}
