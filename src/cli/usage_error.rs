//! Errors in the command line, or in the environment variables of options.

use std::{
    error::Error as _,
    num::{IntErrorKind, ParseFloatError, ParseIntError},
    process::ExitCode,
};

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    arguments::{all_commands, called_command, is_on_command_line, option},
    failure::Failure,
    output,
};
use crate::config::{CONFIG_VARIABLE, Names, Origin, Setting, Sources};

/// The variables of all commands, and those of the command that is called.
pub(super) fn names(command: &Command) -> Names {
    let called = called_command(command);
    let of_this_command: Vec<_> = called.map(variables).unwrap_or_default();
    let mut all = variables(command);
    all.push(CONFIG_VARIABLE.to_owned());
    all.extend(all_commands(command).into_iter().flat_map(variables));
    all.sort_unstable();
    all.dedup();
    Names::new(
        all,
        of_this_command
            .into_iter()
            .chain(variables(command))
            .chain([CONFIG_VARIABLE.to_owned()])
            .collect(),
    )
}

/// Prints the help if the user asked for it, otherwise the parser's error and how to fix it.
pub(super) fn answer(
    error: &clap::Error,
    command: &Command,
    sources: &Sources,
) -> Result<ExitCode, Failure> {
    if !error.use_stderr() {
        output::print(error.render())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(sentence) = bad_value(error, command, sources) {
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
pub(super) fn bad_value(
    error: &clap::Error,
    command: &Command,
    sources: &Sources,
) -> Option<String> {
    let is_without_text = matches!(
        error.get(ContextKind::InvalidValue),
        Some(ContextValue::String(value)) if value.trim().is_empty()
    );
    if !(error.kind() == ErrorKind::ValueValidation
        // Also the kind of an unknown value, which clap shows with the known ones.
        || error.kind() == ErrorKind::InvalidValue && is_without_text)
    {
        return None;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split([' ', '=']).next().unwrap_or_default();
    let arg = called_command(command)
        .and_then(|called_command| option(called_command, flag))
        .or_else(|| option(command, flag))?;
    // Of a list, only one of the values may be empty.
    let is_empty = is_without_text && arg.get_value_delimiter().is_none();
    let mut reason = match is_empty {
        true => "it is empty: give it a value, or leave it out".to_owned(),
        false => reason(error),
    };
    // Of clap's own parsers, only those for a range of numbers give no example.
    if !is_empty && arg.get_default_values().is_empty() && !reason.contains("such as") {
        reason.push_str("; expected a number such as 1");
    }
    let Some(setting) = Setting::of(arg) else {
        return Some(format!("the value of {flag} is invalid: {reason}"));
    };
    let variable = &setting.variable;
    // The value was found before it was parsed.
    let origin = (!is_on_command_line(arg, flag))
        .then(|| sources.find(&setting).ok().flatten())
        .flatten()
        .map(|found| found.origin);
    let place = origin
        .as_ref()
        .map_or_else(|| "on the command line".to_owned(), Origin::place);
    let is_in_file = origin.is_some_and(|origin| origin.is_file());
    let name = if is_in_file {
        &setting.member
    } else {
        variable
    };
    let mut sentence = format!("the value of {name} ({flag}), set {place}, is invalid: {reason}");
    if let Some(example) = &setting.example {
        let by_name = if is_in_file {
            format!("{name} = {}", setting.as_toml(example))
        } else {
            format!("{variable}={example}")
        };
        sentence.push_str(&format!("\n  for example: {by_name}, or {flag} {example}"));
    }
    Some(sentence)
}

/// The error without values: its kind, and the flag that it is about.
pub(super) fn plain(error: &clap::Error) -> String {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => {
            let flag = argument.split([' ', '=']).next().unwrap_or_default();
            format!("{flag}: {}", error.kind())
        }
        _ => error.kind().to_string(),
    }
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

fn variables(command: &Command) -> Vec<String> {
    let settings = command.get_arguments().filter_map(Setting::of);
    let names = settings.flat_map(|setting| {
        let file = setting.is_secret.then(|| setting.file_variable());
        [Some(setting.variable), file]
    });
    names.flatten().collect()
}
