//! The flags for the settings of a key.

use clap::{Args, ValueEnum};

use super::values::{count, expiry, label, priority};
use crate::keys::{Budget, KeySettings, PriorityClass, clock::UnixMs};

/// The settings of a key. A flag that is not given changes nothing.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Settings of the key")]
pub(super) struct SettingFlags {
    /// Whose key it is
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,

    /// A text by name, to find the key by. The option may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// When the key ends: a time from now (30d), or a date, or a date and time, in UTC
    /// (2030-01-31, 2030-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    expires: Option<UnixMs>,

    /// The models that the key may use: ids with `*` for any text and `?` for any character,
    /// comma-separated. Unset: all
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    models: Vec<String>,

    /// The accounts of the gateway that the key's calls may use, by their names in `[[account]]` of
    /// its configuration file, comma-separated. Unset: all
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    accounts: Vec<String>,

    /// The key's share of the units when calls wait for units, from 1 to 1000. Unset: 1
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    weight: Option<u32>,

    /// The largest number of units that the key's calls hold at once
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    max_units: Option<u32>,

    /// The highest class in which the key's calls wait for units: interactive, default or batch
    #[arg(long, value_name = "CLASS", value_parser = priority)]
    highest_priority: Option<PriorityClass>,

    /// The largest number of calls in a minute
    #[arg(long, value_name = "N", value_parser = count::<u32>)]
    requests_per_minute: Option<u32>,

    /// The largest number of tokens in a minute
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    tokens_per_minute: Option<u64>,

    /// How much the key may use: tokens, requests or unit-seconds, for each day, week or month in
    /// UTC, or in total. The option may be repeated
    #[arg(
        long = "budget",
        value_name = "WHAT=AMOUNT/TIME",
        value_delimiter = ','
    )]
    budgets: Vec<Budget>,
}

impl SettingFlags {
    /// Whether a flag sets this.
    pub(super) fn sets(&self, setting: Clear) -> bool {
        match setting {
            Clear::Owner => self.owner.is_some(),
            Clear::Labels => !self.labels.is_empty(),
            Clear::Expires => self.expires.is_some(),
            Clear::Models => !self.models.is_empty(),
            Clear::Accounts => !self.accounts.is_empty(),
            Clear::Weight => self.weight.is_some(),
            Clear::MaxUnits => self.max_units.is_some(),
            Clear::HighestPriority => self.highest_priority.is_some(),
            Clear::RequestsPerMinute => self.requests_per_minute.is_some(),
            Clear::TokensPerMinute => self.tokens_per_minute.is_some(),
            Clear::Budgets => !self.budgets.is_empty(),
        }
    }

    /// Changes `settings` by the flags that were given. A budget replaces the one for the same unit
    /// and time.
    pub(super) fn apply(self, settings: &mut KeySettings) {
        let limits = &mut settings.limits;
        if !self.models.is_empty() {
            limits.models = self.models;
        }
        if !self.accounts.is_empty() {
            limits.accounts = self.accounts;
        }
        set(&mut limits.weight, self.weight);
        set(&mut limits.max_units, self.max_units);
        set(&mut limits.highest_priority, self.highest_priority);
        set(&mut limits.requests_per_minute, self.requests_per_minute);
        set(&mut limits.tokens_per_minute, self.tokens_per_minute);
        for budget in &self.budgets {
            limits
                .budgets
                .retain(|other| (other.of, other.per) != (budget.of, budget.per));
        }
        limits.budgets.extend(self.budgets);
        set(&mut settings.expires_at, self.expires);
        if let Some(owner) = self.owner {
            settings.owner = owner;
        }
        settings.labels.extend(self.labels);
    }
}

fn set<T>(setting: &mut Option<T>, flag: Option<T>) {
    if flag.is_some() {
        *setting = flag;
    }
}

/// A setting that can be removed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Clear {
    Owner,
    Labels,
    Expires,
    Models,
    Accounts,
    Weight,
    MaxUnits,
    HighestPriority,
    RequestsPerMinute,
    TokensPerMinute,
    Budgets,
}

impl Clear {
    pub(super) fn clear(self, settings: &mut KeySettings) {
        let limits = &mut settings.limits;
        match self {
            Self::Owner => settings.owner.clear(),
            Self::Labels => settings.labels.clear(),
            Self::Expires => settings.expires_at = None,
            Self::Models => limits.models.clear(),
            Self::Accounts => limits.accounts.clear(),
            Self::Weight => limits.weight = None,
            Self::MaxUnits => limits.max_units = None,
            Self::HighestPriority => limits.highest_priority = None,
            Self::RequestsPerMinute => limits.requests_per_minute = None,
            Self::TokensPerMinute => limits.tokens_per_minute = None,
            Self::Budgets => limits.budgets.clear(),
        }
    }
}
