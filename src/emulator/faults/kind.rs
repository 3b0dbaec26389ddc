//! The kinds of faults, without the numbers and times that an id adds.

use super::super::connection::Disconnect;
use super::super::reasoning::ReasoningFormat;
use super::breaks::Break;
use super::edits::Edit;
use super::error_bodies::Shape;
use super::framing::Framing;
use super::replacements::{Refused, WrongBody};

/// The kind of a fault. The numbers and times that an id adds are in [`FaultId`](super::FaultId).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An error in Featherless's wording.
    Refused(Refused),
    /// An error status, with a body of this shape.
    Status(u16, Shape),
    /// Status 200 with this body in place of an answer.
    WrongBody(WrongBody),
    Redirect,
    /// The response headers are never sent.
    NoHead,
    /// The connection ends before the response headers.
    Disconnect(Disconnect),
    SlowFirstToken,
    Slow,
    /// The answer breaks off after a number of tokens. The number here is the default, which the id
    /// can override.
    Break(Break, usize),
    /// The answer ends with the `finish_reason` in the id.
    Finish,
    /// The same, with an `error` in the choice.
    FinishWithError,
    /// Valid JSON in unusual framing.
    Framing(Framing),
    /// Unusual JSON.
    Edit(Edit),
    /// The model reasons, and the answer shows the reasoning in this format.
    Reason(ReasoningFormat),
}
