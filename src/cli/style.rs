//! How texts look in a terminal.

use std::{fmt::Display, io::IsTerminal};

use crate::config;

/// The look of what is written to one of the outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    has_colours: bool,
}

impl Style {
    /// The look for an output: plain if it is no terminal, and if `NO_COLOR` or a terminal without
    /// colours asks for that.
    pub(super) fn of(output: &impl IsTerminal) -> Self {
        Self {
            has_colours: output.is_terminal() && config::allows_colours(),
        }
    }

    /// A text of less importance.
    pub(super) fn dim(self, text: impl Display) -> String {
        match self.has_colours {
            true => format!("\x1b[2m{text}\x1b[22m"),
            false => text.to_string(),
        }
    }
}
