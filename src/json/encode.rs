//! Writes messages as JSON: requests for an upstream, and answers for a caller.

use std::io;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    decode::decode_request,
    error::{JsonError, document_error, write_error},
    extra::finds_field_in_extra,
    mode::Mode,
    object::Object,
    writer,
};

/// Writes an answer to the end of `out`.
///
/// # Errors
/// The message cannot be written as JSON (`NaN`, broken JSON text). `out` then ends in an
/// incomplete document.
pub fn encode_answer<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), JsonError> {
    writer::write(out, message).map_err(|error| document_error(&error))
}

/// Writes a request. This also finds the mistakes that only a gRPC caller can make: JSON text that
/// isn't JSON, `NaN`, content both as text and as parts, a field that is also set in `extra`, and a
/// field in `extra` that REST would refuse.
///
/// # Errors
/// The request has such a mistake. The error is about the first such field.
pub fn encode_request<M: Serialize + DeserializeOwned>(message: &M) -> Result<Vec<u8>, JsonError> {
    encode_request_of(message, 0)
}

/// The same for a request that was received as `arrived_bytes` bytes. The written JSON has about
/// the same length, so a buffer of this size does not need to grow.
///
/// # Errors
/// Those of [`encode_request`].
pub fn encode_request_of<M: Serialize + DeserializeOwned>(
    message: &M,
    arrived_bytes: usize,
) -> Result<Vec<u8>, JsonError> {
    let capacity = arrived_bytes + arrived_bytes / 16 + 1024;
    let (out, has_field_in_extra) = finds_field_in_extra(|| write(message, capacity));
    let out = out?;
    if !has_field_in_extra {
        return Ok(out);
    }
    // Fields in `extra` are read like REST's JSON, by the same code.
    let again: M = decode_request(&out)?;
    drop(out);
    write(&again, capacity)
}

fn write<M: Serialize>(message: &M, capacity: usize) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(capacity);
    Mode::Strict
        .during(|| writer::write(&mut out, message))
        .map_err(|error| {
            // Keeping the path costs time, so it is kept only in a second attempt, after an error.
            let mut nowhere = serde_json::Serializer::new(io::sink());
            let again =
                Mode::Strict.during(|| serde_path_to_error::serialize(message, &mut nowhere));
            again.map_or_else(|error| write_error(&error), |()| document_error(&error))
        })?;
    Ok(out)
}

/// Moves the values of a request's fields that are in `extra` into the fields, at every depth, so
/// that they are validated. Values of unexpected types, which an earlier answer may have, stay.
///
/// # Errors
/// Those of [`encode_request`].
pub(crate) fn move_extra_into_fields<M: Object + Serialize + DeserializeOwned>(
    message: &mut M,
) -> Result<(), JsonError> {
    if message.has_field_in_extra() {
        *message = decode_request(&encode_request(message)?)?;
    }
    Ok(())
}
