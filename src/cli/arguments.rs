//! The arguments, before they are parsed: the command that is called, and the options that are
//! given.

use std::{env, ffi::OsString, path::PathBuf};

use clap::{Arg, Command};

/// The flag of the configuration file.
const CONFIG: &str = "--config";

/// The command that the arguments name. It is found before the arguments are parsed.
pub(super) fn called_command(command: &Command) -> Option<&Command> {
    find_called_command(command, command, env::args_os().skip(1))
}

/// `root` has the options that every command takes.
fn find_called_command<'c>(
    root: &'c Command,
    command: &'c Command,
    mut arguments: impl Iterator<Item = OsString>,
) -> Option<&'c Command> {
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        match option(command, &text).or_else(|| option(root, &text)) {
            // The next word is its value, which may be the name of a command.
            Some(arg) if arg.get_action().takes_values() => drop(arguments.next()),
            Some(_) => {}
            None if text.starts_with('-') => {}
            None => {
                let called = command.find_subcommand(&argument)?;
                // `keys create` is a command of a command.
                return find_called_command(root, called, arguments).or(Some(called));
            }
        }
    }
    None
}

/// The value of `--config` on the command line.
pub(super) fn config_path() -> Option<PathBuf> {
    let mut arguments = env::args_os()
        .skip(1)
        .take_while(|argument| argument != "--");
    while let Some(argument) = arguments.next() {
        if argument == CONFIG {
            return arguments.next().map(PathBuf::from);
        }
        let text = argument.to_string_lossy();
        let value = text
            .strip_prefix(CONFIG)
            .and_then(|rest| rest.strip_prefix('='));
        if let Some(value) = value {
            return Some(PathBuf::from(value));
        }
    }
    None
}

/// All commands below `command`, and those below them.
pub(super) fn all_commands(command: &Command) -> Vec<&Command> {
    let below = command
        .get_subcommands()
        .flat_map(|one| std::iter::once(one).chain(all_commands(one)));
    below.collect()
}

pub(super) fn option<'c>(command: &'c Command, flag: &str) -> Option<&'c Arg> {
    let long = flag.strip_prefix("--")?;
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long))
}

/// Whether the option is on the command line, by its long or short name.
pub(super) fn is_on_command_line(arg: &Arg, flag: &str) -> bool {
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
            ("keys --log create create", Some("create")),
            ("keys oops", Some("keys")),
            ("oops serve", None),
            ("--log serve", None),
            ("", None),
        ] {
            let called_command = find_called_command(
                &root,
                &root,
                arguments.split_whitespace().map(OsString::from),
            );
            assert_eq!(called_command.map(Command::get_name), name, "{arguments}");
        }
    }
}
