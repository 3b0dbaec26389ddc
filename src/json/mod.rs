//! JSON as the second codec of the contract's messages.
//!
//! `build/json_codec.rs` writes `Serialize` and `Deserialize` for every message; what that code
//! calls is here, and so are the four ways in and out. A **request** is read strictly: a member of
//! the wrong type is an error that names its path. An **answer** is read leniently: a member whose
//! type we didn't expect is carried verbatim in `extra`, for an answer that can't be understood in
//! part must still arrive whole. A request's messages may be answers that the caller gives back:
//! `replayed` says which of them are read as answers are.

mod bounds;
mod halves;
mod integers;
mod lists;
mod numbers;
mod problems;
mod read;
mod replayed;
mod required;
mod text_or_list;
mod words;
mod write;

use std::{cell::Cell, collections::BTreeMap};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use bounds::{Unread, list};
pub(crate) use halves::{Joined, for_protobuf, mend, mend_plain, take_text, without_halves};
pub(crate) use integers::{
    Integers, read_index, read_integer, read_integer_or_null, read_plain_integer,
};
pub(crate) use lists::{Texts, integers, read_integers, read_one_or_many};
pub(crate) use numbers::{Number, NumberList, Numbers};
pub use problems::{BadJson, text};
use problems::{described, located_in, located_out};
pub(crate) use read::{
    Key, read, read_boxed, read_bytes, read_constant, read_extra, read_list, read_map, read_object,
    read_object_text, read_optional_text,
};
pub(crate) use replayed::read_messages;
pub(crate) use required::Complete;
pub(crate) use text_or_list::{Null, read_text_or_list, write_text_or_list};
pub(crate) use words::{Word, read_word, unknown as unknown_word};
pub(crate) use write::{
    Text, WithNulls, write_extra, write_object, write_optional, write_or_null, write_plain,
};

/// Reads a caller's request.
///
/// # Errors
/// What isn't UTF-8, broken JSON, or the first member that has the wrong type or is too large.
pub fn decode_request<M: DeserializeOwned>(body: &[u8]) -> Result<M, BadJson> {
    let text = text(body)?;
    // The path costs a little bookkeeping, so it is asked for only when there is something wrong.
    bounds::during(text.len(), || serde_json::from_str(text)).or_else(|_| {
        let again = || {
            let mut deserializer = serde_json::Deserializer::from_str(text);
            let message: M = serde_path_to_error::deserialize(&mut deserializer)
                .map_err(|error| located_in(error, text))?;
            deserializer.end().map_err(|error| described(&error))?;
            Ok(message)
        };
        let messages = replayed::Messages::of(text);
        messages.during(|| bounds::during(text.len(), again))
    })
}

/// Reads an upstream's answer, or one event of it.
///
/// # Errors
/// Only what isn't JSON, isn't an object, or is too large.
pub fn decode_answer<M: DeserializeOwned>(body: &[u8]) -> Result<M, BadJson> {
    let body = problems::without_mark(body);
    let strict = || serde_json::from_slice(body).map_err(|error| described(&error));
    bounds::during(body.len(), strict).or_else(|bad| match std::str::from_utf8(body) {
        Ok(text) if !bad.is_too_large => {
            let lenient = || serde_json::from_str(text).map_err(|error| described(&error));
            bounds::during(body.len(), || Mode::Lenient.during(lenient))
        }
        _ => Err(bad),
    })
}

/// Writes an answer to the end of `out`.
///
/// # Errors
/// A message that JSON can't say (`NaN`, broken JSON text); `out` then ends in half a document.
pub fn encode_answer<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), BadJson> {
    serde_json::to_writer(out, message).map_err(|error| described(&error))
}

/// Writes a request. This is also the check of what only a gRPC caller can get wrong: JSON text
/// that isn't JSON, `NaN`, content both as text and in parts, a field that is set both by itself
/// and in `extra`, and one in `extra` that isn't as REST's JSON must be.
///
/// # Errors
/// The first such field.
pub fn encode_request<M: Serialize + DeserializeOwned>(message: &M) -> Result<Vec<u8>, BadJson> {
    encode_request_of(message, 0)
}

/// The same for a request that came as this many bytes: about as many go on, so that they need not
/// be moved while they are written.
///
/// # Errors
/// As of [`encode_request`].
pub fn encode_request_of<M: Serialize + DeserializeOwned>(
    message: &M,
    arrived_bytes: usize,
) -> Result<Vec<u8>, BadJson> {
    let capacity = arrived_bytes + arrived_bytes / 16 + 1024;
    let write = |message: &M| {
        let mut out = Vec::with_capacity(capacity);
        let mut serializer = serde_json::Serializer::new(&mut out);
        Mode::Strict.during(|| {
            serde_path_to_error::serialize(message, &mut serializer)
                .map_err(|error| located_out(&error))
        })?;
        Ok(out)
    };
    NAMES_A_FIELD.set(false);
    let out = write(message)?;
    if !NAMES_A_FIELD.replace(false) {
        return Ok(out);
    }
    // What the fields in `extra` say is held to the same rules as REST's JSON, by the same code.
    let again = decode_request(&out)?;
    drop(out);
    write(&again)
}

/// Moves what a request's `extra` says of its own fields into these fields, at every depth, so that
/// it is validated like everything else. What an answer had in `extra` because of its type stays
/// there.
///
/// # Errors
/// As of [`encode_request`].
pub(crate) fn settle<M: Object + Serialize + DeserializeOwned>(
    message: &mut M,
) -> Result<(), BadJson> {
    if message.names_a_field() {
        *message = decode_request(&encode_request(message)?)?;
    }
    Ok(())
}

/// Reads the one member of a document that tells what an error or a choice is, ignoring the rest.
///
/// # Errors
/// Broken JSON, a member of another type, or what is too large.
pub fn peek<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, BadJson> {
    bounds::during(text.len(), || {
        serde_json::from_str(text).map_err(|error| described(&error))
    })
}

/// How to treat what doesn't fit.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Reading: fail. Writing: what is in `extra` goes before a field.
    Normal,
    /// Reading: keep a member of the wrong type in `extra`.
    Lenient,
    /// Writing: `extra` must not name a field that is set.
    Strict,
}

thread_local! {
    // serde has no way to hand an argument to a nested `Deserialize`, short of a seed for every
    // type.
    static MODE: Cell<Mode> = const { Cell::new(Mode::Normal) };
    /// Whether a message that was written has a field in `extra`.
    static NAMES_A_FIELD: Cell<bool> = const { Cell::new(false) };
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

/// A message that is a JSON object.
pub(crate) trait Object {
    /// All members that have a field.
    const NAMES: &'static [&'static str];

    /// Members written as null when unset.
    const NULLS: &'static [&'static str];

    fn write_members<M: serde::ser::SerializeMap>(
        &self,
        map: &mut M,
        nulls: &[&str],
    ) -> Result<(), M::Error>;

    /// Whether `extra` names one of the message's own fields, here or in a message within.
    fn names_a_field(&self) -> bool;

    /// Moves texts with halves of characters out of `extra` into their fields, here and in messages
    /// within, with U+FFFD for each half.
    fn mend(&mut self);
}

#[cfg(test)]
mod tests;
