//! Standard output and standard error. No other code writes to them.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use tracing::Level;

use super::failure::Failure;
use crate::telemetry;

/// Writes to standard output, without buffering.
///
/// # Errors
/// `OutputClosed` if the reader has closed the pipe, as after `| head`. `Failed` for other errors.
pub(super) fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::OutputClosed,
            ErrorKind::StorageFull => Failure::failed(
                "cannot write to standard output: the disk is full: free some space, or write to \
                 another disk",
            ),
            _ => Failure::failed(format_args!("cannot write to standard output: {error}")),
        })
}

/// Writes to standard error. A failure is ignored: there is no other place to report it.
pub(super) fn tell(text: impl Display) {
    write(Level::INFO, &text.to_string());
}

/// Writes a warning, a line, to standard error.
pub(super) fn warn(text: impl Display) {
    write(Level::WARN, &format!("{text}\n"));
}

/// Writes why the command fails to standard error.
pub(super) fn fail(sentence: impl Display) {
    write(Level::ERROR, &format!("featherwire: {sentence}\n"));
}

fn write(level: Level, text: &str) {
    if !telemetry::write_sentences(level, text) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Writes to standard error what is no sentence of the program: a spinner, or the reasoning of a
/// model. It is never in the log.
pub(super) fn draw(picture: impl Display) {
    let mut err = io::stderr().lock();
    // As for sentences: there is no other place.
    let _ = write!(err, "{picture}").and_then(|()| err.flush());
}
