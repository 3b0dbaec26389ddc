//! What the generated code calls to write a message.

use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap},
};
use serde_json::value::RawValue;

use super::{
    Extra, MODE, Mode, NAMES_A_FIELD, Object, bounds,
    problems::{in_extra, in_text},
};
use crate::proto::bounds::TooLarge;

pub(crate) fn write_object<S: Serializer>(
    message: &impl Object,
    nulls: &[&str],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    message.write_members(&mut map, nulls)?;
    map.end()
}

/// A message with members that are null when unset in this place only.
pub(crate) struct WithNulls<'a, T>(pub &'a T, pub &'static [&'static str]);

impl<T: Object> Serialize for WithNulls<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        write_object(self.0, self.1, serializer)
    }
}

/// Writes a member that is always there. It counts as set if it is not what protobuf gives a field
/// that isn't.
pub(crate) fn write_plain<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    extra: &Extra,
    is_set: bool,
    value: &(impl Serialize + ?Sized),
) -> Result<(), M::Error> {
    if is_in(extra, name, is_set.then_some(name))? {
        Ok(())
    } else {
        map.serialize_entry(name, value)
    }
}

/// Writes a member that is left out when unset, or null if it is among `nulls`.
pub(crate) fn write_optional<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
    extra: &Extra,
    nulls: &[&str],
) -> Result<(), M::Error> {
    if is_in(extra, name, value.as_ref().map(|_| name))? {
        return Ok(());
    }
    match value {
        Some(value) => map.serialize_entry(name, &value),
        None if nulls.contains(&name) => map.serialize_entry(name, &()),
        None => Ok(()),
    }
}

/// Writes a member whose null means something else than its absence.
pub(crate) fn write_or_null<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    value: Option<impl Serialize>,
    is_null: bool,
    extra: &Extra,
) -> Result<(), M::Error> {
    let nulls: &[&str] = if is_null { &[name] } else { &[] };
    write_optional(map, name, value, extra, nulls)
}

/// Whether `extra` has this member: then it is written from there. In a request, no field must be
/// `set` for it too.
pub(super) fn is_in<E: serde::ser::Error>(
    extra: &Extra,
    name: &str,
    set: Option<&str>,
) -> Result<bool, E> {
    if extra.is_empty() || !extra.contains_key(name) {
        return Ok(false);
    }
    NAMES_A_FIELD.set(true);
    if let Some(set) = set.filter(|_| MODE.get() == Mode::Strict) {
        return Err(E::custom(in_extra(
            name,
            format_args!("the field `{set}` is set too: set only one of the two"),
        )));
    }
    Ok(true)
}

/// Writes the members that the message has no field for, and those whose type we didn't expect.
pub(crate) fn write_extra<M: SerializeMap>(map: &mut M, extra: &Extra) -> Result<(), M::Error> {
    for (name, text) in extra {
        if MODE.get() == Mode::Strict && bounds::is_too_deep(text) {
            return Err(M::Error::custom(in_extra(name, TooLarge::Depth)));
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(text) => map.serialize_entry(name, text)?,
            Err(error) => return Err(M::Error::custom(in_extra(name, in_text(&error)))),
        }
    }
    Ok(())
}

/// JSON text, written verbatim.
pub(crate) struct Text<'a>(pub &'a str);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if MODE.get() == Mode::Strict && bounds::is_too_deep(self.0) {
            return Err(S::Error::custom(TooLarge::Depth));
        }
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(text) => text.serialize(serializer),
            Err(error) => Err(S::Error::custom(in_text(&error))),
        }
    }
}
