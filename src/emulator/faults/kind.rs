//! What goes wrong, without the numbers and times that an id adds.

use super::super::connection::Disconnect;
use super::super::reasoning::ReasoningFormat;
use super::breaks::Break;
use super::edits::Edit;
use super::error_bodies::Shape;
use super::framing::Framing;
use super::replacements::{Refused, WrongBody};

/// What goes wrong. The numbers and times that an id adds are in [`FaultId`](super::FaultId).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An error in Featherless's words.
    Refused(Refused),
    /// An error status, with a body of this shape.
    Status(u16, Shape),
    /// 200 with this in place of an answer.
    WrongBody(WrongBody),
    Redirect,
    /// The head of the answer never comes.
    NoHead,
    /// The connection ends before the head of an answer.
    Disconnect(Disconnect),
    SlowFirstToken,
    Slow,
    /// The answer breaks after a number of tokens, this many unless the id says otherwise.
    Break(Break, usize),
    /// The answer ends with a `finish_reason` that the id names.
    Finish,
    /// The same, with an `error` in the choice.
    FinishWithError,
    /// The right JSON in unusual bytes.
    Framing(Framing),
    /// Unusual JSON.
    Edit(Edit),
    /// The model reasons, and shows it in this form.
    Reason(ReasoningFormat),
}
