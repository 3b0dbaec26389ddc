//! `featherwire usage`: what keys have used, from the sums of the ledger.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{
    columns,
    failure::Failure,
    ledger::{Source, time},
    output,
    progress::Progress,
};
use crate::{
    clock::{UnixMs, now},
    config,
    ledger::{ALL_TIME, Grain, Grouping, UsageQuery},
};

mod show;

/// Shows what calls have used: how many there were, their tokens, and for how long they held units.
/// An hour counts as a whole. The sums are read in the gateway's database, or through a running
/// gateway (--gateway).
#[derive(Args, Debug)]
pub struct Usage {
    /// By what calls are added up
    #[arg(long, value_name = "WHAT", default_value = "key")]
    by: By,

    /// The earliest calls: a time before now, or a date (in UTC)
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time)]
    since: UnixMs,

    /// The latest calls. Unset: now
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixMs>,

    /// Only calls of these keys, by id or name, comma-separated
    #[arg(long, value_name = "KEY,…", value_delimiter = ',')]
    key: Vec<String>,

    /// Only calls of these models, comma-separated
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    model: Vec<String>,

    /// Only calls of these accounts of a gateway with several, comma-separated
    #[arg(long, value_name = "ACCOUNT,…", value_delimiter = ',')]
    account: Vec<String>,

    /// How it is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,

    /// Print JSON, as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    #[command(flatten)]
    place: config::AdminPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// A row for each key
    Key,
    /// A row for each model
    Model,
    /// A row for each account of a gateway with several
    Account,
    /// A row for each day in UTC
    Day,
    /// A row for each hour
    Hour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// A list of objects
    Json,
    /// For spreadsheets
    Csv,
}

impl Usage {
    pub async fn run(self) -> Result<ExitCode, Failure> {
        let until = self.until.unwrap_or_else(|| now().saturating_add(1));
        if until <= self.since {
            let problem = match self.until {
                Some(_) => "--until must be later than --since",
                None => "--since must be in the past",
            };
            return Err(Failure::Usage(format!(
                "{problem}: give for example --since 7d --until 1d"
            )));
        }
        let progress = Progress::start("adding up the calls");
        let source = Source::open(&self.place).await?;
        let query = UsageQuery {
            grouping: Grouping {
                by_key: self.by == By::Key,
                by_model: self.by == By::Model,
                by_account: self.by == By::Account,
                by_time: match self.by {
                    By::Day => Some(Grain::Day),
                    By::Hour => Some(Grain::Hour),
                    By::Key | By::Model | By::Account => None,
                },
            },
            keys: Vec::new(),
            models: self.model,
            accounts: self.account,
            range: self.since..self.until.unwrap_or(ALL_TIME.end),
        };
        let (rows, total) = source.usage(&self.key, query).await?;
        source.close().await;
        drop(progress);
        let format = if self.json { Format::Json } else { self.format };
        match format {
            Format::Json => output::print(show::json(&rows, self.by)?)?,
            Format::Csv => output::print(show::csv(&rows, self.by))?,
            Format::Table if rows.is_empty() => {
                output::tell("no calls ended in this time\n");
            }
            Format::Table => {
                output::print(show::table(&rows, &total, self.by, columns::of_terminal()))?
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
