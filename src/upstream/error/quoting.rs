//! Quotes of upstream: which texts may be quoted, and in which form.

use std::borrow::Cow;

use crate::upstream::limits::ERROR_BODY_BYTES_MAX;

/// The longest quote of a message, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// The longest path of a field, in characters.
const PARAM_CHARS_MAX: usize = 128;

/// The longest and the shortest code of upstream that is passed on, in bytes: the limits of
/// `google.rpc.ErrorInfo`.
const CODE_BYTES_MAX: usize = 63;
const CODE_BYTES_MIN: usize = 3;

/// Parts of web pages, in lower case. The page of a front end or a CDN is never quoted.
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

/// The `message` in a form that can be quoted: on one line, without control characters and without
/// its full stop, but of any length. `None` if nothing remains, or if it is a web page.
pub(super) fn quotable(message: &str) -> Option<String> {
    let message = on_one_line(message, ERROR_BODY_BYTES_MAX);
    let message = message.trim_end_matches('.').trim_end();
    (!message.is_empty() && !is_page(message)).then(|| message.to_owned())
}

/// The `message`, shortened to the longest quote.
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

/// The `path` of a field on one line, shortened.
pub(super) fn field_path(path: &str) -> Option<String> {
    let path = on_one_line(path, PARAM_CHARS_MAX);
    (!path.is_empty()).then_some(path)
}

/// A code or type in lower snake case: `BadRequestError` is `bad_request_error`. `None` if `word`
/// is not an identifier: a number, a sentence, or an address.
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

/// Whether `text` is a web page, or a part of one.
pub(super) fn is_page(text: &str) -> bool {
    let text = text.trim_start();
    if text.starts_with('<') {
        return true;
    }
    let lower = text.to_ascii_lowercase();
    PAGE_MARKS.iter().any(|mark| lower.contains(mark))
}

/// The words of `text` with single spaces in between, up to `chars_max` characters.
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
    letter.is_control() || is_direction_mark(letter) || letter == '\u{feff}'
}

/// Whether `letter` controls the direction of text.
fn is_direction_mark(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    fn a_code_is_snake_case_or_missing() {
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
