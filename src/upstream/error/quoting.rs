//! The upstream's own words: which of them may be quoted, and in what form.

use std::borrow::Cow;

use crate::upstream::limits::ERROR_BODY_BYTES_MAX;

/// How much of an upstream's own message is quoted, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// The longest path of a field that is passed on, in characters.
const PARAM_CHARS_MAX: usize = 128;

/// How long an upstream's `code` may be to become ours, in bytes, and how short: the limits of
/// `google.rpc.ErrorInfo`.
const CODE_BYTES_MAX: usize = 63;
const CODE_BYTES_MIN: usize = 3;

/// What web pages have in them, in lower case. A page of a front end or a CDN is never quoted.
const PAGE_MARKS: [&str; 8] = [
    "<!doctype",
    "<html",
    "<head",
    "<body",
    "<title",
    "<script",
    "<style",
    "<center",
];

/// A message in a form that can be quoted, but for its length: on one line, without control
/// characters, without its full stop. None if nothing is left of it, or if it is a web page.
pub(super) fn quotable(message: &str) -> Option<String> {
    let message = on_one_line(message, ERROR_BODY_BYTES_MAX);
    let message = message.trim_end_matches('.').trim_end();
    (!message.is_empty() && !is_page(message)).then(|| message.to_owned())
}

/// A message, cut to the length in which messages are quoted.
pub(super) fn shortened(message: &str) -> Cow<'_, str> {
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        None => message.into(),
        Some(_) => message
            .chars()
            .take(MESSAGE_CHARS_MAX - 1)
            .chain(['…'])
            .collect(),
    }
}

/// The path of a field in a form that can be passed on.
pub(super) fn field_path(path: &str) -> Option<String> {
    let path = on_one_line(path, PARAM_CHARS_MAX);
    (!path.is_empty()).then_some(path)
}

/// A word that programs use (a code, a type) in lower snake case: `BadRequestError` is
/// `bad_request_error`. None for what is no such word: a number, a sentence, or an address.
pub(super) fn identifier(word: &str) -> Option<String> {
    let word = word.trim();
    if word.len() > CODE_BYTES_MAX || !word.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return None;
    }
    let (mut name, mut follows_lower) = (String::new(), false);
    for letter in word.chars() {
        match letter {
            'A'..='Z' => {
                if follows_lower {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => name.push(letter),
            '_' | '-' | '.' if !name.ends_with('_') => name.push('_'),
            '_' | '-' | '.' => {}
            _ => return None,
        }
        follows_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    let name = name.trim_end_matches('_');
    (CODE_BYTES_MIN..=CODE_BYTES_MAX)
        .contains(&name.len())
        .then(|| name.to_owned())
}

/// Whether a text is a web page, or a piece of one.
pub(super) fn is_page(text: &str) -> bool {
    let text = text.trim_start();
    if text.starts_with('<') {
        return true;
    }
    let lower = text.to_ascii_lowercase();
    PAGE_MARKS.iter().any(|mark| lower.contains(mark))
}

/// A text with single spaces for what separates its words, up to a bound.
fn on_one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    let mut chars_left = chars_max;
    for word in text.split(|letter: char| letter.is_whitespace() || is_invisible(letter)) {
        if word.is_empty() {
            continue;
        }
        for letter in line
            .chars()
            .next()
            .map(|_| ' ')
            .into_iter()
            .chain(word.chars())
        {
            let Some(left) = chars_left.checked_sub(1) else {
                line.pop();
                line.push('…');
                return line;
            };
            chars_left = left;
            line.push(letter);
        }
    }
    line
}

/// Characters that steer a terminal or the direction of text, and show nothing themselves.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_quoted_on_one_line_within_a_bound_and_a_page_never() {
        let quoted = |text: &str| shortened(&quotable(text).unwrap_or_default()).into_owned();
        assert_eq!(
            quoted("  too\r\nlong\u{1b}[31m.\u{0}\u{202e}x .. "),
            "too long [31m. x"
        );
        assert_eq!(
            quoted("漢".repeat(MESSAGE_CHARS_MAX).as_str()),
            "漢".repeat(MESSAGE_CHARS_MAX)
        );
        let long = quoted("漢".repeat(MESSAGE_CHARS_MAX * 9).as_str());
        assert_eq!(
            (long.chars().count(), long.chars().last()),
            (MESSAGE_CHARS_MAX, Some('…'))
        );
        for page in [
            "<p>x",
            " \n<!DOCTYPE html>",
            "Bad gateway <HTML><h1>x",
            "\u{0}",
            "...",
            "",
        ] {
            assert_eq!(quotable(page), None, "{page:?}");
        }
        assert_eq!(quoted("max_tokens must be < 5"), "max_tokens must be < 5");
    }

    #[test]
    fn a_code_of_ours_is_snake_case_or_none_at_all() {
        for (word, code) in [
            ("invalid_image_url", Some("invalid_image_url")),
            ("BadRequestError", Some("bad_request_error")),
            ("RESOURCE_EXHAUSTED", Some("resource_exhausted")),
            ("value_error.missing", Some("value_error_missing")),
            ("context-length--exceeded_", Some("context_length_exceeded")),
            ("429", None),
            ("42S02", None),
            ("", None),
            ("no", None),
            ("Bad request", None),
            ("https://example.com/probs/1", None),
            ("größe", None),
        ] {
            assert_eq!(identifier(word).as_deref(), code, "{word}");
        }
        assert_eq!(identifier(&"c".repeat(63)), Some("c".repeat(63)));
        assert_eq!(identifier(&"c".repeat(64)), None);
        assert_eq!(
            identifier(&"Cc".repeat(31)),
            None,
            "longer when written in snake case"
        );
    }
}
