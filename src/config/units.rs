//! The options for the concurrency units.

use std::time::Duration;

use clap::Args;

use super::{
    heading,
    values::{duration, weight},
};

/// The options for sharing the account's concurrency units.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::UNITS)]
pub struct Units {
    /// The concurrency units that this gateway may use at a time; 0 for no limit. Unset: the units
    /// of the plan minus those that other processes use; Featherless reports both
    #[arg(long, env = "FEATHERWIRE_UNITS", value_name = "N")]
    pub units: Option<u32>,

    /// The largest number of calls that wait for units
    #[arg(
        long,
        env = "FEATHERWIRE_QUEUE_LIMIT",
        value_name = "N",
        default_value_t = 10_000
    )]
    pub queue_limit: usize,

    /// Longest wait for units
    #[arg(
        long,
        env = "FEATHERWIRE_QUEUE_TIMEOUT",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
        help_heading = heading::TIMEOUTS
    )]
    pub queue_timeout: Duration,

    /// The shares of the gateway keys when calls wait for units, comma-separated, in the order of
    /// the keys. 1 for keys without a weight
    #[arg(
        long,
        env = "FEATHERWIRE_KEY_WEIGHTS",
        value_name = "WEIGHTS",
        value_delimiter = ',',
        value_parser = weight
    )]
    pub key_weights: Vec<u32>,
}
