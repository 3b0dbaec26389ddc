//! Errors in the command line, or in the environment variables of options.

use std::{
    env,
    error::Error as _,
    ffi::OsString,
    num::{IntErrorKind, ParseFloatError, ParseIntError},
    process::ExitCode,
};

use clap::{
    Arg, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{failure::Failure, output};
use crate::config::{Dotenv, Names};

/// The variables of all commands, and those of the command that is called.
pub(super) fn names(command: &Command) -> Names {
    let called = called_command(command);
    let of_this_command: Vec<_> = called.map(variables).unwrap_or_default();
    let mut all = variables(command);
    all.extend(all_commands(command).into_iter().flat_map(variables));
    all.sort_unstable();
    all.dedup();
    Names::new(
        all,
        of_this_command
            .into_iter()
            .chain(variables(command))
            .collect(),
    )
}

/// Prints the help if the user asked for it, otherwise the parser's error and how to fix it.
pub(super) fn answer(
    error: &clap::Error,
    command: &Command,
    dotenv: &Dotenv,
) -> Result<ExitCode, Failure> {
    if !error.use_stderr() {
        output::print(error.render())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(sentence) = bad_value(error, command, dotenv) {
        return Err(Failure::Usage(sentence));
    }
    output::tell(error.render());
    if error.kind() == ErrorKind::UnknownArgument {
        output::tell(unknown_option(error, command));
    }
    Ok(ExitCode::from(Failure::USAGE))
}

/// The error for an invalid value. It does not contain the value, because the value may be a secret
/// in the wrong place.
fn bad_value(error: &clap::Error, command: &Command, dotenv: &Dotenv) -> Option<String> {
    if error.kind() != ErrorKind::ValueValidation {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let arg = called_command(command)
        .and_then(|called_command| option(called_command, flag))
        .or_else(|| option(command, flag))?;
    let mut reason = reason(error);
    // Of clap's own parsers, only those for a range of numbers give no example.
    if arg.get_default_values().is_empty() && !reason.contains("such as") {
        reason.push_str("; expected a number such as 1");
    }
    let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else {
        return Some(format!("the value of {flag} is invalid: {reason}"));
    };
    let place = if is_on_command_line(arg, flag) {
        "on the command line".to_owned()
    } else {
        dotenv.line_of(variable).map_or_else(
            || "in the environment".to_owned(),
            |line| format!("in .env line {line}"),
        )
    };
    let mut sentence =
        format!("the value of {variable} ({flag}), set {place}, is invalid: {reason}");
    let default = arg
        .get_default_values()
        .first()
        .and_then(|value| value.to_str());
    if let Some(default) = default.filter(|_| arg.get_action().takes_values()) {
        sentence.push_str(&format!(
            "\n  for example: {variable}={default}, or {flag} {default}"
        ));
    }
    Some(sentence)
}

fn reason(error: &clap::Error) -> String {
    let Some(source) = error.source() else {
        return "the value is not one of the possible values".to_owned();
    };
    if let Some(number) = source.downcast_ref::<ParseIntError>() {
        return match number.kind() {
            IntErrorKind::PosOverflow => {
                "the number is too large: expected a number such as 4".to_owned()
            }
            IntErrorKind::NegOverflow => {
                "the number is too small: expected a number such as 4".to_owned()
            }
            _ => "expected a whole number, such as 4".to_owned(),
        };
    }
    if source.is::<ParseFloatError>() {
        return "expected a number, such as 0.7".to_owned();
    }
    // clap writes ranges in Rust syntax.
    source
        .to_string()
        .replace(" is not in ", " is not within ")
        .replace("..=", " to ")
}

/// A hint for an unknown option: the command that has it, or that a newer version may have it.
fn unknown_option(error: &clap::Error, command: &Command) -> String {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return String::new();
    };
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let owner = all_commands(command)
        .into_iter()
        .find(|other| option(other, flag).is_some());
    match owner {
        Some(owner) => format!(
            "\n{flag} is an option of `{}`\n",
            // The names of all commands, after `Command::build`.
            owner.get_bin_name().unwrap_or(owner.get_name())
        ),
        None if flag
            .strip_prefix('-')
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit())) =>
        {
            "\nNo option takes a negative number. Write -- before words of a prompt that begin \
             with a dash\n"
                .to_owned()
        }
        None if flag.starts_with('-') => format!(
            "\nThis is version {}. An option that is not in --help may belong to a newer version\n",
            env!("CARGO_PKG_VERSION")
        ),
        None => "\nThis command takes only options. The flag of a switch has no value, only its \
                 variable has one\n"
            .to_owned(),
    }
}

/// The command that the arguments name. It is found before the arguments are parsed.
fn called_command(command: &Command) -> Option<&Command> {
    find_called_command(command, env::args_os().skip(1))
}

fn find_called_command(
    command: &Command,
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<&Command> {
    while let Some(argument) = arguments.next() {
        match option(command, &argument.to_string_lossy()) {
            // The next word is its value, which may be the name of a command.
            Some(arg) if arg.get_action().takes_values() => drop(arguments.next()),
            Some(_) => {}
            None if argument.to_string_lossy().starts_with('-') => {}
            None => {
                let called = command.find_subcommand(argument)?;
                // `keys create` is a command of a command.
                return find_called_command(called, arguments).or(Some(called));
            }
        }
    }
    None
}

/// All commands below `command`, and those below them.
fn all_commands(command: &Command) -> Vec<&Command> {
    let below = command
        .get_subcommands()
        .flat_map(|one| std::iter::once(one).chain(all_commands(one)));
    below.collect()
}

fn variables(command: &Command) -> Vec<String> {
    let names = command.get_arguments().filter_map(Arg::get_env);
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

fn option<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    let long = flag.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))
}

/// Whether the option is on the command line, by its long or short name.
fn is_on_command_line(arg: &Arg, flag: &str) -> bool {
    env::args_os()
        .skip(1)
        .take_while(|argument| argument != "--")
        .any(|argument| {
            let argument = argument.to_string_lossy();
            let is_long = argument
                .strip_prefix(flag)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
            let is_short = |short: char| {
                argument
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.starts_with(short))
            };
            is_long || arg.get_short().is_some_and(is_short)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_option_is_not_taken_for_a_command() {
        let root = Command::new("x")
            .arg(Arg::new("log").long("log").num_args(1))
            .arg(
                Arg::new("flag")
                    .long("flag")
                    .action(clap::ArgAction::SetTrue),
            )
            .subcommands([
                Command::new("serve"),
                Command::new("units"),
                Command::new("keys").subcommand(Command::new("create")),
            ]);
        for (arguments, name) in [
            ("serve --log units", Some("serve")),
            ("--log units serve", Some("serve")),
            ("--log=units serve", Some("serve")),
            ("--flag units serve", Some("units")),
            ("--later serve", Some("serve")),
            ("keys", Some("keys")),
            ("keys --oops create --oops", Some("create")),
            ("keys oops", Some("keys")),
            ("oops serve", None),
            ("--log serve", None),
            ("", None),
        ] {
            let called_command =
                find_called_command(&root, arguments.split_whitespace().map(OsString::from));
            assert_eq!(called_command.map(Command::get_name), name, "{arguments}");
        }
    }
}
