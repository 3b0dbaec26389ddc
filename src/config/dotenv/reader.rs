//! Parses the text of a `.env` file line by line, into values, errors and warnings.

use std::{collections::BTreeMap, mem};

use crate::config::names::Names;

/// The largest number of errors that are reported, and of warnings.
const REPORTS_MAX: usize = 20;

const SINGLE_QUOTES: &str = "put the whole value in single quotes: NAME='value'";

const UNCLOSED_QUOTE: Problem = (
    "the quote is not closed on the same line",
    "close the quote, or put the value in single quotes",
);

const DOUBLE_QUOTES: &str = "put the whole value in double quotes: NAME=\"value\"";

/// A variable that `.env` sets.
pub(super) struct Entry {
    pub(super) value: String,
    pub(super) line: usize,
}

/// The parser of a `.env` file, and its results.
pub(super) struct Reader<'a> {
    names: &'a Names,
    environment: &'a dyn Fn(&str) -> Option<String>,
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
    has_seen_crlf: bool,
}

/// A problem of a line, and how to fix it.
type Problem = (&'static str, &'static str);

impl<'a> Reader<'a> {
    pub(super) fn new(names: &'a Names, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let (entries, errors, warnings) = Default::default();
        Self {
            names,
            environment,
            entries,
            errors,
            warnings,
            has_seen_crlf: false,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return self.error(1, "", ("the file is UTF-16 text", "save it as UTF-8"));
        }
        let bytes = match bytes.strip_prefix(b"\xef\xbb\xbf") {
            Some(rest) => {
                self.warn(
                    1,
                    "",
                    (
                        "the file begins with a byte order mark",
                        "save it as UTF-8 without one",
                    ),
                );
                rest
            }
            None => bytes,
        };
        let mut lines = (1..).zip(bytes.split(|&byte| byte == b'\n')).peekable();
        while let Some((number, line)) = lines.next() {
            let line = self.without_cr(number, line);
            let Ok(line) = std::str::from_utf8(line) else {
                let name = line
                    .split(|&byte| byte == b'=')
                    .next()
                    .and_then(|name| std::str::from_utf8(name).ok());
                self.error(
                    number,
                    name.unwrap_or_default(),
                    ("the line is not UTF-8 text", "save the file as UTF-8"),
                );
                continue;
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (line, is_exported) = match line.strip_prefix("export") {
                Some(rest) if rest.starts_with(char::is_whitespace) => (rest.trim_start(), true),
                _ => (line, false),
            };
            let Some((name, rest)) = line.split_once('=') else {
                // A line without `=` may be a secret. Its first word is shown only if it is the
                // name of a variable of Featherwire, or similar to one.
                let name = Some(leading_name(line))
                    .filter(|name| self.names.is_ours(name))
                    .unwrap_or_default();
                self.error(
                    number,
                    name,
                    (
                        "the line has no `=`",
                        "write NAME=value, or # before a comment",
                    ),
                );
                continue;
            };
            let has_spaces =
                name.ends_with(char::is_whitespace) || rest.starts_with(char::is_whitespace);
            let (name, rest) = (name.trim_end(), rest.trim_start());
            if !is_name(name) {
                self.reject(
                    number,
                    name,
                    (
                        "this is not a valid name of a variable",
                        "use only letters, digits and _",
                    ),
                );
                continue;
            }
            if is_exported {
                self.warn_if_ours(
                    number,
                    name,
                    ("`export` is not needed, and Docker refuses it", "remove it"),
                );
            }
            if has_spaces && !rest.is_empty() && !rest.starts_with('#') {
                self.warn_if_ours(
                    number,
                    name,
                    ("shells and Docker refuse spaces around `=`", "remove them"),
                );
            }
            let mut value = rest.to_owned();
            let mut result = self.value(number, name, &value);
            // Only variables of other programs may have values of several lines.
            while result
                .as_ref()
                .is_err_and(|problem| *problem == UNCLOSED_QUOTE)
                && !self.names.is_ours(name)
            {
                let more = lines
                    .peek()
                    .and_then(|(_, line)| std::str::from_utf8(line).ok());
                let Some(more) = more.filter(|more| !self.names.is_ours(leading_name(more))) else {
                    break;
                };
                lines.next();
                value.push('\n');
                value.push_str(more.trim_end_matches('\r'));
                result = self.value(number, name, &value);
            }
            match result {
                Ok(value) => self.take(number, name, value),
                Err(UNCLOSED_QUOTE) => self.error(number, name, UNCLOSED_QUOTE),
                Err(problem) => self.reject(number, name, problem),
            }
        }
    }

    fn without_cr<'l>(&mut self, number: usize, line: &'l [u8]) -> &'l [u8] {
        let Some(line) = line.strip_suffix(b"\r") else {
            return line;
        };
        if !mem::replace(&mut self.has_seen_crlf, true) {
            let text = std::str::from_utf8(line).unwrap_or_default().trim_start();
            let name = text
                .split('=')
                .next()
                .filter(|name| self.names.is_ours(name))
                .unwrap_or_default();
            let text = "the line ends with CR LF, as on Windows, and shells and Docker read the CR \
                        as part of the value";
            self.warn(number, name, (text, "save the file with LF line ends"));
        }
        line
    }

    fn take(&mut self, line: usize, name: &str, value: String) {
        if let Some(first) = self.entries.get(name) {
            let line_of_first = first.line;
            if self.names.is_ours(name) {
                let text =
                    format!("the name is already set in line {line_of_first}, which has priority");
                self.warn(line, name, (&text, "remove one of the two lines"));
            }
            return;
        }
        self.entries.insert(name.to_owned(), Entry { value, line });
    }

    /// Parses `text`, which is the part of a line after `=`.
    fn value(&mut self, line: usize, name: &str, text: &str) -> Result<String, Problem> {
        if text.contains('\0') {
            return Err(("the value has a NUL character", "write it again"));
        }
        if let Some(quoted) = text.strip_prefix('\'') {
            let (value, rest) = quoted.split_once('\'').ok_or(UNCLOSED_QUOTE)?;
            return nothing_after(rest).map(|()| value.to_owned());
        }
        if let Some(quoted) = text.strip_prefix('"') {
            return self.double_quoted(quoted);
        }
        let mut before = ' ';
        let comment = text
            .char_indices()
            .find(|&(_, c)| mem::replace(&mut before, c).is_whitespace() && c == '#');
        let value = comment
            .and_then(|(at, _)| text.split_at_checked(at))
            .map_or(text, |(value, _)| value)
            .trim_end();
        let problem = value.chars().find_map(|c| match c {
            '$' => Some("the value has a `$` outside quotes, which many parsers replace"),
            '\\' => Some("the value has a `\\` outside quotes, which many parsers remove"),
            '\'' | '"' => Some("the value has a quote that is not its first character"),
            c if c.is_whitespace() || c.is_control() => {
                Some("the value has a space outside quotes")
            }
            _ => None,
        });
        if let Some(problem) = problem {
            let fix = if value.contains('\'') {
                DOUBLE_QUOTES
            } else {
                SINGLE_QUOTES
            };
            return Err((problem, fix));
        }
        if comment.is_some() {
            let text = "the text after `#` is a comment and not part of the value";
            let fix =
                "put the value in single quotes, NAME='value', or the comment on its own line";
            self.warn_if_ours(line, name, (text, fix));
        } else if value.contains('#') {
            self.warn_if_ours(
                line,
                name,
                (
                    "`#` is part of the value here, but other parsers read it as a comment",
                    SINGLE_QUOTES,
                ),
            );
        }
        Ok(value.to_owned())
    }

    /// Parses a value in double quotes. Escapes and `${NAME}` are replaced.
    fn double_quoted(&self, quoted: &str) -> Result<String, Problem> {
        let mut value = String::new();
        let mut rest = quoted.chars();
        loop {
            match rest.next().ok_or(UNCLOSED_QUOTE)? {
                '"' => break,
                '\\' => match rest.next().ok_or(UNCLOSED_QUOTE)? {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"' | '\'' | '$' | ' ') => value.push(c),
                    _ => return Err(("the value has an unknown escape", SINGLE_QUOTES)),
                },
                '$' => {
                    let named = rest
                        .as_str()
                        .strip_prefix('{')
                        .and_then(|rest| rest.split_once('}'));
                    let found = named.and_then(|(name, after)| Some((self.lookup(name)?, after)));
                    let (found, after) = found.ok_or((
                        "`$` in double quotes refers to a variable that is not set",
                        "put the whole value in single quotes, NAME='value', or refer to a \
                         variable that is set, \"${NAME}\"",
                    ))?;
                    value.push_str(&found);
                    rest = after.chars();
                }
                c => value.push(c),
            }
        }
        nothing_after(rest.as_str()).map(|()| value)
    }

    fn lookup(&self, name: &str) -> Option<String> {
        let is_usable = is_name(name);
        is_usable
            .then(|| {
                (self.environment)(name).or_else(|| Some(self.entries.get(name)?.value.clone()))
            })
            .flatten()
    }

    /// Reports an invalid line: an error if the name may be one of Featherwire, otherwise a
    /// warning.
    fn reject(&mut self, line: usize, name: &str, problem: Problem) {
        if !is_name(name) || self.names.is_ours(name) {
            self.error(line, name, problem);
        } else {
            self.warn(
                line,
                name,
                (&format!("{}, so the line is ignored", problem.0), problem.1),
            );
        }
    }

    fn error(&mut self, line: usize, name: &str, problem: Problem) {
        let report = self.report(line, name, problem);
        push(&mut self.errors, report);
    }

    fn warn_if_ours(&mut self, line: usize, name: &str, problem: Problem) {
        if self.names.is_ours(name) {
            self.warn(line, name, problem);
        }
    }

    fn warn(&mut self, line: usize, name: &str, problem: (&str, &str)) {
        let report = self.report(line, name, problem);
        push(&mut self.warnings, report);
    }

    /// The sentence for a problem. It contains `name` only if `name` is certainly the name of a
    /// variable, because an invalid line may have a secret in its place.
    fn report(&self, line: usize, name: &str, (text, fix): (&str, &str)) -> String {
        let first_word = leading_name(name);
        let is_ours = self.names.is_ours(first_word);
        let is_plain = first_word == name && !name.chars().any(|c| c.is_ascii_lowercase());
        let shown = if !first_word.is_empty() && (is_ours || is_plain) {
            format!("{first_word}: ")
        } else {
            String::new()
        };
        let suggestion = self
            .names
            .nearest(name)
            .filter(|suggestion| is_ours && *suggestion != name);
        let suggestion = suggestion
            .map(|suggestion| format!(" (did you mean {suggestion}?)"))
            .unwrap_or_default();
        format!(".env line {line}: {shown}{text}: {fix}{suggestion}")
    }
}

fn nothing_after(rest: &str) -> Result<(), Problem> {
    let is_comment = rest.trim_start().starts_with('#') && rest.starts_with(char::is_whitespace);
    if rest.trim().is_empty() || is_comment {
        Ok(())
    } else {
        Err(("text follows the closing quote", DOUBLE_QUOTES))
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && leading_name(name) == name
}

/// The letters, digits, underscores and dots at the start of `text`.
fn leading_name(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
        .next()
        .unwrap_or_default()
}

fn push(reports: &mut Vec<String>, report: String) {
    if reports.len() < REPORTS_MAX {
        reports.push(report);
    }
}

#[cfg(test)]
mod tests;
