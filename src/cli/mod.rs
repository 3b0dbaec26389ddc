//! The command line: one file per command.

use std::{fmt::Display, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{config, telemetry};

mod chat;
mod check;
mod client;
mod emulator;
mod models;
mod serve;
mod signal;
mod units;

/// The gateway to Featherless.ai: gRPC, gRPC-Web and the OpenAI REST shape on one port
///
/// Options can also be set by the variables named with them, in the environment or in a file `.env` in the working
/// directory. FEATHERWIRE_LOG filters the log: `info` (the default), `debug` (a line for every call), `warn`.
#[derive(Debug, Parser)]
#[command(name = "featherwire", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(Box<config::Serve>),
    /// Run the Featherless API on this machine, with faults on demand
    Emulator(emulator::Emulator),
    /// Make one real call straight to Featherless, and say what works and what to mend
    Check(check::Check),
    /// Stream an answer into the terminal, through a running gateway
    Chat(chat::Chat),
    /// Show the catalogue of a running gateway as a table
    Models(models::Models),
    /// Show live who uses the account's concurrency units, and who waits for some
    Units(units::Units),
}

/// What a command failed of: a sentence for the person at the terminal.
#[derive(Debug)]
struct Failure(String);

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Parses the command line, runs the command, and tells how it went: 0 well, 1 badly, 2 called wrongly.
pub fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(Failure(message)) => {
            eprintln!("featherwire: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    // Before anything else, since options take their values from it; still on the only thread, as `setenv` needs.
    config::read_dotenv()?;
    let Cli { command } = Cli::parse();
    // A command that is over in a moment tells its troubles itself; a server has only its log.
    let default = if matches!(command, Command::Serve(_)) { "info" } else { "off" };
    telemetry::start(config::log_filter().as_deref(), default)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
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
