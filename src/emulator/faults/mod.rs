//! Models that fail on demand, like the test cards of a payment API.
//!
//! [`id`] reads what a model's id asks for, and [`list`] has the names. A fault strikes in one of
//! two places: [`early`], in place of an answer, or in the answer itself, which [`spoiling`]
//! changes beat by beat with the help of the others.

mod attempts;
mod breaks;
mod early;
mod edits;
mod ends;
mod error_bodies;
mod framing;
mod gzip;
mod id;
mod list;
mod odd;
mod spoiling;
mod stream_errors;

pub use self::attempts::Attempts;
pub use self::error_bodies::Shape;
pub use self::gzip::Gzip;
pub use self::id::FaultId;
pub use self::list::{FAULTS, Fault, Group};
pub use self::spoiling::{SLOW_TOKENS_PER_SECOND, Whole, stream, whole};

pub(super) use self::breaks::Break;
pub(super) use self::early::{Refused, UnitWords, WrongBody};
pub(super) use self::edits::Edit;
pub(super) use self::framing::Framing;
pub(super) use self::stream_errors::StreamError;

use super::line::HangUp;
use super::thinking::Thinking;

/// What goes wrong. Numbers and times that an id may add to it are in [`FaultId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An error in Featherless's own words.
    Refused(Refused),
    /// An error status, with a body of this shape.
    Status(u16, Shape),
    /// 200 with this in place of an answer.
    WrongBody(WrongBody),
    Redirect,
    /// No head of an answer comes.
    NoHead,
    /// The connection ends before the head of an answer.
    HangUp(HangUp),
    SlowFirstToken,
    Slow,
    /// The answer breaks after a number of tokens, this many unless the id says otherwise.
    Break(Break, usize),
    /// The answer ends with a `finish_reason` that the id names.
    Finish,
    /// The same, with an error beside it in the choice.
    FinishWithError,
    /// The right JSON in unusual bytes.
    Framing(Framing),
    /// Unusual JSON.
    Edit(Edit),
    /// The model thinks, and this is how it shows.
    Think(Thinking),
}
