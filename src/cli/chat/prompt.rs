//! The prompt of one call: the words after the command, or standard input.

use std::io::{ErrorKind, Read};

use super::super::failure::Failure;

/// The largest prompt that is read from standard input. The gateway takes 32 MiB unless it is
/// configured otherwise.
const PROMPT_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) const NOTHING_TO_ASK: &str = "the prompt is missing: write it after the command \
                                         (`featherwire chat Say hello`), redirect a file \
                                         (`featherwire chat < prompt.txt`), or type it \
                                         (`featherwire chat -`, with Ctrl-D at the end)";

/// The source of the prompt.
#[derive(Debug)]
pub(super) enum Prompt {
    Words(String),
    StandardInput,
    /// A person types one prompt after the other.
    Session,
}

/// Which of the two are terminals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminals {
    pub(super) input: bool,
    pub(super) output: bool,
}

impl Prompt {
    pub(super) fn of(words: &[String], terminals: Terminals) -> Result<Self, Failure> {
        match (words, terminals) {
            (
                [],
                Terminals {
                    input: true,
                    output: true,
                },
            ) => Ok(Self::Session),
            ([], Terminals { input: true, .. }) => Err(Failure::Usage(NOTHING_TO_ASK.to_owned())),
            ([], _) => Ok(Self::StandardInput),
            ([dash], _) if dash == "-" => Ok(Self::StandardInput),
            (words, _) => Ok(Self::Words(words.join(" "))),
        }
    }
}

/// The prompt on standard input.
pub(super) fn read() -> Result<String, Failure> {
    let mut prompt = String::new();
    let read = std::io::stdin()
        .lock()
        .take(PROMPT_BYTES_MAX + 1)
        .read_to_string(&mut prompt);
    match read.map(u64::try_from) {
        Ok(Ok(length)) if length <= PROMPT_BYTES_MAX => Ok(prompt),
        Ok(_) => Err(Failure::failed(format_args!(
            "standard input is longer than {PROMPT_BYTES_MAX} bytes"
        ))),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Failure::failed(
            "standard input is not UTF-8 text: convert the prompt to UTF-8",
        )),
        Err(error) => Err(Failure::failed(format_args!(
            "cannot read standard input: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_for_a_terminal_and_a_prompt_is_for_one_call() {
        let words =
            |words: &[&str]| -> Vec<_> { words.iter().map(|word| (*word).to_owned()).collect() };
        let [both, input, none] = [(true, true), (true, false), (false, false)]
            .map(|(input, output)| Terminals { input, output });
        assert!(matches!(Prompt::of(&[], both), Ok(Prompt::Session)));
        let message = Prompt::of(&[], input).unwrap_err();
        assert!(matches!(
            message,
            Failure::Usage(message) if message.contains("featherwire chat Say hello")
        ));
        assert!(matches!(Prompt::of(&[], none), Ok(Prompt::StandardInput)));
        assert!(matches!(
            Prompt::of(&words(&["-"]), both),
            Ok(Prompt::StandardInput)
        ));
        assert!(matches!(
            Prompt::of(&words(&["a", "-"]), both),
            Ok(Prompt::Words(text)) if text == "a -"
        ));
    }
}
