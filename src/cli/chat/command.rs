//! What a line of a session is: a prompt, or a command.

use std::path::PathBuf;

/// The names of the commands, for their completion.
pub(super) const NAMES: [&str; 10] = [
    "/clear", "/exit", "/help", "/image", "/load", "/model", "/quit", "/retry", "/save", "/system",
];

pub(super) const HELP: &str = "\
/model [ID]     ask another model, or show which one is asked
/system [TEXT]  set the system message, or show it; `/system -` removes it
/retry          ask again for the last answer
/image FILE     send an image with the next prompt (PNG, JPEG, GIF or WebP)
/save FILE      write the conversation as JSON, the body of a request
/load FILE      continue a conversation that was saved
/clear          begin a new conversation
/help           show this
/quit           end the session, as Ctrl-D does
A line that ends with \\ goes on in the next one, and so does text after \"\"\" until the next \"\"\".
Ctrl-C ends an answer. A prompt that begins with / is written with //.
";

/// A line of a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing was typed.
    Empty,
    Prompt(String),
    Model(Option<String>),
    System(Option<String>),
    Retry,
    Image(PathBuf),
    Save(PathBuf),
    Load(PathBuf),
    Clear,
    Help,
    Quit,
    /// A sentence about what is wrong.
    Wrong(String),
}

impl Line {
    pub(super) fn of(typed: &str) -> Self {
        let text = typed.trim();
        let Some(command) = text.strip_prefix('/') else {
            return Self::prompt(typed);
        };
        if command.starts_with('/') {
            return Self::prompt(command);
        }
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = unquoted(rest.trim());
        let value = (!rest.is_empty()).then(|| rest.clone());
        let file = |of: fn(PathBuf) -> Self| match &value {
            Some(path) => of(PathBuf::from(path)),
            None => Self::Wrong(format!("/{name} needs the name of a file")),
        };
        match name {
            "model" => Self::Model(value),
            "system" => Self::System(value),
            "image" => file(Self::Image),
            "save" => file(Self::Save),
            "load" => file(Self::Load),
            _ if value.is_some() => Self::unknown(name),
            "retry" => Self::Retry,
            "clear" => Self::Clear,
            "help" | "?" => Self::Help,
            "quit" | "exit" => Self::Quit,
            _ => Self::unknown(name),
        }
    }

    fn prompt(typed: &str) -> Self {
        let text = unquoted(typed.trim());
        match text.trim().is_empty() {
            true => Self::Empty,
            false => Self::Prompt(text),
        }
    }

    fn unknown(name: &str) -> Self {
        let known = NAMES.contains(&format!("/{name}").as_str());
        Self::Wrong(match known {
            true => format!("/{name} takes nothing after it"),
            false => format!(
                "there is no command /{name}: /help shows all. Write // for a prompt that begins \
                 with /"
            ),
        })
    }
}

/// Whether the text goes on in the next line.
pub(super) fn is_incomplete(typed: &str) -> bool {
    is_continued(typed) || is_quoted(typed)
}

/// Whether the text ends with the sign that it goes on, which is not part of it.
pub(super) fn is_continued(typed: &str) -> bool {
    typed.ends_with('\\') && !is_quoted(typed)
}

/// Whether the end of the text is within quotes.
fn is_quoted(typed: &str) -> bool {
    typed.matches(QUOTES).count() % 2 == 1
}

/// Around a text of several lines.
const QUOTES: &str = "\"\"\"";

/// A text without the quotes around it.
fn unquoted(text: &str) -> String {
    let quoted = text
        .strip_prefix(QUOTES)
        .and_then(|text| text.strip_suffix(QUOTES));
    let text = quoted.map_or(text, |text| text.trim_matches('\n'));
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_prompt_or_a_command() {
        let text = |text: &str| Some(text.to_owned());
        for (typed, line) in [
            ("  ", Line::Empty),
            ("\"\"\"\n\"\"\"", Line::Empty),
            ("hello", Line::Prompt("hello".to_owned())),
            ("//etc/hosts", Line::Prompt("/etc/hosts".to_owned())),
            ("one \\\ntwo", Line::Prompt("one \\\ntwo".to_owned())),
            (
                "\"\"\"\none\n\\\n\"\"\"",
                Line::Prompt("one\n\\".to_owned()),
            ),
            ("/model", Line::Model(None)),
            ("/model a/b ", Line::Model(text("a/b"))),
            ("/system be\nshort", Line::System(text("be\nshort"))),
            ("/save a b.json", Line::Save(PathBuf::from("a b.json"))),
            ("/quit", Line::Quit),
        ] {
            assert_eq!(Line::of(typed), line, "{typed:?}");
        }
        for (typed, part) in [
            ("/etc/hosts", "//"),
            ("/", "/help"),
            ("/save", "needs the name of a file"),
            ("/retry now", "takes nothing"),
        ] {
            assert!(
                matches!(Line::of(typed), Line::Wrong(text) if text.contains(part)),
                "{typed}"
            );
        }
    }

    #[test]
    fn a_text_may_have_several_lines() {
        for (typed, expected) in [
            ("one", false),
            ("one\\", true),
            ("\"\"\"one\ntwo", true),
            ("\"\"\"one\ntwo\"\"\"", false),
        ] {
            assert_eq!(is_incomplete(typed), expected, "{typed:?}");
        }
    }
}
