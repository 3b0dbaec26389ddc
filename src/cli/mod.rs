//! The command line: one file per command.

use std::{fmt::Display, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::filter::LevelFilter;

use crate::{
    config,
    telemetry::{self, Filter},
};

mod chat;
mod check;
mod client;
mod emulator;
mod listen;
mod models;
mod output;
mod serve;
mod shutdown_signal;
mod units;
mod usage_error;

/// The gateway to Featherless.ai: gRPC, gRPC-Web and the OpenAI REST shape on one port
///
/// Options can also be set by the variables named with them, in the environment or in a file `.env`
/// in the working directory. The exit code is 0 if all went well, 1 if the command failed, and 2 if
/// it was called wrongly.
#[derive(Debug, Parser)]
#[command(
    name = "featherwire",
    version,
    propagate_version = true,
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    logging: config::Logging,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(Box<config::Serve>),
    /// Run the Featherless API on this machine, with faults on demand
    Emulator(emulator::Emulator),
    /// Make one real call straight to Featherless, and show what works and what to fix
    Check(check::Check),
    /// Stream an answer into the terminal, through a running gateway
    Chat(chat::Chat),
    /// Show the catalogue of a running gateway as a table
    Models(models::Models),
    /// Show live what uses the account's concurrency units, and which requests wait
    Units(units::Units),
}

/// How a command fails.
#[derive(Debug)]
enum Failure {
    /// A sentence for the person at the terminal.
    Failed(String),
    /// A sentence about incorrect arguments.
    Usage(String),
    /// Standard output is closed, as after `| head`. Its reader has what it needs, so nothing has
    /// failed.
    OutputClosed,
}

impl Failure {
    /// The exit code of a command that was called incorrectly.
    const USAGE: u8 = 2;

    fn failed(sentence: impl Display) -> Self {
        Self::Failed(sentence.to_string())
    }
}

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}

/// Parses the command line, runs the command, and returns its exit code: 0 for success, 1 for a
/// failure, 2 for incorrect arguments.
pub fn main() -> ExitCode {
    let (sentence, code) = match run() {
        Ok(code) => return code,
        Err(Failure::OutputClosed) => return ExitCode::SUCCESS,
        Err(Failure::Failed(sentence)) => (sentence, ExitCode::FAILURE),
        Err(Failure::Usage(sentence)) => (sentence, ExitCode::from(Failure::USAGE)),
    };
    output::tell(format_args!("featherwire: {sentence}\n"));
    code
}

fn run() -> Result<ExitCode, Failure> {
    let mut definition = Cli::command();
    let names = usage_error::names(&definition);
    // Read before the command line is parsed, because options take their values from it, and while
    // this is the only thread, as `setenv` needs.
    let dotenv = config::Dotenv::read(&names)?;
    for warning in dotenv
        .warnings
        .iter()
        .chain(&names.warnings(|name| dotenv.place(name)))
    {
        output::tell(format_args!("featherwire: warning: {warning}\n"));
    }
    names.check_values().map_err(Failure::Usage)?;
    // Made again, because a definition takes the values of its variables when it is made.
    let matches = Cli::command().try_get_matches();
    let Cli { command, logging } = match matches.and_then(|matches| Cli::from_arg_matches(&matches))
    {
        Ok(cli) => cli,
        Err(error) => {
            definition.build();
            return usage_error::answer(&error, &definition, &dotenv);
        }
    };
    // A short command prints its problems itself; a server has only its log.
    let default = if matches!(command, Command::Serve(_)) {
        Filter::of_level(LevelFilter::INFO)
    } else {
        Filter::off()
    };
    telemetry::start(logging.log.unwrap_or(default));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match command {
            Command::Serve(config) => serve::run(*config).await,
            Command::Emulator(command) => command.run().await,
            Command::Check(command) => command.run().await,
            Command::Chat(command) => command.run().await,
            Command::Models(command) => command.run().await,
            Command::Units(command) => command.run().await,
        }
    })
}
