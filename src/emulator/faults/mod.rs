//! Models that fail on demand, like the test cards of a payment API. [`id`] parses the id of such a
//! model, and [`list`] has the table of names. A fault acts in one of two places:
//! [`replace_answer`] sends a response in place of the answer, and [`effects`] changes the steps of
//! the answer. The other modules are the faults that [`effects`] uses.

mod attempts;
mod breaks;
mod edits;
mod effects;
mod error_bodies;
mod finish_reasons;
mod framing;
mod gzip;
mod id;
mod kind;
mod list;
mod replace_answer;
mod replacements;
mod stream_errors;
mod unary;
mod unusual_json;

pub use self::attempts::Attempts;
pub use self::effects::{SLOW_TOKENS_PER_SECOND, change_stream, change_unary};
pub use self::error_bodies::Shape;
pub use self::gzip::Gzip;
pub use self::id::FaultId;
pub use self::kind::FaultKind;
pub use self::list::{FAULTS, Fault, Group};
pub use self::unary::UnaryAnswer;
