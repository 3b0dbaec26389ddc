//! Errors of JSON documents, with messages for the authors of the documents.

use std::{borrow::Cow, fmt::Display};

use serde_json::error::Category;
use serde_path_to_error::Segment;

use super::budget;

/// The longest path in an error, in characters. The names in a map come from the caller and may
/// have any length.
pub(super) const PATH_CHARS_MAX: usize = 128;

/// The separator in a serde error about a member in `extra`. Other errors do not contain this
/// character.
const SEPARATOR: char = '\u{0}';

/// A problem of a JSON document, and its path.
#[derive(Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The path of the invalid member, such as `messages[0].content`. `None` if the problem is
    /// about the complete document.
    pub path: Option<String>,
    /// What is wrong and, after a `;`, how to fix it. Never quotes the document, which may contain
    /// a prompt.
    pub problem: String,
    /// Whether the document exceeds a limit or the memory budget.
    pub is_too_large: bool,
}

impl JsonError {
    /// A problem of the complete document.
    pub fn whole(problem: impl Into<String>) -> Self {
        Self {
            path: None,
            problem: problem.into(),
            is_too_large: budget::is_exceeded(),
        }
    }

    /// The path and the problem, without the advice, which is only for the author of the document.
    pub fn without_advice(&self) -> String {
        let fact = self.problem.split(';').next().unwrap_or_default();
        match &self.path {
            Some(path) => format!("{path}: {fact}"),
            None => fact.to_owned(),
        }
    }

    /// A problem of the member at `path`, or of the complete document if `path` is `None`.
    fn at(path: Option<String>, problem: impl Into<String>) -> Self {
        Self {
            path,
            ..Self::whole(problem)
        }
    }
}

impl Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{path}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

impl std::error::Error for JsonError {}

/// `body` without a byte order mark.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// A body as text, without a byte order mark.
///
/// # Errors
/// The body is not UTF-8. The error names another Unicode encoding if it recognises one.
pub fn text(body: &[u8]) -> Result<&str, JsonError> {
    // JSON begins with an ASCII character, so zero bytes near it show the encoding.
    let encoding = match body {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [_, 0, 0, 0, ..] | [0, 0, 0, _, ..] => {
            Some("UTF-32")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [_, 0, ..] | [0, _, ..] => Some("UTF-16"),
        _ => None,
    };
    if let Some(encoding) = encoding {
        return Err(JsonError::whole(format!(
            "encoded as {encoding}: send UTF-8"
        )));
    }
    std::str::from_utf8(without_mark(body)).map_err(|error| {
        let place = error.valid_up_to() + body.len() - without_mark(body).len();
        JsonError::whole(format!("not UTF-8: byte {place} is wrong; send UTF-8"))
    })
}

/// The message of a serde error about the member `name` in `extra`. [`write_error`] converts the
/// name to a path.
pub(super) fn error_in_extra(name: &str, problem: impl Display) -> String {
    format!("{SEPARATOR}{name}{SEPARATOR}{problem}")
}

/// A serde error about the document as a whole.
pub(super) fn document_error(error: &serde_json::Error) -> JsonError {
    let text = error.to_string();
    let problem = match text
        .strip_prefix(SEPARATOR)
        .and_then(|text| text.rsplit_once(SEPARATOR))
    {
        Some((_, problem)) => without_place(problem).to_owned(),
        None => describe(error),
    };
    JsonError::whole(problem)
}

/// The error of decoding `text`, with its path.
pub(super) fn read_error(
    error: serde_path_to_error::Error<serde_json::Error>,
    text: &str,
) -> JsonError {
    // If the path is unknown, the problem is in a name.
    let is_name = matches!(error.path().iter().next_back(), Some(Segment::Unknown));
    let mut path = error.path().to_string();
    // The names are unknown while an answer is decoded.
    if budget::is_exceeded()
        && let Some(end) = path.find(".?")
    {
        path.truncate(end);
    }
    let error = error.into_inner();
    let is_value = error.classify() == Category::Data;
    if text.trim_ascii().is_empty() {
        return JsonError::whole("not valid JSON: it is empty; send a JSON object");
    }
    if is_name && is_half(&error) {
        let parent = path
            .strip_suffix('?')
            .map(|path| path.strip_suffix('.').unwrap_or(path));
        let path = parent
            .filter(|path| !path.is_empty())
            .and_then(|path| shown_path(path.to_owned()));
        return JsonError::at(path, format!("the name of a member has {HALF}"));
    }
    match unreadable(&error, text) {
        Some(problem) => JsonError::at(shown_path(path), problem),
        None => JsonError::at(
            is_value.then(|| shown_path(path)).flatten(),
            describe(&error),
        ),
    }
}

/// The error of encoding a message, with its path.
pub(super) fn write_error(error: &serde_path_to_error::Error<serde_json::Error>) -> JsonError {
    let path = error.path().to_string();
    let text = error.inner().to_string();
    let Some((name, problem)) = text
        .strip_prefix(SEPARATOR)
        .and_then(|text| text.rsplit_once(SEPARATOR))
    else {
        return JsonError::at(shown_path(path), describe(error.inner()));
    };
    let member = format!("extra[{name:?}]");
    let path = if path == "." {
        member
    } else {
        format!("{path}.{member}")
    };
    JsonError::at(shown_path(path), without_place(problem))
}

/// A path as an error shows it. `None` for the document itself.
fn shown_path(mut path: String) -> Option<String> {
    if let Some((end, _)) = path.char_indices().nth(PATH_CHARS_MAX) {
        path.truncate(end);
        path.push('…');
    }
    (path != ".").then_some(path)
}

const HALF: &str = "half of a surrogate pair, which is no character: send both halves (such as \
                    \\ud83d\\ude00), or neither";

/// Whether the error is about half of a surrogate pair.
fn is_half(error: &serde_json::Error) -> bool {
    let problem = error.to_string();
    problem.contains("surrogate") || problem.starts_with("unexpected end of hex escape")
}

/// The message for a value that is not JSON, or for a number that is too large. `None` for other
/// problems.
fn unreadable(error: &serde_json::Error, text: &str) -> Option<&'static str> {
    let problem = error.to_string();
    if problem.starts_with("number out of range") {
        return Some("the number is too large: no 64-bit floating-point number can hold it");
    }
    if is_half(error) {
        return Some(HALF);
    }
    let line = text.split('\n').nth(error.line().checked_sub(1)?)?;
    // The column of the first invalid character, counted in bytes from 1.
    let rest = line.get(error.column().saturating_sub(2)..)?;
    let names = ["NaN", "Infinity", "-Infinity"];
    let is_named = |rest: &str| names.iter().any(|name| rest.starts_with(name));
    let is_not_finite = is_named(rest) || rest.get(1..).is_some_and(is_named);
    is_not_finite
        .then_some("NaN and Infinity are not JSON: send a number, or null, or leave the member out")
}

/// The message of a serde error in the terms of JSON, without the value that serde quotes.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.classify() != Category::Data {
        return format!("not valid JSON: {}", syntax(&text));
    }
    let text = without_place(&text);
    let Some((found, expected)) = text.rsplit_once(", expected ") else {
        return text.to_owned();
    };
    let expected = match expected {
        "f64" => "a number",
        "a sequence" => "a list",
        "a map" => "an object",
        other => other,
    };
    let found = found
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ");
    let found = match found.split(['`', '"']).next().map(str::trim) {
        Some("map") => "an object",
        Some("sequence") => "a list",
        Some("string") => "a string",
        Some("boolean") => "a boolean",
        Some("integer") => "an integer",
        Some("floating point") => "a number with a fraction",
        Some("null") => "null",
        _ => "something else",
    };
    match expected.strip_prefix(found) {
        Some(rest) if !rest.is_empty() => format!("expected {expected}"),
        _ => format!("expected {expected}, found {found}"),
    }
}

/// The problem of a member that contains JSON text.
pub(super) fn error_in_text(error: &serde_json::Error) -> String {
    let problem = error.to_string();
    let problem = syntax(without_place(&problem));
    format!("not valid JSON text: {problem}; write one JSON value, a string with its quotes")
}

/// serde's message for invalid JSON, in plain words.
fn syntax(problem: &str) -> Cow<'_, str> {
    match problem.strip_prefix("EOF while parsing ") {
        Some(inside) => match inside.strip_prefix("a value") {
            Some(place) => format!("it ends before a value{place}").into(),
            None => format!("it ends inside {inside}").into(),
        },
        None => problem.into(),
    }
}

pub(super) fn without_place(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(text, _)| text)
}
