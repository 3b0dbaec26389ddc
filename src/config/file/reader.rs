//! Turns the text of the configuration file into values of options, errors and warnings.

use std::{collections::BTreeMap, path::Path};

use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{Member, accounts};
use crate::config::{
    account::Account,
    setting::{Kind, Setting, Settings},
};

/// The largest number of errors that are reported.
const ERRORS_MAX: usize = 20;

/// The tables of names of models.
const MODEL_TABLES: [&str; 2] = ["aliases", "fallbacks"];

/// The parser of a configuration file, and its results.
pub(super) struct Reader<'a> {
    path: &'a Path,
    settings: &'a Settings,
    /// The names of aliases, as far as the file has them.
    aliases: Vec<String>,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) accounts: Vec<Account>,
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, settings: &'a Settings) -> Self {
        let (members, accounts, errors, warnings) = Default::default();
        Self {
            path,
            settings,
            aliases: Vec::new(),
            members,
            accounts,
            errors,
            warnings,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return self.error(1, "the file is UTF-16 text: save it as UTF-8");
        }
        let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => {
                self.warnings.push(format!(
                    "{} line 1: the file begins with a byte order mark: save it as UTF-8 without \
                     one",
                    self.path.display()
                ));
                rest
            }
            None => bytes,
        };
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                let line = line_of(bytes, error.valid_up_to());
                return self.error(line, "the line is not UTF-8 text: save the file as UTF-8");
            }
        };
        let line = |at: usize| line_of(bytes, at);
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                // Its `Display` would show the line, which may be a secret.
                let at = error.span().map_or(0, |span| span.start);
                return self.error(
                    line(at),
                    &format!(
                        "this is not TOML ({}): write lines such as listen = \"127.0.0.1:8000\"",
                        error.message()
                    ),
                );
            }
        };
        self.aliases = aliases(&table);
        let mut members: Vec<_> = table.iter().collect();
        members.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in members {
            self.member(line(name.span().start), name.get_ref(), value, &line);
        }
    }

    fn member(
        &mut self,
        line: usize,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        line_at: &dyn Fn(usize) -> usize,
    ) {
        if name == accounts::MEMBER {
            return match accounts::read(value) {
                Ok(accounts) => self.accounts = accounts,
                Err(problem) => self.error(line_at(problem.at), &problem.text),
            };
        }
        if self.settings.file_member(name).is_some() {
            match value.get_ref().as_str() {
                Some(path) => self.take(line, name, vec![path.to_owned()]),
                None => self.error(
                    line,
                    &format!("{name} must be a string, the name of a file"),
                ),
            }
            return;
        }
        let Some(setting) = self.settings.member(name) else {
            return self.unknown(line, name, value.get_ref());
        };
        match self.values(setting, value.get_ref()) {
            Ok(values) => self.take(line, name, values),
            Err(problem) => {
                // A list may have several lines.
                let line = match problem.at {
                    Some(at) => line_at(at),
                    None => line,
                };
                self.error(line, &format!("{name} {}", problem.text));
            }
        }
    }

    fn take(&mut self, line: usize, name: &str, values: Vec<String>) {
        if values.iter().any(|value| value.contains('\0')) {
            return self.error(line, &format!("{name} has a NUL character: write it again"));
        }
        self.members
            .insert(name.to_owned(), Member { values, line });
    }

    /// The name may be a secret in the wrong place, so it is shown only if it is similar to a known
    /// name.
    fn unknown(&mut self, line: usize, name: &str, value: &DeValue<'_>) {
        let has_known = |table: &DeTable<'_>| {
            table
                .keys()
                .any(|inner| self.settings.nearest(inner.get_ref()).is_some())
        };
        if value.as_table().is_some_and(has_known) {
            return self.error(
                line,
                "this is a section, but options are not in sections: remove the line, and write \
                 its options above all tables",
            );
        }
        let sentence = match self.settings.nearest(name) {
            Some(nearest) => {
                let name = visible(name);
                format!("{name} is not an option: did you mean {nearest}?")
            }
            None => format!(
                "this is not an option of Featherwire {}: `featherwire config print` shows all",
                env!("CARGO_PKG_VERSION")
            ),
        };
        self.error(line, &sentence);
    }

    /// The values of `setting`, as they are after its flag.
    fn values(&self, setting: &Setting, value: &DeValue<'_>) -> Result<Vec<String>, Problem> {
        if !setting.is_list {
            return scalar(setting, value).map(|value| vec![value]);
        }
        match value {
            DeValue::Array(elements) => elements
                .iter()
                .map(|element| {
                    let at = |problem: Problem| Problem {
                        at: Some(element.span().start),
                        ..problem
                    };
                    let value = scalar(setting, element.get_ref()).map_err(at)?;
                    without_separator(setting, &value).map_err(at)?;
                    Ok(value)
                })
                .collect(),
            DeValue::Table(pairs) if setting.has_pairs => pairs
                .iter()
                .map(|(name, value)| {
                    self.pair(setting, name.get_ref(), value.get_ref())
                        .map_err(|problem| Problem {
                            at: Some(name.span().start),
                            ..problem
                        })
                })
                .collect(),
            // As in the variable: the separator is between the values.
            DeValue::String(text) => Ok(vec![text.clone().into_owned()]),
            value if setting.kind != Kind::Text && !value.is_table() => {
                scalar(setting, value).map(|value| vec![value])
            }
            value => Err(wrong_type(setting, value)),
        }
    }

    /// `name=value`, of a table.
    fn pair(&self, setting: &Setting, name: &str, value: &DeValue<'_>) -> Result<String, Problem> {
        let is_option = |name| {
            let settings = self.settings;
            settings.member(name).is_some() || settings.file_member(name).is_some()
        };
        if is_option(name) {
            return Err(Problem::new(format!(
                "is a table, and this is the option {name}: write options above all tables"
            )));
        }
        let table = &setting.member;
        if MODEL_TABLES.contains(&table.as_str())
            && let Some(option) = self.misplaced(name, value)
        {
            let name = visible(name);
            return Err(Problem::new(format!(
                "is a table, and {name} in it is probably the option {option}: write options above \
                 all tables. If it belongs to the table, write a list: {table} = \
                 [\"{name}=…\"]"
            )));
        }
        let others = match value {
            DeValue::String(text) => vec![text.as_ref()],
            DeValue::Array(elements) => elements
                .iter()
                .filter_map(|element| element.get_ref().as_str())
                .collect(),
            _ => Vec::new(),
        };
        let count = value.as_array().map_or(1, |elements| elements.len());
        if others.is_empty() || others.len() != count {
            return Err(Problem::new(
                "is a table, but one of its values is neither a string nor a list of strings"
                    .to_owned(),
            ));
        }
        if name.contains('=')
            || [&[name], others.as_slice()]
                .concat()
                .iter()
                .any(|text| text.contains([',', ';']))
        {
            return Err(Problem::new(
                "has a name or a value with a `=`, a comma or a semicolon: write a list instead of \
                 a string with commas"
                    .to_owned(),
            ));
        }
        Ok(format!("{name}={}", others.join(",")))
    }

    /// The option that a pair of a table probably is, in the wrong place: its name is that of no
    /// model and of no alias, and its value is neither.
    fn misplaced(&self, name: &str, value: &DeValue<'_>) -> Option<String> {
        let is_alias = |text: &str| self.aliases.iter().any(|alias| alias == text);
        let is_known = |value: &DeValue<'_>| {
            let text = value.as_str();
            text.is_some_and(|text| is_model(text) || is_alias(text))
        };
        let has_known = match value {
            DeValue::Array(elements) => elements.iter().any(|element| is_known(element.get_ref())),
            value => is_known(value),
        };
        if is_model(name) || has_known {
            return None;
        }
        // The file does not have the aliases of flags and variables. A list or a string that the
        // option does not take is one of these, or a mistake that is found later.
        let fits = |option: &Setting| match value {
            DeValue::Array(_) => option.is_list,
            DeValue::String(_) => option.is_list || matches!(option.kind, Kind::Text | Kind::Size),
            _ => true,
        };
        let option = self.settings.nearest(name)?;
        let fits = self.settings.member(&option).is_none_or(fits);
        fits.then_some(option)
    }

    fn error(&mut self, line: usize, sentence: &str) {
        if self.errors.len() < ERRORS_MAX {
            let path = self.path.display();
            self.errors.push(format!("{path} line {line}: {sentence}"));
        }
    }
}

/// A value that the option does not take.
struct Problem {
    text: String,
    /// Where it is in the text, if it is an element of a list.
    at: Option<usize>,
}

impl Problem {
    fn new(text: String) -> Self {
        Self { text, at: None }
    }
}

/// A name of the file, without the characters that control a terminal.
fn visible(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}

fn without_separator(setting: &Setting, value: &str) -> Result<(), Problem> {
    match setting.separator {
        Some(separator) if value.contains(separator) => Err(Problem::new(format!(
            "has an element with a `{separator}`, which separates elements: write each as an \
             element of its own"
        ))),
        _ => Ok(()),
    }
}

fn scalar(setting: &Setting, value: &DeValue<'_>) -> Result<String, Problem> {
    let found = match (setting.kind, value) {
        (Kind::Switch, DeValue::Boolean(is_on)) => Some(is_on.to_string()),
        (Kind::Integer | Kind::Number | Kind::Size, DeValue::Integer(number)) => decimal(number),
        (Kind::Number, DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Size | Kind::Text, DeValue::String(text)) => Some(text.clone().into_owned()),
        _ => None,
    };
    found.ok_or_else(|| wrong_type(setting, value))
}

fn decimal(number: &DeInteger<'_>) -> Option<String> {
    i128::from_str_radix(number.as_str(), number.radix())
        .ok()
        .map(|number| number.to_string())
}

fn wrong_type(setting: &Setting, value: &DeValue<'_>) -> Problem {
    let is = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let (must_be, example) = match setting.kind {
        Kind::Switch => ("true or false", "true"),
        Kind::Integer => ("a whole number without quotes", "4"),
        Kind::Number => ("a number without quotes", "40"),
        Kind::Size => ("a size", "32MiB"),
        Kind::Text => ("a string", "…"),
    };
    let example = setting.example.as_deref().unwrap_or(example);
    let example = setting.as_toml(example);
    let member = &setting.member;
    Problem::new(if setting.is_list {
        format!("is {is}, but must be a list: write {member} = [{example}]")
    } else {
        format!("is {is}, but must be {must_be}: write {member} = {example}")
    })
}

/// Whether `text` looks like the id of a model, `org/model`. A path begins with a `/` or a point.
fn is_model(text: &str) -> bool {
    let parts = text.split_once('/');
    parts.is_some_and(|(org, model)| {
        !org.is_empty() && !org.starts_with('.') && !model.is_empty() && !model.starts_with('/')
    })
}

/// The names of aliases in the document.
fn aliases(table: &DeTable<'_>) -> Vec<String> {
    let of_pair = |pair: &str| pair.split_once('=').map(|(name, _)| name.trim().to_owned());
    match table.get("aliases").map(Spanned::get_ref) {
        Some(DeValue::Table(pairs)) => {
            let names = pairs.keys().map(|name| name.get_ref().to_string());
            names.collect()
        }
        Some(DeValue::Array(elements)) => {
            let elements = elements.iter().filter_map(|it| it.get_ref().as_str());
            elements.filter_map(of_pair).collect()
        }
        Some(DeValue::String(text)) => text.split([',', ';']).filter_map(of_pair).collect(),
        _ => Vec::new(),
    }
}

/// The number of the line in which the byte at `at` is.
fn line_of(text: &[u8], at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
