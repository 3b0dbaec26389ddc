//! The effective values of the options of the called command, and where each comes from.

use std::fmt;

use clap::{ArgMatches, parser::ValueSource};

use super::{arguments::called_command, inputs::Inputs};
use crate::config::{Origin, Setting, Sources};

/// The effective values of an option.
pub(super) struct Effective {
    pub(super) setting: Setting,
    /// The group of the option in `--help`.
    pub(super) heading: String,
    /// The values, as they are after a flag. They may be secret.
    pub(super) values: Vec<String>,
    pub(super) source: Source,
}

/// Shows no value.
impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effective")
            .field("member", &self.setting.member)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Where the values of an option come from.
#[derive(Debug)]
pub(super) enum Source {
    /// From this flag.
    Flag(String),
    /// From the environment or a file.
    Set(Origin),
    /// From the program.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Set(origin) => origin.fmt(f),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The options of the called command and those of all commands, in the order of `--help`.
pub(super) fn options(inputs: &Inputs, sources: &Sources, matches: &ArgMatches) -> Vec<Effective> {
    let mut of_command = matches;
    while let Some((_, inner)) = of_command.subcommand() {
        of_command = inner;
    }
    let root = &inputs.definition;
    let called = called_command(root).into_iter();
    let args = called
        .flat_map(clap::Command::get_arguments)
        .chain(root.get_arguments());
    let mut options: Vec<Effective> = Vec::new();
    for arg in args {
        let Some(setting) = Setting::of(arg).filter(|_| !arg.is_hide_set()) else {
            continue;
        };
        let id = arg.get_id().as_str();
        let raw = of_command.get_raw(id).into_iter().flatten();
        let values = raw.map(|value| value.to_string_lossy().into_owned());
        let source = match of_command.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Flag(setting.flag.clone()),
            // The value was found before it was parsed.
            _ => match sources.find(&setting) {
                Ok(Some(found)) => Source::Set(found.origin),
                _ => Source::Default,
            },
        };
        options.push(Effective {
            heading: arg.get_help_heading().unwrap_or_default().to_owned(),
            values: values.collect(),
            source,
            setting,
        });
    }
    // A stable sort: groups in the order of their first option.
    let headings: Vec<_> = options.iter().map(|one| one.heading.clone()).collect();
    options.sort_by_key(|one| headings.iter().position(|heading| *heading == one.heading));
    options
}
