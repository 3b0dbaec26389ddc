//! One line of the log, as text or as JSON. Values come from outside too: none can end the line,
//! begin another field or control a terminal.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tracing::Level;

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `TIME LEVEL message name=value …`
    #[default]
    Text,
    /// One JSON object with the members `timestamp`, `level`, `target`, `message` and the fields.
    Json,
}

/// Room for most lines, in bytes.
const LINE_BYTES: usize = 512;

/// The longest value of a field, in bytes of its UTF-8 form. The rest is left out.
const VALUE_BYTES_MAX: usize = 2048;

/// What stands for the rest of a value.
const CUT: char = '…';

/// How a line looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) format: Format,
    /// Whether a terminal shows it.
    pub(super) has_colours: bool,
}

/// The name of a field, with the signs around it in each form. [`name!`] makes it.
pub(super) struct Name {
    pub(super) text: &'static str,
    pub(super) json: &'static str,
}

/// The [`Name`] of a field.
macro_rules! name {
    ($name:literal) => {
        &$crate::telemetry::line::Name {
            text: concat!(" ", $name, "="),
            json: concat!(",\"", $name, "\":"),
        }
    };
}
pub(super) use name;

/// Writes a line to the end of a text.
pub(super) struct Line<'a> {
    text: &'a mut String,
    look: Look,
}

impl<'a> Line<'a> {
    /// Begins a line. The message is a sentence of the program, or of a library.
    pub(super) fn begin(
        text: &'a mut String,
        look: Look,
        level: Level,
        target: &str,
        message: &str,
    ) -> Self {
        text.reserve(LINE_BYTES);
        match look.format {
            Format::Text => {
                push_now(text);
                let (colour, end) = match look.has_colours {
                    true => (colour_of(level), "\x1b[0m"),
                    false => ("", ""),
                };
                text.extend([" ", colour, padded(level), end, " "]);
                push_message(text, message);
            }
            Format::Json => {
                text.push_str("{\"timestamp\":\"");
                push_now(text);
                text.extend(["\",\"level\":\"", padded(level).trim_start(), "\""]);
                let mut line = Self { text, look };
                line.text_field(name!("target"), target);
                line.text_field(name!("message"), message);
                return line;
            }
        }
        Self { text, look }
    }

    /// Adds a field with a text from outside.
    pub(super) fn text_field(&mut self, name: &Name, value: &str) {
        self.name(name);
        self.value(value);
    }

    /// Adds a field with a text that is a name in the code: it needs neither quotes nor escapes.
    pub(super) fn word_field(&mut self, name: &Name, value: &'static str) {
        self.name(name);
        match self.look.format {
            Format::Text => self.text.push_str(value),
            Format::Json => self.text.extend(["\"", value, "\""]),
        }
    }

    /// Adds a field with a number.
    pub(super) fn number_field(&mut self, name: &Name, value: impl itoa::Integer) {
        self.name(name);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    /// Adds a field with a number that may be unknown. An unknown one has no field.
    pub(super) fn known_field(&mut self, name: &Name, value: Option<u64>) {
        if let Some(value) = value {
            self.number_field(name, value);
        }
    }

    /// Adds a field of an event, whose `name` is known only now. `is_text`: the value may need
    /// quotes and escapes.
    pub(super) fn event_field(&mut self, name: &str, value: &str, is_text: bool) {
        match self.look.format {
            Format::Text => self.text.extend([" ", name, "="]),
            Format::Json => self.text.extend([",\"", name, "\":"]),
        }
        match is_text {
            true => self.value(value),
            false => self.text.push_str(value),
        }
    }

    /// Ends the line.
    pub(super) fn end(self) {
        self.text.push_str(match self.look.format {
            Format::Text => "\n",
            Format::Json => "}\n",
        });
    }

    fn name(&mut self, name: &Name) {
        self.text.push_str(match self.look.format {
            Format::Text => name.text,
            Format::Json => name.json,
        });
    }

    fn value(&mut self, value: &str) {
        match (self.look.format, is_plain(value)) {
            (Format::Text, true) => self.text.push_str(value),
            (Format::Json, true) => self.text.extend(["\"", value, "\""]),
            (_, false) => push_quoted(self.text, value),
        }
    }
}

thread_local! {
    /// The second of the last line, and how its date and time begin.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Writes the time with microseconds. The part down to the second is the same for many lines.
fn push_now(text: &mut String) {
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let is_written = SECOND.try_with(|last| {
        let mut last = last.borrow_mut();
        if last.0 != since.as_secs() || last.1.is_empty() {
            let whole = UNIX_EPOCH + Duration::from_secs(since.as_secs());
            let written = humantime::format_rfc3339_seconds(whole).to_string();
            *last = (since.as_secs(), written.trim_end_matches('Z').to_owned());
        }
        text.push_str(&last.1);
    });
    if is_written.is_err() {
        return;
    }
    // The first digit keeps the zeros after it, and is left out.
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(1_000_000 + since.subsec_micros());
    text.extend([".", digits.strip_prefix('1').unwrap_or_default(), "Z"]);
}

/// The name of a level, with five letters.
fn padded(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => " WARN",
        Level::INFO => " INFO",
        Level::DEBUG => "DEBUG",
        Level::TRACE => "TRACE",
    }
}

fn colour_of(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// Whether a value needs neither quotes in a line of text nor escapes: visible ASCII without quotes,
/// backslashes and signs of equality. It has no branches, so that many bytes are compared at once.
fn is_plain(value: &str) -> bool {
    let is_other = |byte: u8| !byte.is_ascii_graphic() | matches!(byte, b'"' | b'=' | b'\\');
    let others = |others, byte| others | u8::from(is_other(byte));
    !value.is_empty() && value.len() <= VALUE_BYTES_MAX && value.bytes().fold(0, others) == 0
}

/// Writes a value in quotes, as JSON does, with escapes for all that is not visible.
fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for char in shown(value) {
        match char {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            char => push_char(text, char),
        }
    }
    text.push('"');
}

/// Writes a message. Its quotes stay as they are.
fn push_message(text: &mut String, message: &str) {
    if is_plain(message) {
        return text.push_str(message);
    }
    for char in shown(message) {
        push_char(text, char);
    }
}

/// The characters that are shown of a text.
fn shown(text: &str) -> impl Iterator<Item = char> {
    let end = match text.len() {
        length if length <= VALUE_BYTES_MAX => length,
        _ => text.floor_char_boundary(VALUE_BYTES_MAX),
    };
    let (kept, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    kept.chars().chain((!rest.is_empty()).then_some(CUT))
}

fn push_char(text: &mut String, char: char) {
    match char {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        char if is_visible(char) => text.push(char),
        char => {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
}

/// Whether a character changes neither the line nor the order in which a terminal shows it.
fn is_visible(char: char) -> bool {
    match char {
        ' '..='~' => true,
        char if char.is_control() => false,
        // A soft hyphen, signs for the direction of text, separators of lines, invisible
        // characters, and tags.
        '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: Format, value: &str) -> String {
        let mut text = String::new();
        let look = Look {
            format,
            has_colours: false,
        };
        let mut line = Line::begin(&mut text, look, Level::INFO, "featherwire::x", "call");
        line.text_field(name!("model"), value);
        line.number_field(name!("tokens"), 7);
        line.end();
        text
    }

    #[test]
    fn a_value_from_outside_breaks_neither_a_line_nor_a_terminal() {
        for value in [
            "a\nb",
            "a\r\nfake=1",
            "\x1b[31mred",
            "\u{9b}31m",
            "x\u{202e}y",
            "a\u{2028}b",
            "a b=c",
            "quote\"d",
            "back\\slash",
            "\u{e0041}",
            "",
            "\0",
        ] {
            let text = line(Format::Text, value);
            let visible = |c: char| is_visible(c) || c == '\n';
            assert!(text.chars().all(visible), "{text:?}");
            assert_eq!(text.lines().count(), 1, "{text:?}");
            assert!(text.ends_with("\" tokens=7\n"), "{text:?}");
            let json = line(Format::Json, value);
            assert!(json.chars().all(visible), "{json:?}");
            assert_eq!(json.lines().count(), 1);
            let object: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(object["model"], value);
            assert_eq!(object["tokens"], 7);
            assert_eq!(object["level"], "INFO");
            assert_eq!(object["target"], "featherwire::x");
        }
    }

    #[test]
    fn a_plain_value_stands_without_quotes_and_a_long_one_is_cut() {
        assert!(
            line(Format::Text, "org/model-8B")
                .ends_with(" INFO call model=org/model-8B tokens=7\n")
        );
        let long = "ü".repeat(VALUE_BYTES_MAX);
        let object: serde_json::Value = serde_json::from_str(&line(Format::Json, &long)).unwrap();
        let kept = object["model"].as_str().unwrap();
        assert_eq!(kept.chars().count(), VALUE_BYTES_MAX / 2 + 1);
        assert!(kept.ends_with(CUT));
    }
}
