//! JSON as the second codec of the contract's messages.
//!
//! The messages are those of [`proto`](crate::proto), which knows nothing of JSON.
//! `build/json_codec.rs` lists the members of every message, and the kind of each. The macro
//! [`object!`] makes `Serialize` and `Deserialize` of such a list: `generated` includes them.
//! [`members`] has the kinds.
//!
//! A **request** is read strictly: a member of the wrong type is an error with its path. An
//! **answer** is read leniently: a member of an unexpected type is kept verbatim in `extra`, and
//! the caller gets the rest of the answer too. A request's messages may be earlier answers:
//! `history` says which of them are read leniently.
//!
//! A member may come twice in one object, as JSON allows: the last one counts. `duplicates` has the
//! tests.

mod budget;
mod error;
mod fill_required;
mod generated;
mod history;
mod members;
mod object;
mod peek;
mod surrogates;
mod template;
mod write;

use std::{cell::Cell, collections::BTreeMap};

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use budget::RawList;
pub use error::{JsonError, text};
use error::{document_error, read_error, write_error};
pub(crate) use fill_required::FillRequired;
pub(crate) use generated::enum_names;
pub(crate) use members::unknown_enum_value;
pub(crate) use object::{Name, Object, read_extra, read_object, write_object};
pub use peek::peek;
pub(crate) use surrogates::{SurrogateJoiner, for_protobuf, take_string};
pub use template::SingleText;
pub(crate) use template::{TemplateReader, TemplateWriter};

/// Reads a caller's request.
///
/// # Errors
/// What isn't UTF-8, broken JSON, or the first member that has the wrong type or is too large.
pub fn decode_request<M: DeserializeOwned>(body: &[u8]) -> Result<M, JsonError> {
    let text = text(body)?;
    // Keeping the path costs time, so it is kept only in a second attempt, after an error.
    budget::with_budget(text.len(), || serde_json::from_str(text)).or_else(|_| {
        let again = || {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let message: M = serde_path_to_error::deserialize(&mut deserializer)
                .map_err(|error| read_error(error, text))?;
            deserializer.end().map_err(|error| document_error(&error))?;
            Ok(message)
        };
        let messages = history::Messages::of(text);
        messages.during(|| budget::with_budget(text.len(), again))
    })
}

/// Reads an upstream's answer, or one event of it.
///
/// # Errors
/// Only what isn't JSON, isn't an object, or is too large.
pub fn decode_answer<M: DeserializeOwned>(body: &[u8]) -> Result<M, JsonError> {
    let body = error::without_mark(body);
    let strict = || serde_json::from_slice(body).map_err(|error| document_error(&error));
    budget::with_budget(body.len(), strict).or_else(|bad| match std::str::from_utf8(body) {
        Ok(text) if !bad.is_too_large => {
            let lenient = || serde_json::from_str(text).map_err(|error| document_error(&error));
            budget::with_budget(body.len(), || Mode::Lenient.during(lenient))
        }
        _ => Err(bad),
    })
}

/// Writes an answer to the end of `out`.
///
/// # Errors
/// A message that has no JSON (`NaN`, broken JSON text); `out` then ends in half a document.
pub fn encode_answer<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), JsonError> {
    serde_json::to_writer(out, message).map_err(|error| document_error(&error))
}

/// Writes a request. This also finds the mistakes that only a gRPC caller can make: JSON text that
/// isn't JSON, `NaN`, content both as text and as parts, a field that is also set in `extra`, and a
/// field in `extra` that REST would refuse.
///
/// # Errors
/// The first such field.
pub fn encode_request<M: Serialize + DeserializeOwned>(message: &M) -> Result<Vec<u8>, JsonError> {
    encode_request_of(message, 0)
}

/// The same for a request that came as `arrived_bytes` bytes. What is written is about as long, so
/// that a buffer of this size need not grow.
///
/// # Errors
/// As of [`encode_request`].
pub fn encode_request_of<M: Serialize + DeserializeOwned>(
    message: &M,
    arrived_bytes: usize,
) -> Result<Vec<u8>, JsonError> {
    let capacity = arrived_bytes + arrived_bytes / 16 + 1024;
    let write = |message: &M| {
        let mut out = Vec::with_capacity(capacity);
        let mut serializer = serde_json::Serializer::new(&mut out);
        Mode::Strict.during(|| {
            serde_path_to_error::serialize(message, &mut serializer)
                .map_err(|error| write_error(&error))
        })?;
        Ok(out)
    };
    FOUND_FIELD_IN_EXTRA.set(false);
    let out = write(message)?;
    if !FOUND_FIELD_IN_EXTRA.replace(false) {
        return Ok(out);
    }
    // Fields in `extra` are read like REST's JSON, by the same code.
    let again = decode_request(&out)?;
    drop(out);
    write(&again)
}

/// Moves the values of a request's fields that are in `extra` into the fields, at every depth, so
/// that they are validated. Values of unexpected types, which an earlier answer may have, stay.
///
/// # Errors
/// As of [`encode_request`].
pub(crate) fn move_extra_into_fields<M: Object + Serialize + DeserializeOwned>(
    message: &mut M,
) -> Result<(), JsonError> {
    if message.has_field_in_extra() {
        *message = decode_request(&encode_request(message)?)?;
    }
    Ok(())
}

/// What to do with a value that doesn't fit its field.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Reading: fail. Writing: a member in `extra` is written in place of the field.
    Normal,
    /// Reading: keep a member of the wrong type in `extra`.
    Lenient,
    /// Writing: `extra` must not name a field that is set.
    Strict,
}

thread_local! {
    // serde can hand an argument to a nested `Deserialize` only with a seed for every type.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Normal) };
    /// Whether a message that was written has a field in `extra`.
    static FOUND_FIELD_IN_EXTRA: Cell<bool> = const { Cell::new(false) };
}

impl Mode {
    fn during<T>(self, work: impl FnOnce() -> T) -> T {
        struct Restore(Mode);
        impl Drop for Restore {
            fn drop(&mut self) {
                MODE.set(self.0);
            }
        }
        let _restore = Restore(MODE.replace(self));
        work()
    }
}

type Extra = BTreeMap<String, String>;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod duplicates;
