//! What the options are taken from: the arguments and the environment, which stay as they were at
//! the start, and `.env` and files, which can be read again.

use std::fmt;

use clap::{
    Arg, ArgMatches, Command,
    builder::{OsStr, Resettable},
};

use super::{
    arguments::{called_command, config_path, is_on_command_line},
    failure::Failure,
    usage_error,
};
use crate::config::{CONFIG_VARIABLE, Environment, Names, Setting, Settings, Sources};

/// What stays as it was at the start.
pub(super) struct Inputs {
    /// The command line, as it is defined.
    pub(super) definition: Command,
    /// The names of variables.
    pub(super) names: Names,
    settings: Settings,
    environment: Environment,
}

/// Shows no value: the definition has those of the environment.
impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inputs").finish_non_exhaustive()
    }
}

impl Inputs {
    /// For the command line `definition`, in the environment as it is now.
    pub(super) fn new(definition: Command) -> Self {
        Self {
            names: usage_error::names(&definition),
            settings: Settings::new(&definition),
            environment: Environment::now(),
            definition,
        }
    }

    /// Reads `.env` and the configuration file.
    ///
    /// # Errors
    /// Sentences that say what is wrong and how to fix it, without values.
    pub(super) fn read(&self) -> Result<Sources, String> {
        let path = config_path();
        Sources::read(
            &self.names,
            &self.settings,
            &self.environment,
            path.as_deref(),
        )
    }

    /// Parses the arguments, with `sources` for the options that are not among them.
    ///
    /// # Errors
    /// The outer one: a secret cannot be read. The inner one: the command line is wrong, or asks
    /// for help.
    pub(super) fn parse(
        &self,
        sources: &Sources,
    ) -> Result<Result<ArgMatches, clap::Error>, Failure> {
        let mut path = Vec::new();
        let mut command = &self.definition;
        // The names of the called command and of those above it.
        if let Some(called) = called_command(command) {
            path = path_to(command, called).unwrap_or_default();
        }
        let mut values = vec![found(command, sources)?];
        for name in &path {
            let Some(below) = command.find_subcommand(name) else {
                break;
            };
            command = below;
            values.push(found(command, sources)?);
        }
        let with_values = with_defaults(self.definition.clone(), &path, &values);
        let matches = with_values.try_get_matches();
        Ok(match matches {
            // The help shows the defaults of the program.
            Err(error) if !error.use_stderr() => self.definition.clone().try_get_matches(),
            matches => matches,
        })
    }
}

/// Values of options, by the id of each.
type Values = Vec<(String, Vec<String>)>;

/// The values of the options of `command` that are not among the arguments.
fn found(command: &Command, sources: &Sources) -> Result<Values, Failure> {
    let mut values = Values::new();
    let is_given =
        |arg: &Arg| Setting::of(arg).is_some_and(|setting| is_on_command_line(arg, &setting.flag));
    // What stands for an option that is not set comes after it.
    let (hidden, shown): (Vec<_>, Vec<_>) =
        command.get_arguments().partition(|arg| arg.is_hide_set());
    let key = shown.iter().find(|arg| arg.get_id() == "api_key");
    for arg in shown.iter().chain(&hidden) {
        let Some(setting) = Setting::of(arg) else {
            continue;
        };
        if is_given(arg) {
            continue;
        }
        let is_set = |key: &&Arg| is_given(key) || values.iter().any(|(id, _)| key.get_id() == id);
        if arg.is_hide_set() && arg.get_id() == "api_keys" && key.is_some_and(is_set) {
            continue;
        }
        if let Some(found) = sources.find(&setting).map_err(Failure::Failed)? {
            values.push((arg.get_id().to_string(), found.values));
        }
    }
    Ok(values)
}

/// `command` with `values` as the defaults of its options and of those of the commands on `path`.
/// It reads no variable itself.
fn with_defaults(command: Command, path: &[String], values: &[Values]) -> Command {
    let Some((own, below)) = values.split_first() else {
        return command;
    };
    let command = command.mut_args(|arg| {
        // This variable has been read, and an empty one is as good as none.
        let is_config = arg.get_env().is_some_and(|name| name == CONFIG_VARIABLE);
        if Setting::of(&arg).is_none() && !is_config {
            return arg;
        }
        let of_arg = own.iter().find(|(id, _)| arg.get_id() == id.as_str());
        let arg = arg.env(Resettable::<OsStr>::Reset);
        match of_arg {
            Some((_, values)) if !values.is_empty() => arg.default_values(values.clone()),
            _ => arg,
        }
    });
    match path.split_first() {
        Some((name, path)) => {
            command.mut_subcommand(name, |called| with_defaults(called, path, below))
        }
        None => command,
    }
}

/// The names of the commands from `command` down to `called`.
fn path_to(command: &Command, called: &Command) -> Option<Vec<String>> {
    command.get_subcommands().find_map(|below| {
        let name = below.get_name().to_owned();
        if std::ptr::eq(below, called) {
            return Some(vec![name]);
        }
        let rest = path_to(below, called)?;
        Some([vec![name], rest].concat())
    })
}
