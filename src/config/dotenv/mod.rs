//! The file `.env` in the working directory: lines of `NAME=value`. Parsers of `.env` files
//! disagree about an unquoted `$`, `#`, `\` or quote, and many change the value silently. This
//! parser takes a value exactly as it is written, or reports an error: an ambiguous line is an
//! error with its number. A line that other parsers understand differently is a warning. No message
//! contains a value.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

mod reader;

use super::{names::Names, regular_file, sources::Environment};
use reader::{Entry, Reader};

/// The largest accepted file, in bytes.
const BYTES_MAX: u64 = 1024 * 1024;

/// The contents of `.env`.
#[derive(Default)]
pub struct Dotenv {
    /// The variables that `.env` sets.
    entries: BTreeMap<String, Entry>,
    /// Warnings about lines, one sentence each.
    pub warnings: Vec<String>,
}

impl Dotenv {
    /// The names of the variables, and the place of each, such as ".env line 3: ".
    pub(super) fn places(&self) -> impl Iterator<Item = (String, String)> {
        let place = |entry: &Entry| format!(".env line {}: ", entry.line);
        let entries = self.entries.iter();
        entries.map(move |(name, entry)| (name.clone(), place(entry)))
    }

    /// The value of the variable `name` in `.env`, and the number of its line.
    pub(super) fn get(&self, name: &str) -> Option<(&str, usize)> {
        let entry = self.entries.get(name)?;
        Some((&entry.value, entry.line))
    }

    /// Reads `.env` in the working directory, if the file exists. Variables of the `environment`
    /// keep their value.
    ///
    /// # Errors
    /// Sentences that name the invalid lines, without their values.
    pub(super) fn read(names: &Names, environment: &Environment) -> Result<Self, String> {
        let path = Path::new(".env");
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Ok(meta) if meta.is_dir() => {
                return Err(
                    ".env is a directory, but must be a file with lines of NAME=value: \
                            rename it, or start in another directory"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let bytes = regular_file::read(path, BYTES_MAX)
            .map_err(|problem| format!(".env (in the working directory) {problem}"))?;
        let lookup = |name: &str| environment.get(name).map(str::to_owned);
        let mut reader = Reader::new(names, &lookup);
        reader.read(&bytes);
        let Reader {
            mut entries,
            errors,
            warnings,
            ..
        } = reader;
        if !errors.is_empty() {
            return Err(errors.join("\n  "));
        }
        entries.retain(|name, _| !environment.has(name));
        Ok(Self { entries, warnings })
    }

    /// Sets the variables in the environment, for what is not an option: proxies, for example. Call
    /// it while no other thread runs, which `setenv` requires.
    ///
    /// # Errors
    /// A sentence: a value cannot be set.
    pub fn export(&self) -> Result<(), String> {
        // The values are already parsed. The dotenvy crate sets them, because setting a variable is
        // unsafe code, which this crate forbids.
        let text: String = self
            .entries
            .iter()
            .map(|(name, entry)| format!("{name}=\"{}\"\n", escaped(&entry.value)))
            .collect();
        dotenvy::from_read(text.as_bytes())
            .map_err(|_| ".env has a value that cannot be set as a variable".to_owned())
    }
}

/// Shows no value.
impl fmt::Debug for Dotenv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.entries.keys().collect();
        f.debug_struct("Dotenv").field("names", &names).finish()
    }
}

/// Escapes `value` for double quotes.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\\' | '"' | '$' => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}
