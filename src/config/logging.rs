//! The options for the log.

use clap::Args;

use super::heading;
use crate::telemetry::Filter;

/// The options for the log.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// What to log, to standard error: off, error, warn, info (the default of `serve`), debug (a
    /// line for every call) or trace. For a single library, add its name and a level, such as
    /// warn,hyper=debug
    #[arg(
        long,
        env = "FEATHERWIRE_LOG",
        value_name = "LEVEL",
        global = true,
        help_heading = heading::LOGGING
    )]
    pub log: Option<Filter>,
}
