//! The options that a variable or the configuration file can set, as the command line defines them.

use std::{any::TypeId, collections::BTreeMap};

use bytesize::ByteSize;
use clap::{Arg, ArgAction, Command};

use super::values::switch;

/// The variable that names the configuration file. It is no member of the file.
pub const CONFIG_VARIABLE: &str = "FEATHERWIRE_CONFIG";

/// The prefix of variables that a member of the configuration file does not have.
const PREFIX: &str = "FEATHERWIRE_";

/// The lowest Jaro-Winkler similarity of a suggested name.
const SIMILARITY_MIN: f64 = 0.8;

/// What a value of the configuration file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A string such as `32MiB`, or a whole number of bytes.
    Size,
    /// A string.
    Text,
}

/// An option that a variable or the configuration file can set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Its variable.
    pub variable: String,
    /// Its member of the configuration file: the variable in small letters, without
    /// `FEATHERWIRE_`.
    pub member: String,
    /// Its flag, with the dashes.
    pub flag: String,
    /// What its value, or each of its values, is.
    pub kind: Kind,
    /// Whether it takes several values.
    pub is_list: bool,
    /// The character between the values of a list in one string.
    pub separator: Option<char>,
    /// Whether its values are pairs, such as `NAME=MODEL`, which the file may have as a table.
    pub has_pairs: bool,
    /// Whether its value is secret. Such an option can be read from a file of its own.
    pub is_secret: bool,
    /// An example of a value: the default.
    pub example: Option<String>,
}

impl Setting {
    /// The option `arg`. `None` if it has no variable, and for `--config` itself.
    pub fn of(arg: &Arg) -> Option<Self> {
        let variable = arg.get_env()?.to_str()?.to_owned();
        if variable == CONFIG_VARIABLE {
            return None;
        }
        let member = variable.strip_prefix(PREFIX).unwrap_or(&variable);
        let of_type = arg.get_value_parser().type_id();
        let integers = [
            TypeId::of::<u16>(),
            TypeId::of::<u32>(),
            TypeId::of::<u64>(),
            TypeId::of::<usize>(),
        ];
        let kind = if of_type == TypeId::of::<bool>() {
            Kind::Switch
        } else if integers.into_iter().any(|integer| of_type == integer) {
            Kind::Integer
        } else if of_type == TypeId::of::<f64>() {
            Kind::Number
        } else if of_type == TypeId::of::<ByteSize>() {
            Kind::Size
        } else {
            Kind::Text
        };
        let mut value_names = arg.get_value_names().unwrap_or_default().iter();
        Some(Self {
            member: member.to_ascii_lowercase(),
            flag: format!("--{}", arg.get_long().unwrap_or_default()),
            kind,
            is_list: matches!(arg.get_action(), ArgAction::Append),
            separator: arg.get_value_delimiter(),
            has_pairs: value_names.any(|name| name.contains('=')),
            // What no help may show is secret.
            is_secret: arg.is_hide_env_values_set(),
            example: arg
                .get_default_values()
                .first()
                .filter(|_| arg.get_action().takes_values())
                .and_then(|value| value.to_str().map(str::to_owned)),
            variable,
        })
    }

    /// The variable with the name of a file that has the value.
    pub fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable)
    }

    /// The member with the name of a file that has the value.
    pub fn file_member(&self) -> String {
        format!("{}_file", self.member)
    }

    /// Whether `value` must not be shown. The location of an SQLite database is no secret.
    pub fn hides(&self, value: &str) -> bool {
        self.is_secret && !value.trim().is_empty() && !value.trim().starts_with("sqlite:")
    }

    /// `value` as the configuration file has it.
    pub fn as_toml(&self, value: &str) -> String {
        let plain = value.trim();
        let parsed = match self.kind {
            Kind::Switch => switch(plain).ok().map(|is_on| is_on.to_string()),
            Kind::Integer => plain.parse::<i128>().ok().map(|number| number.to_string()),
            Kind::Number => plain.parse::<f64>().ok().map(|number| number.to_string()),
            Kind::Size | Kind::Text => Some(quoted(value)),
        };
        parsed.unwrap_or_else(|| plain.to_owned())
    }
}

/// The options of all commands that a variable or the configuration file can set.
#[derive(Clone, Debug)]
pub struct Settings(BTreeMap<String, Setting>);

impl Settings {
    /// The options of `command`, and of all commands below it.
    pub fn new(command: &Command) -> Self {
        let mut settings = BTreeMap::new();
        add(command, &mut settings);
        Self(settings)
    }

    /// The option with this member of the configuration file.
    pub fn member(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// The secret option whose file this member of the configuration file names.
    pub fn file_member(&self, name: &str) -> Option<&Setting> {
        let setting = self.0.get(name.strip_suffix("_file")?)?;
        setting.is_secret.then_some(setting)
    }

    /// The secret options.
    pub fn secrets(&self) -> impl Iterator<Item = &Setting> {
        self.0.values().filter(|setting| setting.is_secret)
    }

    /// The member that `name` probably means.
    pub fn nearest(&self, name: &str) -> Option<String> {
        let plain = name.trim().to_ascii_lowercase().replace('-', "_");
        let plain = plain.strip_prefix("featherwire_").unwrap_or(&plain);
        if self.member(plain).is_some() || self.file_member(plain).is_some() {
            return Some(plain.to_owned());
        }
        let flag = plain.replace('_', "-");
        let has_flag = |setting: &&Setting| setting.flag.trim_start_matches('-') == flag;
        if let Some(setting) = self.0.values().find(has_flag) {
            return Some(setting.member.clone());
        }
        let files = self.secrets().map(Setting::file_member);
        let similarity = |known: &String| strsim::jaro_winkler(plain, known);
        let all = self.0.keys().cloned().chain(files);
        all.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
            .filter(|known| similarity(known) >= SIMILARITY_MIN)
    }
}

fn add(command: &Command, settings: &mut BTreeMap<String, Setting>) {
    for setting in command.get_arguments().filter_map(Setting::of) {
        settings.entry(setting.member.clone()).or_insert(setting);
    }
    for below in command.get_subcommands() {
        add(below, settings);
    }
}

/// `text` as a string of TOML.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
