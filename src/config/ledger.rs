//! The options for the records of calls.

use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::{
    heading,
    values::{duration, size},
};

/// The options for the records of calls.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = heading::DATABASE)]
pub struct Ledger {
    /// How long the record of each call is kept. Sums by hour, key and model are kept for ever
    #[arg(
        long,
        env = "FEATHERWIRE_LEDGER_RETENTION",
        value_name = "TIME",
        default_value = "30d",
        value_parser = duration
    )]
    pub ledger_retention: Duration,

    /// Largest sum of the files with records of calls while the database is away. They are in the
    /// data directory. Beyond it, and when the memory for records is full, calls of keys with
    /// budgets fail with `ledger_unavailable`
    #[arg(
        long,
        env = "FEATHERWIRE_LEDGER_SPILL_BYTES",
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = size
    )]
    pub ledger_spill_bytes: ByteSize,
}
