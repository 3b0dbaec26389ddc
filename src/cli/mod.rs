//! The command line: one file per command.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};
use tokio::runtime::Runtime;
use tracing_subscriber::filter::LevelFilter;

use self::{failure::Failure, inputs::Inputs, reload::Reloader};
use crate::{
    build_info,
    config::{CONFIG_VARIABLE, Logging, Serve, Sources, heading},
    telemetry::{self, Filter},
};

mod arguments;
mod calls;
mod chat;
mod check;
mod client;
mod client_tls;
mod columns;
mod config;
mod database;
mod effective;
mod emulator;
mod failure;
mod gateway_stream;
mod health;
mod inputs;
mod keys;
mod ledger;
mod listen;
mod migrate;
mod models;
mod output;
mod printable;
mod progress;
mod proto;
#[cfg_attr(
    not(unix),
    allow(dead_code, reason = "without SIGHUP, nothing is read again")
)]
mod reload;
mod serve;
mod shutdown_signal;
mod style;
mod supervisor;
mod tls_problem;
mod units;
mod usage;
mod usage_error;

/// How long the end of the process waits for threads after the command has ended.
const THREADS_END_TIMEOUT: Duration = Duration::from_secs(1);

/// No doc comment: its last full stop would be left out.
const ABOUT: &str = "The gateway to Featherless.ai: gRPC, gRPC-Web, Connect and the OpenAI REST shape on \
                     one port. Each option can also be set by the variable shown with it, in the \
                     environment or in a file `.env` in the working directory, or in the file of \
                     --config. The exit code is 0 \
                     for success, 1 if the command fails, and 2 if its arguments are wrong.";

#[derive(Debug, Parser)]
#[command(
    name = "featherwire",
    version = build_info::version_and_revision(),
    propagate_version = true,
    max_term_width = 110,
    about = ABOUT
)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// A file with options, in TOML. The name of an option in it is its variable in small letters,
    /// without FEATHERWIRE_
    #[arg(
        long,
        env = CONFIG_VARIABLE,
        value_name = "FILE",
        global = true,
        help_heading = heading::CONFIGURATION
    )]
    config: Option<PathBuf>,

    #[command(flatten)]
    logging: Logging,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(Box<Serve>),
    /// Run an emulator of the Featherless API on this machine, with faults on demand
    Emulator(emulator::Emulator),
    /// Check the configuration of `serve`, or show where it comes from
    Config(config::Config),
    /// Make one real call to Featherless without a gateway, and show what works and what to fix
    Check(check::Check),
    /// Ask a running gateway whether it is ready, as a container's health check does
    Health(health::Health),
    /// Stream answers from a running gateway into the terminal: to one prompt, or in a session
    Chat(chat::Chat),
    /// Show the catalogue of a running gateway as a table
    Models(models::Models),
    /// Show the account's concurrency units live: what uses them and which requests wait
    Units(units::Units),
    /// Create, show, limit and revoke the keys of callers
    Keys(keys::Keys),
    /// Show what keys and models have used, by key, model, account, day or hour
    Usage(usage::Usage),
    /// Show the last calls, and follow new ones
    Calls(calls::Calls),
    /// Create the database, or bring its tables to the version of this program
    Migrate(migrate::Migrate),
    /// Write the contract as .proto files, for tools that generate clients
    Proto(proto::Proto),
}

impl Command {
    /// Takes over the accounts of the configuration file, if the command has a use for them.
    ///
    /// # Errors
    /// A sentence without values: the file of a key cannot be used.
    fn take_accounts(&mut self, sources: &Sources) -> Result<(), String> {
        match self {
            Self::Serve(config) => config.accounts = sources.accounts()?,
            Self::Config(command) => command.serve().accounts = sources.accounts()?,
            Self::Check(command) => command.accounts = sources.accounts()?,
            Self::Keys(command) => command.accounts = sources.account_names(),
            _ => {}
        }
        Ok(())
    }
}

/// Parses the command line, runs the command, and returns its exit code: 0 for success, 1 for a
/// failure, 2 for wrong arguments.
pub fn main() -> ExitCode {
    let code = match run() {
        Ok(code) => code,
        Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Failed(sentence)) => {
            output::fail(sentence);
            ExitCode::FAILURE
        }
        Err(Failure::Usage(sentence)) => {
            output::fail(sentence);
            ExitCode::from(Failure::USAGE)
        }
    };
    // If the log is JSON, the sentence is a line of it.
    telemetry::flush();
    code
}

fn run() -> Result<ExitCode, Failure> {
    let mut inputs = Inputs::new(Cli::command());
    let sources = inputs.read()?;
    // No other thread runs yet, which `setenv` requires.
    sources.dotenv.export()?;
    for warning in sources.warnings(&inputs.names) {
        output::warn(format_args!("featherwire: warning: {warning}"));
    }
    inputs.names.check_values().map_err(Failure::Usage)?;
    let matches = inputs.parse(&sources)?;
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (mut cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            inputs.definition.build();
            return usage_error::answer(&error, &inputs.definition, &sources);
        }
    };
    if let Some(problem) = contradiction(&matches) {
        return Err(Failure::Usage(problem));
    }
    cli.command.take_accounts(&sources)?;
    let Cli {
        command,
        config: _,
        logging,
    } = cli;
    let filter = log_filter(&logging, matches!(command, Command::Serve(_)));
    telemetry::start(filter, logging.log_format);
    telemetry::log_panics();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // Its workers serve the callers. This runtime only accepts connections, and asks Featherless
    // about the account.
    if matches!(&command, Command::Serve(config) if !config.emulator) {
        runtime.worker_threads(1);
    }
    let runtime = runtime.enable_all().build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Serve(config) => {
                let reloader = |live, certificates| {
                    Reloader::new(inputs, &sources, &matches, live, certificates)
                };
                serve::run(*config, reloader).await
            }
            Command::Emulator(command) => command.run().await,
            Command::Config(command) => command.run(&inputs, &sources, &matches),
            Command::Check(command) => command.run().await,
            Command::Health(command) => command.run().await,
            Command::Chat(command) => command.run().await,
            Command::Models(command) => command.run().await,
            Command::Units(command) => command.run().await,
            Command::Keys(command) => command.run().await,
            Command::Usage(command) => command.run().await,
            Command::Calls(command) => command.run().await,
            Command::Migrate(command) => command.run().await,
            Command::Proto(command) => command.run(),
        }
    });
    end(runtime);
    result
}

/// Ends the threads of `runtime`, and leaves those behind that wait for the system, such as for a
/// file on a disk that does not answer.
fn end(runtime: Runtime) {
    runtime.shutdown_timeout(THREADS_END_TIMEOUT);
}

/// What is logged. The short commands print their errors. A server has only its log.
fn log_filter(logging: &Logging, is_server: bool) -> Filter {
    let default = match is_server {
        true => Filter::of_level(LevelFilter::INFO),
        false => Filter::off(),
    };
    logging.log.clone().unwrap_or(default)
}

/// The problem of a command whose flags do not belong together: it names a gateway and a database,
/// or a key and no gateway that it is for. Variables name them for other commands too, and the flag
/// counts before them.
fn contradiction(matches: &ArgMatches) -> Option<String> {
    let mut of_command = matches;
    while let Some((_, inner)) = of_command.subcommand() {
        of_command = inner;
    }
    let is_given = |id: &str| {
        of_command.try_contains_id(id).is_ok()
            && of_command.value_source(id) == Some(ValueSource::CommandLine)
    };
    let problem = match is_given("gateway") {
        true if is_given("database_url") || is_given("data_dir") => {
            "--gateway asks a running gateway, and --database-url (or --data-dir) opens its \
             database: give one of them"
        }
        false if is_given("admin_key") => {
            "--admin-key is for a running gateway, and without --gateway this command opens the \
             database: add --gateway URL, or leave the key out"
        }
        _ => return None,
    };
    Some(problem.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_thread_that_waits_for_ever_does_not_keep_the_process() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (begun, begins) = mpsc::channel();
        let (never, waits) = mpsc::channel::<()>();
        runtime.spawn_blocking(move || {
            begun.send(()).unwrap();
            waits.recv()
        });
        begins.recv().unwrap();
        let (ended, ends) = mpsc::channel();
        std::thread::spawn(move || {
            end(runtime);
            ended.send(()).unwrap();
        });
        let in_time = ends.recv_timeout(10 * THREADS_END_TIMEOUT);
        drop(never);
        assert_eq!(in_time, Ok(()));
    }
}
