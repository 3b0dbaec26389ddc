//! What all kinds of members need to be written: the rules for `extra`, and verbatim JSON text.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::value::RawValue;

use super::{
    Extra, FOUND_FIELD_IN_EXTRA, MODE, Mode, Object, budget,
    error::{error_in_extra, error_in_text},
    object::write_object,
};
use crate::proto::bounds::TooLarge;

/// A message with members that are null when unset in this place only.
pub(super) struct WithNulls<'a, T>(pub &'a T, pub &'static [&'static str]);

impl<T: Object> Serialize for WithNulls<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_object(self.0, self.1, serializer)
    }
}

/// Whether `extra` has this member, so that it is written from there. `set` is the member's field,
/// if it is set: an error in a request.
pub(super) fn is_in<E: serde::ser::Error>(
    extra: &Extra,
    name: &str,
    set: Option<&str>,
) -> Result<bool, E> {
    if extra.is_empty() || !extra.contains_key(name) {
        return Ok(false);
    }
    FOUND_FIELD_IN_EXTRA.set(true);
    if let Some(set) = set.filter(|_| MODE.get() == Mode::Strict) {
        return Err(E::custom(error_in_extra(
            name,
            format_args!("the field `{set}` is set too: set only one of the two"),
        )));
    }
    Ok(true)
}

/// Writes the members in `extra`: those without a field, and those of an unexpected type.
pub(super) fn write_extra<M: SerializeMap>(map: &mut M, extra: &Extra) -> Result<(), M::Error> {
    for (name, text) in extra {
        if MODE.get() == Mode::Strict && budget::is_too_deep(text) {
            return Err(M::Error::custom(error_in_extra(name, TooLarge::Depth)));
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(text) => map.serialize_entry(name, text)?,
            Err(error) => {
                return Err(M::Error::custom(error_in_extra(
                    name,
                    error_in_text(&error),
                )));
            }
        }
    }
    Ok(())
}

/// JSON text, written verbatim.
pub(super) struct Verbatim<'a>(pub &'a str);

impl Serialize for Verbatim<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if MODE.get() == Mode::Strict && budget::is_too_deep(self.0) {
            return Err(S::Error::custom(TooLarge::Depth));
        }
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(text) => text.serialize(serializer),
            Err(error) => Err(S::Error::custom(error_in_text(&error))),
        }
    }
}
