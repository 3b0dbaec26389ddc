//! How a command fails, and the exit code for it.

use std::fmt::Display;

/// The failure of a command.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command failed. The sentence is for the user.
    Failed(String),
    /// The arguments are wrong. The sentence is for the user.
    Usage(String),
    /// Standard output is closed, as after `| head`. Its reader has what it needs, so nothing has
    /// failed.
    OutputClosed,
}

impl Failure {
    /// The exit code for wrong arguments.
    pub(super) const USAGE: u8 = 2;

    /// A failure with this sentence.
    pub(super) fn failed(sentence: impl Display) -> Self {
        Self::Failed(sentence.to_string())
    }
}

impl<E: Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error)
    }
}
