//! `extra`: the members that a message has no field for, and those whose type is not the field's.
//! They are kept as JSON text, and written verbatim.

use std::{cell::Cell, collections::BTreeMap};

use serde::{
    de::{self, MapAccess},
    ser::{self, Error as _, SerializeMap},
};
use serde_json::value::RawValue;

use super::{
    budget::{self, Text},
    error::{error_in_extra, error_in_text},
    mode::Mode,
    name::Name,
    verbatim::Verbatim,
};
use crate::proto::{bounds::TooLarge, v1::limits};

/// The members in `extra`: their names, and their JSON text.
pub(crate) type Extra = BTreeMap<String, String>;

thread_local! {
    /// Whether a message that was written has a field in `extra`.
    static FOUND_FIELD_IN_EXTRA: Cell<bool> = const { Cell::new(false) };
}

/// Calls `write`, and tells whether a message that it wrote has a field in `extra`.
pub(super) fn finds_field_in_extra<T>(write: impl FnOnce() -> T) -> (T, bool) {
    FOUND_FIELD_IN_EXTRA.set(false);
    let written = write();
    (written, FOUND_FIELD_IN_EXTRA.replace(false))
}

/// Keeps a member that the message has no field for, as JSON text.
pub(crate) fn read_extra<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: Name<'de>,
    extra: &mut Extra,
) -> Result<(), A::Error> {
    let Text(text) = map.next_value::<Text<'de>>()?;
    keep_in_extra(extra, name.0.into_owned(), text)
}

/// Keeps a member in `extra`, as JSON text: it has no field, or its type is not the field's.
pub(super) fn keep_in_extra<E: de::Error>(
    extra: &mut Extra,
    name: String,
    text: &str,
) -> Result<(), E> {
    budget::insert(extra, &limits::EXTRA, name, text.to_owned())
}

/// Whether `extra` has this member, so that it is written from there. `set` is the member's field,
/// if it is set: an error in a request.
#[inline]
pub(super) fn is_in<E: ser::Error>(
    extra: &Extra,
    name: &str,
    set: Option<&str>,
) -> Result<bool, E> {
    // Each member of each message asks this, and few messages have anything in `extra`.
    if extra.is_empty() {
        return Ok(false);
    }
    is_in_some(extra, name, set)
}

fn is_in_some<E: ser::Error>(extra: &Extra, name: &str, set: Option<&str>) -> Result<bool, E> {
    if !extra.contains_key(name) {
        return Ok(false);
    }
    FOUND_FIELD_IN_EXTRA.set(true);
    if let Some(set) = set.filter(|_| Mode::current() == Mode::Strict) {
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
        if Mode::current() == Mode::Strict && budget::is_too_deep(text) {
            return Err(M::Error::custom(error_in_extra(name, TooLarge::Depth)));
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(text) => map.serialize_entry(name, &Verbatim(text))?,
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
