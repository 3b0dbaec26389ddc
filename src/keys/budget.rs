//! Budgets: how much a key may use in a day, a week, a month or in all.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The largest amount.
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;

/// How much a key may use of something in some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What is counted.
    pub of: BudgetUnit,
    /// How much, from 1.
    pub amount: u64,
    /// In what time. It begins at midnight UTC.
    pub per: BudgetPeriod,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetUnit {
    /// Tokens of prompts and answers.
    Tokens,
    /// Calls.
    Requests,
    /// Concurrency units multiplied by the seconds for which they were held.
    UnitSeconds,
}

/// The time for which a budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// A day in UTC.
    Day,
    /// A week in UTC, from Monday.
    Week,
    /// A month in UTC.
    Month,
    /// The whole life of the key.
    Total,
}

impl Budget {
    /// The amount in the smallest unit.
    pub(super) fn smallest_units(&self) -> u64 {
        self.amount.saturating_mul(self.of.scale())
    }
}

impl BudgetUnit {
    const ALL: [Self; 3] = [Self::Tokens, Self::Requests, Self::UnitSeconds];

    /// The unit with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }

    /// How many of the smallest units one is: unit-seconds are counted in milliseconds.
    pub(super) fn scale(self) -> u64 {
        match self {
            Self::Tokens | Self::Requests => 1,
            Self::UnitSeconds => 1000,
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Requests => "requests",
            Self::UnitSeconds => "unit-seconds",
        }
    }
}

impl BudgetPeriod {
    const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    /// The period with this name.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, amount, per } = self;
        write!(f, "{}={amount}/{}", of.name(), per.name())
    }
}

impl FromStr for Budget {
    type Err = String;

    /// Parses a budget such as `tokens=100000/day`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected WHAT=AMOUNT/TIME, such as tokens=100000/day. WHAT is tokens, \
                        requests or unit-seconds; TIME is day, week, month or total";
        let (of, rest) = text.trim().split_once('=').ok_or(expected)?;
        let (amount, per) = rest.split_once('/').ok_or(expected)?;
        let of = of.trim().replace('_', "-");
        let units = (
            BudgetUnit::from_name(&of),
            BudgetPeriod::from_name(per.trim()),
        );
        let (Some(of), Some(per)) = units else {
            return Err(expected.to_owned());
        };
        let amount = amount.trim().replace('_', "").parse().ok();
        match amount.filter(|amount| (1..=AMOUNT_MAX).contains(amount)) {
            Some(amount) => Ok(Self { of, amount, per }),
            None => Err(format!(
                "the amount of a budget must be a whole number from 1 to {AMOUNT_MAX}, such as \
                 tokens=100000/day"
            )),
        }
    }
}

impl Budget {
    /// Checks a budget that was not parsed.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        self.to_string().parse::<Self>().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_written_as_it_is_read() {
        for text in [
            "tokens=100000/day",
            "requests=1/week",
            "unit-seconds=3600/month",
            "tokens=1000000000000000/total",
        ] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
        let spaced = " unit_seconds = 3_600 / month ".parse::<Budget>().unwrap();
        assert_eq!(spaced.to_string(), "unit-seconds=3600/month");
        for bad in [
            "",
            "tokens",
            "tokens=5",
            "tokens=/day",
            "tokens=0/day",
            "tokens=-5/day",
            "tokens=1.5/day",
            "tokens=1000000000000001/day",
            "tokens=99999999999999999999/day",
            "euros=5/day",
            "tokens=5/hour",
        ] {
            assert!(
                bad.parse::<Budget>().unwrap_err().contains("such as"),
                "{bad}"
            );
        }
    }
}
