//! JSON as the second codec of the contract's messages.
//!
//! The messages are those of [`proto`](crate::proto), which knows nothing of JSON.
//! `build/json_codec.rs` lists the members of every message, and the kind of each: `generated`
//! includes the lists. The macros in `macros` make `Serialize` and `Deserialize` of them.
//! [`members`] has the kinds, and `extra` the members that a message has no field for.
//!
//! A **request** is read strictly: a member of the wrong type is an error with its path. An
//! **answer** is read leniently: a member of an unexpected type is kept verbatim in `extra`, and
//! the caller gets the rest of the answer too. A request's messages may be earlier answers:
//! `history` says which of them are read leniently.
//!
//! A member may come twice in one object, as JSON allows: the last one counts. `tests/duplicates`
//! has the tests.
//!
//! `decode` and `encode` have the functions for whole documents. `template` is a shortcut to both
//! for streams, and [`peek()`] reads only a few members.

mod budget;
mod decode;
mod encode;
mod error;
mod extra;
mod fill_required;
mod generated;
mod history;
mod large_text;
mod macros;
mod members;
mod mode;
mod name;
mod object;
mod peek;
mod single_text;
mod surrogates;
mod template;
mod verbatim;
mod writer;

pub(crate) use budget::RawList;
pub use decode::{decode_answer, decode_request};
pub(crate) use encode::move_extra_into_fields;
pub use encode::{encode_answer, encode_request, encode_request_of};
pub use error::{JsonError, text};
pub(crate) use fill_required::FillRequired;
pub(crate) use generated::enum_names;
pub(crate) use members::unknown_enum_value;
pub(crate) use object::Object;
pub use peek::peek;
pub use single_text::SingleText;
pub(crate) use surrogates::{SurrogateJoiner, for_protobuf, take_string};
pub use template::{Chunk, Repeat};
pub(crate) use template::{RepeatBuffer, TemplateReader, TemplateWriter};

#[cfg(test)]
mod tests;
