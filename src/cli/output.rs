//! Standard output and standard error. Nothing else writes to either.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use super::Failure;

/// Writes to standard output, and at once.
///
/// # Errors
/// `OutputClosed` if nobody reads it any more, as after `| head`; else what is wrong.
pub(super) fn print(text: impl Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    write!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::OutputClosed,
            ErrorKind::StorageFull => Failure::failed(
                "can't write to standard output: the disk is full; free some space, or write \
                 elsewhere",
            ),
            _ => Failure::failed(format_args!("can't write to standard output: {error}")),
        })
}

/// Writes to standard error. If that can't be done, there is nobody to tell, and the command goes
/// on.
pub(super) fn tell(text: impl Display) {
    let _ = write!(io::stderr().lock(), "{text}");
}
