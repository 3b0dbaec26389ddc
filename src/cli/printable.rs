//! Texts from outside, as terminals show them. Callers and the upstream choose model ids, answers
//! and messages, and control characters in them would control the terminal.

use std::{borrow::Cow, fmt::Write as _};

/// A text of several lines: without characters that change more than their own place.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    kept(text, |c| matches!(c, '\n' | '\t') || is_printable(c))
}

/// A text within a line.
pub(super) fn line(text: &str) -> Cow<'_, str> {
    kept(text, is_printable)
}

/// JSON on one line. Its control characters can only be in strings, where an escape means the same.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_printable(c) {
            true => escaped.push(c),
            // Each of them is one unit of UTF-16. Writing to a String cannot fail.
            false => _ = write!(escaped, "\\u{:04x}", u32::from(c)),
        }
    }
    Cow::Owned(escaped)
}

fn kept(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    match text.chars().all(&is_kept) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(text.chars().filter(|c| is_kept(*c)).collect()),
    }
}

/// Whether a character neither controls the terminal nor changes the order of others. The joiners
/// of Persian, of Indian scripts and of emoji are invisible, and stay.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_does_not_control_the_terminal() {
        let bad = "a\x1b]0;title\x07b\r\n\tc\u{9b}31m\u{202e}d\u{200d}e";
        assert_eq!(text(bad), "a]0;titleb\n\tc31md\u{200d}e");
        assert_eq!(line(bad), "a]0;titlebc31md\u{200d}e");
        assert!(matches!(text("plain, caf\u{e9}\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn escaped_json_has_the_same_value() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{7f}\u{202e}", "b": "\n\x1b"});
        let plain = value.to_string();
        let escaped = json(&plain);
        assert!(escaped.chars().all(is_printable), "{escaped:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&escaped).unwrap(),
            value
        );
    }
}
