//! The options for the log.

use clap::Args;

use super::heading;
use crate::telemetry::{Filter, Format};

/// The options for the log.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// What to log, to standard error: off, error, warn, info (the default of `serve`; one line for
    /// each call), debug or trace. Or levels by module, such as info,featherwire::calls=off for no
    /// lines of calls, or warn,hyper=debug
    #[arg(
        long,
        env = "FEATHERWIRE_LOG",
        value_name = "LEVEL",
        global = true,
        help_heading = heading::LOGGING
    )]
    pub log: Option<Filter>,

    /// The form of the lines of the log: text, or json for one JSON object in each line
    #[arg(
        long,
        env = "FEATHERWIRE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = format,
        global = true,
        help_heading = heading::LOGGING
    )]
    pub log_format: Format,
}

/// Parses the form of the lines.
fn format(text: &str) -> Result<Format, String> {
    match text {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        _ => Err("expected text or json".to_owned()),
    }
}
